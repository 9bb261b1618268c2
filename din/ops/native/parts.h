/* Work cut into as many parts as there are threads, memory for each part, and padded copies of matrices.

   The cuts depend only on the sizes, so the same number of threads always gives the same bits. */
#pragma once

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vector.h"

/* Run the loop that follows with OpenMP, each part in a thread of its own. */
#define IN_PARTS _Pragma("omp parallel for num_threads(threads) schedule(static, 1) if (threads > 1)")

/* Rows begin .. end - 1. */
typedef struct {
    int64_t begin, end;
} Range;

/* The rows of one part, when `rows` rows are cut into `parts` parts. */
INLINE Range rows_of_part(int64_t rows, int64_t parts, int64_t part) {
    return (Range){rows * part / parts, rows * (part + 1) / parts};
}

/* Return memory for `size` floats, all 0. Ends the process where there is no memory, as C++'s containers do. */
INLINE float *zeros(int64_t size) {
    size_t bytes = (size_t)(4 * size + 63) / 64 * 64 + 64;
    float *memory = aligned_alloc(64, bytes);
    if (!memory) abort();
    return memset(memory, 0, bytes);
}

/* Free every argument. */
#define FREE(...) free_all((float *[]){__VA_ARGS__, NULL})
INLINE void free_all(float **arrays) {
    for (; *arrays; arrays++) free(*arrays);
}

/* Like memcpy of `count` floats, but inlined: for the few floats of a row, a call would take longer than the copy. */
INLINE void copy(float *restrict to, const float *restrict from, int64_t count) {
    for (int64_t k = 0; k < count; k += LANES) store_part(to + k, load_part(from + k, count - k), count - k);
}

/* Return a copy [rows, padded(columns)] of a matrix [rows, columns]. */
INLINE float *filled(const float *matrix, int64_t rows, int64_t columns) {
    int64_t width = padded(columns);
    float *copy = zeros(rows * width);
    for (int64_t i = 0; i < rows; i++) memcpy(copy + i * width, matrix + i * columns, 4 * columns);
    return copy;
}

/* Return the transpose [columns, padded(rows)] of a matrix [rows, columns]. */
INLINE float *transposed(const float *matrix, int64_t rows, int64_t columns) {
    int64_t width = padded(rows);
    float *copy = zeros(columns * width);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) copy[j * width + i] = matrix[i * columns + j];
    return copy;
}

/* sums [width] += the sum of rows [count, width]; `width` is a multiple of LANES. */
INLINE void add_columns(int64_t width, int64_t count, const float *rows, float *sums) {
    for (int64_t j = 0; j < width; j += LANES) {
        V sum = {0};
        for (int64_t i = 0; i < count; i++) sum += load(rows + i * width + j);
        store(sums + j, load(sums + j) + sum);
    }
}

/* sum [rows, columns] = the sum of the parts' matrices [rows, padded(columns)], added in the order of the parts. The
   matrix of part p begins at matrices[p·stride]. */
INLINE void combine(int64_t parts, int64_t stride, const float *matrices, int64_t rows, int64_t columns, float *sum) {
    int64_t width = padded(columns);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) {
            float total = 0;
            for (int64_t part = 0; part < parts; part++) total += matrices[part * stride + i * width + j];
            sum[i * columns + j] = total;
        }
}
