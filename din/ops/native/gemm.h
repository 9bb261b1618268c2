/* The one matrix product, which all layers are made of. */
#pragma once

#include <stdint.h>

/* C = S + A·B, that is c[i, j] = s[i, j] + Σ_r a[i, r]·b[r, j].

   `columns` is a multiple of LANES. The strides are numbers of floats. A has two, so that a transposed matrix can be
   read in place. */
void gemm(
    int64_t rows,
    int64_t columns,
    int64_t depth,
    const float *a,          /* [rows, depth], element (i, r) at a[i·a_row_stride + r·a_depth_stride] */
    int64_t a_row_stride,
    int64_t a_depth_stride,
    const float *b,          /* [depth, columns] */
    int64_t b_stride,
    const float *s,          /* [rows, columns], may be C itself */
    int64_t s_stride,        /* 0: the same row for all rows of C */
    float *c,                /* [rows, columns] out */
    int64_t c_stride);
