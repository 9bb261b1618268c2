"""The weights of rows in the loss: the column `featurize.weight`, divided by its mean over the training rows.

Weights are 1 on average, so the loss keeps its scale. The mean takes one pass over one column.
"""

import numpy as np
from numpy.typing import NDArray

from din.base.errors import InputError
from din.features.reader import Features, Impressions


class RowWeights:
    """The weights of rows of one feature directory, which has weights.

    Raises:
        InputError: no training row has any weight.
    """

    def __init__(self, features: Features) -> None:
        total = 0.0
        for shard in range(features.manifest.shards):
            weight = features.weights(shard, "train")
            assert weight is not None
            total += weight.sum()
        self._mean = total / sum(features.split_rows("train"))
        if not self._mean > 0:
            raise InputError(
                f"featurize.weight: {features.manifest.params['weight']!r} is 0 in every training row; choose a column "
                "that weighs some of them, or null"
            )

    def of(self, impressions: Impressions, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the weights of rows [B] of a shard."""
        assert impressions.weight is not None
        return (impressions.weight[rows] / self._mean).astype(np.float32)
