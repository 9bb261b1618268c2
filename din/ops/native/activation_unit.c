/* The activation unit's first layer and the pooling, over packed behaviours (Eq. 3 of arXiv 1706.06978).

   W_k·k + W_p·(q⊙k) = M·k with M = W_k + W_p·diag(q), one matrix for each impression: half the products. Backward,
   G = Σ ds·kᵀ over an impression's behaviours gives dW_k = Σ G, dW_p = Σ G·diag(q) and dq = Σ_h (G∘W_p)_h. */
#include "din_ops.h"
#include "dice.h"
#include "gemm.h"

/* The first impression whose behaviours start at or after this part's share of them. */
static int64_t first_of(const din_histories *histories, int64_t parts, int64_t part) {
    const int64_t *offsets = histories->offsets;
    int64_t share = cut(offsets[histories->impressions], parts, part), low = 0, high = histories->impressions;
    if (part == parts) return histories->impressions;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (offsets[middle] < share) low = middle + 1;
        else high = middle;
    }
    return low;
}

INLINE const float *key_of(const din_histories *histories, int64_t t) {
    return histories->keys + (histories->position ? histories->position[t] : t) * histories->key_width;
}

/* The keys of behaviours t .. t + count, in rows of padded(K) floats. */
INLINE void take_keys(const din_histories *histories, int64_t t, int64_t count, float *to) {
    int64_t K = histories->key_width;
    for (int64_t i = 0; i < count; i++) copy(to + i * padded(K), key_of(histories, t + i), K);
}

void din_segment_offsets(int64_t count, const int64_t *segment, int64_t segments, int64_t *offsets) {
    int64_t t = 0;
    for (int64_t b = 0; b <= segments; b++) {
        while (t < count && segment[t] < b) t++;
        offsets[b] = t;
    }
}

void din_unit_forward(int64_t threads, const din_histories *histories, int64_t query_width, int64_t units,
                      const float *query, const float *base, const float *key_weight, const float *product_weight,
                      float *s) {
    int64_t D = query_width, K = histories->key_width, H = units, HP = padded(H), KP = padded(K);
    const int64_t *offsets = histories->offsets;
    float *key_columns = transposed(key_weight, H, K), *product_columns = transposed(product_weight, H, D);
    IN_PARTS
    for (int64_t part = 0; part < threads; part++) {
        din_histories own = *histories; /* a copy that stores can't alias */
        float *m = zeros(KP * HP), *key = zeros(TILE * KP), *start = zeros(HP);
        memcpy(m, key_columns, 4 * K * HP);
        int64_t end = first_of(histories, threads, part + 1);
        for (int64_t b = first_of(histories, threads, part); b < end; b++) {
            if (offsets[b] == offsets[b + 1]) continue;
            for (int64_t k = 0; k < D; k++)
                for (int64_t h = k * HP; h < (k + 1) * HP; h += LANES)
                    store(m + h, load(key_columns + h) + query[b * D + k] * load(product_columns + h));
            copy(start, base + b * H, H);
            for (int64_t t = offsets[b]; t < offsets[b + 1]; t += TILE) {
                int64_t count = least(TILE, offsets[b + 1] - t);
                take_keys(&own, t, count, key);
                gemm(count, HP, K, key, KP, 1, m, HP, start, 0, s + t * HP, HP);
            }
        }
        free(m), free(key), free(start);
    }
    free(key_columns), free(product_columns);
}

void din_unit_backward(int64_t threads, const din_histories *histories, int64_t query_width, const float *query,
                       const float *key_weight, const float *product_weight, const float *weight,
                       const float *d_pooled, const din_dice_layer *layer, const float *u, const float *means,
                       float *d_base, float *d_query, float *d_key_weight, float *d_product_weight, float *d_key) {
    Layer first = padded_layer(layer);
    int64_t D = query_width, K = histories->key_width, H = first.units;
    int64_t HP = first.width, KP = padded(K), DP = padded(D), size = H * KP + H * DP;
    const int64_t *offsets = histories->offsets;
    float *key_rows = filled(key_weight, H, K), *product_rows = filled(product_weight, H, D);
    float *padded_means = filled(means, 3, H), *memory = zeros(threads * size);
    IN_PARTS
    for (int64_t part = 0; part < threads; part++) {
        din_histories own = *histories; /* a copy that stores can't alias */
        float *m = zeros(H * KP), *outer = zeros(H * KP), *key = zeros(TILE * KP), *back = zeros(TILE * KP);
        float *q = zeros(DP), *dq = zeros(DP), *db = zeros(HP), *ds = zeros(TILE * HP), *no_start = zeros(KP);
        float *key_sum = memory + part * size, *product_sum = key_sum + H * KP;
        memcpy(m, key_rows, 4 * H * KP);
        int64_t end = first_of(histories, threads, part + 1);
        for (int64_t b = first_of(histories, threads, part); b < end; b++) {
            const float *start = no_start; /* the sum G goes on from here, in rows of `stride` floats */
            int64_t stride = 0;
            memset(db, 0, 4 * HP), copy(q, query + b * D, D);
            int64_t any = offsets[b] < offsets[b + 1] ? H : 0;
            for (int64_t h = 0; h < any; h++)
                for (int64_t k = 0; k < DP; k += LANES)
                    store(m + h * KP + k, load(key_rows + h * KP + k) + load(q + k) * load(product_rows + h * DP + k));
            for (int64_t t = offsets[b]; t < offsets[b + 1]; t += TILE) {
                int64_t count = least(TILE, offsets[b + 1] - t);
                take_keys(&own, t, count, key);
                to_input(first, padded_means, t, count, u + t * HP, ds);
                add_columns(HP, count, ds, db);
                for (int64_t i = 0; i < count; i++)
                    for (int64_t k = 0; k < K; k++) back[i * KP + k] = weight[t + i] * d_pooled[b * K + k];
                gemm(count, KP, H, ds, HP, 1, m, KP, back, KP, back, KP);
                gemm(H, KP, count, ds, 1, HP, key, KP, start, stride, outer, KP);
                for (int64_t i = 0; i < count; i++) copy(d_key + (t + i) * K, back + i * KP, K);
                start = outer, stride = KP;
            }
            for (int64_t i = 0; i < any * KP; i += LANES) store(key_sum + i, load(key_sum + i) + load(outer + i));
            for (int64_t k = 0; k < DP; k += LANES) {
                V scale = load(q + k), sum = {0};
                for (int64_t h = 0; h < any; h++) {
                    V product = load(outer + h * KP + k);
                    store(product_sum + h * DP + k, load(product_sum + h * DP + k) + product * scale);
                    sum += product * load(product_rows + h * DP + k);
                }
                store(dq + k, sum);
            }
            copy(d_query + b * D, dq, D), copy(d_base + b * H, db, H);
        }
        free(m), free(outer), free(key), free(back), free(q), free(dq), free(db), free(ds), free(no_start);
    }
    combine(threads, size, memory, H, K, d_key_weight);
    combine(threads, size, memory + H * KP, H, D, d_product_weight);
    free(key_rows), free(product_rows), free(padded_means), free(memory), free(first.mean);
}

void din_pool_forward(int64_t threads, const din_histories *histories, const float *weight, float *pooled) {
    int64_t K = histories->key_width;
    const int64_t *offsets = histories->offsets;
    IN_PARTS
    for (int64_t part = 0; part < threads; part++) {
        din_histories own = *histories; /* a copy that stores can't alias */
        int64_t end = first_of(histories, threads, part + 1);
        for (int64_t b = first_of(histories, threads, part); b < end; b++) {
            float *to = pooled + b * K;
            memset(to, 0, 4 * K);
            for (int64_t t = offsets[b]; t < offsets[b + 1]; t++) {
                const float *key = key_of(&own, t);
                for (int64_t k = 0; k < K; k++) to[k] += weight[t] * key[k];
            }
        }
    }
}

void din_pool_backward(int64_t threads, const din_histories *histories, const float *d_pooled, float *d_weight) {
    int64_t K = histories->key_width, vectors = K / LANES * LANES;
    const int64_t *offsets = histories->offsets;
    IN_PARTS
    for (int64_t part = 0; part < threads; part++) {
        din_histories own = *histories; /* a copy that stores can't alias */
        int64_t end = first_of(histories, threads, part + 1);
        for (int64_t b = first_of(histories, threads, part); b < end; b++) {
            const float *gradient = d_pooled + b * K;
            for (int64_t t = offsets[b]; t < offsets[b + 1]; t++) {
                const float *key = key_of(&own, t);
                V sums = {0};
                float rest = 0;
                for (int64_t k = 0; k < vectors; k += LANES) sums += load(gradient + k) * load(key + k);
                for (int64_t k = vectors; k < K; k++) rest += gradient[k] * key[k];
                d_weight[t] = total(sums) + rest;
            }
        }
    }
}
