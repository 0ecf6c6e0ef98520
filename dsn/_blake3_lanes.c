/* BLAKE3 of many leaves at once, in one call that lets the interpreter go once.
 *
 * A leaf is one node of 64 chunks, the last of which may be short. Chunks, and then the parents
 * above them, are hashed side by side, one in each 32-bit lane, across the borders of leaves, so
 * that all lanes are always in use. Only this shape is known here; anything else is left to the
 * blake3 package. https://github.com/BLAKE3-team/BLAKE3-specs
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <string.h>

#include "_lanes.h"

#define BLOCK_BYTES 64
#define CHUNK_BYTES 1024
#define CHUNKS 64
#define LEAF_BYTES_MIN ((CHUNKS - 1) * CHUNK_BYTES + 1)
#define LEAF_BYTES_MAX (CHUNKS * CHUNK_BYTES)
#define DIGEST_BYTES 32
#define LANES_MAX 16
/* So many leaves share their chunks among the lanes. */
#define LEAVES_MAX 16

enum { CHUNK_START = 1, CHUNK_END = 2, PARENT = 4, ROOT = 8 };

static const uint32_t IV[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                               0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

/* One input for each lane, all of the same length and with the same flags. */
typedef struct {
    const uint8_t *next[LANES_MAX];
    uint32_t counter[LANES_MAX];
    size_t blocks;
    uint32_t last_bytes;                     /* of the last block; the rest of it is zero */
    uint32_t flags, first_flags, last_flags; /* of every block, and more of the first and last */
    uint32_t chain[8][LANES_MAX];            /* out: word by word */
} Lanes;

typedef void (*Kernel)(Lanes *lanes);

#if HAVE_VECTORS

/* The words of the message in the order in which each of the seven rounds takes them. */
#define ROUNDS(ROUND)                                                                             \
    ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)                                   \
    ROUND(2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)                                   \
    ROUND(3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1)                                   \
    ROUND(10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6)                                   \
    ROUND(12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4)                                   \
    ROUND(9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7)                                   \
    ROUND(11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13)

/* Half a quarter round of four columns (or diagonals) in turns, so that none waits for itself. */
#define HALF(ADD, XOR, ROR, m0, m1, m2, m3, a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0,   \
             d1, d2, d3, R1, R2)                                                                  \
    a0 = ADD(ADD(a0, w[m0]), b0), a1 = ADD(ADD(a1, w[m1]), b1);                                   \
    a2 = ADD(ADD(a2, w[m2]), b2), a3 = ADD(ADD(a3, w[m3]), b3);                                   \
    d0 = ROR(XOR(d0, a0), R1), d1 = ROR(XOR(d1, a1), R1);                                         \
    d2 = ROR(XOR(d2, a2), R1), d3 = ROR(XOR(d3, a3), R1);                                         \
    c0 = ADD(c0, d0), c1 = ADD(c1, d1), c2 = ADD(c2, d2), c3 = ADD(c3, d3);                       \
    b0 = ROR(XOR(b0, c0), R2), b1 = ROR(XOR(b1, c1), R2);                                         \
    b2 = ROR(XOR(b2, c2), R2), b3 = ROR(XOR(b3, c3), R2);

#define QUARTERS(A, X, R, x0, y0, x1, y1, x2, y2, x3, y3, ...)                                    \
    HALF(A, X, R, x0, x1, x2, x3, __VA_ARGS__, 16, 12)                                            \
    HALF(A, X, R, y0, y1, y2, y3, __VA_ARGS__, 8, 7)

#define ROUND_OF(A, X, R, m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15)   \
    QUARTERS(A, X, R, m0, m1, m2, m3, m4, m5, m6, m7, v0, v1, v2, v3, v4, v5, v6, v7, v8, v9,     \
             v10, v11, v12, v13, v14, v15)                                                        \
    QUARTERS(A, X, R, m8, m9, m10, m11, m12, m13, m14, m15, v0, v1, v2, v3, v5, v6, v7, v4, v10,  \
             v11, v8, v9, v15, v12, v13, v14)

#define KERNEL(NAME, TARGET, V, LANES, P, S, XOR, ROW, ROUND)                                     \
    __attribute__((target(TARGET))) static void NAME(Lanes *lanes)                                \
    {                                                                                             \
        V h[8], counter = P##_loadu_##S((const V *)lanes->counter);                               \
        const uint8_t *next[LANES];                                                               \
        memcpy(next, lanes->next, sizeof next);                                                   \
        for (int i = 0; i < 8; i++) {                                                             \
            h[i] = P##_set1_epi32((int)IV[i]);                                                    \
        }                                                                                         \
        for (size_t block = 0; block < lanes->blocks; block++) {                                  \
            size_t at = block * BLOCK_BYTES;                                                      \
            uint32_t flags = lanes->flags | (block == 0 ? lanes->first_flags : 0);                \
            uint32_t bytes = BLOCK_BYTES;                                                         \
            if (block == lanes->blocks - 1) {                                                     \
                flags |= lanes->last_flags;                                                       \
                bytes = lanes->last_bytes;                                                        \
            }                                                                                     \
            V w[16];                                                                              \
            for (int i = 0; i < LANES; i++) {                                                     \
                __builtin_prefetch(next[i] + at + 4 * BLOCK_BYTES);                               \
            }                                                                                     \
            TRANSPOSED(V, P, S, ROW, 0)                                                           \
            TRANSPOSED(V, P, S, ROW, 1)                                                           \
            TRANSPOSED(V, P, S, ROW, 2)                                                           \
            TRANSPOSED(V, P, S, ROW, 3)                                                           \
            V v0 = h[0], v1 = h[1], v2 = h[2], v3 = h[3];                                         \
            V v4 = h[4], v5 = h[5], v6 = h[6], v7 = h[7];                                         \
            V v8 = P##_set1_epi32((int)IV[0]), v9 = P##_set1_epi32((int)IV[1]);                   \
            V v10 = P##_set1_epi32((int)IV[2]), v11 = P##_set1_epi32((int)IV[3]);                 \
            V v12 = counter, v13 = P##_set1_epi32(0);                                             \
            V v14 = P##_set1_epi32((int)bytes), v15 = P##_set1_epi32((int)flags);                 \
            ROUNDS(ROUND)                                                                         \
            h[0] = XOR(v0, v8), h[1] = XOR(v1, v9), h[2] = XOR(v2, v10), h[3] = XOR(v3, v11);     \
            h[4] = XOR(v4, v12), h[5] = XOR(v5, v13), h[6] = XOR(v6, v14), h[7] = XOR(v7, v15);   \
        }                                                                                         \
        for (int i = 0; i < 8; i++) {                                                             \
            P##_storeu_##S((V *)lanes->chain[i], h[i]);                                           \
        }                                                                                         \
    }

#define AVX512_ROUND(...)                                                                         \
    ROUND_OF(_mm512_add_epi32, _mm512_xor_si512, _mm512_ror_epi32, __VA_ARGS__)
KERNEL(avx512_16, "avx512f", __m512i, 16, _mm512, si512, _mm512_xor_si512, ROW_512, AVX512_ROUND)

#define AVX2_ROR(x, n) _mm256_or_si256(_mm256_srli_epi32(x, n), _mm256_slli_epi32(x, 32 - (n)))
#define AVX2_ROUND(...) ROUND_OF(_mm256_add_epi32, _mm256_xor_si256, AVX2_ROR, __VA_ARGS__)
KERNEL(avx2_8, "avx2", __m256i, 8, _mm256, si256, _mm256_xor_si256, ROW_256, AVX2_ROUND)

#endif /* HAVE_VECTORS */

typedef struct {
    const char *name;
    int lanes;
    Kernel kernel;
} Engine;

#if HAVE_VECTORS
static const Engine AVX512 = {"avx512", 16, avx512_16};
static const Engine AVX2 = {"avx2", 8, avx2_8};
#endif

/* The engines of this machine, the best one first. */
static const Engine *engines[2];
static int engine_count;

static void
find_engines(void)
{
    engine_count = 0;
#if HAVE_VECTORS
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f")) {
        engines[engine_count++] = &AVX512;
    }
    if (__builtin_cpu_supports("avx2")) {
        engines[engine_count++] = &AVX2;
    }
#endif
}

/* Words as BLAKE3 writes them; vectors are only found on little-endian machines. */
typedef uint32_t Chain[8];

/* Hashes `count` inputs, each into its chain; they fill the lanes one group after the other. */
static void
hash_all(
    const Engine *engine, Lanes *lanes, size_t count, const uint8_t *const *inputs,
    const uint32_t *counters, Chain *const *chains
)
{
    size_t width = (size_t)engine->lanes;
    for (size_t first = 0; first < count; first += width) {
        size_t used = count - first < width ? count - first : width;
        for (size_t lane = 0; lane < width; lane++) {
            /* What becomes of the lanes that are not in use does not matter. */
            size_t i = first + (lane < used ? lane : 0);
            lanes->next[lane] = inputs[i];
            lanes->counter[lane] = counters ? counters[i] : 0;
        }
        engine->kernel(lanes);
        for (size_t lane = 0; lane < used; lane++) {
            for (int word = 0; word < 8; word++) {
                (*chains[first + lane])[word] = lanes->chain[word][lane];
            }
        }
    }
}

/* The digests of up to LEAVES_MAX leaves. */
static void
hash_leaves(
    const Engine *engine, const uint8_t *leaves, size_t length, size_t stride, size_t count,
    uint8_t *digests
)
{
    static const size_t FULL = CHUNKS - 1;
    Chain tree[LEAVES_MAX][CHUNKS];
    uint8_t tails[LEAVES_MAX][CHUNK_BYTES];
    const uint8_t *inputs[LEAVES_MAX * CHUNKS];
    uint32_t counters[LEAVES_MAX * CHUNKS];
    Chain *chains[LEAVES_MAX * CHUNKS];
    size_t tail_bytes = length - FULL * CHUNK_BYTES;
    size_t jobs = 0;
    Lanes lanes;

    for (size_t leaf = 0; leaf < count; leaf++) {
        for (size_t chunk = 0; chunk < FULL; chunk++, jobs++) {
            inputs[jobs] = leaves + leaf * stride + chunk * CHUNK_BYTES;
            counters[jobs] = (uint32_t)chunk;
            chains[jobs] = &tree[leaf][chunk];
        }
    }
    lanes.flags = 0, lanes.first_flags = CHUNK_START, lanes.last_flags = CHUNK_END;
    lanes.blocks = CHUNK_BYTES / BLOCK_BYTES, lanes.last_bytes = BLOCK_BYTES;
    hash_all(engine, &lanes, jobs, inputs, counters, chains);

    lanes.blocks = (tail_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES;
    lanes.last_bytes = (uint32_t)(tail_bytes - (lanes.blocks - 1) * BLOCK_BYTES);
    for (size_t leaf = 0; leaf < count; leaf++) {
        /* The kernel reads whole blocks. */
        memcpy(tails[leaf], leaves + leaf * stride + FULL * CHUNK_BYTES, tail_bytes);
        memset(tails[leaf] + tail_bytes, 0, lanes.blocks * BLOCK_BYTES - tail_bytes);
        inputs[leaf] = tails[leaf];
        counters[leaf] = (uint32_t)FULL;
        chains[leaf] = &tree[leaf][FULL];
    }
    hash_all(engine, &lanes, count, inputs, counters, chains);

    lanes.first_flags = lanes.last_flags = 0;
    lanes.blocks = 1, lanes.last_bytes = BLOCK_BYTES;
    for (size_t pairs = CHUNKS / 2; pairs; pairs /= 2) {
        lanes.flags = pairs > 1 ? PARENT : PARENT | ROOT;
        jobs = 0;
        for (size_t leaf = 0; leaf < count; leaf++) {
            for (size_t pair = 0; pair < pairs; pair++, jobs++) {
                /* Written in place: a pair lies at or behind where its parent goes. */
                inputs[jobs] = (const uint8_t *)tree[leaf][2 * pair];
                chains[jobs] = &tree[leaf][pair];
            }
        }
        hash_all(engine, &lanes, jobs, inputs, NULL, chains);
    }
    for (size_t leaf = 0; leaf < count; leaf++) {
        memcpy(digests + leaf * DIGEST_BYTES, tree[leaf][0], DIGEST_BYTES);
    }
}

/* ---- Python ------------------------------------------------------------------------------------ */

static const Engine *
find_engine(const char *name)
{
    for (int i = 0; i < engine_count; i++) {
        if (!name || strcmp(engines[i]->name, name) == 0) {
            return engines[i];
        }
    }
    PyErr_Format(PyExc_ValueError, "no such engine here: %.100s", name ? name : "any");
    return NULL;
}

static PyObject *
digests(PyObject *Py_UNUSED(module), PyObject *args, PyObject *keywords)
{
    static char *names[] = {"buffer", "start", "length", "stride", "count", "engine", NULL};
    Py_buffer buffer;
    Py_ssize_t start, length, stride, count;
    const char *name = NULL;
    PyObject *result = NULL;

    if (!PyArg_ParseTupleAndKeywords(
            args, keywords, "y*nnnn|z", names, &buffer, &start, &length, &stride, &count, &name
        )) {
        return NULL;
    }
    const Engine *engine = find_engine(name);
    if (!engine) {
        goto done;
    }
    if (length < LEAF_BYTES_MIN || length > LEAF_BYTES_MAX) {
        PyErr_SetString(PyExc_ValueError, "a leaf here has 64 chunks");
        goto done;
    }
    if (start < 0 || count < 0 || stride < length ||
        (count && (buffer.len < length || start > buffer.len - length ||
                   (buffer.len - length - start) / stride < count - 1))) {
        PyErr_SetString(PyExc_ValueError, "the leaves do not lie in the buffer");
        goto done;
    }
    if (count > PY_SSIZE_T_MAX / DIGEST_BYTES) {
        PyErr_NoMemory();
        goto done;
    }
    result = PyBytes_FromStringAndSize(NULL, count * DIGEST_BYTES);
    if (!result) {
        goto done;
    }
    const uint8_t *leaves = (const uint8_t *)buffer.buf + start;
    uint8_t *out = (uint8_t *)PyBytes_AS_STRING(result);
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t first = 0; first < count; first += LEAVES_MAX) {
        Py_ssize_t some = count - first < LEAVES_MAX ? count - first : LEAVES_MAX;
        hash_leaves(
            engine, leaves + first * stride, (size_t)length, (size_t)stride, (size_t)some,
            out + first * DIGEST_BYTES
        );
    }
    Py_END_ALLOW_THREADS
done:
    PyBuffer_Release(&buffer);
    return result;
}

static PyMethodDef functions[] = {
    {"digests", (PyCFunction)(void (*)(void))digests, METH_VARARGS | METH_KEYWORDS,
     "The digests of leaves that lie side by side: 32 bytes each."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "dsn._blake3_lanes",
    .m_doc = "BLAKE3 of many leaves at once.",
    .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC
PyInit__blake3_lanes(void)
{
    find_engines();
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
    if (PyModule_AddObjectRef(made, "ENGINES", names) < 0) {
        goto failed;
    }
    Py_DECREF(names);
    return made;

failed:
    Py_XDECREF(names);
    Py_XDECREF(made);
    return NULL;
}
