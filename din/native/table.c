/* One pass over the rows of the embedding table that a step touches, as in din/train/optimizers.py.

   rows [count], distinct; gradient [count, W]; table and moments [R, W]; decay [R]. By column, [W]: penalised, 0 or 1,
   and pace, a factor on the rate. A penalty that is `coupled` is part of the gradient, else it shrinks beside the step. */
#include <math.h>

#include "parts.h"

#define AHEAD 8 /* rows that are fetched before their turn: they lie anywhere */

/* Runs the statements that follow for every row; `at` is where it begins in the table. */
#define EACH_ROW(also)                                                                                                 \
    IN_PARTS                                                                                                           \
    for (int64_t part = 0; part < parts; part++)                                                                       \
        for (int64_t i = cut(count, parts, part), end = cut(count, parts, part + 1); i < end; i++) {                   \
            if (i + AHEAD < end) {                                                                                     \
                int64_t next = rows[i + AHEAD] * W;                                                                    \
                __builtin_prefetch(table + next, 1), __builtin_prefetch(table + next + W - 1, 1);                      \
                also                                                                                                   \
            }                                                                                                          \
            int64_t at = rows[i] * W;                                                                                  \
            float *w = table + at;                                                                                     \
            const float *g = gradient + i * W;                                                                         \
            float inside = coupled ? decay[rows[i]] : 0, beside = coupled ? 0 : rate * decay[rows[i]];

void table_sgd(int64_t parts, int64_t count, int64_t W, const int64_t *rows, const float *restrict gradient,
               const float *decay, int64_t coupled, const float *penalised, const float *pace, float rate,
               float *restrict table) {
    EACH_ROW()
        for (int64_t k = 0; k < W; k++)
            w[k] = w[k] * (1 - beside * penalised[k]) - rate * pace[k] * (g[k] + inside * penalised[k] * w[k]);
    }
}

/* rest_1, rest_2: 1 − β₁, 1 − β₂; correction: √(1 − β₂ᵗ) / (1 − β₁ᵗ); epsilon: already times √(1 − β₂ᵗ). */
void table_adam(int64_t parts, int64_t count, int64_t W, const int64_t *rows, const float *restrict gradient,
                const float *decay, int64_t coupled, const float *penalised, const float *pace, float rate,
                float *restrict table, float *restrict first, float *restrict second, float rest_1,
                float beta_2, float rest_2, float correction, float epsilon) {
    EACH_ROW(__builtin_prefetch(first + next, 1); __builtin_prefetch(first + next + W - 1, 1);
             __builtin_prefetch(second + next, 1); __builtin_prefetch(second + next + W - 1, 1);)
        float *m = first + at, *v = second + at;
        for (int64_t k = 0; k < W; k++) {
            float by = g[k] + inside * penalised[k] * w[k];
            m[k] += (by - m[k]) * rest_1;
            v[k] = v[k] * beta_2 + by * by * rest_2;
            w[k] = w[k] * (1 - beside * penalised[k]) - rate * pace[k] * (m[k] * correction / (sqrtf(v[k]) + epsilon));
        }
    }
}

/* squares [R]: each row's sum of its gradients' mean squares. */
void table_adagrad(int64_t parts, int64_t count, int64_t W, const int64_t *rows, const float *restrict gradient,
                   const float *decay, int64_t coupled, const float *penalised, const float *pace, float rate,
                   float *restrict table, float *restrict squares, float epsilon) {
    EACH_ROW()
        float sum = 0;
        for (int64_t k = 0; k < W; k++) {
            float by = g[k] + inside * penalised[k] * w[k];
            sum += by * by;
        }
        float scale = rate / (sqrtf(squares[rows[i]] += sum / W) + epsilon);
        for (int64_t k = 0; k < W; k++)
            w[k] = w[k] * (1 - beside * penalised[k]) - scale * pace[k] * (g[k] + inside * penalised[k] * w[k]);
    }
}

/* Columns column .. column + width of the rows `ids` [count], into rows of `stride` floats. */
void table_take(int64_t parts, int64_t count, int64_t W, const int64_t *ids, const float *table, int64_t column,
                int64_t width, float *restrict to, int64_t stride) {
    IN_PARTS
    for (int64_t part = 0; part < parts; part++)
        for (int64_t i = cut(count, parts, part), end = cut(count, parts, part + 1); i < end; i++) {
            if (i + AHEAD < end) __builtin_prefetch(table + ids[i + AHEAD] * W + column);
            for (int64_t k = 0; k < width; k++) to[i * stride + k] = table[ids[i] * W + column + k];
        }
}

/* Its gradient, added to that of the table [R, W]; a part owns some rows, so the order of sums is that of `ids`. */
void table_add(int64_t parts, int64_t count, int64_t W, const int64_t *ids, int64_t R, float *restrict table,
               int64_t column, int64_t width, const float *restrict from, int64_t stride) {
    IN_PARTS
    for (int64_t part = 0; part < parts; part++) {
        int64_t start = cut(R, parts, part), end = cut(R, parts, part + 1);
        for (int64_t i = 0; i < count; i++)
            if (ids[i] >= start && ids[i] < end)
                for (int64_t k = 0; k < width; k++) table[ids[i] * W + column + k] += from[i * stride + k];
    }
}
