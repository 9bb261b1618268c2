/* The gradients of one batch of DIN: forward and backward of the whole network, out of the operations that Python also
   calls one by one. din/ops/whole_step.py says which models it serves; their reference is the model itself.

   B impressions, T behaviours, U distinct items, D width of a candidate, K width of a key, P of a profile, I inputs of
   the MLP, H hidden units. */
#include <math.h>

#include "din_ops.h"
#include "dice.h"
#include "gemm.h"

/* Blocks of memory that live until the end of the step. Each begins with the address of the one before. */
typedef struct {
    float *last;
} Memory;

#define HEAD (64 / sizeof(float))

/* Return memory for `size` floats, uninitialised. */
static float *floats(Memory *memory, int64_t size) {
    float *block = aligned_alloc(64, (size_t)(4 * size + 63) / 64 * 64 + 128);
    if (!block) abort();
    memcpy(block, &memory->last, sizeof(float *));
    memory->last = block;
    return block + HEAD;
}

static void release(Memory *memory) {
    while (memory->last) {
        float *block = memory->last;
        memcpy(&memory->last, block, sizeof(float *));
        free(block);
    }
}

/* ---- Embeddings ---- */

/* The embeddings of a field's owners, [owners, dim], at a column of rows [owners, width]. */
typedef struct {
    float *rows;
    int64_t width, column, owners;
} Place;

/* Take the rows of a list of fields, each `dim` columns right of the one before. */
static void take_fields(int64_t threads, const din_network *network, const float *table, const din_field *field,
                        Place to) {
    int64_t W = network->table_width, dim = network->dim, linear = W - dim;
    for (; field; field = field->next, to.column += dim) {
        if (!field->owners) {
            din_take_rows(threads, to.owners, field->ids, table, W, linear, dim, to.rows, to.width, to.column);
            continue;
        }
        for (int64_t begin = 0, end; begin < field->count; begin = end) { /* the mean of each owner's rows */
            float *mean = to.rows + field->owners[begin] * to.width + to.column;
            memset(mean, 0, 4 * dim);
            for (end = begin; end < field->count && field->owners[end] == field->owners[begin]; end++)
                for (int64_t k = 0; k < dim; k++) mean[k] += table[field->ids[end] * W + linear + k];
            for (int64_t k = 0; k < dim; k++) mean[k] /= end - begin;
        }
    }
}

/* Add the gradients of the same rows to those of the table. */
static void add_fields(int64_t threads, const din_network *network, float *d_table, int64_t table_rows,
                       const din_field *field, Place from) {
    int64_t W = network->table_width, dim = network->dim, linear = W - dim;
    for (; field; field = field->next, from.column += dim) {
        if (!field->owners) {
            din_add_rows(threads, from.owners, field->ids, table_rows, d_table, W, linear, dim, from.rows, from.width,
                         from.column);
            continue;
        }
        for (int64_t begin = 0, end; begin < field->count; begin = end) {
            const float *d_mean = from.rows + field->owners[begin] * from.width + from.column;
            for (end = begin; end < field->count && field->owners[end] == field->owners[begin];) end++;
            for (int64_t j = begin; j < end; j++)
                for (int64_t k = 0; k < dim; k++) d_table[field->ids[j] * W + linear + k] += d_mean[k] / (end - begin);
        }
    }
}

/* ---- Layers of Dice, each with the linear layer after it ---- */

/* A layer over N rows, kept for its backward pass. din_dice_output_backward explains u and sums. */
typedef struct {
    din_dice_layer dice;
    float *u;    /* [N, H] hidden */
    float *sums; /* [4, H] */
} State;

/* Return the outputs [N] of hidden values s [N, H], and fill the state of each layer. */
static float *stack_forward(int64_t threads, Memory *memory, const din_network *network, int64_t rows,
                            const din_dice_linear *layer, const float *s, State *state) {
    for (;; layer = layer->next, state++) {
        float *mean = floats(memory, layer->units), *scale = floats(memory, layer->units);
        state->dice = (din_dice_layer){layer->units, s, mean, scale, layer->alpha};
        din_dice_statistics(threads, rows, layer->units, s, mean, scale, layer->moving_mean, layer->moving_variance,
                            network->momentum, network->epsilon);
        if (!layer->next) break;
        float *outputs = floats(memory, din_hidden_size(rows, layer->next->units));
        din_dice_linear_forward(threads, rows, &state->dice, layer->next->units, layer->weight, layer->bias, outputs);
        s = outputs;
    }
    float *y = floats(memory, rows);
    din_dice_output_forward(threads, rows, &state->dice, layer->weight, layer->bias, y);
    return y;
}

/* From the gradient of the outputs [N], fill the gradients of the layers, and u and sums of every state. The sums of the
   lowest layer then are the means that the layer below it takes. */
static void stack_backward(int64_t threads, Memory *memory, int64_t rows, const din_dice_linear *layer, State *state,
                           const float *d_y) {
    state->u = floats(memory, din_hidden_size(rows, layer->units));
    state->sums = floats(memory, 4 * layer->units);
    if (layer->next) {
        stack_backward(threads, memory, rows, layer->next, state + 1, d_y);
        din_dice_linear_backward(threads, rows, &state[1].dice, state[1].u, state[1].sums, &state->dice, layer->weight,
                                 state->u, state->sums, layer->d_weight, layer->d_bias);
    } else {
        din_dice_output_backward(threads, rows, &state->dice, layer->weight, d_y, state->u, state->sums,
                                 layer->d_weight, layer->d_bias);
    }
    memcpy(layer->d_alpha, state->sums + 3 * layer->units, 4 * layer->units);
    for (int64_t j = 0; j < 3 * layer->units; j++) state->sums[j] /= rows ? rows : 1;
}

static int64_t depth(const din_dice_linear *layer) { return layer ? 1 + depth(layer->next) : 0; }

/* ---- The weights of behaviours ---- */

/* Replace the scores of each impression's behaviours by their softmax. */
static void softmax(const din_histories *histories, float *score) {
    for (int64_t b = 0; b < histories->impressions; b++) {
        int64_t begin = histories->offsets[b], end = histories->offsets[b + 1];
        float top = -INFINITY, total = 0;
        for (int64_t t = begin; t < end; t++) top = score[t] > top ? score[t] : top;
        for (int64_t t = begin; t < end; t++) total += score[t] = expf(score[t] - top);
        for (int64_t t = begin; t < end; t++) score[t] /= total;
    }
}

/* Replace the gradients of the weights by those of the scores. */
static void softmax_backward(const din_histories *histories, const float *weight, float *gradient) {
    for (int64_t b = 0; b < histories->impressions; b++) {
        int64_t begin = histories->offsets[b], end = histories->offsets[b + 1];
        float total = 0;
        for (int64_t t = begin; t < end; t++) total += weight[t] * gradient[t];
        for (int64_t t = begin; t < end; t++) gradient[t] = weight[t] * (gradient[t] - total);
    }
}

/* ---- The first layer's part that reads the candidates alone ---- */

/* d_query [B, D] += d_base·weight, d_weight [H, D] = d_baseᵀ·query and d_bias [H] = the sum of d_base [B, H]. */
static void base_backward(int64_t threads, int64_t B, int64_t D, int64_t H, const float *query,
                          const float *weight, const float *d_base, float *d_query, float *d_weight, float *d_bias) {
    int64_t DP = padded(D), HP = padded(H), part_size = H * DP + HP;
    float *rows = filled(weight, H, D), *sums = zeros(threads * part_size);
    IN_PARTS
    for (int64_t part = 0; part < threads; part++) {
        float *q = zeros(TILE * DP), *dq = zeros(TILE * DP), *ds = zeros(TILE * HP);
        float *weight_sum = sums + part * part_size;
        Range range = rows_of_part(B, threads, part);
        for (int64_t b = range.begin; b < range.end; b += TILE) {
            int64_t count = minimum(TILE, range.end - b);
            for (int64_t i = 0; i < count; i++) {
                copy(q + i * DP, query + (b + i) * D, D);
                copy(dq + i * DP, d_query + (b + i) * D, D);
                copy(ds + i * HP, d_base + (b + i) * H, H);
            }
            add_columns(HP, count, ds, weight_sum + H * DP);
            gemm(H, DP, count, ds, 1, HP, q, DP, weight_sum, DP, weight_sum, DP);
            gemm(count, DP, H, ds, HP, 1, rows, DP, dq, DP, dq, DP);
            for (int64_t i = 0; i < count; i++) copy(d_query + (b + i) * D, dq + i * DP, D);
        }
        FREE(q, dq, ds);
    }
    combine(threads, part_size, sums, H, D, d_weight);
    combine(threads, part_size, sums + H * DP, 1, H, d_bias);
    FREE(rows, sums);
}

/* ---- The step ---- */

double din_gradient(int64_t threads, const din_network *network, const din_batch *batch, const float *table,
                    float *d_table) {
    Memory memory = {NULL};
    int64_t B = batch->impressions, T = batch->behaviours, U = batch->items, W = network->table_width;
    int64_t D = network->query_width, K = network->key_width, P = network->profile_width, H = network->unit->units;
    int64_t I = P + K + D + network->product * D;
    int64_t columns = H * K, shared = network->d_difference ? D : 0; /* columns that read the difference */

    /* embeddings: of items, of keys (one per behaviour where feedback is part of them), and the MLP's inputs x */
    int feedback = K > D;
    float *items = floats(&memory, U * D), *query = floats(&memory, B * D), *x = floats(&memory, B * I);
    float *keys = feedback ? floats(&memory, T * K) : items;
    take_fields(threads, network, table, batch->item_fields, (Place){items, D, 0, U});
    take_fields(threads, network, table, batch->profile_fields, (Place){x, I, 0, B});
    din_take_rows(threads, B, batch->candidate, items, D, 0, D, query, D, 0);
    if (feedback) {
        din_take_rows(threads, T, batch->behaviour, items, D, 0, D, keys, K, 0);
        take_fields(threads, network, table, batch->behaviour_fields, (Place){keys, K, D, T});
    }
    int64_t *offsets = (int64_t *)floats(&memory, 2 * (B + 1));
    din_segment_offsets(T, batch->segment, B, offsets);
    din_histories histories = {B, K, keys, feedback ? NULL : batch->behaviour, offsets};

    /* the activation unit: with the difference, the layer reads (Wq + Wd)·q and (Wk − Wd)·k */
    float *query_weight = floats(&memory, H * D), *key_weight = floats(&memory, columns);
    memcpy(query_weight, network->query_weight, 4 * H * D);
    memcpy(key_weight, network->key_weight, 4 * columns);
    for (int64_t h = 0; h < H; h++)
        for (int64_t k = 0; k < shared; k++) {
            query_weight[h * D + k] += network->difference_weight[h * D + k];
            key_weight[h * K + k] -= network->difference_weight[h * D + k];
        }
    float *hidden_base = floats(&memory, din_hidden_size(B, H)), *base = floats(&memory, B * H);
    din_linear_forward(threads, B, D, H, query, query_weight, network->bias, hidden_base);
    for (int64_t b = 0; b < B; b++) copy(base + b * H, hidden_base + b * padded(H), H);
    float *s = floats(&memory, din_hidden_size(T, H)), *pooled = floats(&memory, B * K);
    din_unit_forward(threads, &histories, D, H, query, base, key_weight, network->product_weight, s);
    State unit[depth(network->unit)], head[depth(network->head)];
    float *weight = stack_forward(threads, &memory, network, T, network->unit, s, unit);
    if (network->softmax) softmax(&histories, weight);
    din_pool_forward(threads, &histories, weight, pooled);

    /* the MLP on [profile, interest, candidate, interest ⊙ candidate] */
    for (int64_t b = 0; b < B; b++) {
        float *row = x + b * I + P;
        memcpy(row, pooled + b * K, 4 * K);
        memcpy(row + K, query + b * D, 4 * D);
        for (int64_t k = 0; k < network->product * D; k++) row[K + D + k] = pooled[b * K + k] * query[b * D + k];
    }
    float *first = floats(&memory, din_hidden_size(B, network->head->units));
    din_linear_forward(threads, B, I, network->head->units, x, network->head_weight, network->head_bias, first);
    float *logit = stack_forward(threads, &memory, network, B, network->head, first, head);

    /* the loss −y·log p − (1 − y)·log(1 − p), and its gradient p − y */
    memset(d_table, 0, 4 * batch->rows * W);
    double loss = 0;
    float *d_logit = floats(&memory, B);
    for (int64_t b = 0; b < B; b++) {
        const int64_t row = batch->item_fields->ids[batch->candidate[b]] * W; /* its first column is the item's bias */
        float z = logit[b] + (network->item_bias ? table[row] : 0) + batch->offset, y = batch->labels[b];
        float share = (batch->weights ? batch->weights[b] : 1) / B;
        loss += share * ((z > 0 ? z : 0) - z * y + log1pf(expf(-fabsf(z))));
        d_logit[b] = share * (1 / (1 + expf(-z)) - y);
        if (network->item_bias) d_table[row] += d_logit[b];
    }

    /* backward through the MLP and its inputs */
    float *d_x = floats(&memory, B * I), *d_pooled = floats(&memory, B * K), *d_query = floats(&memory, B * D);
    stack_backward(threads, &memory, B, network->head, head, d_logit);
    din_linear_backward(threads, B, I, x, network->head_weight, &head->dice, head->u, head->sums, d_x,
                        network->d_head_weight, network->d_head_bias);
    for (int64_t b = 0; b < B; b++) {
        const float *row = d_x + b * I + P;
        memcpy(d_pooled + b * K, row, 4 * K);
        for (int64_t k = 0; k < network->product * D; k++) d_pooled[b * K + k] += row[K + D + k] * query[b * D + k];
    }

    /* through the activation unit */
    float *d_weight = floats(&memory, T), *d_base = floats(&memory, B * H), *d_keys = floats(&memory, T * K);
    din_pool_backward(threads, &histories, d_pooled, d_weight);
    if (network->softmax) softmax_backward(&histories, weight, d_weight);
    stack_backward(threads, &memory, T, network->unit, unit, d_weight);
    din_unit_backward(threads, &histories, D, query, key_weight, network->product_weight, weight, d_pooled,
                      &unit->dice, unit->u, unit->sums, d_base, d_query, network->d_key_weight,
                      network->d_product_weight, d_keys);
    base_backward(threads, B, D, H, query, query_weight, d_base, d_query, network->d_query_weight,
                  network->d_bias);
    for (int64_t h = 0; h < H; h++)
        for (int64_t k = 0; k < shared; k++)
            network->d_difference[h * D + k] = network->d_query_weight[h * D + k] - network->d_key_weight[h * K + k];
    for (int64_t b = 0; b < B; b++) {
        const float *row = d_x + b * I + P + K;
        for (int64_t k = 0; k < D; k++) d_query[b * D + k] += row[k];
        for (int64_t k = 0; k < network->product * D; k++) d_query[b * D + k] += row[D + k] * pooled[b * K + k];
    }

    /* to the rows of the table */
    float *d_items = memset(floats(&memory, U * D), 0, 4 * U * D);
    din_add_rows(threads, T, batch->behaviour, U, d_items, D, 0, D, d_keys, K, 0);
    din_add_rows(threads, B, batch->candidate, U, d_items, D, 0, D, d_query, D, 0);
    add_fields(threads, network, d_table, batch->rows, batch->item_fields, (Place){d_items, D, 0, U});
    add_fields(threads, network, d_table, batch->rows, batch->behaviour_fields, (Place){d_keys, K, D, T});
    add_fields(threads, network, d_table, batch->rows, batch->profile_fields, (Place){d_x, I, 0, B});
    release(&memory);
    return loss;
}
