/* Distinct ids of a batch, as `Deduplicator` in din/eventlog/packing.py. */
#include <stdint.h>

/* slot: as large as the id space. Distinct ids in order of their last occurrence, and each id's position among them
   [count]; returns how many are distinct. */
int64_t distinct(int64_t count, const int64_t *ids, int32_t *slot, int64_t *found, int64_t *position) {
    int64_t size = 0;
    for (int64_t i = 0; i < count; i++) slot[ids[i]] = (int32_t)i;
    for (int64_t i = 0; i < count; i++)
        if (slot[ids[i]] == i) {
            slot[ids[i]] = (int32_t)size;
            found[size++] = ids[i];
        }
    for (int64_t i = 0; i < count; i++) position[i] = slot[ids[i]];
    return size;
}
