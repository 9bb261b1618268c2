/* Work in as many parts as there are threads, the same cuts every time, and memory for each. */
#pragma once

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vector.h"

#define IN_PARTS _Pragma("omp parallel for num_threads(threads) schedule(static, 1) if (threads > 1)")

INLINE int64_t cut(int64_t size, int64_t parts, int64_t part) { return size * part / parts; }

/* Zeros; like the standard library's containers it ends the process where there is no memory. */
INLINE float *zeros(int64_t size) {
    size_t bytes = (size_t)(4 * size + 63) / 64 * 64 + 64;
    float *memory = aligned_alloc(64, bytes);
    if (!memory) abort();
    return memset(memory, 0, bytes);
}

/* As memcpy, of the few floats of a row: a call would take longer. */
INLINE void copy(float *restrict to, const float *restrict from, int64_t count) {
    for (int64_t k = 0; k < count; k += LANES) store_part(to + k, load_part(from + k, count - k), count - k);
}

/* A [rows, columns] as a matrix whose rows are filled up with zeros. */
INLINE float *filled(const float *a, int64_t rows, int64_t columns) {
    int64_t width = padded(columns);
    float *copy = zeros(rows * width);
    for (int64_t i = 0; i < rows; i++) memcpy(copy + i * width, a + i * columns, 4 * columns);
    return copy;
}

/* The same of the transpose of A [rows, columns]. */
INLINE float *transposed(const float *a, int64_t rows, int64_t columns) {
    int64_t width = padded(rows);
    float *copy = zeros(columns * width);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) copy[j * width + i] = a[i * columns + j];
    return copy;
}

/* Sum the parts' matrices, each `stride` floats behind the last, in their order, into [rows, columns], not padded. */
INLINE void combine(int64_t parts, int64_t stride, const float *from, int64_t rows, int64_t columns, float *to) {
    int64_t width = padded(columns);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) {
            float sum = 0;
            for (int64_t part = 0; part < parts; part++) sum += from[part * stride + i * width + j];
            to[i * columns + j] = sum;
        }
}
