/* Dice on a tile of rows, forward and backward; see din/ops/dice.py for the formula.

   Hidden matrices (s, u, and the tiles here) have rows of padded(H) floats, whole vectors; the padding stays 0. What
   callers give otherwise (means, alpha, weights, biases) is not padded: `padded_layer` and `filled` copy it. */
#pragma once

#include "din_ops.h"
#include "parts.h"

typedef struct {
    int64_t units, width;        /* H, padded(H) */
    const float *s;              /* [N, width] */
    float *mean, *scale, *alpha; /* [width] each; `mean` owns the memory of all three */
} Layer;

INLINE Layer padded_layer(const din_dice_layer *layer) {
    int64_t units = layer->units, width = padded(units);
    float *memory = zeros(3 * width);
    memcpy(memory, layer->mean, 4 * units);
    memcpy(memory + width, layer->scale, 4 * units);
    memcpy(memory + 2 * width, layer->alpha, 4 * units);
    return (Layer){units, width, layer->s, memory, memory + width, memory + 2 * width};
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

/* Backward, with h = g·s·p·(1 − p): ds = v + F·(h − E[h] − z·E[h·z]), v = g·(α + (1 − α)·p), F = (1 − α)·scale. Moments
   are known after a whole batch only, and a second sigmoid would cost more than all else of `to_input`, so u = v + F·h
   takes the place of g. ds = u − E[u] + E[v] − F·z·E[h·z] is the same: by E[u] rather than E[h], since rows that hardly
   differ have an F of 10⁴, so what is rounded must cancel. */

/* Replace the gradient g of a tile's f(s) by u, and add Σ u, Σ v, Σ h·z and Σ g·s·(1 − p), the gradient of α, to sums
   [4, width]. */
INLINE void add_sums(Layer l, int64_t from, int64_t count, float *g, const float *gate, float *sums) {
    for (int64_t j = 0; j < l.width; j += LANES) {
        V mean = load(l.mean + j), scale = load(l.scale + j), alpha = load(l.alpha + j), rest = 1.0f - alpha;
        V factor = rest * scale, u_sum = {0}, v_sum = {0}, hz_sum = {0}, alpha_sum = {0};
        for (int64_t i = 0; i < count; i++) {
            V s = load(l.s + (from + i) * l.width + j), p = load(gate + i * l.width + j);
            V gradient = load(g + i * l.width + j), d_alpha = gradient * s * (1.0f - p), h = d_alpha * p;
            V v = gradient * (alpha + rest * p), u = v + factor * h;
            store(g + i * l.width + j, u);
            u_sum += u, v_sum += v, hz_sum += h * ((s - mean) * scale), alpha_sum += d_alpha;
        }
        store(sums + j, load(sums + j) + u_sum);
        store(sums + l.width + j, load(sums + l.width + j) + v_sum);
        store(sums + 2 * l.width + j, load(sums + 2 * l.width + j) + hz_sum);
        store(sums + 3 * l.width + j, load(sums + 3 * l.width + j) + alpha_sum);
    }
}

/* ds of a tile, from u at the tile's first row and the means [3, width] of the sums. */
INLINE void to_input(Layer l, const float *means, int64_t from, int64_t count, const float *u, float *ds) {
    for (int64_t j = 0; j < l.width; j += LANES) {
        V mean = load(l.mean + j), scale = load(l.scale + j);
        V mean_u = load(means + j), mean_v = load(means + l.width + j);
        V factor = (1.0f - load(l.alpha + j)) * scale * scale * load(means + 2 * l.width + j);
        for (int64_t i = 0; i < count; i++) {
            V off = load(l.s + (from + i) * l.width + j) - mean;
            store(ds + i * l.width + j, load(u + i * l.width + j) - mean_u + (mean_v - off * factor));
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
