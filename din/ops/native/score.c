/* Scoring: the activation unit with its pooling, and perceptrons, with the statistics of Dice fixed. din_ops.h gives the
   shape of every argument of the public functions.

   Training needs the statistics of a whole batch between two layers. Scoring does not, so here a tile of rows goes
   through all layers, up to the pooling, while it is in the nearest cache. Nothing of [behaviours, units] is stored.

   H hidden units, K width of a behaviour's key. HP and KP are these widths padded to whole vectors. */
#include "din_ops.h"
#include "gemm.h"
#include "keys.h"
#include "parts.h"

#define LOWEST -1e30f /* a score that gets no weight in a softmax */

/* f(s) = s·(α + (1 − α)·σ(rate·s − shift)), for the vector of units that begins at j. */
INLINE V dice(const din_scored_layer *layer, int64_t j, V s) {
    V alpha = load(layer->alpha + j);
    return s * (alpha + (1.0f - alpha) * sigmoid(s * load(layer->rate + j) - load(layer->shift + j)));
}

/* The sum of a vector's floats, of halves and their halves. `sum_of` would wait for each addition. */
INLINE float total_of(V value) {
    float floats[LANES];
    store(floats, value);
#pragma GCC unroll 4
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) floats[i] += floats[i + half];
    return floats[0];
}

/* Two tiles [TILE, HP], for the widest layer of a perceptron. */
typedef struct {
    float *s, *next;
} Tiles;

static Tiles tiles_of(const din_scored_layer *layer) {
    int64_t width = 0;
    for (; layer; layer = layer->next) width = padded(layer->units) > width ? padded(layer->units) : width;
    return (Tiles){zeros(TILE * width), zeros(TILE * width)};
}

/* From the first layer's values in tiles.s [count, HP] to the outputs y [count] of the last layer. */
INLINE void finish(const din_scored_layer *layer, int64_t count, Tiles tiles, float *y) {
    for (; layer->next->rate; layer = layer->next) {
        int64_t width = padded(layer->units), outputs = padded(layer->next->units);
        for (int64_t j = 0; j < width; j += LANES)
            for (int64_t i = 0; i < count; i++) {
                float *s = tiles.s + i * width + j;
                store(s, dice(layer, j, load(s)));
            }
        gemm(count, outputs, layer->units, tiles.s, width, 1, layer->next->weight, outputs, layer->next->bias, 0,
             tiles.next, outputs);
        tiles = (Tiles){tiles.next, tiles.s};
    }
    int64_t width = padded(layer->units);
    for (int64_t i = 0; i < count; i++) {
        V sum = {0};
        for (int64_t j = 0; j < width; j += LANES)
            sum += load(layer->next->weight + j) * dice(layer, j, load(tiles.s + i * width + j));
        y[i] = total_of(sum) + *layer->next->bias;
    }
}

void din_score_perceptron(const din_scored_layer *first, int64_t rows, const float *x, float *y) {
    int64_t inputs = first->inputs, width = padded(first->units);
    Tiles tiles = tiles_of(first);
    for (int64_t i = 0; i < rows; i += TILE) {
        int64_t count = minimum(TILE, rows - i);
        gemm(count, width, inputs, x + i * inputs, inputs, 1, first->weight, width, first->bias, 0, tiles.s, width);
        finish(first, count, tiles, y + i);
    }
    FREE(tiles.s, tiles.next);
}

/* Replace scores [count] by powers of e that are proportional to their softmax, and return the sum of these. Up to
   LANES - 1 floats behind the scores are overwritten. */
INLINE float softmax(int64_t count, float *score) {
    float top = LOWEST;
    for (int64_t t = 0; t < count; t++) top = score[t] > top ? score[t] : top;
    for (int64_t t = count; t < padded(count); t++) score[t] = LOWEST;
    V sum = {0};
    for (int64_t t = 0; t < count; t += LANES) {
        V power = exponential(clamp(load(score + t) - top, 87)); /* e^−87 is nothing beside the top's 1 */
        store(score + t, power);
        sum += power;
    }
    return total_of(sum);
}

/* s [count, HP] = rows [count, HP] + base [HP] */
INLINE void add_base(int64_t width, int64_t count, const float *rows, const float *base, float *s) {
    for (int64_t i = 0; i < count; i++)
        for (int64_t j = 0; j < width; j += LANES)
            store(s + i * width + j, load(rows + i * width + j) + load(base + j));
}

/* The first layer reads W_k·k + W_p·(q⊙k) + base, where base is the part of q alone. For impressions with histories of
   their own, that is M·k + base with M = W_k + W_p·diag(q). If they share a history, W_k·k is computed once, and M is
   W_p·diag(q), which reads only the first D columns of a key. */
void din_score_interests(const din_scored_layer *first, int64_t query_width, const float *query_weight,
                         const float *product_weight, int64_t impressions, const float *query,
                         const din_histories *histories, int64_t with_softmax, float *pooled) {
    int64_t D = query_width, K = histories->key_width, HP = padded(first->units), KP = padded(K), longest = 0;
    const int64_t *offsets = histories->offsets;
    for (int64_t b = 0; b < histories->impressions; b++)
        longest = offsets[b + 1] - offsets[b] > longest ? offsets[b + 1] - offsets[b] : longest;
    const int shared = histories->impressions == 1;
    Tiles tiles = tiles_of(first);
    float *zero = zeros(K * HP + KP), *base = zeros(HP), *weight = zeros(padded(longest)), *interest = zeros(KP);
    float *keys = zeros(longest * KP);             /* [L, KP], of one history */
    float *of_keys = zeros(shared * longest * HP); /* [L, HP], W_k·k of a shared history */
    float *matrix = zeros(K * HP);                 /* M, transposed */
    const float *constant = shared ? zero : first->weight;
    if (shared) {
        take_keys(histories, offsets[0], longest, keys);
        gemm(longest, HP, K, keys, KP, 1, first->weight, HP, zero, 0, of_keys, HP);
    } else memcpy(matrix, first->weight, 4 * K * HP);
    for (int64_t b = 0; b < impressions; b++) {
        const float *q = query + b * D;
        int64_t count = shared ? longest : offsets[b + 1] - offsets[b];
        if (!shared) take_keys(histories, offsets[b], count, keys);
        gemm(1, HP, D, q, D, 1, query_weight, HP, first->bias, 0, base, HP);
        for (int64_t k = 0; k < D; k++)
            for (int64_t h = k * HP; h < (k + 1) * HP; h += LANES)
                store(matrix + h, load(constant + h) + q[k] * load(product_weight + h));
        for (int64_t t = 0; t < count; t += TILE) {
            int64_t rows = minimum(TILE, count - t);
            if (shared) {
                add_base(HP, rows, of_keys + t * HP, base, tiles.s);
                gemm(rows, HP, D, keys + t * KP, KP, 1, matrix, HP, tiles.s, HP, tiles.s, HP);
            } else gemm(rows, HP, K, keys + t * KP, KP, 1, matrix, HP, base, 0, tiles.s, HP);
            finish(first, rows, tiles, weight + t);
        }
        float divisor = with_softmax && count ? softmax(count, weight) : 1;
        gemm(1, KP, count, weight, count, 1, keys, KP, zero, 0, interest, KP);
        for (int64_t k = 0; k < KP; k += LANES) store(interest + k, load(interest + k) / divisor);
        copy(pooled + b * K, interest, K);
    }
    FREE(tiles.s, tiles.next, zero, base, weight, interest, keys, of_keys, matrix);
}
