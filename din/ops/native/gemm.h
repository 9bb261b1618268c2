/* The one matrix product that everything is made of. */
#pragma once

#include <stdint.h>

/* C [rows, columns] = S + A [rows, depth]·B [depth, columns]. A's element (i, r) is a[i·ai + r·ar], so it may be read
   transposed; B, C and S have rows of ldb, ldc and lds floats: lds 0 is the same row for all, S may be C itself.
   `columns` is a multiple of LANES. */
void gemm(int64_t rows, int64_t columns, int64_t depth, const float *a, int64_t ai, int64_t ar, const float *b,
          int64_t ldb, const float *s, int64_t lds, float *c, int64_t ldc);
