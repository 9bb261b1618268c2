"""From a trained model to probabilities for raw ids: the bundle, its graphs, the scorer, and the proof that they agree.

A service needs `Scorer` alone; it never imports torch.
"""

from din.serve.scorer import Scorer

__all__ = ["Scorer"]
