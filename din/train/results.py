"""The documents that the stages of training write in addition to models and predictions.

reports/training/summary.json       TrainingSummary
reports/training/*times.json        TrainingTimes
reports/refit.json                  RefitReport
"""

from pydantic import NonNegativeInt, PositiveInt

from din.base.documents import Document
from din.base.names import Day, Digest, Moment
from din.contracts.facts import EvaluationInputs
from din.contracts.machine import RanBackend


class DayReport(Document):
    """A day that a pass has learned: the metrics of its rows before, and the mean loss of the steps."""

    day: Day
    rows: PositiveInt
    auc: float | None
    gauc: float | None
    log_loss: float | None
    loss: float


class Epoch(Document):
    """One epoch of a training, counted from 0, with its mean loss and the metrics of the validation rows after it."""

    epoch: NonNegativeInt
    train_loss: float
    valid_auc: float | None
    valid_gauc: float | None
    valid_log_loss: float | None


BLENDED = {
    "model": "the model's logit",
    "impressions": "how often it was shown in training",
    "clicks": "how often it was clicked in training",
    "popularity": "its smoothed CTR in training",
    "behaviours": "how long the history is",
    "nearest": "how often it goes together with the most similar behaviour",
    "near": "how often it goes together with the behaviours, on average",
    "liked": "the feedback on behaviours that it goes together with",
    "level": "the user's usual feedback",
    "taste": "the feedback that the user's feedback on other items would suggest",
}
"""The columns of a blend (`din.model.blend`), and what each says of a candidate."""


class BlendSummary(Document):
    """The blend of a model: the validation rows that it was fitted on, and how much each column matters there.

    An effect is the standard deviation of what a column adds to the logit.
    """

    rows: PositiveInt
    users: PositiveInt
    effects: dict[str, float]


class TrainingSummary(Document):
    """The summary of a training. `epochs` is the number of epochs that ran, and `best_epoch` counts from 1.

    A continued champion runs no epochs, so both are 0. `days` are the days that were learned in passes. An empty list
    is left out, since `dvc plots` draws nothing from a file that has one. Of `valid_auc` and `valid_gauc`, only the one
    that chose the best epoch is there. `blend` is left out if none was fitted: a continued champion keeps its own.
    """

    model: str
    champion: str | None
    backend: RanBackend
    epochs: NonNegativeInt
    best_epoch: NonNegativeInt
    valid_auc: float | None = None
    valid_gauc: float | None = None
    history: tuple[Epoch, ...] = ()
    days: tuple[DayReport, ...] = ()
    blend: BlendSummary | None = None


class TrainingTimes(Document):
    """The duration and speed of a training with its validation, or of the pass of `refit` with its cross-fitting.

    `cpu_seconds` counts all threads of one process, without its start. `samples_per_second` is the speed of the epochs'
    training steps alone; for `refit`, it is the number of learned rows divided by `seconds`.
    """

    seconds: float
    cpu_seconds: float
    samples_per_second: float | None


class CrossFit(Document):
    """How the new days of the shipped model were judged; see `din.train.crossfit`.

    Attributes:
        folds: the number of groups of users.
        after: the time of the last row that the model had learned before the new days.
        rows: the number of rows of the new days that it is judged on.
    """

    folds: PositiveInt
    after: Moment
    rows: PositiveInt


class RefitReport(Document):
    """The pass that turned the judged model into the shipped one; without a pass, the two are the same.

    Attributes:
        days: the test days that were learned.
        crossfit: how the new days were judged. None: it learned nothing after it was judged.
        inputs: hashes of the directories that the stage read.
        shipped: the hash of the model that it wrote.
        predictions: the hash of the predictions that it wrote.
    """

    judged_until: Moment
    seen_until: Moment
    days: list[DayReport]
    crossfit: CrossFit | None
    inputs: EvaluationInputs
    shipped: Digest
    predictions: Digest
