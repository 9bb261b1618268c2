/* Layers of Dice, each followed by a linear one, in sweeps over tiles of rows (Eq. 9 of arXiv 1706.06978).

   Between two sweeps lie the moments of a whole batch, which `din_dice_statistics` turns into `mean` and `scale` and,
   backward, the caller into the means of what `add_sums` sums. */
#include "dice.h"

#include <math.h>

#include "gemm.h"

int64_t din_hidden_size(int64_t rows, int64_t units) { return rows * padded(units); }

void din_dice_moments(int64_t threads, int64_t rows, int64_t units, const float *s, float *moments) {
    int64_t width = padded(units);
    float *sums = zeros(threads * width), *mean = moments + 1, *squares = mean + units;
    IN_PARTS
    for (int64_t part = 0; part < threads; part++)
        for (int64_t t = cut(rows, threads, part), end = cut(rows, threads, part + 1); t < end; t += TILE)
            add_columns(width, least(TILE, end - t), s + t * width, sums + part * width);
    combine(threads, width, sums, 1, units, mean);
    *moments = rows;
    for (int64_t j = 0; j < units; j++) mean[j] /= rows ? rows : 1;
    float *center = filled(mean, 1, units);
    memset(sums, 0, 4 * threads * width);
    IN_PARTS
    for (int64_t part = 0; part < threads; part++)
        for (int64_t t = cut(rows, threads, part), end = cut(rows, threads, part + 1); t < end; t += TILE)
            for (int64_t j = 0; j < width; j += LANES) {
                V middle = load(center + j), sum = {0};
                for (int64_t i = t; i < least(t + TILE, end); i++) {
                    V off = load(s + i * width + j) - middle;
                    sum += off * off;
                }
                store(sums + part * width + j, load(sums + part * width + j) + sum);
            }
    combine(threads, width, sums, 1, units, squares);
    free(sums), free(center);
}

/* Chan, Golub & LeVeque 1983. */
void din_dice_statistics(int64_t processes, int64_t units, const float *moments, float *rows, float *mean, float *scale,
                         float *moving_mean, float *moving_variance, float momentum, float epsilon) {
    int64_t stride = 1 + 2 * units;
    float total = 0;
    for (int64_t p = 0; p < processes; p++) total += moments[p * stride];
    *rows = total > 0 ? total : 1;
    for (int64_t j = 0; j < units; j++) {
        float center = 0, variance = 0;
        for (int64_t p = 0; p < processes; p++) {
            const float *part = moments + p * stride;
            center += part[0] / *rows * part[1 + j];
        }
        for (int64_t p = 0; p < processes; p++) {
            const float *part = moments + p * stride;
            float off = part[1 + j] - center;
            variance += (part[1 + units + j] + part[0] * off * off) / *rows;
        }
        mean[j] = center, scale[j] = 1 / sqrtf(variance + epsilon);
        if (total > 0) {
            moving_mean[j] += (center - moving_mean[j]) * momentum;
            moving_variance[j] += (variance - moving_variance[j]) * momentum;
        }
    }
}

void din_linear_forward(int64_t threads, int64_t rows, int64_t inputs, int64_t units, const float *x,
                        const float *weight, const float *bias, float *s) {
    int64_t width = padded(units);
    float *w = transposed(weight, units, inputs), *start = filled(bias, 1, units);
    IN_PARTS
    for (int64_t part = 0; part < threads; part++) {
        int64_t from = cut(rows, threads, part), count = cut(rows, threads, part + 1) - from;
        gemm(count, width, inputs, x + from * inputs, inputs, 1, w, width, start, 0, s + from * width, width);
    }
    free(w), free(start);
}

void din_linear_backward(int64_t threads, int64_t rows, int64_t inputs, const float *x, const float *weight,
                         const din_dice_layer *layer, const float *u, const float *means, float *d_x, float *d_weight,
                         float *d_bias) {
    Layer l = padded_layer(layer);
    int64_t width = padded(inputs), size = l.units * width + l.width;
    float *w = filled(weight, l.units, inputs), *padded_means = filled(means, 3, l.units);
    float *sums = zeros(threads * size), *no_start = zeros(width);
    IN_PARTS
    for (int64_t part = 0; part < threads; part++) {
        float *ds = zeros(TILE * l.width), *in = zeros(TILE * width), *back = zeros(TILE * width);
        float *weight_sum = sums + part * size, *bias_sum = weight_sum + l.units * width;
        for (int64_t t = cut(rows, threads, part), end = cut(rows, threads, part + 1); t < end; t += TILE) {
            int64_t count = least(TILE, end - t);
            to_input(l, padded_means, t, count, u + t * l.width, ds);
            add_columns(l.width, count, ds, bias_sum);
            for (int64_t i = 0; i < count; i++) copy(in + i * width, x + (t + i) * inputs, inputs);
            gemm(l.units, width, count, ds, 1, l.width, in, width, weight_sum, width, weight_sum, width);
            gemm(count, width, l.units, ds, l.width, 1, w, width, no_start, 0, back, width);
            for (int64_t i = 0; i < count; i++) copy(d_x + (t + i) * inputs, back + i * width, inputs);
        }
        free(ds), free(in), free(back);
    }
    combine(threads, size, sums, l.units, inputs, d_weight);
    combine(threads, size, sums + l.units * width, 1, l.units, d_bias);
    free(w), free(padded_means), free(sums), free(no_start), free(l.mean);
}

void din_dice_linear_forward(int64_t threads, int64_t rows, const din_dice_layer *layer, int64_t outputs,
                             const float *weight, const float *bias, float *s) {
    Layer l = padded_layer(layer);
    int64_t width = padded(outputs);
    float *w = transposed(weight, outputs, l.units), *start = filled(bias, 1, outputs);
    IN_PARTS
    for (int64_t part = 0; part < threads; part++) {
        float *a = zeros(TILE * l.width);
        for (int64_t t = cut(rows, threads, part), end = cut(rows, threads, part + 1); t < end; t += TILE) {
            int64_t count = least(TILE, end - t);
            activate(l, t, count, a, 0);
            gemm(count, width, l.units, a, l.width, 1, w, width, start, 0, s + t * width, width);
        }
        free(a);
    }
    free(w), free(start), free(l.mean);
}

void din_dice_linear_backward(int64_t threads, int64_t rows, const din_dice_layer *upper, const float *upper_u,
                              const float *upper_means, const din_dice_layer *layer, const float *weight, float *u,
                              float *sums, float *d_weight, float *d_bias) {
    Layer up = padded_layer(upper), l = padded_layer(layer);
    int64_t size = 4 * l.width + up.width * l.width + up.width;
    float *w = filled(weight, up.units, l.units), *means = filled(upper_means, 3, up.units);
    float *memory = zeros(threads * size), *no_start = zeros(l.width);
    IN_PARTS
    for (int64_t part = 0; part < threads; part++) {
        float *a = zeros(TILE * l.width), *gate = zeros(TILE * l.width), *ds = zeros(TILE * up.width);
        float *part_sums = memory + part * size, *weight_sum = part_sums + 4 * l.width;
        float *bias_sum = weight_sum + up.width * l.width;
        for (int64_t t = cut(rows, threads, part), end = cut(rows, threads, part + 1); t < end; t += TILE) {
            int64_t count = least(TILE, end - t);
            to_input(up, means, t, count, upper_u + t * up.width, ds);
            add_columns(up.width, count, ds, bias_sum);
            activate(l, t, count, a, gate);
            gemm(up.units, l.width, count, ds, 1, up.width, a, l.width, weight_sum, l.width, weight_sum, l.width);
            gemm(count, l.width, up.units, ds, up.width, 1, w, l.width, no_start, 0, u + t * l.width, l.width);
            add_sums(l, t, count, u + t * l.width, gate, part_sums);
        }
        free(a), free(gate), free(ds);
    }
    combine(threads, size, memory, 4, l.units, sums);
    combine(threads, size, memory + 4 * l.width, up.units, l.units, d_weight);
    combine(threads, size, memory + 4 * l.width + up.width * l.width, 1, up.units, d_bias);
    free(w), free(means), free(memory), free(no_start), free(up.mean), free(l.mean);
}

void din_dice_output_forward(int64_t threads, int64_t rows, const din_dice_layer *layer, const float *weight,
                             const float *bias, float *y) {
    Layer l = padded_layer(layer);
    float *w = filled(weight, 1, l.units);
    IN_PARTS
    for (int64_t part = 0; part < threads; part++) {
        float *a = zeros(TILE * l.width);
        for (int64_t t = cut(rows, threads, part), end = cut(rows, threads, part + 1); t < end; t += TILE) {
            int64_t count = least(TILE, end - t);
            activate(l, t, count, a, 0);
            for (int64_t i = 0; i < count; i++) {
                V sum = {0};
                for (int64_t j = 0; j < l.width; j += LANES) sum += load(a + i * l.width + j) * load(w + j);
                y[t + i] = total(sum) + *bias;
            }
        }
        free(a);
    }
    free(w), free(l.mean);
}

void din_dice_output_backward(int64_t threads, int64_t rows, const din_dice_layer *layer, const float *weight,
                              const float *d_y, float *u, float *sums, float *d_weight, float *d_bias) {
    Layer l = padded_layer(layer);
    int64_t size = 5 * l.width + LANES;
    float *w = filled(weight, 1, l.units), *memory = zeros(threads * size);
    IN_PARTS
    for (int64_t part = 0; part < threads; part++) {
        float *a = zeros(TILE * l.width), *gate = zeros(TILE * l.width);
        float *part_sums = memory + part * size, *weight_sum = part_sums + 4 * l.width;
        float *bias_sum = weight_sum + l.width;
        for (int64_t t = cut(rows, threads, part), end = cut(rows, threads, part + 1); t < end; t += TILE) {
            int64_t count = least(TILE, end - t);
            activate(l, t, count, a, gate);
            for (int64_t j = 0; j < l.width; j += LANES) {
                V weights = load(w + j), sum = {0};
                for (int64_t i = 0; i < count; i++) {
                    store(u + (t + i) * l.width + j, d_y[t + i] * weights);
                    sum += d_y[t + i] * load(a + i * l.width + j);
                }
                store(weight_sum + j, load(weight_sum + j) + sum);
            }
            float sum = 0;
            for (int64_t i = 0; i < count; i++) sum += d_y[t + i];
            *bias_sum += sum;
            add_sums(l, t, count, u + t * l.width, gate, part_sums);
        }
        free(a), free(gate);
    }
    combine(threads, size, memory, 4, l.units, sums);
    combine(threads, size, memory + 4 * l.width, 1, l.units, d_weight);
    combine(threads, size, memory + 5 * l.width, 1, 1, d_bias);
    free(w), free(memory), free(l.mean);
}
