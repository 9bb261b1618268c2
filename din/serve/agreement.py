"""The agreement of the ways to compute a probability: the tolerances of the stage `check_parity`, and its report.

The tolerances are no parameters, because a bundle that needs wider ones computes something else than the model that was
judged.
"""

from typing import Any, Literal, get_args

from pydantic import NonNegativeInt

from din.documents import Document
from din.names import Version

ParityPath = Literal["torch", "onnx", "scorer"]
PATHS: tuple[ParityPath, ...] = get_args(ParityPath)
"""The ways to compute a probability, which must agree."""

ATOL_LOGIT = 1e-4
"""The largest difference of two logits, relative beyond 1, as float32 has 24 bits."""
ATOL_PROBABILITY = 1e-5
"""The largest difference of two probabilities."""
AUC_DELTA = 1e-5
"""The difference of two AUCs that they must stay below, beside the pairs that are tied within `ATOL_LOGIT`."""
MIN_STD = 1e-4
"""The smallest standard deviation of the outputs; closer ones prove nothing."""


class ParityReport(Document):
    """The agreement of PyTorch, onnxruntime and the scorer; what could not be measured is None."""

    verdict: Literal["open", "closed"]
    bundle: Version | None
    paths: tuple[ParityPath, ...]
    cases: NonNegativeInt
    max_abs_probability_diff: float | None
    max_abs_logit_diff: float | None
    auc_delta: float | None
    std: float | None
    flips: NonNegativeInt | None
    worst: dict[str, Any] | None
    reason: str | None
