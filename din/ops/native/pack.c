/* Packing a batch. The references are in din/ops/gather.py and din/ops/deduplicate.py. din_ops.h gives the shape of
   every argument. */
#include "din_ops.h"

int64_t din_count_behaviours(int64_t count, const int64_t *rows, const int32_t *starts, const int32_t *ends) {
    int64_t total = 0;
    for (int64_t b = 0; b < count; b++) total += ends[rows[b]] - starts[rows[b]];
    return total;
}

void din_pack_histories(int64_t count, const int64_t *rows, const int32_t *starts, const int32_t *ends,
                        const int32_t *behaviour_item, const int32_t *item, int64_t *place, int64_t *segment,
                        int64_t *touched) {
    int64_t t = 0;
    for (int64_t b = 0; b < count; b++)
        for (int64_t i = starts[rows[b]]; i < ends[rows[b]]; i++, t++) {
            place[t] = i;
            segment[t] = b;
            touched[t] = behaviour_item[i];
        }
    for (int64_t b = 0; b < count; b++) touched[t + b] = item[rows[b]];
}

void din_field_ids(int64_t count, const int64_t *owners, const int32_t *values, const float *drawn, float rate,
                   int64_t offset, int64_t *ids) {
    for (int64_t i = 0; i < count; i++) {
        int dropped = drawn && drawn[i] < rate;
        ids[i] = offset + (dropped ? 0 : values[owners[i]]);
    }
}

int64_t din_distinct(int64_t count, const int64_t *ids, int32_t *slot, int64_t *distinct, int64_t *position) {
    int64_t size = 0;
    for (int64_t i = 0; i < count; i++) slot[ids[i]] = (int32_t)i; /* now the last occurrence of each id */
    for (int64_t i = 0; i < count; i++)
        if (slot[ids[i]] == i) {
            slot[ids[i]] = (int32_t)size; /* now the id's place in `distinct` */
            distinct[size++] = ids[i];
        }
    for (int64_t i = 0; i < count; i++) position[i] = slot[ids[i]];
    return size;
}
