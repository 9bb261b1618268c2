/* Layers of Dice, each followed by a linear layer (Eq. 9 of arXiv 1706.06978), in sweeps over tiles of rows.

   Dice needs the mean and variance of the whole batch. So one sweep computes the hidden values s of a layer,
   `din_dice_statistics` makes `mean` and `scale` from them, and the next sweep goes on. Backward is divided in the same
   way; dice.h has the formulas.

   N rows, I inputs, H hidden units, O outputs. HP, IP and OP are these widths padded to whole vectors. din_ops.h gives
   the shape of every argument of the public functions. */
#include "dice.h"

#include <math.h>

#include "gemm.h"

int64_t din_hidden_size(int64_t rows, int64_t units) { return rows * padded(units); }

/* squares [HP] += the sum of the squared deviations of rows s [count, HP] from `center` [HP]. */
INLINE void add_squared_deviations(int64_t width, int64_t count, const float *s, const float *center, float *squares) {
    for (int64_t j = 0; j < width; j += LANES) {
        V mean = load(center + j), sum = {0};
        for (int64_t i = 0; i < count; i++) {
            V deviation = load(s + i * width + j) - mean;
            sum += deviation * deviation;
        }
        store(squares + j, load(squares + j) + sum);
    }
}

void din_dice_statistics(int64_t threads, int64_t rows, int64_t units, const float *s, float *mean, float *scale,
                         float *moving_mean, float *moving_variance, float momentum, float epsilon) {
    int64_t width = padded(units), divisor = rows ? rows : 1;
    float *part_sums = zeros(threads * width); /* [threads, HP] */
    float *squares = zeros(units);
    IN_PARTS
    for (int64_t part = 0; part < threads; part++) {
        Range range = rows_of_part(rows, threads, part);
        for (int64_t t = range.begin; t < range.end; t += TILE)
            add_columns(width, minimum(TILE, range.end - t), s + t * width, part_sums + part * width);
    }
    combine(threads, width, part_sums, 1, units, mean);
    for (int64_t j = 0; j < units; j++) mean[j] /= divisor;
    float *center = filled(mean, 1, units);
    memset(part_sums, 0, 4 * threads * width);
    IN_PARTS
    for (int64_t part = 0; part < threads; part++) {
        Range range = rows_of_part(rows, threads, part);
        for (int64_t t = range.begin; t < range.end; t += TILE) {
            int64_t count = minimum(TILE, range.end - t);
            add_squared_deviations(width, count, s + t * width, center, part_sums + part * width);
        }
    }
    combine(threads, width, part_sums, 1, units, squares);
    for (int64_t j = 0; j < units; j++) {
        float variance = squares[j] / divisor;
        scale[j] = 1 / sqrtf(variance + epsilon);
        if (!rows) continue;
        moving_mean[j] += (mean[j] - moving_mean[j]) * momentum;
        moving_variance[j] += (variance - moving_variance[j]) * momentum;
    }
    FREE(part_sums, squares, center);
}

void din_linear_forward(int64_t threads, int64_t rows, int64_t inputs, int64_t units, const float *x,
                        const float *weight, const float *bias, float *s) {
    int64_t width = padded(units);
    float *weight_columns = transposed(weight, units, inputs); /* [I, HP] */
    float *padded_bias = filled(bias, 1, units);               /* [HP] */
    IN_PARTS
    for (int64_t part = 0; part < threads; part++) {
        Range range = rows_of_part(rows, threads, part);
        const float *first_x = x + range.begin * inputs;
        float *first_s = s + range.begin * width;
        gemm(range.end - range.begin, width, inputs, first_x, inputs, 1, weight_columns, width, padded_bias, 0, first_s,
             width);
    }
    FREE(weight_columns, padded_bias);
}

void din_linear_backward(int64_t threads, int64_t rows, int64_t inputs, const float *x, const float *weight,
                         const din_dice_layer *layer, const float *u, const float *means, float *d_x, float *d_weight,
                         float *d_bias) {
    PaddedLayer dice = padded_layer(layer);
    int64_t units = dice.units, width = padded(inputs);
    int64_t part_size = units * width + dice.width;     /* d_weight [H, IP], then d_bias [HP] */
    float *memory = zeros(threads * part_size);
    float *weight_rows = filled(weight, units, inputs); /* [H, IP] */
    float *padded_means = filled(means, 3, units);      /* [3, HP] */
    float *zero_row = zeros(width);
    IN_PARTS
    for (int64_t part = 0; part < threads; part++) {
        float *ds = zeros(TILE * dice.width);                                 /* [TILE, HP] */
        float *x_tile = zeros(TILE * width), *d_x_tile = zeros(TILE * width); /* [TILE, IP] */
        float *weight_sum = memory + part * part_size, *bias_sum = weight_sum + units * width;
        Range range = rows_of_part(rows, threads, part);
        for (int64_t t = range.begin; t < range.end; t += TILE) {
            int64_t count = minimum(TILE, range.end - t);
            to_input(dice, padded_means, t, count, u + t * dice.width, ds);
            add_columns(dice.width, count, ds, bias_sum);
            for (int64_t i = 0; i < count; i++) copy(x_tile + i * width, x + (t + i) * inputs, inputs);
            /* d_weight += dsᵀ·x, d_x = ds·weight */
            gemm(units, width, count, ds, 1, dice.width, x_tile, width, weight_sum, width, weight_sum, width);
            gemm(count, width, units, ds, dice.width, 1, weight_rows, width, zero_row, 0, d_x_tile, width);
            for (int64_t i = 0; i < count; i++) copy(d_x + (t + i) * inputs, d_x_tile + i * width, inputs);
        }
        FREE(ds, x_tile, d_x_tile);
    }
    combine(threads, part_size, memory, units, inputs, d_weight);
    combine(threads, part_size, memory + units * width, 1, units, d_bias);
    FREE(memory, weight_rows, padded_means, zero_row, dice.mean);
}

void din_dice_linear_forward(int64_t threads, int64_t rows, const din_dice_layer *layer, int64_t outputs,
                             const float *weight, const float *bias, float *s) {
    PaddedLayer dice = padded_layer(layer);
    int64_t width = padded(outputs);
    float *weight_columns = transposed(weight, outputs, dice.units); /* [H, OP] */
    float *padded_bias = filled(bias, 1, outputs);                   /* [OP] */
    IN_PARTS
    for (int64_t part = 0; part < threads; part++) {
        float *activated = zeros(TILE * dice.width); /* [TILE, HP] */
        Range range = rows_of_part(rows, threads, part);
        for (int64_t t = range.begin; t < range.end; t += TILE) {
            int64_t count = minimum(TILE, range.end - t);
            activate(dice, t, count, activated, NULL);
            gemm(count, width, dice.units, activated, dice.width, 1, weight_columns, width, padded_bias, 0,
                 s + t * width, width);
        }
        FREE(activated);
    }
    FREE(weight_columns, padded_bias, dice.mean);
}

void din_dice_linear_backward(int64_t threads, int64_t rows, const din_dice_layer *upper_layer, const float *upper_u,
                              const float *upper_means, const din_dice_layer *layer, const float *weight, float *u,
                              float *sums, float *d_weight, float *d_bias) {
    PaddedLayer upper = padded_layer(upper_layer), dice = padded_layer(layer);
    int64_t width = dice.width, weight_size = upper.width * width;
    int64_t part_size = 4 * width + weight_size + upper.width; /* sums [4, HP], d_weight [OP, HP], d_bias [OP] */
    float *memory = zeros(threads * part_size);
    float *weight_rows = filled(weight, upper.units, dice.units); /* [O, HP] */
    float *padded_means = filled(upper_means, 3, upper.units);    /* [3, OP] */
    float *zero_row = zeros(width);
    IN_PARTS
    for (int64_t part = 0; part < threads; part++) {
        float *activated = zeros(TILE * width), *gates = zeros(TILE * width); /* [TILE, HP] */
        float *ds = zeros(TILE * upper.width);                                /* [TILE, OP], of `upper` */
        float *part_sums = memory + part * part_size;
        float *weight_sum = part_sums + 4 * width, *bias_sum = weight_sum + weight_size;
        Range range = rows_of_part(rows, threads, part);
        for (int64_t t = range.begin; t < range.end; t += TILE) {
            int64_t count = minimum(TILE, range.end - t);
            to_input(upper, padded_means, t, count, upper_u + t * upper.width, ds);
            add_columns(upper.width, count, ds, bias_sum);
            activate(dice, t, count, activated, gates);
            /* d_weight += dsᵀ·f(s), and the gradient of f(s) is ds·weight */
            gemm(upper.units, width, count, ds, 1, upper.width, activated, width, weight_sum, width, weight_sum, width);
            gemm(count, width, upper.units, ds, upper.width, 1, weight_rows, width, zero_row, 0, u + t * width, width);
            add_sums(dice, t, count, u + t * width, gates, part_sums);
        }
        FREE(activated, gates, ds);
    }
    combine(threads, part_size, memory, 4, dice.units, sums);
    combine(threads, part_size, memory + 4 * width, upper.units, dice.units, d_weight);
    combine(threads, part_size, memory + 4 * width + weight_size, 1, upper.units, d_bias);
    FREE(memory, weight_rows, padded_means, zero_row, upper.mean, dice.mean);
}

void din_dice_output_forward(int64_t threads, int64_t rows, const din_dice_layer *layer, const float *weight,
                             const float *bias, float *y) {
    PaddedLayer dice = padded_layer(layer);
    float *padded_weight = filled(weight, 1, dice.units); /* [HP] */
    IN_PARTS
    for (int64_t part = 0; part < threads; part++) {
        float *activated = zeros(TILE * dice.width); /* [TILE, HP] */
        Range range = rows_of_part(rows, threads, part);
        for (int64_t t = range.begin; t < range.end; t += TILE) {
            int64_t count = minimum(TILE, range.end - t);
            activate(dice, t, count, activated, NULL);
            for (int64_t i = 0; i < count; i++) {
                V products = {0};
                for (int64_t j = 0; j < dice.width; j += LANES)
                    products += load(activated + i * dice.width + j) * load(padded_weight + j);
                y[t + i] = sum_of(products) + *bias;
            }
        }
        FREE(activated);
    }
    FREE(padded_weight, dice.mean);
}

void din_dice_output_backward(int64_t threads, int64_t rows, const din_dice_layer *layer, const float *weight,
                              const float *d_y, float *u, float *sums, float *d_weight, float *d_bias) {
    PaddedLayer dice = padded_layer(layer);
    int64_t width = dice.width, part_size = 5 * width + LANES; /* sums [4, HP], d_weight [HP], d_bias [1] padded */
    float *memory = zeros(threads * part_size);
    float *padded_weight = filled(weight, 1, dice.units); /* [HP] */
    IN_PARTS
    for (int64_t part = 0; part < threads; part++) {
        float *activated = zeros(TILE * width), *gates = zeros(TILE * width); /* [TILE, HP] */
        float *part_sums = memory + part * part_size;
        float *weight_sum = part_sums + 4 * width, *bias_sum = weight_sum + width;
        Range range = rows_of_part(rows, threads, part);
        for (int64_t t = range.begin; t < range.end; t += TILE) {
            int64_t count = minimum(TILE, range.end - t);
            activate(dice, t, count, activated, gates);
            for (int64_t j = 0; j < width; j += LANES) {
                V weights = load(padded_weight + j), sum = {0};
                for (int64_t i = 0; i < count; i++) {
                    store(u + (t + i) * width + j, d_y[t + i] * weights); /* the gradient of f(s) */
                    sum += d_y[t + i] * load(activated + i * width + j);
                }
                store(weight_sum + j, load(weight_sum + j) + sum);
            }
            float d_y_sum = 0;
            for (int64_t i = 0; i < count; i++) d_y_sum += d_y[t + i];
            *bias_sum += d_y_sum;
            add_sums(dice, t, count, u + t * width, gates, part_sums);
        }
        FREE(activated, gates);
    }
    combine(threads, part_size, memory, 4, dice.units, sums);
    combine(threads, part_size, memory + 4 * width, 1, dice.units, d_weight);
    combine(threads, part_size, memory + 5 * width, 1, 1, d_bias);
    FREE(memory, padded_weight, dice.mean);
}
