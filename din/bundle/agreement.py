"""The tolerances and the report of the stage `check_parity`, which compares the ways to compute a probability.

The tolerances are not parameters, because a bundle that needs wider ones does not compute the same function as the
judged model.
"""

from typing import Any, Literal, get_args

from pydantic import NonNegativeInt

from din.base.documents import Document
from din.base.names import Version

ParityPath = Literal["torch", "onnx", "scorer", "native"]
PATHS: tuple[ParityPath, ...] = get_args(ParityPath)
"""The ways to compute a probability, which must agree."""
PORTABLE = PATHS[:-1]
"""The ways for a model without a native form, and on a machine without a C compiler."""

ATOL_LOGIT = 1e-4
"""The largest difference of two logits. Beyond ±1 it is relative to the logit, because float32 has 24 bits."""
ATOL_PROBABILITY = 1e-5
"""The largest difference of two probabilities."""
AUC_DELTA = 1e-5
"""The upper bound of the difference of two AUCs, to which the share of pairs tied within `ATOL_LOGIT` is added."""
MIN_STD = 1e-4
"""The smallest standard deviation of the probabilities. If all are alike, agreement proves nothing."""


class ParityReport(Document):
    """The agreement of PyTorch, onnxruntime, the scorer and its C kernels. A figure that wasn't measured is None."""

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

    @property
    def agrees(self) -> bool:
        """Whether the report is open, all paths were compared, and every figure was measured and is within bounds."""
        return (
            (self.verdict, self.reason, self.flips) == ("open", None, 0)
            and self.paths in (PATHS, PORTABLE)
            and self.cases > 0
            and self.max_abs_probability_diff is not None
            and self.max_abs_probability_diff <= ATOL_PROBABILITY
            and self.max_abs_logit_diff is not None
            and self.auc_delta is not None
            and self.std is not None
            and self.std >= MIN_STD
        )
