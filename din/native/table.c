/* One pass over the rows of the embedding table that a step touches, as in din/train/optimizers.py.

   rows [count], distinct; gradient [count, W]; table and moments [R, W]; decay [R]. By column, [W]: penalised, 0 or 1,
   and pace, a factor on the rate. A penalty that is `coupled` is part of the gradient, else it shrinks beside the step. */
#include "parts.h"

#define AHEAD 8 /* rows that are fetched before their turn: they lie anywhere */

INLINE void fetch(const float *row, int64_t W) { __builtin_prefetch(row, 1), __builtin_prefetch(row + W - 1, 1); }

/* Runs the statements that follow for every row, which begins at `at` in the table. */
#define EACH_ROW(also)                                                                                                 \
    IN_PARTS                                                                                                           \
    for (int64_t part = 0; part < parts; part++)                                                                       \
        for (int64_t i = cut(count, parts, part), end = cut(count, parts, part + 1); i < end; i++) {                   \
            if (i + AHEAD < end) {                                                                                     \
                int64_t next = rows[i + AHEAD] * W;                                                                    \
                fetch(table + next, W);                                                                                \
                also                                                                                                   \
            }                                                                                                          \
            int64_t at = rows[i] * W;                                                                                  \
            float inside = coupled ? decay[rows[i]] : 0, beside = coupled ? 0 : fminf(rate * decay[rows[i]], 1);

/* Runs the statements that follow for `n` columns k.. of a row at a time: `by` is their gradient, `kept` what the
   penalty beside the step leaves of w. */
#define EACH_COLUMN                                                                                                    \
    for (int64_t k = 0, n; n = least(LANES, W - k), k < W; k += LANES) {                                               \
        V w = load_part(table + at + k, n), penalty = load_part(penalised + k, n);                                     \
        V by = load_part(gradient + i * W + k, n) + inside * penalty * w, kept = w * (1 - beside * penalty);

void table_sgd(int64_t parts, int64_t count, int64_t W, const int64_t *rows, const float *gradient, const float *decay,
               int64_t coupled, const float *penalised, const float *pace, float rate, float *table) {
    EACH_ROW()
        EACH_COLUMN
            store_part(table + at + k, kept - rate * load_part(pace + k, n) * by, n);
        }
    }
}

/* rest_1, rest_2: 1 − β₁, 1 − β₂; correction: √(1 − β₂ᵗ) / (1 − β₁ᵗ); epsilon: already times √(1 − β₂ᵗ). */
void table_adam(int64_t parts, int64_t count, int64_t W, const int64_t *rows, const float *gradient, const float *decay,
                int64_t coupled, const float *penalised, const float *pace, float rate, float *table, float *first,
                float *second, float rest_1, float beta_2, float rest_2, float correction, float epsilon) {
    EACH_ROW(fetch(first + next, W); fetch(second + next, W);)
        EACH_COLUMN
            V m = load_part(first + at + k, n), v = load_part(second + at + k, n) * beta_2 + by * by * rest_2;
            m += (by - m) * rest_1;
            store_part(first + at + k, m, n), store_part(second + at + k, v, n);
            V step = m * correction / (root(v) + epsilon);
            store_part(table + at + k, kept - rate * load_part(pace + k, n) * step, n);
        }
    }
}

/* squares [R]: each row's sum of its gradients' mean squares. */
void table_adagrad(int64_t parts, int64_t count, int64_t W, const int64_t *rows, const float *gradient,
                   const float *decay, int64_t coupled, const float *penalised, const float *pace, float rate,
                   float *table, float *squares, float epsilon) {
    EACH_ROW()
        V sum = {0};
        EACH_COLUMN
            sum += by * by;
        }
        float scale = rate / (sqrtf(squares[rows[i]] += total(sum) / W) + epsilon);
        EACH_COLUMN
            store_part(table + at + k, kept - scale * load_part(pace + k, n) * by, n);
        }
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
