"""Distinct values of integer arrays in O(N), with a scratch array as large as the id space.

    ids       7  3  7  9        distinct  3  7  9        position  1  0  1  2

N ids, U distinct ones. The native form gives the same values.
"""

import numpy as np

from din.ops import backend


class Deduplicator:
    """Find distinct ids below `size`. Not thread-safe: the scratch array is kept between calls."""

    def __init__(self, size: int) -> None:
        self._slot = np.zeros(size, np.int32)

    def __call__(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the distinct values of `ids` [N].

        Returns:
            distinct: [U], of the type of `ids`, in the order of their last occurrence.
            position: int64 [N], the position of each id in `distinct`.
        """
        library = backend.library()
        if library:
            count = len(ids)
            distinct = np.empty(count, np.int64)
            position = np.empty(count, np.int64)
            size = library.din_distinct(count, ids.astype(np.int64, copy=False), self._slot, distinct, position)
            return distinct[:size].astype(ids.dtype, copy=False), position
        positions = np.arange(len(ids), dtype=np.int32)
        self._slot[ids] = positions
        distinct = ids[self._slot[ids] == positions]
        self._slot[distinct] = np.arange(len(distinct), dtype=np.int32)
        return distinct, self._slot[ids].astype(np.int64)
