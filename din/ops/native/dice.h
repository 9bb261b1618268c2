/* Dice on a tile of rows, forward and backward. din/ops/dice.py has the formula.

   N rows of the batch, H hidden units, HP = padded(H). Hidden matrices (s, u, and the tiles here) have rows of HP
   floats, and their padding stays 0. What callers of the library pass otherwise (means, alpha, weights, biases) is not
   padded: `padded_layer` and `filled` make padded copies. */
#pragma once

#include "din_ops.h"
#include "parts.h"

/* A layer of Dice with its vectors padded. */
typedef struct {
    int64_t units;               /* H */
    int64_t width;               /* HP */
    const float *s;              /* [N, HP] */
    float *mean, *scale, *alpha; /* [HP] each; freeing `mean` frees all three */
} PaddedLayer;

INLINE PaddedLayer padded_layer(const din_dice_layer *layer) {
    int64_t units = layer->units, width = padded(units);
    float *memory = zeros(3 * width);
    memcpy(memory, layer->mean, 4 * units);
    memcpy(memory + width, layer->scale, 4 * units);
    memcpy(memory + 2 * width, layer->alpha, 4 * units);
    return (PaddedLayer){units, width, layer->s, memory, memory + width, memory + 2 * width};
}

/* Forward: f(s) of rows first .. first + count - 1 of the batch into activated [count, HP]. Where `gates` [count, HP]
   is not NULL, p = sigmoid((s − mean)·scale) goes there. */
INLINE void activate(PaddedLayer layer, int64_t first, int64_t count, float *activated, float *gates) {
    for (int64_t j = 0; j < layer.width; j += LANES) {
        V mean = load(layer.mean + j), scale = load(layer.scale + j);
        V alpha = load(layer.alpha + j), one_minus_alpha = 1.0f - alpha;
        for (int64_t i = 0; i < count; i++) {
            V s = load(layer.s + (first + i) * layer.width + j);
            V p = sigmoid((s - mean) * scale);
            store(activated + i * layer.width + j, s * (alpha + one_minus_alpha * p));
            if (gates) store(gates + i * layer.width + j, p);
        }
    }
}

/* Backward. With g the gradient of f(s), z = (s − mean)·scale and

       h = g·s·p·(1 − p)        v = g·(α + (1 − α)·p)        F = (1 − α)·scale

   the gradient of s is

       ds = v + F·(h − E[h] − z·E[h·z])

   E[h] and E[h·z] are known only after the whole batch. So backward takes two steps. `add_sums` replaces g by
   u = v + F·h, which needs no mean, and sums what the means are made of. `to_input` follows in the next sweep:

       ds = u − E[u] + E[v] − F·z·E[h·z]

   That is the same, since E[u] = E[v] + F·E[h]. u is stored, rather than g, because `to_input` would otherwise compute
   the sigmoid again, at more than the cost of everything else in it. It subtracts E[u] and not F·E[h] because F is 10⁴
   where rows hardly differ: the rounding errors in u and in E[u] must cancel. */

/* The first step, for rows first .. first + count - 1 of the batch.

   gradients [count, HP]: g on entry, u on return. gates [count, HP]: p, from `activate`. sums [4, HP]: Σ u, Σ v, Σ h·z,
   and the gradient of alpha, Σ g·s·(1 − p), are added to its rows. */
INLINE void add_sums(PaddedLayer layer, int64_t first, int64_t count, float *gradients, const float *gates,
                     float *sums) {
    float *u_sums = sums, *v_sums = sums + layer.width;
    float *hz_sums = sums + 2 * layer.width, *alpha_sums = sums + 3 * layer.width;
    for (int64_t j = 0; j < layer.width; j += LANES) {
        V mean = load(layer.mean + j), scale = load(layer.scale + j);
        V alpha = load(layer.alpha + j), one_minus_alpha = 1.0f - alpha;
        V factor = one_minus_alpha * scale;
        V u_sum = {0}, v_sum = {0}, hz_sum = {0}, alpha_sum = {0};
        for (int64_t i = 0; i < count; i++) {
            V s = load(layer.s + (first + i) * layer.width + j);
            V p = load(gates + i * layer.width + j);
            V g = load(gradients + i * layer.width + j);
            V d_alpha = g * s * (1.0f - p);
            V h = d_alpha * p;
            V v = g * (alpha + one_minus_alpha * p);
            V u = v + factor * h;
            store(gradients + i * layer.width + j, u);
            u_sum += u;
            v_sum += v;
            hz_sum += h * ((s - mean) * scale);
            alpha_sum += d_alpha;
        }
        store(u_sums + j, load(u_sums + j) + u_sum);
        store(v_sums + j, load(v_sums + j) + v_sum);
        store(hz_sums + j, load(hz_sums + j) + hz_sum);
        store(alpha_sums + j, load(alpha_sums + j) + alpha_sum);
    }
}

/* The second step: ds [count, HP] of rows first .. first + count - 1 of the batch.

   means [3, HP]: E[u], E[v], E[h·z]. u [count, HP]: the rows that `add_sums` left. */
INLINE void to_input(PaddedLayer layer, const float *means, int64_t first, int64_t count, const float *u, float *ds) {
    for (int64_t j = 0; j < layer.width; j += LANES) {
        V mean = load(layer.mean + j), scale = load(layer.scale + j);
        V mean_u = load(means + j), mean_v = load(means + layer.width + j), mean_hz = load(means + 2 * layer.width + j);
        V factor = (1.0f - load(layer.alpha + j)) * scale * scale * mean_hz;
        for (int64_t i = 0; i < count; i++) {
            V deviation = load(layer.s + (first + i) * layer.width + j) - mean;
            store(ds + i * layer.width + j, load(u + i * layer.width + j) - mean_u + (mean_v - deviation * factor));
        }
    }
}
