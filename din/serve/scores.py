"""The scores of one way to compute them, for all cases of a comparison."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """The scores of N impressions, [N] each."""

    logits: Vector
    probabilities: Vector

    @classmethod
    def of(cls, logits: Vector) -> "Scores":
        """Return the logits with their probabilities, 1/(1 + e^−logit)."""
        return cls(logits, np.exp(-np.logaddexp(0, -logits)))

    @classmethod
    def joined(cls, parts: "Sequence[Scores]") -> "Scores":
        """Return the scores of all parts, one after the other."""
        return cls(
            np.concatenate([part.logits for part in parts]), np.concatenate([part.probabilities for part in parts])
        )
