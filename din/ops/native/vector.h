/* Vectors of floats, written with the vector types of GCC and Clang, and the logistic function on them.

   A vector holds LANES floats. + - * / act on all of them at once. Instructions that have no operator are used where
   the processor has them, with a plain form beside them for all others. */
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef __AVX__
#include <immintrin.h>
#endif

/* COLUMNS: width in vectors of the tile of a matrix product. With 4 rows, such a tile fills the registers. */
#if defined(__AVX512F__)
#define LANES 16
#define COLUMNS 6
#elif defined(__AVX__)
#define LANES 8
#define COLUMNS 3
#else
#define LANES 4
#define COLUMNS 4
#endif

#define INLINE static inline __attribute__((always_inline))
#define TILE 32 /* rows that are processed together, so that they stay in the nearest cache */

typedef float V __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t I __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

INLINE V load(const float *from) { return *(const V *)from; }
INLINE void store(float *to, V value) { *(V *)to = value; }
INLINE V broadcast(float value) { return value - (V){0}; }

INLINE int64_t minimum(int64_t a, int64_t b) { return a < b ? a : b; }

/* `width` rounded up to whole vectors. Rows of padded matrices have this many floats, and the last ones stay 0. */
INLINE int64_t padded(int64_t width) { return (width + LANES - 1) / LANES * LANES; }

/* The next `count` floats of a row, at most LANES, then zeros. Reads nothing beyond them. */
INLINE V load_part(const float *from, int64_t count) {
#ifdef __AVX512F__
    return (V)_mm512_maskz_loadu_ps(count < LANES ? (1u << count) - 1 : 0xffff, from);
#elif defined(__AVX__)
    I lane = {0, 1, 2, 3, 4, 5, 6, 7};
    return (V)_mm256_maskload_ps(from, (__m256i)(lane < (int32_t)minimum(count, LANES)));
#else
    V value = {0};
    if (count >= LANES) return load(from);
    for (int64_t i = 0; i < count; i++) value[i] = from[i];
    return value;
#endif
}

/* Write the first `count` floats of a vector, or all LANES if `count` is larger. */
INLINE void store_part(float *to, V value, int64_t count) {
#ifdef __AVX512F__
    _mm512_mask_storeu_ps(to, count < LANES ? (1u << count) - 1 : 0xffff, (__m512)value);
#else
    if (count >= LANES) store(to, value);
    else
        for (int64_t i = 0; i < count; i++) to[i] = value[i];
#endif
}

INLINE V square_root(V x) {
    for (int i = 0; i < LANES; i++) x[i] = sqrtf(x[i]);
    return x;
}

/* The sum of a vector's floats. */
INLINE float sum_of(V value) {
    float sum = 0;
    for (int i = 0; i < LANES; i++) sum += value[i];
    return sum;
}

/* x, limited to -limit .. limit. NaN stays NaN. */
INLINE V clamp(V x, float limit) {
#ifdef __AVX512F__
    return (V)_mm512_max_ps((__m512)broadcast(-limit), _mm512_min_ps((__m512)broadcast(limit), (__m512)x));
#elif defined(__AVX__)
    return (V)_mm256_max_ps((__m256)broadcast(-limit), _mm256_min_ps((__m256)broadcast(limit), (__m256)x));
#else
    I above = x > limit, below = x < -limit;
    return (V)(((I)x & ~(above | below)) | ((I)broadcast(limit) & above) | ((I)broadcast(-limit) & below));
#endif
}

/* e^x for x from −87 to 87, with a relative error of 2·10⁻⁷. NaN stays NaN.

   e^x = 2ⁿ·eʳ with a whole number n and |r| ≤ ½ ln 2. A minimax polynomial gives eʳ. */
INLINE V exponential(V x) {
    V shifted = x * 1.44269504f + 12582912.0f; /* adding 1.5·2²³ leaves n in the low bits of the sum */
    V r = (shifted - 12582912.0f) * -0.693147181f + x;
    V power = broadcast(0.00829761865f);
    power = power * r + 0.0419156292f;
    power = power * r + 0.166675766f;
    power = power * r + 0.499988927f;
    power = power * r + 0.999999691f;
    power = power * r + 1.00000007f;
    return power * (V)(((I)shifted << 23) + (127 << 23));
}

/* 1 / (1 + e^−x), with a relative error of 3·10⁻⁷. NaN stays NaN. */
INLINE V sigmoid(V x) {
    V divisor = exponential(-clamp(x, 87)) + 1.0f; /* so that e^−x and 1 / e^−x are normal numbers */
#ifdef __AVX512F__
    /* One step of Newton's method makes the estimate exact enough, in a third of a division's time. */
    V inverse = (V)_mm512_rcp14_ps((__m512)divisor);
    return inverse * (2.0f - divisor * inverse);
#else
    return 1.0f / divisor;
#endif
}
