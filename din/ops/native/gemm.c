/* A product by tiles of C that stay in registers. Strips of B's columns stay in the nearest cache. */
#include "gemm.h"

#include "vector.h"

INLINE void tile(const int rows, const int vectors, int64_t depth, const float *a, int64_t ai, int64_t ar,
                 const float *b, int64_t ldb, const float *s, int64_t lds, float *c, int64_t ldc) {
    V sums[8][COLUMNS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < vectors; j++) sums[i][j] = load(s + i * lds + j * LANES);
    for (int64_t r = 0; r < depth; r++, a += ar, b += ldb) {
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
            for (int j = 0; j < vectors; j++) sums[i][j] += a[i * ai] * load(b + j * LANES);
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < vectors; j++) store(c + i * ldc + j * LANES, sums[i][j]);
}

INLINE void strip(const int vectors, int64_t rows, int64_t depth, const float *a, int64_t ai, int64_t ar,
                  const float *b, int64_t ldb, const float *s, int64_t lds, float *c, int64_t ldc) {
    const int most = LANES > 8 && vectors < 4 ? 8 : 4;
    for (; most == 8 && rows >= 8; rows -= 8, a += 8 * ai, s += 8 * lds, c += 8 * ldc)
        tile(8, vectors, depth, a, ai, ar, b, ldb, s, lds, c, ldc);
    for (; rows >= 4; rows -= 4, a += 4 * ai, s += 4 * lds, c += 4 * ldc) tile(4, vectors, depth, a, ai, ar, b, ldb, s, lds, c, ldc);
    if (rows == 3) tile(3, vectors, depth, a, ai, ar, b, ldb, s, lds, c, ldc);
    if (rows == 2) tile(2, vectors, depth, a, ai, ar, b, ldb, s, lds, c, ldc);
    if (rows == 1) tile(1, vectors, depth, a, ai, ar, b, ldb, s, lds, c, ldc);
}

void gemm(int64_t rows, int64_t columns, int64_t depth, const float *a, int64_t ai, int64_t ar, const float *b,
          int64_t ldb, const float *s, int64_t lds, float *c, int64_t ldc) {
    int64_t vectors = columns / LANES;
    for (int64_t strips = (vectors + COLUMNS - 1) / COLUMNS; strips > 0; strips--) {
        int64_t width = (vectors + strips - 1) / strips;
        switch (width) {
        case 1: strip(1, rows, depth, a, ai, ar, b, ldb, s, lds, c, ldc); break;
        case 2: strip(2, rows, depth, a, ai, ar, b, ldb, s, lds, c, ldc); break;
        case 3: strip(3, rows, depth, a, ai, ar, b, ldb, s, lds, c, ldc); break;
        case 4: strip(COLUMNS < 4 ? 1 : 4, rows, depth, a, ai, ar, b, ldb, s, lds, c, ldc); break;
        case 5: strip(COLUMNS < 5 ? 1 : 5, rows, depth, a, ai, ar, b, ldb, s, lds, c, ldc); break;
        case 6: strip(COLUMNS < 6 ? 1 : 6, rows, depth, a, ai, ar, b, ldb, s, lds, c, ldc); break;
        }
        vectors -= width;
        b += width * LANES, s += width * LANES, c += width * LANES;
    }
}
