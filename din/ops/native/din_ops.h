/* All functions that Python calls. din/ops/native/library.py parses this file, so it holds nothing but declarations and
   comments.

       N  rows of any batch         R  rows of a table        D  width of a candidate's vector
       B  impressions               W  width of a table       K  width of a behaviour's key
       T  behaviours of a batch     I  inputs of a layer
       U  distinct ids or items     H  hidden units
                                    O  outputs

   A shape [N, H] is a contiguous matrix, row after row. "out" marks an array that the function fills, "updated" one
   that it reads and changes, and "scratch" one whose content means nothing to the caller. All others are only read.
   NULL is allowed only where a comment says "or NULL".

   "hidden" marks a matrix [N, H] in a layout of C's own: din_hidden_size(N, H) floats, which only these functions read.

   `threads` is the number of parts that the work is cut into. Results depend on it, but not on the order in which parts
   run. */
#pragma once

#include <stdint.h>

/* ---- Packing (pack.c) ---- */

/* Return T, the number of behaviours in the histories of some impressions. */
int64_t din_count_behaviours(
    int64_t count,          /* B */
    const int64_t *rows,    /* [B], impressions of the shard: positions in starts and ends */
    const int32_t *starts,  /* [impressions of the shard] */
    const int32_t *ends);   /* [impressions of the shard] */

/* List the behaviours of some impressions, one impression after the other. */
void din_pack_histories(
    int64_t count,                  /* B */
    const int64_t *rows,            /* [B], impressions of the shard */
    const int32_t *starts,          /* [impressions of the shard], positions in behaviour_item */
    const int32_t *ends,            /* [impressions of the shard], positions behind the last behaviour */
    const int32_t *behaviour_item,  /* [behaviours of the shard] */
    const int32_t *item,            /* [impressions of the shard], the candidates */
    int64_t *place,                 /* [T] out: the behaviour's position in the shard */
    int64_t *segment,               /* [T] out: the behaviour's impression, 0 .. B - 1 */
    int64_t *touched);              /* [T + B] out: items of the behaviours, then of the candidates */

/* Look up one id per owner: offset + values[owner], or offset (the unknown id) where drawn < rate. */
void din_field_ids(
    int64_t count,          /* N */
    const int64_t *owners,  /* [N], positions in values */
    const int32_t *values,  /* [all owners] */
    const float *drawn,     /* [N], uniform in 0 .. 1, or NULL: nothing is dropped */
    float rate,
    int64_t offset,         /* the field's first row in the joint table */
    int64_t *ids);          /* [N] out */

/* Return U, the number of distinct ids, and list them, ordered by their last occurrence. */
int64_t din_distinct(
    int64_t count,       /* N */
    const int64_t *ids,  /* [N] */
    int32_t *slot,       /* [size of the id space], scratch */
    int64_t *distinct,   /* [N] out, of which the first U are filled */
    int64_t *position);  /* [N] out: each id's position in `distinct` */

/* ---- Rows of a table (table.c) ---- */

/* rows[i, rows_column + k] = table[ids[i], column + k] for k = 0 .. width - 1 */
void din_take_rows(
    int64_t threads,
    int64_t count,       /* N */
    const int64_t *ids,  /* [N] */
    const float *table,  /* [R, table_width] */
    int64_t table_width,
    int64_t column,
    int64_t width,
    float *rows,         /* [N, rows_width] out; other columns stay */
    int64_t rows_width,
    int64_t rows_column);

/* table[ids[i], column + k] += rows[i, rows_column + k] for k = 0 .. width - 1: the gradient of din_take_rows. */
void din_add_rows(
    int64_t threads,
    int64_t count,       /* N */
    const int64_t *ids,  /* [N], may repeat; sums are taken in this order */
    int64_t table_rows,  /* R */
    float *table,        /* [R, table_width] updated */
    int64_t table_width,
    int64_t column,
    int64_t width,
    const float *rows,   /* [N, rows_width] */
    int64_t rows_width,
    int64_t rows_column);

/* One step's update of distinct rows of a table; din/ops/row_update.py has the equations. */
typedef struct {
    int64_t count;          /* N */
    int64_t width;          /* W */
    const int64_t *rows;    /* [N], distinct */
    const float *gradient;  /* [N, W] */
    const float *decay;     /* [R] */
    int64_t coupled;        /* 1: decay·w is added to the gradient; 0: w shrinks by rate·decay, at most to 0 */
    const float *penalised; /* [W], 1 where the penalty applies, else 0 */
    float rate;
    float *table;           /* [R, W] updated */
} din_row_update;

/* Step against the gradient. */
void din_sgd(
    int64_t threads,
    const din_row_update *update);

/* Adam at step t, from 1. */
void din_adam(
    int64_t threads,
    const din_row_update *update,
    float *first,            /* [R, W] updated: the mean of gradients */
    float *second,           /* [R, W] updated: the mean of squared gradients */
    float one_minus_beta_1,
    float beta_2,
    float one_minus_beta_2,
    float correction,        /* sqrt(1 - beta_2^t) / (1 - beta_1^t) */
    float epsilon);          /* Adam's, times sqrt(1 - beta_2^t) */

/* ---- Dice and the linear layers around it (dice.c) ---- */

/* Return the number of floats in a hidden matrix [N, H]. */
int64_t din_hidden_size(
    int64_t rows,    /* N */
    int64_t units);  /* H */

/* A layer of Dice over the rows of a batch: f(s) = s·(alpha + (1 - alpha)·sigmoid((s - mean)·scale)) */
typedef struct {
    int64_t units;      /* H */
    const float *s;     /* [N, H] hidden */
    const float *mean;  /* [H] */
    const float *scale; /* [H], 1 / sqrt(variance + epsilon) */
    const float *alpha; /* [H] */
} din_dice_layer;

/* The statistics of a batch. The moving averages are updated by them, and stay as they are without rows. */
void din_dice_statistics(
    int64_t threads,
    int64_t rows,            /* N */
    int64_t units,           /* H */
    const float *s,          /* [N, H] hidden */
    float *mean,             /* [H] out */
    float *scale,            /* [H] out: 1 / sqrt(variance + epsilon) */
    float *moving_mean,      /* [H] updated */
    float *moving_variance,  /* [H] updated */
    float momentum,          /* weight of this batch in the moving averages */
    float epsilon);

/* s = x·weightᵀ + bias */
void din_linear_forward(
    int64_t threads,
    int64_t rows,         /* N */
    int64_t inputs,       /* I */
    int64_t units,        /* H */
    const float *x,       /* [N, I] */
    const float *weight,  /* [H, I] */
    const float *bias,    /* [H] */
    float *s);            /* [N, H] hidden, out */

/* The gradients of din_linear_forward, from `u` and `means` of the layer of Dice above it. din_dice_output_backward
   explains these two. */
void din_linear_backward(
    int64_t threads,
    int64_t rows,                 /* N */
    int64_t inputs,               /* I */
    const float *x,               /* [N, I] */
    const float *weight,          /* [H, I] */
    const din_dice_layer *layer,  /* H units */
    const float *u,               /* [N, H] hidden */
    const float *means,           /* [3, H] */
    float *d_x,                   /* [N, I] out */
    float *d_weight,              /* [H, I] out */
    float *d_bias);               /* [H] out */

/* s = f(layer)·weightᵀ + bias */
void din_dice_linear_forward(
    int64_t threads,
    int64_t rows,                 /* N */
    const din_dice_layer *layer,  /* H units */
    int64_t outputs,              /* O */
    const float *weight,          /* [O, H] */
    const float *bias,            /* [O] */
    float *s);                    /* [N, O] hidden, out */

/* The gradients of din_dice_linear_forward: from `u` and `means` of the upper layer, which read that s, to `u` and
   `sums` of `layer`. */
void din_dice_linear_backward(
    int64_t threads,
    int64_t rows,                       /* N */
    const din_dice_layer *upper_layer,  /* O units */
    const float *upper_u,               /* [N, O] hidden */
    const float *upper_means,           /* [3, O] */
    const din_dice_layer *layer,        /* H units */
    const float *weight,                /* [O, H] */
    float *u,                           /* [N, H] hidden, out */
    float *sums,                        /* [4, H] out */
    float *d_weight,                    /* [O, H] out */
    float *d_bias);                     /* [O] out */

/* y = f(layer)·weight + bias: one output per row */
void din_dice_output_forward(
    int64_t threads,
    int64_t rows,                 /* N */
    const din_dice_layer *layer,  /* H units */
    const float *weight,          /* [H] */
    const float *bias,            /* [1] */
    float *y);                    /* [N] out */

/* The gradients of din_dice_output_forward.

   The gradient of s needs means over the whole batch, so it takes two steps (dice.h). This call leaves `u` and four
   sums over the rows. The first three sums, divided by the number of rows, are the `means` that the call for the
   layer below takes. The fourth is the gradient of alpha. */
void din_dice_output_backward(
    int64_t threads,
    int64_t rows,                 /* N */
    const din_dice_layer *layer,  /* H units */
    const float *weight,          /* [H] */
    const float *d_y,             /* [N] */
    float *u,                     /* [N, H] hidden, out */
    float *sums,                  /* [4, H] out */
    float *d_weight,              /* [H] out */
    float *d_bias);               /* [1] out */

/* ---- The activation unit (activation_unit.c) ---- */

/* The histories of a batch. The key of behaviour t is keys[position[t]], or keys[t] where `position` is NULL.
   Impression b has behaviours offsets[b] .. offsets[b + 1] - 1. */
typedef struct {
    int64_t impressions;     /* B */
    int64_t key_width;       /* K */
    const float *keys;       /* [U, K], or [T, K] without positions */
    const int64_t *position; /* [T] or NULL */
    const int64_t *offsets;  /* [B + 1] */
} din_histories;

/* Find where each impression's behaviours begin. */
void din_segment_offsets(
    int64_t count,           /* T */
    const int64_t *segment,  /* [T], each behaviour's impression, non-decreasing */
    int64_t segments,        /* B */
    int64_t *offsets);       /* [B + 1] out */

/* The first layer, for behaviour t of impression b: s_t = (key_weight + product_weight·diag(query_b))·k_t + base_b. The
   product with query_b concerns the first D of the K columns. */
void din_unit_forward(
    int64_t threads,
    const din_histories *histories,
    int64_t query_width,          /* D, at most K */
    int64_t units,                /* H */
    const float *query,           /* [B, D] */
    const float *base,            /* [B, H], the part of s that depends on the candidate alone */
    const float *key_weight,      /* [H, K] */
    const float *product_weight,  /* [H, D] */
    float *s);                    /* [T, H] hidden, out */

/* The gradients of din_unit_forward, from `u` and `means` of the layer of Dice above it. d_key includes the part that
   comes from pooling, weight_t·d_pooled_b. */
void din_unit_backward(
    int64_t threads,
    const din_histories *histories,
    int64_t query_width,          /* D */
    const float *query,           /* [B, D] */
    const float *key_weight,      /* [H, K] */
    const float *product_weight,  /* [H, D] */
    const float *weight,          /* [T], of the behaviours in the pooling */
    const float *d_pooled,        /* [B, K] */
    const din_dice_layer *layer,  /* H units */
    const float *u,               /* [T, H] hidden */
    const float *means,           /* [3, H] */
    float *d_base,                /* [B, H] out */
    float *d_query,               /* [B, D] out */
    float *d_key_weight,          /* [H, K] out */
    float *d_product_weight,      /* [H, D] out */
    float *d_key);                /* [T, K] out */

/* pooled_b = Σ_t weight_t·k_t over the behaviours t of impression b */
void din_pool_forward(
    int64_t threads,
    const din_histories *histories,
    const float *weight,  /* [T] */
    float *pooled);       /* [B, K] out */

/* The gradient of din_pool_forward's weights. That of its keys is part of din_unit_backward. */
void din_pool_backward(
    int64_t threads,
    const din_histories *histories,
    const float *d_pooled,  /* [B, K] */
    float *d_weight);       /* [T] out */

/* ---- The gradients of a batch of DIN (step.c) ---- */

/* A field: owner i has row ids[i] of the table, or where there are `owners`, the mean of the rows ids[j] of its j. */
typedef struct din_field {
    int64_t count;                /* M */
    const int64_t *ids;           /* [M] */
    const int64_t *owners;        /* [M], non-decreasing, every owner at least once; or NULL: owner i has id i */
    const struct din_field *next; /* of the same group, or NULL */
} din_field;

/* A layer of Dice and the linear layer after it, with their gradients. */
typedef struct din_dice_linear {
    int64_t units;                      /* H */
    const float *alpha;                 /* [H] */
    float *moving_mean;                 /* [H] updated */
    float *moving_variance;             /* [H] updated */
    const float *weight;                /* [O, H], where O is `units` of the next layer, or 1 */
    const float *bias;                  /* [O] */
    float *d_alpha;                     /* [H] out */
    float *d_weight;                    /* [O, H] out */
    float *d_bias;                      /* [O] out */
    const struct din_dice_linear *next; /* or NULL */
} din_dice_linear;

/* DIN. I, the inputs of the MLP, is P + K + D, or P + K + 2 D with the product. */
typedef struct {
    int64_t table_width;            /* W */
    int64_t dim;                    /* width of a field's embedding, the last columns of the table */
    int64_t query_width;            /* D */
    int64_t key_width;              /* K */
    int64_t profile_width;          /* P */
    int64_t product;                /* 1: interest * candidate is an input of the MLP */
    int64_t softmax;                /* 1: the weights of a history sum to 1 */
    int64_t item_bias;              /* 1: the first column of the candidate's row is added to the logit */
    float momentum;                 /* of the statistics of Dice */
    float epsilon;
    const float *query_weight;      /* [H, D], of the activation unit's first layer, as the rest up to `unit` */
    const float *key_weight;        /* [H, K] */
    const float *difference_weight; /* [H, D] or NULL */
    const float *product_weight;    /* [H, D] */
    const float *bias;              /* [H] */
    float *d_query_weight;          /* [H, D] out */
    float *d_key_weight;            /* [H, K] out */
    float *d_difference;            /* [H, D] out, or NULL */
    float *d_product_weight;        /* [H, D] out */
    float *d_bias;                  /* [H] out */
    const din_dice_linear *unit;    /* the layers above the first */
    const float *head_weight;       /* [H of the MLP, I] */
    const float *head_bias;         /* [H of the MLP] */
    float *d_head_weight;           /* [H of the MLP, I] out */
    float *d_head_bias;             /* [H of the MLP] out */
    const din_dice_linear *head;    /* the layers above the MLP's first */
} din_network;

typedef struct {
    int64_t impressions;               /* B */
    int64_t behaviours;                /* T */
    int64_t items;                     /* U */
    int64_t rows;                      /* R, of the table */
    const din_field *item_fields;      /* of U owners, the item's id first */
    const din_field *behaviour_fields; /* of T owners, or NULL */
    const din_field *profile_fields;   /* of B owners, or NULL */
    const int64_t *candidate;          /* [B], positions among the items */
    const int64_t *behaviour;          /* [T], positions among the items */
    const int64_t *segment;            /* [T], each behaviour's impression, non-decreasing */
    const float *labels;               /* [B] */
    const float *weights;              /* [B], of the impressions in the loss, or NULL */
    float offset;                      /* added to the logits */
} din_batch;

/* Return the mean loss of a batch. The gradients of all weights are filled, and the moving averages updated. */
double din_gradient(
    int64_t threads,
    const din_network *network,
    const din_batch *batch,
    const float *table,  /* [R, W], the rows that the batch touches */
    float *d_table);     /* [R, W] out */

/* ---- Scoring (score.c), in one thread ---- */

/* A linear layer of a trained perceptron, with Dice after it unless it is the last: f(s) = s·(alpha + (1 -
   alpha)·sigmoid(rate·s - shift)). Vectors have HP floats, H padded with zeros to din_hidden_size(1, H). */
typedef struct din_scored_layer {
    int64_t inputs;       /* I */
    int64_t units;        /* H; 1 in the last layer */
    const float *weight;  /* [I, HP], transposed; [I padded] in the last layer */
    const float *bias;    /* [HP] */
    const float *rate;    /* [HP], 1 / sqrt(variance + epsilon); NULL in the last layer */
    const float *shift;   /* [HP], mean·rate; NULL in the last layer */
    const float *alpha;   /* [HP]; NULL in the last layer */
    const struct din_scored_layer *next; /* NULL in the last layer */
} din_scored_layer;

/* The outputs of a perceptron of at least two layers. */
void din_score_perceptron(
    const din_scored_layer *first,  /* I inputs */
    int64_t rows,                   /* N */
    const float *x,                 /* [N, I] */
    float *y);                      /* [N] out */

/* The interests of an activation unit: pooled_b = Σ_t a(k_t, q_b)·k_t over the behaviours t of a history. */
void din_score_interests(
    const din_scored_layer *first,  /* K inputs, H units: the part of the first layer that reads a key alone */
    int64_t query_width,            /* D, at most K */
    const float *query_weight,      /* [D, HP], transposed */
    const float *product_weight,    /* [D, HP], transposed */
    int64_t impressions,            /* B */
    const float *query,             /* [B, D] */
    const din_histories *histories, /* of B impressions, or one history that all of them share */
    int64_t with_softmax,           /* 1: the weights of a history are normalised by a softmax */
    float *pooled);                 /* [B, K] out */
