/* MD5 of several streams side by side: one stream in each 32-bit lane of vector registers.
 *
 * A round of MD5 waits for the round before it, so one stream leaves most of a core idle. Here up
 * to 16 streams share the wait. Which instructions there are is asked at run time; without vectors
 * this is plain MD5. Nothing but MD5 happens here: threads and batches are the caller's.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "_lanes.h"

#define BLOCK_BYTES 64
#define LANES_MAX 16

/* Below this the work is shorter than a thread may wait to get the interpreter back. */
#define GIL_BYTES_MAX (16 * 1024)

/* https://www.rfc-editor.org/rfc/rfc1321: (step, word, rotation, constant), four steps to a line. */
#define MD5_STEPS(F, G, H, I)                                                                     \
    F(a, b, c, d, 0, 7, 0xd76aa478) F(d, a, b, c, 1, 12, 0xe8c7b756)                              \
    F(c, d, a, b, 2, 17, 0x242070db) F(b, c, d, a, 3, 22, 0xc1bdceee)                             \
    F(a, b, c, d, 4, 7, 0xf57c0faf) F(d, a, b, c, 5, 12, 0x4787c62a)                              \
    F(c, d, a, b, 6, 17, 0xa8304613) F(b, c, d, a, 7, 22, 0xfd469501)                             \
    F(a, b, c, d, 8, 7, 0x698098d8) F(d, a, b, c, 9, 12, 0x8b44f7af)                              \
    F(c, d, a, b, 10, 17, 0xffff5bb1) F(b, c, d, a, 11, 22, 0x895cd7be)                           \
    F(a, b, c, d, 12, 7, 0x6b901122) F(d, a, b, c, 13, 12, 0xfd987193)                            \
    F(c, d, a, b, 14, 17, 0xa679438e) F(b, c, d, a, 15, 22, 0x49b40821)                           \
    G(a, b, c, d, 1, 5, 0xf61e2562) G(d, a, b, c, 6, 9, 0xc040b340)                               \
    G(c, d, a, b, 11, 14, 0x265e5a51) G(b, c, d, a, 0, 20, 0xe9b6c7aa)                            \
    G(a, b, c, d, 5, 5, 0xd62f105d) G(d, a, b, c, 10, 9, 0x02441453)                              \
    G(c, d, a, b, 15, 14, 0xd8a1e681) G(b, c, d, a, 4, 20, 0xe7d3fbc8)                            \
    G(a, b, c, d, 9, 5, 0x21e1cde6) G(d, a, b, c, 14, 9, 0xc33707d6)                              \
    G(c, d, a, b, 3, 14, 0xf4d50d87) G(b, c, d, a, 8, 20, 0x455a14ed)                             \
    G(a, b, c, d, 13, 5, 0xa9e3e905) G(d, a, b, c, 2, 9, 0xfcefa3f8)                              \
    G(c, d, a, b, 7, 14, 0x676f02d9) G(b, c, d, a, 12, 20, 0x8d2a4c8a)                            \
    H(a, b, c, d, 5, 4, 0xfffa3942) H(d, a, b, c, 8, 11, 0x8771f681)                              \
    H(c, d, a, b, 11, 16, 0x6d9d6122) H(b, c, d, a, 14, 23, 0xfde5380c)                           \
    H(a, b, c, d, 1, 4, 0xa4beea44) H(d, a, b, c, 4, 11, 0x4bdecfa9)                              \
    H(c, d, a, b, 7, 16, 0xf6bb4b60) H(b, c, d, a, 10, 23, 0xbebfbc70)                            \
    H(a, b, c, d, 13, 4, 0x289b7ec6) H(d, a, b, c, 0, 11, 0xeaa127fa)                             \
    H(c, d, a, b, 3, 16, 0xd4ef3085) H(b, c, d, a, 6, 23, 0x04881d05)                             \
    H(a, b, c, d, 9, 4, 0xd9d4d039) H(d, a, b, c, 12, 11, 0xe6db99e5)                             \
    H(c, d, a, b, 15, 16, 0x1fa27cf8) H(b, c, d, a, 2, 23, 0xc4ac5665)                            \
    I(a, b, c, d, 0, 6, 0xf4292244) I(d, a, b, c, 7, 10, 0x432aff97)                              \
    I(c, d, a, b, 14, 15, 0xab9423a7) I(b, c, d, a, 5, 21, 0xfc93a039)                            \
    I(a, b, c, d, 12, 6, 0x655b59c3) I(d, a, b, c, 3, 10, 0x8f0ccc92)                             \
    I(c, d, a, b, 10, 15, 0xffeff47d) I(b, c, d, a, 1, 21, 0x85845dd1)                            \
    I(a, b, c, d, 8, 6, 0x6fa87e4f) I(d, a, b, c, 15, 10, 0xfe2ce6e0)                             \
    I(c, d, a, b, 6, 15, 0xa3014314) I(b, c, d, a, 13, 21, 0x4e0811a1)                            \
    I(a, b, c, d, 4, 6, 0xf7537e82) I(d, a, b, c, 11, 10, 0xbd3af235)                             \
    I(c, d, a, b, 2, 15, 0x2ad7d2bb) I(b, c, d, a, 9, 21, 0xeb86d391)

/* ---- Kernels: whole blocks of as many streams as there are lanes ------------------------------ */

/* The lanes at work. Chaining values lie word by word, as vectors are loaded. Lanes that are not in
 * use point at some other lane's bytes; what becomes of their values does not matter. */
typedef struct {
    uint32_t chain[4][LANES_MAX];
    const uint8_t *next[LANES_MAX];
} Lanes;

/* Takes the next `blocks` blocks of each lane, at least one, and moves `next` behind them. */
typedef void (*Kernel)(Lanes *lanes, size_t blocks);

static inline uint32_t
word_at(const uint8_t *bytes)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint32_t word;
    memcpy(&word, bytes, 4);
    return word;
#else
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
#endif
}

static inline void
put_word(uint8_t *bytes, uint32_t word)
{
    for (int i = 0; i < 4; i++) {
        bytes[i] = (uint8_t)(word >> (8 * i));
    }
}

/* Keeps the compiler from reordering sums. What the step before has yet to give must come last:
 * nothing else decides how fast a chain of 64 steps is. */
#if defined(__GNUC__)
#define PIN(x) __asm__("" : "+r"(x))
#else
#define PIN(x) ((void)0)
#endif

#define ROL(x, s) ((x) << (s) | (x) >> (32 - (s)))

#define SCALAR_F(a, b, c, d, i, s, k)                                                             \
    {                                                                                             \
        uint32_t t = c ^ d;                                                                       \
        a += word_at(p + 4 * i) + UINT32_C(k);                                                    \
        PIN(a);                                                                                   \
        t = (t & b) ^ d;                                                                          \
        a += t;                                                                                   \
        a = ROL(a, s) + b;                                                                        \
    }
#define SCALAR_G(a, b, c, d, i, s, k)                                                             \
    {                                                                                             \
        uint32_t t = ~d & c;                                                                      \
        a += word_at(p + 4 * i) + UINT32_C(k);                                                    \
        a += t;                                                                                   \
        PIN(a);                                                                                   \
        t = d & b;                                                                                \
        PIN(t);                                                                                   \
        a += t;                                                                                   \
        a = ROL(a, s) + b;                                                                        \
    }
#define SCALAR_H(a, b, c, d, i, s, k)                                                             \
    {                                                                                             \
        uint32_t t = c ^ d;                                                                       \
        PIN(t);                                                                                   \
        a += word_at(p + 4 * i) + UINT32_C(k);                                                    \
        PIN(a);                                                                                   \
        t ^= b;                                                                                   \
        a += t;                                                                                   \
        a = ROL(a, s) + b;                                                                        \
    }
#define SCALAR_I(a, b, c, d, i, s, k)                                                             \
    {                                                                                             \
        uint32_t t = ~d;                                                                          \
        a += word_at(p + 4 * i) + UINT32_C(k);                                                    \
        PIN(a);                                                                                   \
        t = (t | b) ^ c;                                                                          \
        a += t;                                                                                   \
        a = ROL(a, s) + b;                                                                        \
    }

static void
scalar_blocks(uint32_t chain[4], const uint8_t *p, size_t blocks)
{
    uint32_t a = chain[0], b = chain[1], c = chain[2], d = chain[3];
    for (; blocks; blocks--, p += BLOCK_BYTES) {
        uint32_t a0 = a, b0 = b, c0 = c, d0 = d;
        MD5_STEPS(SCALAR_F, SCALAR_G, SCALAR_H, SCALAR_I)
        a += a0, b += b0, c += c0, d += d0;
    }
    chain[0] = a, chain[1] = b, chain[2] = c, chain[3] = d;
}

static void
scalar_1(Lanes *lanes, size_t blocks)
{
    uint32_t chain[4];
    for (int i = 0; i < 4; i++) {
        chain[i] = lanes->chain[i][0];
    }
    scalar_blocks(chain, lanes->next[0], blocks);
    for (int i = 0; i < 4; i++) {
        lanes->chain[i][0] = chain[i];
    }
    lanes->next[0] += blocks * BLOCK_BYTES;
}

/* Two streams, step by step in turns: they share a core's units without vectors. */
#define PAIR(STEP, a, b, c, d, i, s, k)                                                           \
    {                                                                                             \
        const uint8_t *p = p1;                                                                    \
        STEP(a##1, b##1, c##1, d##1, i, s, k)                                                     \
    }                                                                                             \
    {                                                                                             \
        const uint8_t *p = p2;                                                                    \
        STEP(a##2, b##2, c##2, d##2, i, s, k)                                                     \
    }
#define PAIR_F(a, b, c, d, i, s, k) PAIR(SCALAR_F, a, b, c, d, i, s, k)
#define PAIR_G(a, b, c, d, i, s, k) PAIR(SCALAR_G, a, b, c, d, i, s, k)
#define PAIR_H(a, b, c, d, i, s, k) PAIR(SCALAR_H, a, b, c, d, i, s, k)
#define PAIR_I(a, b, c, d, i, s, k) PAIR(SCALAR_I, a, b, c, d, i, s, k)

static void
scalar_2(Lanes *lanes, size_t blocks)
{
    uint32_t(*h)[LANES_MAX] = lanes->chain;
    uint32_t a1 = h[0][0], b1 = h[1][0], c1 = h[2][0], d1 = h[3][0];
    uint32_t a2 = h[0][1], b2 = h[1][1], c2 = h[2][1], d2 = h[3][1];
    const uint8_t *p1 = lanes->next[0], *p2 = lanes->next[1];
    for (; blocks; blocks--, p1 += BLOCK_BYTES, p2 += BLOCK_BYTES) {
        MD5_STEPS(PAIR_F, PAIR_G, PAIR_H, PAIR_I)
        h[0][0] = a1 += h[0][0], h[1][0] = b1 += h[1][0];
        h[2][0] = c1 += h[2][0], h[3][0] = d1 += h[3][0];
        h[0][1] = a2 += h[0][1], h[1][1] = b2 += h[1][1];
        h[2][1] = c2 += h[2][1], h[3][1] = d2 += h[3][1];
    }
    lanes->next[0] = p1, lanes->next[1] = p2;
}

#if HAVE_VECTORS

/* So many streams are more than the hardware follows by itself. */
#define PREFETCH_BYTES (4 * BLOCK_BYTES)

#define KERNEL(NAME, TARGET, V, LANES, P, S, ROW, F, G, H, I)                                     \
    __attribute__((target(TARGET))) static void NAME(Lanes *lanes, size_t blocks)                 \
    {                                                                                             \
        V a = P##_loadu_##S((const V *)lanes->chain[0]);                                          \
        V b = P##_loadu_##S((const V *)lanes->chain[1]);                                          \
        V c = P##_loadu_##S((const V *)lanes->chain[2]);                                          \
        V d = P##_loadu_##S((const V *)lanes->chain[3]);                                          \
        const uint8_t *next[LANES];                                                               \
        memcpy(next, lanes->next, sizeof next);                                                   \
        for (size_t at = 0; at < blocks * BLOCK_BYTES; at += BLOCK_BYTES) {                       \
            V a0 = a, b0 = b, c0 = c, d0 = d, w[16];                                              \
            for (int i = 0; i < LANES; i++) {                                                     \
                __builtin_prefetch(next[i] + at + PREFETCH_BYTES);                                \
            }                                                                                     \
            TRANSPOSED(V, P, S, ROW, 0)                                                           \
            TRANSPOSED(V, P, S, ROW, 1)                                                           \
            TRANSPOSED(V, P, S, ROW, 2)                                                           \
            TRANSPOSED(V, P, S, ROW, 3)                                                           \
            MD5_STEPS(F, G, H, I)                                                                 \
            a = P##_add_epi32(a, a0), b = P##_add_epi32(b, b0);                                   \
            c = P##_add_epi32(c, c0), d = P##_add_epi32(d, d0);                                   \
        }                                                                                         \
        P##_storeu_##S((V *)lanes->chain[0], a);                                                  \
        P##_storeu_##S((V *)lanes->chain[1], b);                                                  \
        P##_storeu_##S((V *)lanes->chain[2], c);                                                  \
        P##_storeu_##S((V *)lanes->chain[3], d);                                                  \
        for (int i = 0; i < LANES; i++) {                                                         \
            lanes->next[i] += blocks * BLOCK_BYTES;                                               \
        }                                                                                         \
    }

#define PIN_VECTOR(x) __asm__("" : "+v"(x))

/* AVX-512: any function of three bits is one instruction, and so is a rotation. */
#define TERNARY_STEP(P, a, b, c, d, i, s, k, TABLE)                                               \
    a = P##_add_epi32(a, P##_add_epi32(w[i], P##_set1_epi32((int)UINT32_C(k))));                  \
    PIN_VECTOR(a);                                                                                \
    a = P##_add_epi32(a, P##_ternarylogic_epi32(b, c, d, TABLE));                                 \
    a = P##_add_epi32(P##_rol_epi32(a, s), b);
#define X8_F(a, b, c, d, i, s, k) TERNARY_STEP(_mm256, a, b, c, d, i, s, k, 0xca)
#define X8_G(a, b, c, d, i, s, k) TERNARY_STEP(_mm256, a, b, c, d, i, s, k, 0xe4)
#define X8_H(a, b, c, d, i, s, k) TERNARY_STEP(_mm256, a, b, c, d, i, s, k, 0x96)
#define X8_I(a, b, c, d, i, s, k) TERNARY_STEP(_mm256, a, b, c, d, i, s, k, 0x39)
#define X16_F(a, b, c, d, i, s, k) TERNARY_STEP(_mm512, a, b, c, d, i, s, k, 0xca)
#define X16_G(a, b, c, d, i, s, k) TERNARY_STEP(_mm512, a, b, c, d, i, s, k, 0xe4)
#define X16_H(a, b, c, d, i, s, k) TERNARY_STEP(_mm512, a, b, c, d, i, s, k, 0x96)
#define X16_I(a, b, c, d, i, s, k) TERNARY_STEP(_mm512, a, b, c, d, i, s, k, 0x39)

KERNEL(avx512_8, "avx512f,avx512vl", __m256i, 8, _mm256, si256, ROW_256, X8_F, X8_G, X8_H, X8_I)
KERNEL(avx512_16, "avx512f", __m512i, 16, _mm512, si512, ROW_512, X16_F, X16_G, X16_H, X16_I)

#define AVX2_ADD(x, y) x = _mm256_add_epi32(x, y)
#define AVX2_WORD(a, i, k)                                                                        \
    AVX2_ADD(a, _mm256_add_epi32(w[i], _mm256_set1_epi32((int)UINT32_C(k))));                     \
    PIN_VECTOR(a);
#define AVX2_STEP(a, b, s, f)                                                                     \
    AVX2_ADD(a, f);                                                                               \
    a = _mm256_or_si256(_mm256_slli_epi32(a, s), _mm256_srli_epi32(a, 32 - (s)));                 \
    AVX2_ADD(a, b);
#define Y8_F(a, b, c, d, i, s, k)                                                                 \
    AVX2_WORD(a, i, k)                                                                            \
    AVX2_STEP(a, b, s, _mm256_xor_si256(_mm256_and_si256(_mm256_xor_si256(c, d), b), d))
#define Y8_G(a, b, c, d, i, s, k)                                                                 \
    AVX2_ADD(a, _mm256_andnot_si256(d, c));                                                       \
    AVX2_WORD(a, i, k)                                                                            \
    AVX2_STEP(a, b, s, _mm256_and_si256(d, b))
#define Y8_H(a, b, c, d, i, s, k)                                                                 \
    AVX2_WORD(a, i, k)                                                                            \
    AVX2_STEP(a, b, s, _mm256_xor_si256(_mm256_xor_si256(c, d), b))
#define Y8_I(a, b, c, d, i, s, k)                                                                 \
    AVX2_WORD(a, i, k)                                                                            \
    AVX2_STEP(                                                                                    \
        a, b, s,                                                                                  \
        _mm256_xor_si256(_mm256_or_si256(_mm256_xor_si256(d, _mm256_set1_epi32(-1)), b), c)       \
    )

KERNEL(avx2_8, "avx2", __m256i, 8, _mm256, si256, ROW_256, Y8_F, Y8_G, Y8_H, Y8_I)

#endif /* HAVE_VECTORS */

/* ---- Which kernel for how many streams --------------------------------------------------------- */

typedef struct {
    const char *name;
    int lanes;              /* at most so many streams side by side */
    int vector_streams_min; /* fewer are faster in pairs: a chain of vector steps is the longer one */
    Kernel of_8, of_16;
} Engine;

static const Engine SCALAR = {"scalar", 2, LANES_MAX + 1, NULL, NULL};
#if HAVE_VECTORS
static const Engine AVX2 = {"avx2", 8, 5, avx2_8, NULL};
static const Engine AVX512 = {"avx512", 16, 3, avx512_8, avx512_16};
#endif

/* The engines of this machine, the best one first. */
static const Engine *engines[3];
static int engine_count;

static void
find_engines(void)
{
    engine_count = 0;
#if HAVE_VECTORS
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")) {
        engines[engine_count++] = &AVX512;
    }
    if (__builtin_cpu_supports("avx2")) {
        engines[engine_count++] = &AVX2;
    }
#endif
    engines[engine_count++] = &SCALAR;
}

/* ---- Streams: pieces in, whole blocks out ------------------------------------------------------ */

typedef struct {
    PyObject_HEAD
    uint32_t chain[4];
    uint64_t length;              /* bytes so far */
    uint8_t partial[BLOCK_BYTES]; /* the last length % BLOCK_BYTES of them */
    int is_busy;                  /* an update is under way, perhaps without the interpreter */
} State;

typedef struct {
    State *state;
    const Py_buffer *piece, *pieces_end;
    size_t piece_at;     /* bytes of the piece that are taken already */
    size_t partial_fill; /* bytes that wait in state->partial */
    const uint8_t *run;  /* whole blocks that come next */
    size_t run_blocks;
    uint64_t total;
} Stream;

/* Finds the next whole blocks, in a piece or put together from several; 0 when there are none. */
static int
next_run(Stream *stream)
{
    while (stream->piece < stream->pieces_end) {
        const uint8_t *bytes = (const uint8_t *)stream->piece->buf + stream->piece_at;
        size_t left = (size_t)stream->piece->len - stream->piece_at;
        if (stream->partial_fill == 0 && left >= BLOCK_BYTES) {
            stream->run = bytes;
            stream->run_blocks = left / BLOCK_BYTES;
            stream->piece_at += stream->run_blocks * BLOCK_BYTES;
            return 1;
        }
        size_t missing = BLOCK_BYTES - stream->partial_fill;
        size_t taken = left < missing ? left : missing;
        if (taken) {
            memcpy(stream->state->partial + stream->partial_fill, bytes, taken);
        }
        stream->partial_fill += taken;
        stream->piece_at += taken;
        if (stream->piece_at == (size_t)stream->piece->len) {
            stream->piece++;
            stream->piece_at = 0;
        }
        if (stream->partial_fill == BLOCK_BYTES) {
            /* Consumed before anybody asks for the run behind it. */
            stream->partial_fill = 0;
            stream->run = stream->state->partial;
            stream->run_blocks = 1;
            return 1;
        }
    }
    return 0;
}

static void
put_into_lane(Lanes *lanes, int lane, const Stream *stream)
{
    for (int i = 0; i < 4; i++) {
        lanes->chain[i][lane] = stream->state->chain[i];
    }
    lanes->next[lane] = stream->run;
}

static void
take_out_of_lane(const Lanes *lanes, int lane, Stream *stream)
{
    for (int i = 0; i < 4; i++) {
        stream->state->chain[i] = lanes->chain[i][lane];
    }
}

static int
longer_first(const void *left, const void *right)
{
    uint64_t a = ((const Stream *)left)->total, b = ((const Stream *)right)->total;
    return (a < b) - (a > b);
}

/* Hashes every stream to its end. A lane whose stream ends takes the next one that waits. */
static void
hash_streams(const Engine *engine, Stream *streams, size_t count)
{
    Lanes lanes;
    Stream *in_lane[LANES_MAX];
    size_t waiting = 0; /* streams from here on have had no lane yet */
    int used = 0;

    /* The longest must not be the last one, and alone. */
    qsort(streams, count, sizeof *streams, longer_first);
    memset(&lanes, 0, sizeof lanes);
    for (;;) {
        while (used < engine->lanes && waiting < count) {
            Stream *stream = &streams[waiting++];
            if (next_run(stream)) {
                put_into_lane(&lanes, used, stream);
                in_lane[used++] = stream;
            }
        }
        if (used == 0) {
            return;
        }
        Kernel kernel;
        int width, at_work;
        if (used >= engine->vector_streams_min) {
            width = used > 8 ? 16 : 8;
            kernel = used > 8 ? engine->of_16 : engine->of_8;
        }
        else {
            width = used >= 2 ? 2 : 1;
            kernel = used >= 2 ? scalar_2 : scalar_1;
        }
        at_work = used < width ? used : width;
        for (int lane = used; lane < width; lane++) {
            lanes.next[lane] = lanes.next[0];
        }
        size_t blocks = in_lane[0]->run_blocks;
        for (int lane = 1; lane < at_work; lane++) {
            if (in_lane[lane]->run_blocks < blocks) {
                blocks = in_lane[lane]->run_blocks;
            }
        }
        kernel(&lanes, blocks);
        /* From the last lane down: the one that fills a gap has been seen to. */
        for (int lane = at_work - 1; lane >= 0; lane--) {
            Stream *stream = in_lane[lane];
            stream->run_blocks -= blocks;
            if (stream->run_blocks) {
                continue;
            }
            if (next_run(stream)) {
                lanes.next[lane] = stream->run;
                continue;
            }
            take_out_of_lane(&lanes, lane, stream);
            used--;
            if (lane < used) {
                for (int i = 0; i < 4; i++) {
                    lanes.chain[i][lane] = lanes.chain[i][used];
                }
                lanes.next[lane] = lanes.next[used];
                in_lane[lane] = in_lane[used];
            }
        }
    }
}

static void
final_digest(const State *state, uint8_t digest[16])
{
    uint8_t padded[2 * BLOCK_BYTES] = {0};
    uint32_t chain[4];
    size_t fill = (size_t)(state->length % BLOCK_BYTES);
    size_t size = fill < BLOCK_BYTES - 8 ? BLOCK_BYTES : 2 * BLOCK_BYTES;
    uint64_t bits = state->length << 3;

    memcpy(padded, state->partial, fill);
    padded[fill] = 0x80;
    put_word(padded + size - 8, (uint32_t)bits);
    put_word(padded + size - 4, (uint32_t)(bits >> 32));
    memcpy(chain, state->chain, sizeof chain);
    scalar_blocks(chain, padded, size / BLOCK_BYTES);
    for (int i = 0; i < 4; i++) {
        put_word(digest + 4 * i, chain[i]);
    }
}

/* ---- Python ------------------------------------------------------------------------------------ */

static PyTypeObject StateType;

static PyObject *
State_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(args, keywords, ":State", names)) {
        return NULL;
    }
    State *self = (State *)type->tp_alloc(type, 0);
    if (self) {
        self->chain[0] = 0x67452301;
        self->chain[1] = 0xefcdab89;
        self->chain[2] = 0x98badcfe;
        self->chain[3] = 0x10325476;
    }
    return (PyObject *)self;
}

static int
refuse_busy(const State *state)
{
    if (state->is_busy) {
        PyErr_SetString(PyExc_ValueError, "this stream is being updated");
    }
    return state->is_busy;
}

/* Takes the bytes of all pieces of all streams, or of none: everything is checked before. */
static int
update_streams(const Engine *engine, PyObject *const *states, PyObject *const *pieces, size_t count)
{
    int failed = -1;
    size_t marked = 0, held = 0, piece_count = 0;
    Stream *streams = PyMem_Calloc(count ? count : 1, sizeof *streams);
    PyObject **pieces_of = PyMem_Calloc(count ? count : 1, sizeof *pieces_of);
    Py_buffer *buffers = NULL;
    uint64_t total = 0;

    if (!streams || !pieces_of) {
        PyErr_NoMemory();
        goto done;
    }
    for (; marked < count; marked++) {
        State *state = (State *)states[marked];
        if (!Py_IS_TYPE(state, &StateType)) {
            PyErr_Format(PyExc_TypeError, "State expected, not %.100s", Py_TYPE(state)->tp_name);
            goto done;
        }
        if (refuse_busy(state)) {
            goto done;
        }
        state->is_busy = 1;
    }
    for (size_t i = 0; i < count; i++) {
        /* A tuple of our own: nobody takes pieces away while they are in use. */
        pieces_of[i] = PySequence_Tuple(pieces[i]);
        if (!pieces_of[i]) {
            goto done;
        }
        piece_count += (size_t)PyTuple_GET_SIZE(pieces_of[i]);
    }
    buffers = PyMem_Calloc(piece_count ? piece_count : 1, sizeof *buffers);
    if (!buffers) {
        PyErr_NoMemory();
        goto done;
    }
    for (size_t i = 0; i < count; i++) {
        State *state = (State *)states[i];
        streams[i].state = state;
        streams[i].partial_fill = (size_t)(state->length % BLOCK_BYTES);
        streams[i].piece = &buffers[held];
        for (Py_ssize_t j = 0; j < PyTuple_GET_SIZE(pieces_of[i]); j++) {
            PyObject *piece = PyTuple_GET_ITEM(pieces_of[i], j);
            if (PyObject_GetBuffer(piece, &buffers[held], PyBUF_SIMPLE) < 0) {
                goto done;
            }
            streams[i].total += (uint64_t)buffers[held++].len;
        }
        streams[i].pieces_end = &buffers[held];
        total += streams[i].total;
    }
    for (size_t i = 0; i < count; i++) {
        streams[i].state->length += streams[i].total;
    }
    if (total > GIL_BYTES_MAX) {
        Py_BEGIN_ALLOW_THREADS
        hash_streams(engine, streams, count);
        Py_END_ALLOW_THREADS
    }
    else {
        hash_streams(engine, streams, count);
    }
    failed = 0;

done:
    while (marked--) {
        ((State *)states[marked])->is_busy = 0;
    }
    while (held--) {
        PyBuffer_Release(&buffers[held]);
    }
    for (size_t i = 0; pieces_of && i < count; i++) {
        Py_XDECREF(pieces_of[i]);
    }
    PyMem_Free(buffers);
    PyMem_Free(pieces_of);
    PyMem_Free(streams);
    return failed;
}

static PyObject *
State_update(PyObject *self, PyObject *pieces)
{
    if (update_streams(engines[0], &self, &pieces, 1) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
State_digest(State *self, PyObject *Py_UNUSED(ignored))
{
    uint8_t digest[16];
    if (refuse_busy(self)) {
        return NULL;
    }
    final_digest(self, digest);
    return PyBytes_FromStringAndSize((const char *)digest, sizeof digest);
}

static PyObject *
State_copy(State *self, PyObject *Py_UNUSED(ignored))
{
    if (refuse_busy(self)) {
        return NULL;
    }
    State *copy = PyObject_New(State, &StateType);
    if (copy) {
        memcpy(copy->chain, self->chain, sizeof copy->chain);
        memcpy(copy->partial, self->partial, sizeof copy->partial);
        copy->length = self->length;
        copy->is_busy = 0;
    }
    return (PyObject *)copy;
}

static PyMethodDef State_methods[] = {
    {"update", State_update, METH_O, "Takes the bytes of the buffers, in order."},
    {"digest", (PyCFunction)State_digest, METH_NOARGS, "The MD5 of everything so far: 16 bytes."},
    {"copy", (PyCFunction)State_copy, METH_NOARGS, "Another state that goes on from here."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject StateType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "dsn._md5_lanes.State",
    .tp_doc = "The MD5 of one stream in the making.",
    .tp_basicsize = sizeof(State),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = State_new,
    .tp_methods = State_methods,
};

static PyObject *
update_many(PyObject *Py_UNUSED(module), PyObject *args, PyObject *keywords)
{
    static char *names[] = {"states", "buffers", "engine", NULL};
    PyObject *states, *pieces, *result = NULL;
    const char *name = NULL;
    const Engine *engine = engines[0];

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OO|z", names, &states, &pieces, &name)) {
        return NULL;
    }
    if (name) {
        int i = 0;
        while (i < engine_count && strcmp(engines[i]->name, name) != 0) {
            i++;
        }
        if (i == engine_count) {
            return PyErr_Format(PyExc_ValueError, "no such engine here: %.100s", name);
        }
        engine = engines[i];
    }
    /* Tuples of our own: they stay as they are while the interpreter is let go. */
    states = PySequence_Tuple(states);
    pieces = PySequence_Tuple(pieces);
    if (!states || !pieces) {
        goto done;
    }
    if (PyTuple_GET_SIZE(states) != PyTuple_GET_SIZE(pieces)) {
        PyErr_SetString(PyExc_ValueError, "each stream needs its buffers");
        goto done;
    }
    if (update_streams(
            engine, &PyTuple_GET_ITEM(states, 0), &PyTuple_GET_ITEM(pieces, 0),
            (size_t)PyTuple_GET_SIZE(states)
        ) == 0) {
        result = Py_NewRef(Py_None);
    }
done:
    Py_XDECREF(states);
    Py_XDECREF(pieces);
    return result;
}

static PyMethodDef functions[] = {
    {"update_many", (PyCFunction)(void (*)(void))update_many, METH_VARARGS | METH_KEYWORDS,
     "Takes the bytes of each stream's buffers, in order: all of them, or none if it raises."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "dsn._md5_lanes",
    .m_doc = "MD5 of several streams side by side.",
    .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC
PyInit__md5_lanes(void)
{
    find_engines();
    if (PyType_Ready(&StateType) < 0) {
        return NULL;
    }
    PyObject *made = PyModule_Create(&module);
    PyObject *names = PyTuple_New(engine_count);
    if (!made || !names) {
        goto failed;
    }
    for (int i = 0; i < engine_count; i++) {
        PyObject *name = PyUnicode_FromString(engines[i]->name);
        if (!name) {
            goto failed;
        }
        PyTuple_SET_ITEM(names, i, name);
    }
    if (PyModule_AddObjectRef(made, "State", (PyObject *)&StateType) < 0 ||
        PyModule_AddObjectRef(made, "ENGINES", names) < 0 ||
        PyModule_AddIntConstant(made, "LANES", engines[0]->lanes) < 0) {
        goto failed;
    }
    Py_DECREF(names);
    return made;

failed:
    Py_XDECREF(names);
    Py_XDECREF(made);
    return NULL;
}
