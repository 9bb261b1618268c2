/* Every function that Python calls, as din/ops/native/library.py reads it: declarations and comments, nothing else.

   Letters: N rows, B impressions, T behaviours, U distinct items, R rows of a table, W its width, I inputs, H hidden
   units, O outputs, D width of a candidate, K width of a behaviour's key, P processes. Matrices are contiguous, rows
   first. NULL is allowed only where it says "or NULL". `threads` cuts the work into that many parts; results depend on
   their number, not on when they run.

   [N, H] hidden: hidden values in a layout of C's own, din_hidden_size(N, H) floats that only these functions read. */
#pragma once

#include <stdint.h>

/* ---- Packing (pack.c) ---- */

/* Return T, the number of behaviours in the histories of impressions `rows`. */
int64_t din_count_behaviours(
    int64_t count,          /* B */
    const int64_t *rows,    /* [B], positions in starts and ends */
    const int32_t *starts,  /* [impressions of the shard] */
    const int32_t *ends);   /* [impressions of the shard] */

/* List these behaviours, impression by impression. */
void din_pack_histories(
    int64_t count,                  /* B */
    const int64_t *rows,            /* [B] */
    const int32_t *starts,          /* [impressions of the shard], positions in behaviour_item */
    const int32_t *ends,            /* [impressions of the shard] */
    const int32_t *behaviour_item,  /* [behaviours of the shard] */
    const int32_t *item,            /* [impressions of the shard], the candidates */
    int64_t *place,                 /* [T] out: position in the shard */
    int64_t *segment,               /* [T] out: impression, 0 .. B - 1 */
    int64_t *touched);              /* [T + B] out: items of behaviours, then of candidates */

/* Look up one id per owner; where drawn < rate the id is 0, unknown. */
void din_field_ids(
    int64_t count,          /* N */
    const int64_t *owners,  /* [N], positions in values */
    const int32_t *values,  /* [all owners] */
    const float *drawn,     /* [N] or NULL */
    float rate,
    int64_t offset,         /* where the field's ids begin in the joint table */
    int64_t *ids);          /* [N] out */

/* Return U, the number of distinct ids, and list them in the order of their last occurrence. */
int64_t din_distinct(
    int64_t count,       /* N */
    const int64_t *ids,  /* [N] */
    int32_t *slot,       /* [size of the id space], scratch */
    int64_t *found,      /* [N] out, the first U */
    int64_t *position);  /* [N] out: each id's position among them */

/* ---- Rows of a table (table.c) ---- */

/* Copy columns column .. column + width of rows `ids` to columns to_column .. of `to`. */
void din_take_rows(
    int64_t threads,
    int64_t count,       /* N */
    const int64_t *ids,  /* [N] */
    const float *table,  /* [R, table_width] */
    int64_t table_width, int64_t column, int64_t width,
    float *to,           /* [N, to_width] */
    int64_t to_width, int64_t to_column);

/* The gradient of din_take_rows: add columns from_column .. of `from` to columns column .. of rows `ids`. */
void din_add_rows(
    int64_t threads,
    int64_t count,       /* N */
    const int64_t *ids,  /* [N], repeated ids allowed; sums are in this order */
    int64_t table_rows,
    float *table,        /* [R, table_width] */
    int64_t table_width, int64_t column, int64_t width,
    const float *from,   /* [N, from_width] */
    int64_t from_width, int64_t from_column);

/* One step's update of distinct rows. A coupled penalty decay·w is added to the gradient; any other shrinks w by
   rate·decay, at most to 0, beside the step. */
typedef struct {
    int64_t count, width;   /* N, W */
    const int64_t *rows;    /* [N], distinct */
    const float *gradient;  /* [N, W] */
    const float *decay;     /* [R] */
    int64_t coupled;        /* 0 or 1 */
    const float *penalised; /* [W], 0 or 1 */
    const float *pace;      /* [W], a factor on the rate */
    float rate;
    float *table; /* [R, W], updated */
} din_row_update;

void din_sgd(int64_t threads, const din_row_update *update);

void din_adam(
    int64_t threads,
    const din_row_update *update,
    float *first,      /* [R, W], updated */
    float *second,     /* [R, W], updated */
    float rest_1,      /* 1 - beta_1 */
    float beta_2,
    float rest_2,      /* 1 - beta_2 */
    float correction,  /* sqrt(1 - beta_2^t) / (1 - beta_1^t) at step t */
    float epsilon);    /* times sqrt(1 - beta_2^t) */

/* Adagrad with one accumulator a row: the sum of its gradients' mean squares. */
void din_rowwise_adagrad(
    int64_t threads,
    const din_row_update *update,
    float *squares,  /* [R], updated */
    float epsilon);

/* ---- Dice and the linear layers around it (dice.c) ---- */

int64_t din_hidden_size(int64_t rows, int64_t units);

/* Dice over the rows of a batch: f(s) = s·(alpha + (1 - alpha)·sigmoid((s - mean)·scale)). */
typedef struct {
    int64_t units;      /* H */
    const float *s;     /* [N, H] hidden */
    const float *mean;  /* [H] */
    const float *scale; /* [H], 1 / sqrt(variance + epsilon) */
    const float *alpha; /* [H] */
} din_dice_layer;

/* The number of rows, then the mean and the summed squared deviations of each unit; of no rows, zeros. */
void din_dice_moments(
    int64_t threads, int64_t rows, int64_t units,
    const float *s,   /* [N, H] hidden */
    float *moments);  /* [1 + 2 H] out */

/* Combine the moments of all processes, and move the moving averages unless there are no rows. */
void din_dice_statistics(
    int64_t processes, int64_t units,
    const float *moments,    /* [P, 1 + 2 H] */
    float *rows,             /* [1] out, at least 1 */
    float *mean,             /* [H] out */
    float *scale,            /* [H] out */
    float *moving_mean,      /* [H], updated */
    float *moving_variance,  /* [H], updated */
    float momentum, float epsilon);

/* s = x·weightᵀ + bias */
void din_linear_forward(
    int64_t threads, int64_t rows, int64_t inputs, int64_t units,
    const float *x,       /* [N, I] */
    const float *weight,  /* [H, I] */
    const float *bias,    /* [H] */
    float *s);            /* [N, H] hidden, out */

/* Its gradients, from `u` and `means` of the layer of Dice above it (see din_dice_output_backward). */
void din_linear_backward(
    int64_t threads, int64_t rows, int64_t inputs,
    const float *x,       /* [N, I] */
    const float *weight,  /* [H, I] */
    const din_dice_layer *layer,
    const float *u,       /* [N, H] hidden */
    const float *means,   /* [3, H] */
    float *d_x,           /* [N, I] out */
    float *d_weight,      /* [H, I] out */
    float *d_bias);       /* [H] out */

/* s = f(layer)·weightᵀ + bias */
void din_dice_linear_forward(
    int64_t threads, int64_t rows,
    const din_dice_layer *layer,
    int64_t outputs,
    const float *weight,  /* [O, H] */
    const float *bias,    /* [O] */
    float *s);            /* [N, O] hidden, out */

/* The same backward: from `u` and `means` of `upper`, whose s this made, to those of `layer`. */
void din_dice_linear_backward(
    int64_t threads, int64_t rows,
    const din_dice_layer *upper,
    const float *upper_u,         /* [N, O] hidden */
    const float *upper_means,     /* [3, O] */
    const din_dice_layer *layer,  /* H units */
    const float *weight,          /* [O, H] */
    float *u,                     /* [N, H] hidden, out */
    float *sums,                  /* [4, H] out */
    float *d_weight,              /* [O, H] out */
    float *d_bias);               /* [O] out */

/* y = f(layer)·weight + bias, one output a row */
void din_dice_output_forward(
    int64_t threads, int64_t rows,
    const din_dice_layer *layer,
    const float *weight,  /* [H] */
    const float *bias,    /* [1] */
    float *y);            /* [N] out */

/* The same backward. The gradient of s needs means over the whole batch, so it is made in two steps (dice.h): this call
   leaves u and four sums over the rows; the first three, divided by the number of rows of all processes, are the
   `means` that the next call takes; the fourth is the gradient of alpha. */
void din_dice_output_backward(
    int64_t threads, int64_t rows,
    const din_dice_layer *layer,
    const float *weight,  /* [H] */
    const float *d_y,     /* [N] */
    float *u,             /* [N, H] hidden, out */
    float *sums,          /* [4, H] out */
    float *d_weight,      /* [H] out */
    float *d_bias);       /* [1] out */

/* ---- The activation unit (activation_unit.c) ---- */

/* The histories of a batch: behaviour t has the key keys[position[t]], or keys[t] where position is NULL, and those of
   impression b are behaviours offsets[b] .. offsets[b + 1]. */
typedef struct {
    int64_t impressions;     /* B */
    int64_t key_width;       /* K */
    const float *keys;       /* [U, K] or [T, K] */
    const int64_t *position; /* [T] or NULL */
    const int64_t *offsets;  /* [B + 1] */
} din_histories;

void din_segment_offsets(
    int64_t count,           /* T */
    const int64_t *segment,  /* [T], non-decreasing */
    int64_t segments,
    int64_t *offsets);       /* [segments + 1] out */

/* The first layer: s_t = (key_weight + product_weight·diag(query_b))·k_t + base_b, where the product reaches over the
   first D columns of K. */
void din_unit_forward(
    int64_t threads,
    const din_histories *histories,
    int64_t query_width,          /* D, at most K */
    int64_t units,                /* H */
    const float *query,           /* [B, D] */
    const float *base,            /* [B, H] */
    const float *key_weight,      /* [H, K] */
    const float *product_weight,  /* [H, D] */
    float *s);                    /* [T, H] hidden, out */

/* The same backward, from `u` and `means` of the layer of Dice above it; and the part of the keys' gradient that comes
   from pooling. */
void din_unit_backward(
    int64_t threads,
    const din_histories *histories,
    int64_t query_width,          /* D */
    const float *query,           /* [B, D] */
    const float *key_weight,      /* [H, K] */
    const float *product_weight,  /* [H, D] */
    const float *weight,          /* [T], of the pooling */
    const float *d_pooled,        /* [B, K] */
    const din_dice_layer *layer,
    const float *u,               /* [T, H] hidden */
    const float *means,           /* [3, H] */
    float *d_base,                /* [B, H] out */
    float *d_query,               /* [B, D] out */
    float *d_key_weight,          /* [H, K] out */
    float *d_product_weight,      /* [H, D] out */
    float *d_key);                /* [T, K] out */

/* pooled_b = sum of weight_t·k_t over the behaviours of b */
void din_pool_forward(
    int64_t threads,
    const din_histories *histories,
    const float *weight,  /* [T] */
    float *pooled);       /* [B, K] out */

/* The gradient of the weights; din_unit_backward gives that of the keys. */
void din_pool_backward(
    int64_t threads,
    const din_histories *histories,
    const float *d_pooled,  /* [B, K] */
    float *d_weight);       /* [T] out */
