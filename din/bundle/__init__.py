"""Serve a trained model for raw ids: the bundle, its ONNX graphs, the scorer, and the check that all agree.

A service needs `Scorer`, and `Limits` if the defaults do not suit. Neither imports torch.
"""

from din.bundle.limits import Limits
from din.bundle.scorer import Scorer

__all__ = ["Limits", "Scorer"]
