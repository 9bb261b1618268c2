/* The activation unit's first layer, and the pooling, over packed behaviours (Eq. 3 of arXiv 1706.06978).

   B impressions, T behaviours, H hidden units, D width of a candidate's vector q, K width of a behaviour's key k. HP,
   DP and KP are these widths padded to whole vectors. din_ops.h gives the shape of every argument of the public
   functions.

   Forward. The layer reads W_k·k + W_p·(q⊙k). This equals M·k with M = W_k + W_p·diag(q), a matrix [H, K] made once per
   impression. That halves the products per behaviour.

   Backward. With ds the gradient of s, and G = Σ ds·kᵀ [H, K] over the behaviours of one impression:

       dW_k = Σ_b G_b        dW_p = Σ_b G_b·diag(q_b)        dq_b = Σ_h (G_b ∘ W_p)[h, :]

   where W_p and the last two concern only the first D columns. */
#include "din_ops.h"
#include "dice.h"
#include "gemm.h"
#include "keys.h"

/* The first impression whose behaviours begin at or after behaviour `t`; B if there is none. */
static int64_t impression_from(const din_histories *histories, int64_t t) {
    int64_t low = 0, high = histories->impressions;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (histories->offsets[middle] < t) low = middle + 1;
        else high = middle;
    }
    return low;
}

/* The impressions of one part. Parts have about equal numbers of behaviours; the last takes all impressions left. */
static Range impressions_of_part(const din_histories *histories, int64_t parts, int64_t part) {
    Range behaviours = rows_of_part(histories->offsets[histories->impressions], parts, part);
    int64_t end = part + 1 == parts ? histories->impressions : impression_from(histories, behaviours.end);
    return (Range){impression_from(histories, behaviours.begin), end};
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
    float *key_columns = transposed(key_weight, H, K);         /* [K, HP] */
    float *product_columns = transposed(product_weight, H, D); /* [D, HP] */
    IN_PARTS
    for (int64_t part = 0; part < threads; part++) {
        din_histories local = *histories; /* a copy: what is stored below can't alias it */
        float *matrix = zeros(KP * HP);   /* [K, HP], Mᵀ */
        float *keys = zeros(TILE * KP);   /* [TILE, KP] */
        float *base_row = zeros(HP);      /* [HP] */
        memcpy(matrix, key_columns, 4 * K * HP);
        Range range = impressions_of_part(histories, threads, part);
        for (int64_t b = range.begin; b < range.end; b++) {
            if (offsets[b] == offsets[b + 1]) continue;
            for (int64_t k = 0; k < D; k++)
                for (int64_t h = k * HP; h < (k + 1) * HP; h += LANES)
                    store(matrix + h, load(key_columns + h) + query[b * D + k] * load(product_columns + h));
            copy(base_row, base + b * H, H);
            for (int64_t t = offsets[b]; t < offsets[b + 1]; t += TILE) {
                int64_t count = minimum(TILE, offsets[b + 1] - t);
                take_keys(&local, t, count, keys);
                gemm(count, HP, K, keys, KP, 1, matrix, HP, base_row, 0, s + t * HP, HP);
            }
        }
        FREE(matrix, keys, base_row);
    }
    FREE(key_columns, product_columns);
}

/* From G of one impression: key_sum [H, KP] += G, product_sum [H, DP] += G·diag(q), and dq [DP] = Σ_h (G∘W_p)[h, :].

   outer [H, KP]: G. query [DP]: q. product_rows [H, DP]: W_p. */
INLINE void add_impression(int64_t H, int64_t KP, int64_t DP, const float *outer, const float *query,
                           const float *product_rows, float *key_sum, float *product_sum, float *dq) {
    for (int64_t i = 0; i < H * KP; i += LANES) store(key_sum + i, load(key_sum + i) + load(outer + i));
    for (int64_t k = 0; k < DP; k += LANES) {
        V q = load(query + k), sum = {0};
        for (int64_t h = 0; h < H; h++) {
            V g = load(outer + h * KP + k);
            store(product_sum + h * DP + k, load(product_sum + h * DP + k) + g * q);
            sum += g * load(product_rows + h * DP + k);
        }
        store(dq + k, sum);
    }
}

void din_unit_backward(int64_t threads, const din_histories *histories, int64_t query_width, const float *query,
                       const float *key_weight, const float *product_weight, const float *weight,
                       const float *d_pooled, const din_dice_layer *layer, const float *u, const float *means,
                       float *d_base, float *d_query, float *d_key_weight, float *d_product_weight, float *d_key) {
    PaddedLayer dice = padded_layer(layer);
    int64_t D = query_width, K = histories->key_width, H = dice.units;
    int64_t HP = dice.width, KP = padded(K), DP = padded(D);
    int64_t part_size = H * KP + H * DP; /* d_key_weight [H, KP], then d_product_weight [H, DP] */
    const int64_t *offsets = histories->offsets;
    float *memory = zeros(threads * part_size);
    float *key_rows = filled(key_weight, H, K);         /* [H, KP] */
    float *product_rows = filled(product_weight, H, D); /* [H, DP] */
    float *padded_means = filled(means, 3, H);          /* [3, HP] */
    IN_PARTS
    for (int64_t part = 0; part < threads; part++) {
        din_histories local = *histories; /* a copy: what is stored below can't alias it */
        float *matrix = zeros(H * KP), *outer = zeros(H * KP);      /* [H, KP]: M and G */
        float *keys = zeros(TILE * KP), *d_keys = zeros(TILE * KP); /* [TILE, KP] */
        float *ds = zeros(TILE * HP);                               /* [TILE, HP] */
        float *q = zeros(DP), *dq = zeros(DP), *base_sum = zeros(HP), *zero_row = zeros(KP);
        float *key_sum = memory + part * part_size, *product_sum = key_sum + H * KP;
        memcpy(matrix, key_rows, 4 * H * KP);
        Range range = impressions_of_part(histories, threads, part);
        for (int64_t b = range.begin; b < range.end; b++) {
            memset(base_sum, 0, 4 * HP);
            memset(dq, 0, 4 * DP);
            if (offsets[b] < offsets[b + 1]) {
                copy(q, query + b * D, D);
                for (int64_t h = 0; h < H; h++)
                    for (int64_t k = 0; k < DP; k += LANES) {
                        V product = load(q + k) * load(product_rows + h * DP + k);
                        store(matrix + h * KP + k, load(key_rows + h * KP + k) + product);
                    }
                const float *summed = zero_row; /* G of the tiles so far: 0 before the first */
                int64_t summed_stride = 0;
                for (int64_t t = offsets[b]; t < offsets[b + 1]; t += TILE) {
                    int64_t count = minimum(TILE, offsets[b + 1] - t);
                    take_keys(&local, t, count, keys);
                    to_input(dice, padded_means, t, count, u + t * HP, ds);
                    add_columns(HP, count, ds, base_sum);
                    for (int64_t i = 0; i < count; i++) /* the part of the keys' gradient that comes from pooling */
                        for (int64_t k = 0; k < K; k++) d_keys[i * KP + k] = weight[t + i] * d_pooled[b * K + k];
                    gemm(count, KP, H, ds, HP, 1, matrix, KP, d_keys, KP, d_keys, KP);
                    gemm(H, KP, count, ds, 1, HP, keys, KP, summed, summed_stride, outer, KP);
                    for (int64_t i = 0; i < count; i++) copy(d_key + (t + i) * K, d_keys + i * KP, K);
                    summed = outer;
                    summed_stride = KP;
                }
                add_impression(H, KP, DP, outer, q, product_rows, key_sum, product_sum, dq);
            }
            copy(d_query + b * D, dq, D);
            copy(d_base + b * H, base_sum, H);
        }
        FREE(matrix, outer, keys, d_keys, ds, q, dq, base_sum, zero_row);
    }
    combine(threads, part_size, memory, H, K, d_key_weight);
    combine(threads, part_size, memory + H * KP, H, D, d_product_weight);
    FREE(memory, key_rows, product_rows, padded_means, dice.mean);
}

void din_pool_forward(int64_t threads, const din_histories *histories, const float *weight, float *pooled) {
    int64_t K = histories->key_width;
    const int64_t *offsets = histories->offsets;
    IN_PARTS
    for (int64_t part = 0; part < threads; part++) {
        din_histories local = *histories; /* a copy: what is stored below can't alias it */
        Range range = impressions_of_part(histories, threads, part);
        for (int64_t b = range.begin; b < range.end; b++) {
            float *interest = pooled + b * K;
            memset(interest, 0, 4 * K);
            for (int64_t t = offsets[b]; t < offsets[b + 1]; t++) {
                const float *key = key_of(&local, t);
                for (int64_t k = 0; k < K; k++) interest[k] += weight[t] * key[k];
            }
        }
    }
}

void din_pool_backward(int64_t threads, const din_histories *histories, const float *d_pooled, float *d_weight) {
    int64_t K = histories->key_width, in_vectors = K / LANES * LANES; /* columns that fill whole vectors */
    const int64_t *offsets = histories->offsets;
    IN_PARTS
    for (int64_t part = 0; part < threads; part++) {
        din_histories local = *histories; /* a copy: what is stored below can't alias it */
        Range range = impressions_of_part(histories, threads, part);
        for (int64_t b = range.begin; b < range.end; b++) {
            const float *gradient = d_pooled + b * K;
            for (int64_t t = offsets[b]; t < offsets[b + 1]; t++) {
                const float *key = key_of(&local, t);
                V products = {0};
                float other_products = 0;
                for (int64_t k = 0; k < in_vectors; k += LANES) products += load(gradient + k) * load(key + k);
                for (int64_t k = in_vectors; k < K; k++) other_products += gradient[k] * key[k];
                d_weight[t] = sum_of(products) + other_products;
            }
        }
    }
}
