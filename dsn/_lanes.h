/* What kernels that hash side by side have in common: a stream, or a part of one, in each 32-bit
 * lane of vector registers, and blocks of 64 bytes turned into vectors of words.
 */

#ifndef DSN_LANES_H
#define DSN_LANES_H

#if defined(__x86_64__) && defined(__GNUC__)
#define HAVE_VECTORS 1
#include <immintrin.h>
#else
#define HAVE_VECTORS 0
#endif

#if HAVE_VECTORS

/* Four words of every lane at a time: `ROW(r, j)` loads the 16 bytes at word 4j of the lanes r,
 * 4 + r, 8 + r, …, one to each 128 bits; a 4x4 transposition within these makes words of them. */
#define TRANSPOSED(V, P, S, ROW, j)                                                               \
    {                                                                                             \
        V r0 = ROW(0, j), r1 = ROW(1, j), r2 = ROW(2, j), r3 = ROW(3, j);                         \
        V t0 = P##_unpacklo_epi32(r0, r1), t1 = P##_unpackhi_epi32(r0, r1);                       \
        V t2 = P##_unpacklo_epi32(r2, r3), t3 = P##_unpackhi_epi32(r2, r3);                       \
        w[4 * (j)] = P##_unpacklo_epi64(t0, t2), w[4 * (j) + 1] = P##_unpackhi_epi64(t0, t2);     \
        w[4 * (j) + 2] = P##_unpacklo_epi64(t1, t3), w[4 * (j) + 3] = P##_unpackhi_epi64(t1, t3); \
    }

/* These rows read the block at `next[lane] + at`. */
#define LOAD(r, j) _mm_loadu_si128((const __m128i *)(next[r] + at + 16 * (j)))
#define LOW_256(x) _mm256_castsi128_si256(x)
#define ROW_256(r, j) _mm256_inserti128_si256(LOW_256(LOAD(r, j)), LOAD(4 + (r), j), 1)
#define HALVES_512(x, y) _mm512_inserti64x4(_mm512_castsi256_si512(LOW_256(x)), LOW_256(y), 1)
#define INTO_512(x, mask, y) _mm512_mask_broadcast_i32x4(x, mask, y)
#define ROW_512(r, j)                                                                             \
    INTO_512(                                                                                     \
        INTO_512(HALVES_512(LOAD(r, j), LOAD(8 + (r), j)), 0x00f0, LOAD(4 + (r), j)), 0xf000,     \
        LOAD(12 + (r), j)                                                                         \
    )

#endif /* HAVE_VECTORS */

#endif
