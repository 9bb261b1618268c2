/* Rows of the embedding table: copy them, add to them, and update those that a training step touches. The references
   are in din/ops/table_rows.py and din/ops/row_update.py. din_ops.h gives the shape of every argument of the public
   functions.

   The rows of a batch lie anywhere in memory, so each is fetched AHEAD rows before its turn. */
#include "din_ops.h"
#include "parts.h"

#define AHEAD 8

/* Fetch the first and the last cache line of a row [width]. */
INLINE void prefetch(const float *row, int64_t width) {
    __builtin_prefetch(row, 1);
    __builtin_prefetch(row + width - 1, 1);
}

/* One row of an update. */
typedef struct {
    int64_t start; /* where the row begins in the table and in the moments */
    float coupled; /* decay that is added to the gradient, or 0 */
    float shrink;  /* rate·decay, at most 1, by which the weights shrink beside the step, or 0 */
} Row;

INLINE Row row_of(const din_row_update *update, int64_t i) {
    float decay = update->decay[update->rows[i]];
    return (Row){update->rows[i] * update->width, update->coupled ? decay : 0,
                 update->coupled ? 0 : fminf(update->rate * decay, 1)};
}

/* A vector of a row's columns before the step. */
typedef struct {
    V gradient; /* with a coupled penalty */
    V weights;  /* after any other penalty */
} Columns;

/* Read columns k .. k + count - 1 of row i. */
INLINE Columns columns_of(const din_row_update *update, Row row, int64_t i, int64_t k, int64_t count) {
    V weights = load_part(update->table + row.start + k, count), penalised = load_part(update->penalised + k, count);
    V gradient = load_part(update->gradient + i * update->width + k, count) + row.coupled * penalised * weights;
    return (Columns){gradient, weights * (1 - row.shrink * penalised)};
}

/* Write columns k .. k + count - 1 of a row: weights − rate·direction. */
INLINE void step(const din_row_update *update, Row row, int64_t k, int64_t count, V weights, V direction) {
    store_part(update->table + row.start + k, weights - update->rate * direction, count);
}

void din_sgd(int64_t threads, const din_row_update *update) {
    IN_PARTS
    for (int64_t part = 0; part < threads; part++) {
        din_row_update local = *update; /* a copy: what is stored below can't alias it */
        Range range = rows_of_part(local.count, threads, part);
        for (int64_t i = range.begin; i < range.end; i++) {
            if (i + AHEAD < range.end) prefetch(local.table + local.rows[i + AHEAD] * local.width, local.width);
            Row row = row_of(&local, i);
            for (int64_t k = 0; k < local.width; k += LANES) {
                int64_t count = minimum(LANES, local.width - k);
                Columns columns = columns_of(&local, row, i, k, count);
                step(&local, row, k, count, columns.weights, columns.gradient);
            }
        }
    }
}

void din_adam(int64_t threads, const din_row_update *update, float *first, float *second, float one_minus_beta_1,
              float beta_2, float one_minus_beta_2, float correction, float epsilon) {
    IN_PARTS
    for (int64_t part = 0; part < threads; part++) {
        din_row_update local = *update; /* a copy: what is stored below can't alias it */
        Range range = rows_of_part(local.count, threads, part);
        for (int64_t i = range.begin; i < range.end; i++) {
            if (i + AHEAD < range.end) {
                int64_t next = local.rows[i + AHEAD] * local.width;
                prefetch(local.table + next, local.width);
                prefetch(first + next, local.width);
                prefetch(second + next, local.width);
            }
            Row row = row_of(&local, i);
            for (int64_t k = 0; k < local.width; k += LANES) {
                int64_t count = minimum(LANES, local.width - k);
                Columns columns = columns_of(&local, row, i, k, count);
                V gradient = columns.gradient;
                V m = load_part(first + row.start + k, count);
                V v = load_part(second + row.start + k, count) * beta_2 + gradient * gradient * one_minus_beta_2;
                m += (gradient - m) * one_minus_beta_1;
                store_part(first + row.start + k, m, count);
                store_part(second + row.start + k, v, count);
                V direction = m * correction / (square_root(v) + epsilon);
                step(&local, row, k, count, columns.weights, direction);
            }
        }
    }
}

void din_take_rows(int64_t threads, int64_t count, const int64_t *ids, const float *table, int64_t table_width,
                   int64_t column, int64_t width, float *restrict rows, int64_t rows_width, int64_t rows_column) {
    table += column;
    rows += rows_column;
    IN_PARTS
    for (int64_t part = 0; part < threads; part++) {
        Range range = rows_of_part(count, threads, part);
        for (int64_t i = range.begin; i < range.end; i++) {
            if (i + AHEAD < range.end) __builtin_prefetch(table + ids[i + AHEAD] * table_width);
            for (int64_t k = 0; k < width; k++) rows[i * rows_width + k] = table[ids[i] * table_width + k];
        }
    }
}

/* Each part owns some rows of the table, so that sums are in the order of `ids` for any number of parts. */
void din_add_rows(int64_t threads, int64_t count, const int64_t *ids, int64_t table_rows, float *restrict table,
                  int64_t table_width, int64_t column, int64_t width, const float *restrict rows, int64_t rows_width,
                  int64_t rows_column) {
    table += column;
    rows += rows_column;
    IN_PARTS
    for (int64_t part = 0; part < threads; part++) {
        Range owned = rows_of_part(table_rows, threads, part);
        for (int64_t i = 0; i < count; i++)
            if (ids[i] >= owned.begin && ids[i] < owned.end)
                for (int64_t k = 0; k < width; k++) table[ids[i] * table_width + k] += rows[i * rows_width + k];
    }
}
