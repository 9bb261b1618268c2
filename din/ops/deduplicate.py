"""Distinct values of integer arrays in O(N), by a scratch array as large as the id space.

    ids       7  3  7  9        distinct  3  7  9        position  1  0  1  2

Native where chosen; the same values either way.
"""

import numpy as np

from din.ops import backend


class Deduplicator:
    """Finds distinct ids below `size`; keeps its scratch array between calls, so it is not thread-safe."""

    def __init__(self, size: int) -> None:
        self._slot = np.zeros(size, np.int32)

    def __call__(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the distinct ids [U] in the order of their last occurrence, and the position [N] of each id of `ids`
        [N] among them, int64."""
        library = backend.library()
        if library:
            found, position = np.empty(len(ids), np.int64), np.empty(len(ids), np.int64)
            size = library.din_distinct(len(ids), ids.astype(np.int64, copy=False), self._slot, found, position)
            return found[:size].astype(ids.dtype, copy=False), position
        positions = np.arange(len(ids), dtype=np.int32)
        self._slot[ids] = positions
        distinct = ids[self._slot[ids] == positions]
        self._slot[distinct] = np.arange(len(distinct), dtype=np.int32)
        return distinct, self._slot[ids].astype(np.int64)
