"""From a trained model to probabilities for raw ids: the bundle, its graphs, the scorer, and the check that they agree.

A service needs `Scorer`, and `Limits` if the defaults do not suit; neither imports torch.
"""

from din.serve.limits import Limits
from din.serve.scorer import Scorer

__all__ = ["Limits", "Scorer"]
