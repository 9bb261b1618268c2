/* Rows of the embedding table: gathers, their gradients, and one pass over the rows that a step updates, as the
   references of din/ops/rows.py and din/ops/table_update.py do it. */
#include "din_ops.h"
#include "parts.h"

#define AHEAD 8 /* rows that are fetched before their turn: they lie anywhere */

INLINE void prefetch(const float *row, int64_t width) {
    __builtin_prefetch(row, 1), __builtin_prefetch(row + width - 1, 1);
}

/* What one row's update needs beside its gradient. */
typedef struct {
    int64_t start; /* of the row, in the table and the moments */
    float coupled; /* the penalty inside the gradient: decay, or 0 */
    float shrink;  /* the penalty beside the step: rate·decay, at most 1, or 0 */
} Row;

INLINE Row row_of(const din_row_update *update, int64_t i) {
    float decay = update->decay[update->rows[i]];
    return (Row){update->rows[i] * update->width, update->coupled ? decay : 0,
                 update->coupled ? 0 : fminf(update->rate * decay, 1)};
}

/* Columns k .. k + n of row i: the gradient with a coupled penalty, and the weights as any other penalty leaves them. */
typedef struct {
    V gradient, kept;
} Columns;

INLINE Columns columns_of(const din_row_update *update, Row row, int64_t i, int64_t k, int64_t n) {
    V w = load_part(update->table + row.start + k, n), penalised = load_part(update->penalised + k, n);
    V gradient = load_part(update->gradient + i * update->width + k, n) + row.coupled * penalised * w;
    return (Columns){gradient, w * (1 - row.shrink * penalised)};
}

INLINE void step(const din_row_update *update, Row row, int64_t k, int64_t n, V kept, float rate, V direction) {
    store_part(update->table + row.start + k, kept - rate * load_part(update->pace + k, n) * direction, n);
}

void din_sgd(int64_t threads, const din_row_update *update) {
    IN_PARTS
    for (int64_t part = 0; part < threads; part++) {
        din_row_update own = *update; /* a copy that stores can't alias */
        for (int64_t i = cut(own.count, threads, part), end = cut(own.count, threads, part + 1); i < end; i++) {
            if (i + AHEAD < end) prefetch(own.table + own.rows[i + AHEAD] * own.width, own.width);
            Row row = row_of(&own, i);
            for (int64_t k = 0; k < own.width; k += LANES) {
                int64_t n = least(LANES, own.width - k);
                Columns columns = columns_of(&own, row, i, k, n);
                step(&own, row, k, n, columns.kept, own.rate, columns.gradient);
            }
        }
    }
}

void din_adam(int64_t threads, const din_row_update *update, float *first, float *second, float rest_1, float beta_2,
              float rest_2, float correction, float epsilon) {
    IN_PARTS
    for (int64_t part = 0; part < threads; part++) {
        din_row_update own = *update; /* a copy that stores can't alias */
        for (int64_t i = cut(own.count, threads, part), end = cut(own.count, threads, part + 1); i < end; i++) {
            if (i + AHEAD < end) {
                int64_t next = own.rows[i + AHEAD] * own.width;
                prefetch(own.table + next, own.width);
                prefetch(first + next, own.width);
                prefetch(second + next, own.width);
            }
            Row row = row_of(&own, i);
            for (int64_t k = 0; k < own.width; k += LANES) {
                int64_t n = least(LANES, own.width - k);
                Columns columns = columns_of(&own, row, i, k, n);
                V gradient = columns.gradient, m = load_part(first + row.start + k, n);
                V v = load_part(second + row.start + k, n) * beta_2 + gradient * gradient * rest_2;
                m += (gradient - m) * rest_1;
                store_part(first + row.start + k, m, n), store_part(second + row.start + k, v, n);
                step(&own, row, k, n, columns.kept, own.rate, m * correction / (root(v) + epsilon));
            }
        }
    }
}

void din_rowwise_adagrad(int64_t threads, const din_row_update *update, float *squares, float epsilon) {
    IN_PARTS
    for (int64_t part = 0; part < threads; part++) {
        din_row_update own = *update; /* a copy that stores can't alias */
        for (int64_t i = cut(own.count, threads, part), end = cut(own.count, threads, part + 1); i < end; i++) {
            if (i + AHEAD < end) prefetch(own.table + own.rows[i + AHEAD] * own.width, own.width);
            Row row = row_of(&own, i);
            V sum = {0};
            for (int64_t k = 0; k < own.width; k += LANES) {
                V gradient = columns_of(&own, row, i, k, least(LANES, own.width - k)).gradient;
                sum += gradient * gradient;
            }
            float *square = squares + own.rows[i];
            *square += total(sum) / own.width;
            float rate = own.rate / (sqrtf(*square) + epsilon);
            for (int64_t k = 0; k < own.width; k += LANES) {
                int64_t n = least(LANES, own.width - k);
                Columns columns = columns_of(&own, row, i, k, n);
                step(&own, row, k, n, columns.kept, rate, columns.gradient);
            }
        }
    }
}

void din_take_rows(int64_t threads, int64_t count, const int64_t *ids, const float *table, int64_t table_width,
                   int64_t column, int64_t width, float *restrict to, int64_t to_width, int64_t to_column) {
    to += to_column, table += column;
    IN_PARTS
    for (int64_t part = 0; part < threads; part++)
        for (int64_t i = cut(count, threads, part), end = cut(count, threads, part + 1); i < end; i++) {
            if (i + AHEAD < end) __builtin_prefetch(table + ids[i + AHEAD] * table_width);
            for (int64_t k = 0; k < width; k++) to[i * to_width + k] = table[ids[i] * table_width + k];
        }
}

/* A part owns some rows of the table, so the order of sums is that of `ids` however many parts there are. */
void din_add_rows(int64_t threads, int64_t count, const int64_t *ids, int64_t table_rows, float *restrict table,
                  int64_t table_width, int64_t column, int64_t width, const float *restrict from, int64_t from_width,
                  int64_t from_column) {
    table += column, from += from_column;
    IN_PARTS
    for (int64_t part = 0; part < threads; part++) {
        int64_t start = cut(table_rows, threads, part), end = cut(table_rows, threads, part + 1);
        for (int64_t i = 0; i < count; i++)
            if (ids[i] >= start && ids[i] < end)
                for (int64_t k = 0; k < width; k++) table[ids[i] * table_width + k] += from[i * from_width + k];
    }
}
