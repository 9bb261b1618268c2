"""A pass forward in time over a split: each day is first scored, and then learned once.

    day       its rows are scored by a model that has learned    then it learns
    first     what it had learned before the pass                the first day
    second    that, and the first day                            the second day
    …

No row is scored by a model that has learned its day or a later one. Before a day is learned, the table gets rows for
the ids that become known on it. They start as copies of the unknown row, which represented them until then, so an id
that is never learned is scored as if it were unknown.

After the last step of a day, the running statistics of Dice are measured again; see `Learner.settle`.

A day is learned as an epoch is, with the same batch size, penalties, dropout and `unknown_rate`, except that

    order           rows come shard after shard, and by time within a shard
    learning rate   it is the initial one, since `decay` is meant for rows that are seen repeatedly, and a day is new
    offset          a held-out day has all negatives of the log, so only a log that lacks negatives gives it an offset

The result depends on the model, the optimizer's state, the features and the parameters alone. The pass reads each shard
twice per day, and keeps no checkpoint. A killed pass starts over.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import torch

from din.features.day_rows import DayRows, days_of, in_order_of_files
from din.features.reader import Features
from din.schema import SplitName
from din.train.learner import Learner, StepInputs, check_loss
from din.train.loader import prefetch
from din.train.predict import Predictions, predict
from din.train.results import DayReport
from din.train.shared_rows import SharedRows

_SETTLING = 40
"""The number of batches at the end of a day on which the statistics of Dice are measured again.

Rows come in time order, so a few batches would cover only one hour.
"""


@dataclass(frozen=True)
class AdvancedDay:
    """A day of the pass.

    Attributes:
        rows: its rows.
        predictions: the predictions of these rows before they were learned, in the order of the split's files.
        loss: the mean loss of its training steps.
    """

    rows: DayRows
    predictions: Predictions
    loss: float

    @property
    def report(self) -> DayReport:
        """The day as reports describe it."""
        metrics = self.predictions.metrics
        return DayReport(
            day=self.rows.day.isoformat(),
            rows=len(self.rows),
            auc=metrics.auc,
            gauc=metrics.gauc,
            log_loss=metrics.log_loss,
            loss=self.loss,
        )


@dataclass(frozen=True)
class Pass:
    """A finished pass.

    Attributes:
        learner: the model that has learned all days, with the state of its optimizers.
        days: the days that it was advanced over, in order.
    """

    learner: Learner
    days: list[AdvancedDay]

    @property
    def until(self) -> datetime | None:
        """The time of the last row that was learned. None if there was none."""
        return self.days[-1].rows.last if self.days else None


def advance(learner: Learner, split: SplitName, after: datetime | None = None) -> Pass:
    """Advance a model over the days of a split.

    Args:
        learner: the model with the state of its optimizers. The pass changes it.
        split: the split. Its days after `after` must come after everything that the model has learned.
        after: leave out the rows until this time, inclusive, because the model has learned them.

    Raises:
        InputError: the loss is not finite.
    """
    days = []
    for rows in days_of(learner.features, split, after):
        chosen = in_order_of_files([rows])
        predictions = predict(learner.trained, learner.features, split, compute=learner.compute, chosen=chosen)
        learner, loss = learn_day(learner, rows)
        print(f"learned {rows.day}: {len(rows):,} rows, mean loss {loss:.4f}", flush=True)
        days.append(AdvancedDay(rows, predictions, loss))
    return Pass(learner, days)


def learn_day(learner: Learner, rows: DayRows) -> tuple[Learner, float]:
    """Learn rows of a day, at least one. Return the learner, which now knows the day's ids, and the mean loss.

    Raises:
        InputError: the loss is not finite.
    """
    learner = _knowing(learner.features.at(rows.day), learner)
    return learner, _learn(learner, rows)


def _knowing(features: Features, learner: Learner) -> Learner:
    """Return the learner with a row for each id of `features`. Rows of new ids start as copies of the unknown row."""
    if features.rows == learner.features.rows:
        return learner
    larger = Learner(features, learner.params, learner.compute)
    larger.load_state(learner.state(), SharedRows.by_number(learner.features, features))
    larger.attach(learner.model.blend)
    for name, unknown in larger.layout.offsets.items():
        first_new = unknown + learner.features.rows[name]
        larger.table[first_new : unknown + features.rows[name]] = larger.table[unknown]
    return larger


def _learn(learner: Learner, rows: DayRows) -> float:
    """Learn the rows of a day once, and return the mean loss."""
    learning = learner.params.learning
    total = torch.zeros((), dtype=torch.float64, device=learner.compute.device)
    learner.model.train()
    recent: deque[StepInputs] = deque(maxlen=_SETTLING)
    batches: Iterable[StepInputs] = prefetch(map(learner.inputs, learner.loader().day(rows)))
    for inputs in batches:
        total += learner.step(inputs, learning.learning_rate).double() * inputs.impressions
        recent.append(inputs)
    loss = total.item() / len(rows)
    check_loss(loss, f"on {rows.day}", learning)
    learner.settle(recent)
    check_loss(learner.logits(recent[-1]).sum().item(), f"after {rows.day}", learning)  # a step's loss precedes it
    return loss
