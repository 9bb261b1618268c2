"""The metrics that `evaluate` writes, and the facts of a bundle, which hold them.

reports/evaluation.json      Evaluation
models/bundle/facts.json     Facts
"""

from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveInt

from din.base.documents import Document
from din.base.names import Day, Digest, ModelName, Moment
from din.base.workspace import Format
from din.contracts.manifests import Negatives, Order, Protocol, SplitRows, Window

NOT_CALIBRATED = "not calibrated: negatives were drawn"
"""The words of card, report and watch about a model whose log holds clicks only."""


class Metrics(Document):
    """Metrics of one set of probabilities; an undefined metric is None."""

    rows: NonNegativeInt
    users: NonNegativeInt
    one_class_users: NonNegativeInt
    ctr: float | None
    auc: float | None
    gauc: float | None
    log_loss: float | None
    normalized_entropy: float | None
    calibration_ratio: float | None
    ece: float | None


class SliceMetrics(Metrics):
    """Metrics of one slice of the rows."""

    by: str
    value: str


class Ranking(Document):
    """Metrics of scores that only rank."""

    auc: float | None
    gauc: float | None


class Floors(Document):
    """The models a candidate must beat; LR is not trained for a candidate that continues the champion."""

    popularity: Ranking
    lr: Metrics | None


class EvaluationInputs(Document):
    """Hashes of the features and the model that a stage read."""

    features: Digest
    model: Digest


class Bounded(Document):
    """A figure and its bounds, None where they are undefined."""

    value: float | None
    interval: tuple[float | None, float | None]


RankingMetric = Literal["auc", "gauc"]


class Gain(Document):
    """A metric on the test rows before and after a step of training, and the difference."""

    before: float | None
    after: float | None
    difference: Bounded


class LearnedUntil(Document):
    """The time of the last row that a model had learned when it scored each split."""

    valid: Moment
    test: Moment


class Oracle(Document):
    """The true probabilities of a simulated log."""

    auc: float


class Slices(Document):
    """Slices by split."""

    test: list[SliceMetrics]


class Evaluation(Document):
    """Metrics of the validation and the test rows that the model had not learned.

    Attributes:
        valid: metrics of the model before its pass over the validation days and without its blend; None if it had
            learned all validation rows.
        test: metrics of the model after the pass.
        learned_until: the times until which either had learned.
        advance: the gains that the pass made on the test rows; None without a pass.
        blend: the gains that the blend makes on the test rows; None without a blend.
    """

    valid: Metrics | None
    test: Metrics
    learned_until: LearnedUntil
    advance: dict[RankingMetric, Gain] | None
    blend: dict[RankingMetric, Gain] | None = None
    floors: Floors
    inputs: EvaluationInputs
    oracle: Oracle | None
    slices: Slices


class SplitProtocol(Document):
    """The split of the rows."""

    name: Protocol
    order: Order
    seed: NonNegativeInt
    valid_fraction: float
    test_fraction: float
    valid_days: PositiveInt
    test_days: PositiveInt


class InputDigests(Document):
    """Hashes of the directories that a bundle was made from."""

    raw: Digest
    features: Digest
    model: Digest
    shipped: Digest


class FactParams(Document):
    """The parts of params.yaml that shaped a bundle."""

    data: Window
    featurize: dict[str, Any]
    train: dict[str, Any]


class Verdicts(Document):
    """Verdicts of the validation suites."""

    raw: Literal["open"]
    features: Literal["open"]
    predictions: Literal["open"]


class Facts(Document):
    """The origin of a bundle and its quality.

    Attributes:
        train_until: the time of the last row of the training split.
        judged_until: the time of the last row that the judged model had learned; `evaluation` is about this model.
        seen_until: the time of the last row that the exported model has learned.
        negatives: None if no negatives were left out.
        negatives_drawn: whether the log holds clicks only, so that negatives were drawn from its items. The model then
            ranks, but its probabilities are not calibrated.
    """

    format: Format
    model_name: ModelName
    model: str
    train_until: Moment
    judged_until: Moment
    seen_until: Moment
    until: Day
    protocol: SplitProtocol
    rows: SplitRows
    negatives: Negatives | None = None
    negatives_drawn: bool
    inputs: InputDigests
    params: FactParams
    seed: NonNegativeInt
    packages: dict[str, str]
    validation: Verdicts
    evaluation: Evaluation
