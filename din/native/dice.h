/* Dice on a tile of rows, forward and backward; see `_BatchDice` in din/model/dice.py for the formula.

   Rows of s, its gradient g and of the vectors of moments are padded; weights, biases, α and all gradients that leave
   are not. */
#pragma once

#include "parts.h"

typedef struct {
    const float *s, *mean, *scale;
    float *alpha; /* padded */
    int64_t units, width;
} Layer;

INLINE Layer layer(int64_t units, const float *s, const float *mean, const float *scale, const float *alpha) {
    return (Layer){s, mean, scale, filled(alpha, 1, units), units, padded(units)};
}

/* f(s) of rows from..from+count into a [TILE, width]; p too where it is asked for. */
INLINE void activate(Layer l, int64_t from, int64_t count, float *a, float *gate) {
    for (int64_t j = 0; j < l.width; j += LANES) {
        V mean = load(l.mean + j), scale = load(l.scale + j), alpha = load(l.alpha + j), rest = 1.0f - alpha;
        for (int64_t i = 0; i < count; i++) {
            V s = load(l.s + (from + i) * l.width + j), p = sigmoid((s - mean) * scale);
            store(a + i * l.width + j, s * (alpha + rest * p));
            if (gate) store(gate + i * l.width + j, p);
        }
    }
}

/* Add Σ h, Σ h·z and Σ g·s·(1 − p) of a tile to sums [3, width]. */
INLINE void add_sums(Layer l, int64_t from, int64_t count, const float *g, const float *gate, float *sums) {
    for (int64_t j = 0; j < l.width; j += LANES) {
        V mean = load(l.mean + j), scale = load(l.scale + j), h_sum = {0}, hz_sum = {0}, alpha_sum = {0};
        for (int64_t i = 0; i < count; i++) {
            V s = load(l.s + (from + i) * l.width + j), p = load(gate + i * l.width + j);
            V left = load(g + i * l.width + j) * s * (1.0f - p), h = left * p;
            h_sum += h, hz_sum += h * ((s - mean) * scale), alpha_sum += left;
        }
        store(sums + j, load(sums + j) + h_sum);
        store(sums + l.width + j, load(sums + l.width + j) + hz_sum);
        store(sums + 2 * l.width + j, load(sums + 2 * l.width + j) + alpha_sum);
    }
}

/* ds of a tile, from g at the tile's first row: g·(α + (1 − α)·p) + (1 − α)·scale·(h − E[h] − z·E[h·z]). */
INLINE void to_input(Layer l, const float *means, int64_t from, int64_t count, const float *g, float *ds) {
    for (int64_t j = 0; j < l.width; j += LANES) {
        V mean = load(l.mean + j), scale = load(l.scale + j), alpha = load(l.alpha + j), rest = 1.0f - alpha;
        V mean_h = load(means + j), mean_hz = load(means + l.width + j), factor = rest * scale;
        for (int64_t i = 0; i < count; i++) {
            V s = load(l.s + (from + i) * l.width + j), z = (s - mean) * scale, p = sigmoid(z);
            V by = load(g + i * l.width + j), h = by * s * (1.0f - p) * p; /* to the bit what `add_sums` summed */
            store(ds + i * l.width + j, by * (alpha + rest * p) + factor * (h - mean_h - z * mean_hz));
        }
    }
}

INLINE void add_columns(int64_t width, int64_t count, const float *rows, float *sums) {
    for (int64_t j = 0; j < width; j += LANES) {
        V sum = {0};
        for (int64_t i = 0; i < count; i++) sum += load(rows + i * width + j);
        store(sums + j, load(sums + j) + sum);
    }
}
