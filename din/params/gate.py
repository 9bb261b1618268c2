"""The block `gate`."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from typing_extensions import Doc

from din.params.blocks import Block, Conflict, Fraction, Range, Share, reversed_range

Metrics = Annotated[tuple[Literal["auc", "gauc"], ...], Field(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class Gate(Block):
    """Conditions for promotion."""

    metrics: Annotated[
        Metrics,
        Doc("auc | gauc: the first one must prove a loss below the margin; a further one must not certainly lose more"),
    ] = ("auc", "gauc")
    margin: Annotated[
        Literal["auto"] | PositiveFloat,
        Doc("largest loss of each metric against the champion; auto = what today's users can exclude"),
    ] = "auto"
    max_margin: Annotated[
        PositiveFloat, Doc("auto never goes above: with fewer users the gate stays undecided until days add up")
    ] = 0.01
    min_auc: Annotated[Share, Doc("smallest AUC on the test rows")] = 0.55
    min_gauc: Annotated[Share, Doc("smallest GAUC on the test rows, if metrics has gauc")] = 0.5
    calibration: Annotated[
        Range,
        Doc("smallest and largest ratio of mean prediction to observed CTR, unless the champion is worse"),
    ] = (0.9, 1.1)
    slice_calibration: Annotated[Range, Doc("the same on each slice")] = (0.8, 1.25)
    confidence: Annotated[Fraction, Doc("level of each bound of a confidence interval")] = 0.95
    min_slice_rows: Annotated[PositiveInt, Doc("smallest number of test rows in a slice that is judged")] = 1000
    slice_margin: Annotated[NonNegativeFloat, Doc("largest loss of AUC against the champion on any slice")] = 0.02
    max_prediction_drift: Annotated[
        PositiveFloat,
        Doc("largest population stability index against the champion's predictions; above, log loss decides"),
    ] = 0.25
    max_champion_drop: Annotated[
        PositiveFloat, Doc("largest certain loss of the champion's AUC since its promotion: more means another log")
    ] = 0.05
    max_auc: Annotated[
        Share, Doc("a higher AUC holds the candidate for a person: it is more often a leak than a discovery")
    ] = 0.95
    max_gain: Annotated[
        PositiveFloat,
        Doc("a larger gain over the champion, or over LR beyond recent champions, holds the candidate too"),
    ] = 0.05
    max_bundle_mb: Annotated[PositiveFloat, Doc("largest size of the bundle on disk")] = 2000
    max_bundle_ratio: Annotated[PositiveFloat, Doc("largest size of the bundle, divided by the champion's")] = 3.0
    max_latency_ms: Annotated[
        PositiveFloat | None,
        Doc("for 500 candidates and the longest history, on one thread of a usual server; null = not measured"),
    ] = 100
    max_latency_ratio: Annotated[
        PositiveFloat,
        Doc("largest time of a request, divided by the champion's; not measured if max_latency_ms is null"),
    ] = 1.5
    allow_older: Annotated[
        bool, Doc("true: promote even if the champion saw newer data (disables the gate data_until alone)")
    ] = False
    options: Annotated[dict[str, dict[str, Any]], Doc("limits of gates that plugins register, by their names")] = field(
        default_factory=dict
    )

    def conflicts(self) -> Iterator[Conflict]:
        """Report bounds in the wrong order, and a metric that is named twice."""
        if len(set(self.metrics)) < len(self.metrics):
            yield Conflict(("metrics",), "a metric is named twice; name auc and gauc at most once each")
        if self.min_auc > self.max_auc:
            yield Conflict(("min_auc", "max_auc"), "nothing lies between them; lower the first or raise the second")
        yield from reversed_range(self, "calibration")
        yield from reversed_range(self, "slice_calibration")
