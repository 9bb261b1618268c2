"""The weights of rows in the loss: `featurize.weight` times a decay with age (`train.learning.half_life_days`).

    w = column · 2^(−age / half-life),  divided by its mean over the training rows

Weights are 1 on average, so the loss keeps its scale. The mean takes one pass over two columns. Age is counted back
from the last training row, and days that are learned later have no age.
"""

import numpy as np
from numpy.typing import NDArray

from din.base.errors import InputError
from din.features.day_rows import microseconds
from din.features.reader import Features, Impressions
from din.schema import DAY_US


class RowWeights:
    """The weights of rows of one feature directory.

    Args:
        half_life_days: None under `din.train.advance`, whose days have no age.

    Raises:
        InputError: all training rows are so old that they have no weight.
    """

    def __init__(self, features: Features, half_life_days: float | None) -> None:
        self._half_life_us = half_life_days and half_life_days * DAY_US
        self._until = microseconds(features.train_until)
        total = 0.0
        for shard in range(features.manifest.shards):
            times = features.timestamps(shard, "train")
            total += self._raw(times, features.weights(shard, "train")).sum()
        self._mean = total / sum(features.split_rows("train"))
        if not self._mean > 0:
            raise InputError(
                f"train.learning.half_life_days={half_life_days} leaves no training row any weight; raise it"
            )

    def of(self, impressions: Impressions, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the weights of rows [B] of a shard."""
        weight = None if impressions.weight is None else impressions.weight[rows]
        return (self._raw(impressions.timestamp[rows], weight) / self._mean).astype(np.float32)

    def _raw(self, times: NDArray[np.int64], weight: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """Return weights [B] before they are divided by their mean."""
        weight = np.ones(len(times)) if weight is None else weight
        return weight * np.exp2((times - self._until) / self._half_life_us) if self._half_life_us else weight
