/* C = S + A·B, see gemm.h. The product is made tile by tile: a tile of C stays in registers while it is summed, and the
   strip of B's columns that the tiles below each other share stays in the nearest cache. */
#include "gemm.h"

#include "vector.h"

/* A matrix and the number of floats from one row to the next. */
typedef struct {
    const float *start;
    int64_t stride;
} Rows;

/* A, with a stride in both directions. */
typedef struct {
    const float *start;
    int64_t row_stride, depth_stride;
} Left;

/* One tile of C, [rows, vectors·LANES]. `rows` (at most 8) and `vectors` are constants, so all loops are unrolled. */
INLINE void tile(const int rows, const int vectors, int64_t depth, Left a, Rows b, Rows s, float *c, int64_t c_stride) {
    V sums[8][COLUMNS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < vectors; j++) sums[i][j] = load(s.start + i * s.stride + j * LANES);
    for (int64_t r = 0; r < depth; r++, a.start += a.depth_stride, b.start += b.stride) {
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
            for (int j = 0; j < vectors; j++) sums[i][j] += a.start[i * a.row_stride] * load(b.start + j * LANES);
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < vectors; j++) store(c + i * c_stride + j * LANES, sums[i][j]);
}

/* One strip of C, [rows, vectors·LANES]: tiles of 8 or 4 rows, then a tile of what is left. */
INLINE void strip(const int vectors, int64_t rows, int64_t depth, Left a, Rows b, Rows s, float *c, int64_t c_stride) {
    const int largest = LANES > 8 && vectors < 4 ? 8 : 4;
    while (rows >= 4) {
        const int height = largest == 8 && rows >= 8 ? 8 : 4;
        if (height == 8) tile(8, vectors, depth, a, b, s, c, c_stride);
        else tile(4, vectors, depth, a, b, s, c, c_stride);
        rows -= height;
        a.start += height * a.row_stride;
        s.start += height * s.stride;
        c += height * c_stride;
    }
    if (rows == 3) tile(3, vectors, depth, a, b, s, c, c_stride);
    if (rows == 2) tile(2, vectors, depth, a, b, s, c, c_stride);
    if (rows == 1) tile(1, vectors, depth, a, b, s, c, c_stride);
}

void gemm(int64_t rows, int64_t columns, int64_t depth, const float *a_start, int64_t a_row_stride,
          int64_t a_depth_stride, const float *b_start, int64_t b_stride, const float *s_start, int64_t s_stride,
          float *c, int64_t c_stride) {
    const Left a = {a_start, a_row_stride, a_depth_stride};
    Rows b = {b_start, b_stride};
    Rows s = {s_start, s_stride};
    int64_t vectors = columns / LANES;
    for (int64_t strips = (vectors + COLUMNS - 1) / COLUMNS; strips > 0; strips--) {
        int64_t width = (vectors + strips - 1) / strips; /* in vectors: all strips are about equally wide */
        switch (width) {
        case 1: strip(1, rows, depth, a, b, s, c, c_stride); break;
        case 2: strip(2, rows, depth, a, b, s, c, c_stride); break;
        case 3: strip(3, rows, depth, a, b, s, c, c_stride); break;
        case 4: strip(COLUMNS < 4 ? 1 : 4, rows, depth, a, b, s, c, c_stride); break;
        case 5: strip(COLUMNS < 5 ? 1 : 5, rows, depth, a, b, s, c, c_stride); break;
        case 6: strip(COLUMNS < 6 ? 1 : 6, rows, depth, a, b, s, c, c_stride); break;
        }
        vectors -= width;
        b.start += width * LANES;
        s.start += width * LANES;
        c += width * LANES;
    }
}
