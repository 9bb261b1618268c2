"""Histories in numpy: the behaviours of a packed batch, by the impression or the request that they belong to.

`din.ops` explains the shape letters, and `din.bundle.native` O.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from din.ops.scoring import Floats


class ScoredHistories(NamedTuple):
    """The behaviours of O histories.

    Attributes:
        key_TK: their keys.
        offsets: int64 [O + 1], where each history begins.
    """

    key_TK: Floats
    offsets: NDArray[np.int64]

    def total(self) -> Floats:
        """Return the sum of each history's keys, [O, K], which is 0 without behaviours."""
        starts = self.offsets[:-1]
        filled = starts < self.offsets[1:]
        total_OK = np.zeros((len(starts), self.key_TK.shape[1]), np.float32)
        total_OK[filled] = np.add.reduceat(self.key_TK, starts[filled])  # up to the next one that is filled
        return total_OK

    def mean(self) -> Floats:
        """Return the mean of each history's keys, [O, K], which is 0 without behaviours."""
        length_O = np.maximum(np.diff(self.offsets), 1).astype(np.float32)
        return self.total() / length_O[:, np.newaxis]
