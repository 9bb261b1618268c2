/* The keys of the behaviours in histories. K is the width of a key, and KP the same padded to whole vectors. */
#pragma once

#include "din_ops.h"
#include "parts.h"

/* The key [K] of behaviour t. */
INLINE const float *key_of(const din_histories *histories, int64_t t) {
    return histories->keys + (histories->position ? histories->position[t] : t) * histories->key_width;
}

/* Copy the keys of behaviours t .. t + count - 1 to `keys` [count, KP]. */
INLINE void take_keys(const din_histories *histories, int64_t t, int64_t count, float *keys) {
    int64_t K = histories->key_width;
    for (int64_t i = 0; i < count; i++) copy(keys + i * padded(K), key_of(histories, t + i), K);
}
