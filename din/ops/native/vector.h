/* Vectors of floats as compilers have them on any processor, and the logistic function on them. */
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef __AVX__
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define LANES 16
#define COLUMNS 6 /* vectors a tile of a product is wide: with 4 rows it fills the registers */
#elif defined(__AVX__)
#define LANES 8
#define COLUMNS 3
#else
#define LANES 4
#define COLUMNS 4
#endif

#define INLINE static inline __attribute__((always_inline))
#define TILE 32 /* rows that are worked on at once, so that they stay in the nearest cache */

typedef float V __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t I __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

INLINE V load(const float *from) { return *(const V *)from; }
INLINE void store(float *to, V value) { *(V *)to = value; }
INLINE V all(float value) { return value - (V){0}; }

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Rows of our own matrices are filled up to whole vectors with zeros, which stay zeros. */
INLINE int64_t padded(int64_t width) { return (width + LANES - 1) / LANES * LANES; }

/* Of a row whose length is no multiple of LANES: `count` floats, at most LANES, then zeros. */
INLINE V load_part(const float *from, int64_t count) {
#ifdef __AVX512F__
    return (V)_mm512_maskz_loadu_ps(count < LANES ? (1u << count) - 1 : 0xffff, from);
#elif defined(__AVX__)
    I at = {0, 1, 2, 3, 4, 5, 6, 7};
    return (V)_mm256_maskload_ps(from, (__m256i)(at < (int32_t)least(count, LANES)));
#else
    V value = {0};
    if (count >= LANES) return load(from);
    for (int64_t i = 0; i < count; i++) value[i] = from[i];
    return value;
#endif
}

INLINE void store_part(float *to, V value, int64_t count) {
#ifdef __AVX512F__
    _mm512_mask_storeu_ps(to, count < LANES ? (1u << count) - 1 : 0xffff, (__m512)value);
#else
    if (count >= LANES) store(to, value);
    else
        for (int64_t i = 0; i < count; i++) to[i] = value[i];
#endif
}

INLINE V root(V x) {
    for (int i = 0; i < LANES; i++) x[i] = sqrtf(x[i]);
    return x;
}

INLINE float total(V value) {
    float sum = 0;
    for (int i = 0; i < LANES; i++) sum += value[i];
    return sum;
}

/* Keeps x within ± most; NaN stays NaN. */
INLINE V clamp(V x, float most) {
#ifdef __AVX512F__
    return (V)_mm512_max_ps((__m512)all(-most), _mm512_min_ps((__m512)all(most), (__m512)x));
#elif defined(__AVX__)
    return (V)_mm256_max_ps((__m256)all(-most), _mm256_min_ps((__m256)all(most), (__m256)x));
#else
    I above = x > most, below = x < -most;
    return (V)(((I)x & ~(above | below)) | ((I)all(most) & above) | ((I)all(-most) & below));
#endif
}

/* 1 / (1 + e^−x), relative error 3·10⁻⁷; NaN stays NaN. e^−x = 2ⁿ·eʳ, |r| ≤ ½ ln 2, and eʳ a minimax polynomial. */
INLINE V sigmoid(V x) {
    x = clamp(x, 87); /* its power and the power's inverse are normal numbers */
    V shifted = x * -1.44269504f + 12582912.0f; /* 1.5·2²³: the sum's low bits are the nearest whole number */
    V r = (shifted - 12582912.0f) * -0.693147181f - x;
    V power = all(0.00829761865f);
    power = power * r + 0.0419156292f;
    power = power * r + 0.166675766f;
    power = power * r + 0.499988927f;
    power = power * r + 0.999999691f;
    power = power * r + 1.00000007f;
    V divisor = power * (V)(((I)shifted << 23) + (127 << 23)) + 1.0f;
#ifdef __AVX512F__
    V inverse = (V)_mm512_rcp14_ps((__m512)divisor); /* and a step of Newton's: a third of a division's time */
    return inverse * (2.0f - divisor * inverse);
#else
    return 1.0f / divisor;
#endif
}
