/* Layers of Dice, each followed by a linear one, in sweeps over tiles of rows (Eq. 9 of arXiv 1706.06978).

   Between two sweeps lie the moments of a whole batch, which the caller turns into `mean` and `scale` and, backward,
   into the means of what `add_sums` sums. */
#include "dice.h"

#include <math.h>

#include "gemm.h"

/* Floats of a row of `units` hidden values. */
int64_t row_width(int64_t units) { return padded(units); }

/* Of s [rows, width]: own [1 + 2 width], the number of rows, then mean and summed squared deviations; of no rows zeros. */
void moments(int64_t parts, int64_t rows, int64_t width, const float *s, float *own) {
    float *sums = zeros(parts * width), *mean = own + 1, *squares = mean + width;
    IN_PARTS
    for (int64_t part = 0; part < parts; part++)
        for (int64_t t = cut(rows, parts, part), end = cut(rows, parts, part + 1); t < end; t += TILE)
            add_columns(width, least(TILE, end - t), s + t * width, sums + part * width);
    combine(parts, width, sums, 1, width, mean);
    *own = rows;
    for (int64_t j = 0; j < width; j++) mean[j] /= rows ? rows : 1;
    memset(sums, 0, 4 * parts * width);
    IN_PARTS
    for (int64_t part = 0; part < parts; part++)
        for (int64_t t = cut(rows, parts, part), end = cut(rows, parts, part + 1); t < end; t += TILE)
            for (int64_t j = 0; j < width; j += LANES) {
                V center = load(mean + j), sum = {0};
                for (int64_t i = t; i < least(t + TILE, end); i++) {
                    V off = load(s + i * width + j) - center;
                    sum += off * off;
                }
                store(sums + part * width + j, load(sums + part * width + j) + sum);
            }
    combine(parts, width, sums, 1, width, squares);
    free(sums);
}

/* Of the moments of all processes, [processes, 1 + 2 width]: how many rows [1], at least 1, their mean and 1 / √(Var[s] +
   ε) [width], and the moving averages [units], which no rows leave alone. Chan, Golub & LeVeque 1983. */
void statistics(int64_t processes, int64_t width, int64_t units, const float *everyones, float *rows, float *mean,
                float *scale, float *moving_mean, float *moving_variance, float momentum, float epsilon) {
    float total = 0;
    for (int64_t p = 0; p < processes; p++) total += everyones[p * (1 + 2 * width)];
    *rows = total > 0 ? total : 1;
    for (int64_t j = 0; j < width; j++) {
        float center = 0, variance = 0;
        for (int64_t p = 0; p < processes; p++) {
            const float *own = everyones + p * (1 + 2 * width);
            center += own[0] / *rows * own[1 + j];
        }
        for (int64_t p = 0; p < processes; p++) {
            const float *own = everyones + p * (1 + 2 * width);
            float off = own[1 + j] - center;
            variance += (own[1 + width + j] + own[0] * off * off) / *rows;
        }
        mean[j] = center, scale[j] = 1 / sqrtf(variance + epsilon);
        if (j < units && total > 0) {
            moving_mean[j] += (center - moving_mean[j]) * momentum;
            moving_variance[j] += (variance - moving_variance[j]) * momentum;
        }
    }
}

/* y [rows, outputs padded] = weight·f(s) + bias. */
void dice_linear(int64_t parts, int64_t rows, int64_t units, int64_t outputs, const float *s, const float *mean,
                 const float *scale, const float *alpha, const float *weight, const float *bias, float *y) {
    Layer l = layer(units, s, mean, scale, alpha);
    int64_t width = padded(outputs);
    float *w = transposed(weight, outputs, units), *start = filled(bias, 1, outputs);
    IN_PARTS
    for (int64_t part = 0; part < parts; part++) {
        float *a = zeros(TILE * l.width);
        for (int64_t t = cut(rows, parts, part), end = cut(rows, parts, part + 1); t < end; t += TILE) {
            int64_t count = least(TILE, end - t);
            activate(l, t, count, a, 0);
            gemm(count, width, units, a, l.width, 1, w, width, start, 0, y + t * width, width);
        }
        free(a);
    }
    free(l.alpha), free(w), free(start);
}

/* y [rows] = weight·f(s) + bias of one output. */
void dice_output(int64_t parts, int64_t rows, int64_t units, const float *s, const float *mean, const float *scale,
                 const float *alpha, const float *weight, const float *bias, float *y) {
    Layer l = layer(units, s, mean, scale, alpha);
    float *w = filled(weight, 1, units);
    IN_PARTS
    for (int64_t part = 0; part < parts; part++) {
        float *a = zeros(TILE * l.width);
        for (int64_t t = cut(rows, parts, part), end = cut(rows, parts, part + 1); t < end; t += TILE) {
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
    free(l.alpha), free(w);
}

/* From dy [rows] of `dice_output`: u and sums [4, width] of f(s), and the gradients of weight and bias. */
void dice_output_backward(int64_t parts, int64_t rows, int64_t units, const float *s, const float *mean,
                          const float *scale, const float *alpha, const float *weight, const float *dy, float *u,
                          float *sums, float *d_weight, float *d_bias) {
    Layer l = layer(units, s, mean, scale, alpha);
    int64_t size = 5 * l.width + LANES;
    float *w = filled(weight, 1, units), *own = zeros(parts * size);
    IN_PARTS
    for (int64_t part = 0; part < parts; part++) {
        float *a = zeros(TILE * l.width), *gate = zeros(TILE * l.width);
        float *by_weight = own + part * size + 4 * l.width, *by_bias = by_weight + l.width;
        for (int64_t t = cut(rows, parts, part), end = cut(rows, parts, part + 1); t < end; t += TILE) {
            int64_t count = least(TILE, end - t);
            activate(l, t, count, a, gate);
            for (int64_t j = 0; j < l.width; j += LANES) {
                V weights = load(w + j), sum = {0};
                for (int64_t i = 0; i < count; i++) {
                    store(u + (t + i) * l.width + j, dy[t + i] * weights);
                    sum += dy[t + i] * load(a + i * l.width + j);
                }
                store(by_weight + j, load(by_weight + j) + sum);
            }
            float sum = 0;
            for (int64_t i = 0; i < count; i++) sum += dy[t + i];
            *by_bias += sum;
            add_sums(l, t, count, u + t * l.width, gate, own + part * size);
        }
        free(a), free(gate);
    }
    combine(parts, size, own, 1, 4 * l.width, sums);
    combine(parts, size, own + 4 * l.width, 1, units, d_weight);
    combine(parts, size, own + 5 * l.width, 1, 1, d_bias);
    free(l.alpha), free(w), free(own);
}

/* From u of the upper layer and its means: u and sums of the lower layer, whose weight [upper, lower] leads to the
   upper. */
void dice_linear_backward(int64_t parts, int64_t rows, int64_t upper_units, const float *upper_s,
                          const float *upper_mean, const float *upper_scale, const float *upper_alpha,
                          const float *upper_u, const float *means, int64_t units, const float *s, const float *mean,
                          const float *scale, const float *alpha, const float *weight, float *u, float *sums,
                          float *d_weight, float *d_bias) {
    Layer up = layer(upper_units, upper_s, upper_mean, upper_scale, upper_alpha), l = layer(units, s, mean, scale, alpha);
    int64_t size = 4 * l.width + up.width * l.width + up.width;
    float *w = filled(weight, upper_units, units), *own = zeros(parts * size), *nothing = zeros(l.width);
    IN_PARTS
    for (int64_t part = 0; part < parts; part++) {
        float *a = zeros(TILE * l.width), *gate = zeros(TILE * l.width), *ds = zeros(TILE * up.width);
        float *by_weight = own + part * size + 4 * l.width, *by_bias = by_weight + up.width * l.width;
        for (int64_t t = cut(rows, parts, part), end = cut(rows, parts, part + 1); t < end; t += TILE) {
            int64_t count = least(TILE, end - t);
            to_input(up, means, t, count, upper_u + t * up.width, ds);
            add_columns(up.width, count, ds, by_bias);
            activate(l, t, count, a, gate);
            gemm(upper_units, l.width, count, ds, 1, up.width, a, l.width, by_weight, l.width, by_weight, l.width);
            gemm(count, l.width, upper_units, ds, up.width, 1, w, l.width, nothing, 0, u + t * l.width, l.width);
            add_sums(l, t, count, u + t * l.width, gate, own + part * size);
        }
        free(a), free(gate), free(ds);
    }
    combine(parts, size, own, 1, 4 * l.width, sums);
    combine(parts, size, own + 4 * l.width, upper_units, units, d_weight);
    combine(parts, size, own + 4 * l.width + up.width * l.width, 1, upper_units, d_bias);
    free(up.alpha), free(l.alpha), free(w), free(own), free(nothing);
}

/* s [rows, outputs padded] = weight·x + bias of x [rows, inputs]. */
void input_linear(int64_t parts, int64_t rows, int64_t inputs, int64_t outputs, const float *x, const float *weight,
                  const float *bias, float *s) {
    int64_t width = padded(outputs);
    float *w = transposed(weight, outputs, inputs), *start = filled(bias, 1, outputs);
    IN_PARTS
    for (int64_t part = 0; part < parts; part++) {
        int64_t from = cut(rows, parts, part), count = cut(rows, parts, part + 1) - from;
        gemm(count, width, inputs, x + from * inputs, inputs, 1, w, width, start, 0, s + from * width, width);
    }
    free(w), free(start);
}

/* From the lowest layer's u and means: the gradients of x, weight and bias. */
void input_linear_backward(int64_t parts, int64_t rows, int64_t inputs, const float *x, const float *weight,
                           int64_t units, const float *s, const float *mean, const float *scale, const float *alpha,
                           const float *u, const float *means, float *dx, float *d_weight, float *d_bias) {
    Layer l = layer(units, s, mean, scale, alpha);
    int64_t width = padded(inputs), size = l.units * width + l.width;
    float *w = filled(weight, units, inputs), *own = zeros(parts * size), *nothing = zeros(width);
    IN_PARTS
    for (int64_t part = 0; part < parts; part++) {
        float *ds = zeros(TILE * l.width), *in = zeros(TILE * width), *back = zeros(TILE * width);
        for (int64_t t = cut(rows, parts, part), end = cut(rows, parts, part + 1); t < end; t += TILE) {
            int64_t count = least(TILE, end - t);
            to_input(l, means, t, count, u + t * l.width, ds);
            add_columns(l.width, count, ds, own + part * size + l.units * width);
            for (int64_t i = 0; i < count; i++) copy(in + i * width, x + (t + i) * inputs, inputs);
            float *by_weight = own + part * size;
            gemm(units, width, count, ds, 1, l.width, in, width, by_weight, width, by_weight, width);
            gemm(count, width, units, ds, l.width, 1, w, width, nothing, 0, back, width);
            for (int64_t i = 0; i < count; i++) copy(dx + (t + i) * inputs, back + i * width, inputs);
        }
        free(ds), free(in), free(back);
    }
    combine(parts, size, own, units, inputs, d_weight);
    combine(parts, size, own + l.units * width, 1, units, d_bias);
    free(w), free(own), free(nothing), free(l.alpha);
}
