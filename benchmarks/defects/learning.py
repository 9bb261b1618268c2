"""The table of planted faults of learning. Each makes one function wrong while the stage `refit` runs.

A fault of the lesson is in code that the shipped model and the models of cross-fitting both run. A fault of the file is
made when `models/shipped/` is written, so that cross-fitting does not see it. The labels that the gates read are right.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from din.features.day_rows import DayRows
from din.features.packing import TableLayout
from din.features.reader import Features
from din.model import artifact
from din.model.artifact import Trained
from din.train import learner
from din.train.learner import Learner
from din.train.loader import TrainingBatch, TrainingLoader

Function = Callable[..., Any]


@dataclass(frozen=True)
class Plant:
    """A fault.

    Attributes:
        what: a phrase for tables.
        owner: the class or module whose function is wrong.
        name: the name of the function.
        wrong: returns the wrong function, given the right one.
    """

    what: str
    owner: Any
    name: str
    wrong: Callable[[Function], Function]


@contextmanager
def planted(plant: Plant | None) -> Iterator[None]:
    """Plant a fault in this process until the end of the block. None plants none."""
    if plant is None:
        yield
        return
    right = getattr(plant.owner, plant.name)
    setattr(plant.owner, plant.name, plant.wrong(right))
    try:
        yield
    finally:
        setattr(plant.owner, plant.name, right)


def _rate(what: str, factor: float) -> Plant:
    """Multiply the learning rate."""
    return Plant(what, Learner, "step", lambda right: lambda self, inputs, rate: right(self, inputs, factor * rate))


def _penalty(what: str, factor: float) -> Plant:
    """Multiply λ."""
    return Plant(what, learner, "row_decay", lambda right: lambda *arguments: factor * right(*arguments))


def _state(what: str, change: Callable[[str, Tensor, Path], Tensor]) -> Plant:
    """Change the state of the optimizers with which the lesson begins: `change(name, tensor, models)`."""

    def wrong(right: Function) -> Function:
        def read_state(source: Path) -> dict[str, Tensor]:
            return {
                name: tensor if name.startswith("now.") else change(name, tensor, source)
                for name, tensor in right(source).items()
            }

        return read_state

    return Plant(what, artifact, "read_state", wrong)


def _batches(what: str, change: Callable[[TrainingBatch], TrainingBatch]) -> Plant:
    """Change each batch of the lesson."""
    return Plant(what, TrainingLoader, "day", lambda right: lambda self, rows: map(change, right(self, rows)))


def _labels(what: str, change: Callable[[np.ndarray], np.ndarray]) -> Plant:
    """Change the labels of each batch."""

    def changed(batch: TrainingBatch) -> TrainingBatch:
        return replace(batch, packed=replace(batch.packed, labels=change(batch.packed.labels)))

    return _batches(what, changed)


def _rows(what: str, change: Callable[[TrainingLoader, DayRows], DayRows]) -> Plant:
    """Change the rows of the lesson, or their order."""
    return Plant(what, TrainingLoader, "day", lambda right: lambda self, rows: right(self, change(self, rows)))


def _file(what: str, change: Callable[[Trained, Features, Path], None]) -> Plant:
    """Change the shipped model in place when it is saved."""

    def wrong(right: Function) -> Function:
        def save(trained: Trained, params: Any, features: Features, target: Path, *others: Any) -> None:
            change(trained, features, target)
            right(trained, params, features, target, *others)

        return save

    return Plant(what, artifact, "save", wrong)


def _positions(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[TrainingLoader, DayRows], DayRows]:
    return lambda _, rows: replace(rows, positions=[change(places) for places in rows.positions])


def _one_user_often(loader: TrainingLoader, rows: DayRows) -> DayRows:
    users = [loader._features.user_rows(shard, rows.split)[places] for shard, places in enumerate(rows.positions)]
    busiest = np.bincount(np.concatenate(users)).argmax()
    times = [np.where(user == busiest, 1000, 1) for user in users]
    return replace(
        rows, positions=[np.repeat(places, count) for places, count in zip(rows.positions, times, strict=True)]
    )


def _extreme(batch: TrainingBatch) -> TrainingBatch:
    """Weigh the rows of one batch as if a number had lost its point."""
    weights = np.full(len(batch.packed), 1e15, np.float32) if batch.number == 1 else batch.weights
    return replace(batch, weights=weights)


def _of_another_day(right: Function) -> Function:
    """Begin with the optimizers of the model that learned the same lesson before, i.e. of a day later."""

    def read_state(source: Path) -> dict[str, Tensor]:
        state, later = right(source), right(source.parent / "shipped")
        current = {name: tensor for name, tensor in state.items() if name.startswith("now.")}
        others = {name: later[name] for name in state.keys() - current.keys()}
        return current | {name: other[: len(state[name])] if other.dim() else other for name, other in others.items()}

    return read_state


def _second_moments(name: str, tensor: Tensor, _: Path) -> Tensor:
    return tensor / 100 if name.endswith(("second", "exp_avg_sq")) else tensor


def _item_rows(trained: Trained, features: Features) -> Tensor:
    """Return the rows of the item's ids in the table, a view, without the unknown one."""
    start = TableLayout.of(features.fields, features.rows).offsets["item_id"]
    return trained.table[start + 1 : start + features.rows["item_id"]]


def _swap(trained: Trained, features: Features, _: Path) -> None:
    rows = _item_rows(trained, features)
    rows.copy_(rows.flip(0))


def _zero(trained: Trained, features: Features, _: Path) -> None:
    _item_rows(trained, features)[0] = 0


def _shift(trained: Trained, features: Features, _: Path) -> None:
    trained.table.copy_(trained.table.roll(1, 0))


def _negate(trained: Trained, *_: Any) -> None:
    weights = [
        weight for name, weight in trained.model.named_parameters() if name.startswith("head") and weight.dim() > 1
    ]
    weights[-1].data.neg_()


def _old_statistics(trained: Trained, _: Features, target: Path) -> None:
    judged = artifact.read(target.parent / "din")[1]
    for name, buffer in trained.model.named_buffers():
        if name.endswith(("mean", "variance")):
            buffer.copy_(judged[name])


PLANTS: dict[str, Plant] = {
    **{f"rate_{factor}": _rate(f"learning rate × {factor}", factor) for factor in (2, 5, 10, 20, 50)},
    "ascent": _rate("steps in the direction of the gradient", -1),
    "penalty": _penalty("regularization × 100", 100),
    "optimizer_lost": _state("optimizers' state lost", lambda name, tensor, _: tensor * 0),
    "optimizer_of_another_day": Plant("optimizers' state of another day", artifact, "read_state", _of_another_day),
    "optimizer_scaled": _state("optimizers' second moments / 100", _second_moments),
    "flipped": _labels("labels flipped", lambda labels: 1 - labels),
    "shuffled": _labels("labels shuffled", lambda labels: np.random.default_rng(0).permutation(labels)),
    "shifted": _labels("labels shifted by a row", lambda labels: np.roll(labels, 1)),
    "extremes": _batches("a batch with weights of 1e15", _extreme),
    "twice": _rows("the day learned twice", _positions(lambda places: np.concatenate([places, places]))),
    "reversed": _rows("rows in reverse", _positions(lambda places: places[::-1].copy())),
    "half": _rows("half of the day missing", _positions(lambda places: places[: len(places) // 2])),
    "one_user": _rows("the busiest user's rows × 1,000", _one_user_often),
    "swapped": _file("rows of items in reverse in the file", _swap),
    "zeroed": _file("the row of the most frequent item zero in the file", _zero),
    "vocabulary": _file("all rows one place further in the file", _shift),
    "sign": _file("the weights of a layer negated in the file", _negate),
    "statistics": _file("yesterday's statistics of Dice in the file", _old_statistics),
}
