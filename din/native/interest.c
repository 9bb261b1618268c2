/* The activation unit's first layer and the pooling, over packed behaviours (Eq. 3 of arXiv 1706.06978).

   W_k·k + W_p·(q⊙k) = M·k with M = W_k + W_p·diag(q), one matrix for each impression: half the products. Backward,
   G = Σ ds·kᵀ over an impression's behaviours gives dW_k = Σ G, dW_p = Σ G·diag(q) and dq = Σ_h (G∘W_p)_h.

   Behaviour t has key `position[t]` of [keys, K], or t where position is null; those of impression b are
   offsets[b] .. offsets[b+1]. Of the caller's matrices s and u [T, H] and the means have padded rows, the others not. */
#include "dice.h"
#include "gemm.h"

/* The first impression whose behaviours start at or after this part's share of them. */
static int64_t first_of(const int64_t *offsets, int64_t impressions, int64_t parts, int64_t part) {
    int64_t share = cut(offsets[impressions], parts, part), low = 0, high = impressions;
    if (part == parts) return impressions;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (offsets[middle] < share) low = middle + 1;
        else high = middle;
    }
    return low;
}

INLINE const float *key_of(const float *keys, const int64_t *position, int64_t width, int64_t t) {
    return keys + (position ? position[t] : t) * width;
}

INLINE void take(const float *keys, const int64_t *position, int64_t width, int64_t t, int64_t count, float *to) {
    for (int64_t i = 0; i < count; i++) copy(to + i * padded(width), key_of(keys, position, width, t + i), width);
}

/* offsets [segments + 1] of non-decreasing segment [T]. */
void segment_offsets(int64_t rows, const int64_t *segment, int64_t segments, int64_t *offsets) {
    int64_t t = 0;
    for (int64_t b = 0; b <= segments; b++) {
        while (t < rows && segment[t] < b) t++;
        offsets[b] = t;
    }
}

/* s_t = M_b·k_t + base_b. Weights [H, K] and [H, D]. */
void first_forward(int64_t parts, int64_t impressions, int64_t D, int64_t K, int64_t H, const float *query,
                   const float *base, const float *keys, const int64_t *position, const int64_t *offsets,
                   const float *key_weight, const float *product_weight, float *s) {
    int64_t HP = padded(H), KP = padded(K);
    float *of_key = transposed(key_weight, H, K), *of_product = transposed(product_weight, H, D);
    IN_PARTS
    for (int64_t part = 0; part < parts; part++) {
        float *m = zeros(KP * HP), *key = zeros(TILE * KP), *start = zeros(HP);
        memcpy(m, of_key, 4 * K * HP);
        int64_t end = first_of(offsets, impressions, parts, part + 1);
        for (int64_t b = first_of(offsets, impressions, parts, part); b < end; b++) {
            if (offsets[b] == offsets[b + 1]) continue;
            for (int64_t k = 0; k < D; k++)
                for (int64_t h = k * HP; h < (k + 1) * HP; h += LANES)
                    store(m + h, load(of_key + h) + query[b * D + k] * load(of_product + h));
            copy(start, base + b * H, H);
            for (int64_t t = offsets[b]; t < offsets[b + 1]; t += TILE) {
                int64_t count = least(TILE, offsets[b + 1] - t);
                take(keys, position, K, t, count, key);
                gemm(count, HP, K, key, KP, 1, m, HP, start, 0, s + t * HP, HP);
            }
        }
        free(m), free(key), free(start);
    }
    free(of_key), free(of_product);
}

/* From the first layer of Dice, its u [T, H] and means: the gradients of base, query, both weights, and each
   behaviour's key [T, K], that of the pooling included. */
void first_backward(int64_t parts, int64_t impressions, int64_t D, int64_t K, const float *query, const float *keys,
                    const int64_t *position, const int64_t *offsets, const float *key_weight,
                    const float *product_weight, const float *weight, const float *d_pooled, int64_t H, const float *s,
                    const float *mean, const float *scale, const float *alpha, const float *u, const float *means,
                    float *d_base, float *d_query, float *d_key_weight, float *d_product_weight, float *d_key) {
    int64_t HP = padded(H), KP = padded(K), DP = padded(D), weights = H * KP + H * DP;
    float *of_key = filled(key_weight, H, K), *of_product = filled(product_weight, H, D);
    float *sums = zeros(parts * weights);
    Layer first = layer(H, s, mean, scale, alpha);
    IN_PARTS
    for (int64_t part = 0; part < parts; part++) {
        float *m = zeros(H * KP), *outer = zeros(H * KP), *key = zeros(TILE * KP), *back = zeros(TILE * KP);
        float *q = zeros(DP), *dq = zeros(DP), *db = zeros(HP), *ds = zeros(TILE * HP);
        float *nothing = zeros(KP), *by_key = sums + part * weights, *by_product = by_key + H * KP;
        memcpy(m, of_key, 4 * H * KP);
        int64_t end = first_of(offsets, impressions, parts, part + 1);
        for (int64_t b = first_of(offsets, impressions, parts, part); b < end; b++) {
            const float *before = nothing; /* sums start from it, with rows of `stride` floats */
            int64_t stride = 0;
            memset(db, 0, 4 * HP), copy(q, query + b * D, D);
            int64_t any = offsets[b] < offsets[b + 1] ? H : 0;
            for (int64_t h = 0; h < any; h++)
                for (int64_t k = 0; k < DP; k += LANES)
                    store(m + h * KP + k, load(of_key + h * KP + k) + load(q + k) * load(of_product + h * DP + k));
            for (int64_t t = offsets[b]; t < offsets[b + 1]; t += TILE) {
                int64_t count = least(TILE, offsets[b + 1] - t);
                take(keys, position, K, t, count, key);
                to_input(first, means, t, count, u + t * HP, ds);
                add_columns(HP, count, ds, db);
                for (int64_t i = 0; i < count; i++)
                    for (int64_t k = 0; k < K; k++) back[i * KP + k] = weight[t + i] * d_pooled[b * K + k];
                gemm(count, KP, H, ds, HP, 1, m, KP, back, KP, back, KP);
                gemm(H, KP, count, ds, 1, HP, key, KP, before, stride, outer, KP);
                for (int64_t i = 0; i < count; i++) copy(d_key + (t + i) * K, back + i * KP, K);
                before = outer, stride = KP;
            }
            for (int64_t i = 0; i < any * KP; i += LANES) store(by_key + i, load(by_key + i) + load(outer + i));
            for (int64_t k = 0; k < DP; k += LANES) {
                V scale = load(q + k), sum = {0};
                for (int64_t h = 0; h < any; h++) {
                    V own = load(outer + h * KP + k);
                    store(by_product + h * DP + k, load(by_product + h * DP + k) + own * scale);
                    sum += own * load(of_product + h * DP + k);
                }
                store(dq + k, sum);
            }
            copy(d_query + b * D, dq, D), copy(d_base + b * H, db, H);
        }
        free(m), free(outer), free(key), free(back), free(q), free(dq), free(db), free(ds), free(nothing);
    }
    combine(parts, weights, sums, H, K, d_key_weight);
    combine(parts, weights, sums + H * KP, H, D, d_product_weight);
    free(of_key), free(of_product), free(sums), free(first.alpha);
}

/* pooled_b = Σ weight_t·k_t, [B, K]. */
void pool_forward(int64_t parts, int64_t impressions, int64_t K, const float *weight, const float *keys,
                  const int64_t *position, const int64_t *offsets, float *pooled) {
    IN_PARTS
    for (int64_t part = 0; part < parts; part++) {
        int64_t end = first_of(offsets, impressions, parts, part + 1);
        for (int64_t b = first_of(offsets, impressions, parts, part); b < end; b++) {
            float *to = pooled + b * K;
            memset(to, 0, 4 * K);
            for (int64_t t = offsets[b]; t < offsets[b + 1]; t++) {
                const float *key = key_of(keys, position, K, t);
                for (int64_t k = 0; k < K; k++) to[k] += weight[t] * key[k];
            }
        }
    }
}

/* The gradient of the weights [T]. */
void pool_backward(int64_t parts, int64_t impressions, int64_t K, const float *keys, const int64_t *position,
                   const int64_t *offsets, const float *d_pooled, float *d_weight) {
    int64_t vectors = K / LANES * LANES;
    IN_PARTS
    for (int64_t part = 0; part < parts; part++) {
        int64_t end = first_of(offsets, impressions, parts, part + 1);
        for (int64_t b = first_of(offsets, impressions, parts, part); b < end; b++) {
            const float *by = d_pooled + b * K;
            for (int64_t t = offsets[b]; t < offsets[b + 1]; t++) {
                const float *key = key_of(keys, position, K, t);
                V sums = {0};
                float rest = 0;
                for (int64_t k = 0; k < vectors; k += LANES) sums += load(by + k) * load(key + k);
                for (int64_t k = vectors; k < K; k++) rest += by[k] * key[k];
                d_weight[t] = total(sums) + rest;
            }
        }
    }
}
