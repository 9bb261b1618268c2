"""The warranty of lessons: its shares expose a wrong rule, truth or cross-fit, and its logs are as it says."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

from benchmarks.warranty import lessons
from benchmarks.warranty.lessons import (
    LESSONS,
    SOUND,
    Champion,
    Effect,
    Outcome,
    Taught,
    Wait,
    champion,
    drawn,
    fold_table,
    lesson_table,
    settings,
    ship,
    spoiled,
    wait,
    wait_table,
)
from din.document_types import Verdict
from din.features.days import DayRows
from din.features.reader import Features
from din.metrics.estimates import Metric
from din.params import Params
from din.params.gate import Gate
from din.registry.looks import View
from din.schema import LABEL, TIMESTAMP, USER_ID
from din.sources.rawlog import RawLog
from din.train.compute import CPU_ALONE
from din.train.crossfit import FOLDS, CrossFitted
from din.train.learner import Learner
from din.train.predict import COLUMNS, Predictions

USERS = 200
HARM = "rate × 10"
CHAMPION, TAUGHT = (cast(Learner, name) for name in ("champion", "taught"))
DAY, NEXT = (DayRows("test", date(2024, 1, day), [], datetime(2024, 1, day, 23, tzinfo=UTC)) for day in (14, 15))


class Planted(Champion):
    """Lessons whose truth is known: a high rate spoils the scores of all rows but those that the model has learned."""

    def start(self) -> Learner:
        """Return the champion."""
        return CHAMPION

    def learned(self, days: Sequence[DayRows]) -> Learner:
        """Return the model that has learned."""
        return TAUGHT

    def score(self, learner: Learner, days: Sequence[DayRows]) -> Predictions:
        """Return scores of the day of the lesson, which only the champion has not learned, or of the next day."""
        if learner is CHAMPION:
            return self.drawn(0)
        return self.drawn(0.01 if days == [DAY] else self.harm)

    def cross_fitted(self, days: Sequence[DayRows], folds: int = FOLDS) -> CrossFitted:
        """Return scores by models that have learned the rows of a user, and by others."""
        return CrossFitted(unseen=self.drawn(self.harm), taught=self.drawn(0.02))

    @property
    def harm(self) -> float:
        """The noise that the lesson adds to the scores of other rows."""
        return self.train.learning.learning_rate * 100

    def drawn(self, noise: float) -> Predictions:
        """Return 1,000 users with ten rows each, whose scores have so much noise."""
        rng = np.random.default_rng(5)
        logits = rng.normal(size=10_000)
        label = rng.random(10_000) < 1 / (1 + np.exp(-logits))
        rows = {name: np.zeros(10_000, np.int64) for name in COLUMNS}
        rows |= {"user": np.repeat(np.arange(1000), 10), "label": label.astype(np.int8)}
        return Predictions(rows, logits + noise * rng.normal(size=10_000))


def always_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open whatever is judged."""
    monkeypatch.setattr(lessons, "newest_verdict", lambda views, limits: "open")
    monkeypatch.setattr(lessons, "knows_its_rows", lambda *_: "open")


def learned_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Score each row by a model that has learned it."""
    monkeypatch.setattr(Planted, "cross_fitted", lambda self, *_: CrossFitted(self.drawn(0.02), self.drawn(0.02)))


def flipped_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a loss on the next day for a gain, and a gain for a loss."""

    def flipped(*given: float) -> Effect:
        found = Effect(*given)
        return replace(found, truth=-found.truth)

    monkeypatch.setattr(lessons, "Effect", flipped)


@pytest.mark.parametrize(
    ("fault", "harmful"),
    [
        (None, "0 of 1, 0.0 %"),
        (always_open, "1 of 1, 100.0 %"),
        (learned_rows, "1 of 1, 100.0 %"),
        (flipped_truth, "none of 0"),
    ],
)
def test_shares_expose_a_fault(
    fault: Callable[[pytest.MonkeyPatch], None] | None, harmful: str, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A harmful lesson counts and is refused, a sound one is promoted, and a wrong rule, cross-fit or truth shows."""
    if fault:
        fault(monkeypatch)
    champion = Planted(cast(Features, None), {}, params.train, CPU_ALONE)
    taught = Taught(settings(params, USERS, USERS, 2, 1), USERS, champion, [DAY], NEXT)
    table = lesson_table([one for kind in (SOUND, HARM) for one in taught.outcomes(kind, [FOLDS])])
    assert f"harmful lessons promoted {harmful}" in table
    assert "sound refused 0 of 1" in table


@pytest.fixture(scope="module")
def own(params: Params) -> Params:
    """The settings of a small log with two test days, and with more users on the last one."""
    return settings(params, USERS, 3 * USERS, days=2, seed=1)


@pytest.fixture(scope="module")
def model(own: Params) -> Iterator[Champion]:
    """A champion of this log."""
    with champion(own, USERS) as found:
        yield found


def test_a_log_gives_a_lesson_of_each_kind(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wide log has every kind with folds as shipped, and two kinds with other folds and over three days, too."""
    monkeypatch.setattr(lessons, "TRUTH_USERS", 300)
    found = lessons.measure(Path(), params, USERS, wide=True, seed=1)
    assert [one.kind for one in found if (one.days, one.folds) == (1, FOLDS)] == list(LESSONS)
    assert {(one.kind, one.days, one.folds) for one in found if one.folds != FOLDS} == {
        (kind, days, count) for kind in (SOUND, "rate × 5") for days in (1, 3) for count in (2, 8)
    }
    assert fold_table(found).count("\n| 200 |") == 4


def outcome(seed: int, promoted: bool, truth: float) -> Outcome:
    """Return a lesson of a day whose margin is 0.01."""
    effect = Effect(judged=0, width=0.002, margin=0.01, truth=truth)
    return Outcome(1000, seed, SOUND, 1, FOLDS, "open" if promoted else "borderline", "open", {"auc": effect}, 1.0, 2.0)


@pytest.mark.parametrize(
    ("promoted", "stated"), [(0, "0 of 100, 0.0 %, at most 3.6 %"), (5, "5 of 100, 5.0 %, at most 11.3 %")]
)
def test_the_upper_end_of_a_share(promoted: int, stated: str) -> None:
    """The interval is that of Clopper and Pearson: 1 − 0.025^(1 / 100) for none of a hundred."""
    found = [outcome(seed, seed < promoted, truth=-0.02) for seed in range(100)]
    assert f"harmful lessons promoted {stated}" in lesson_table(found)


def test_several_lessons_of_a_log_count_as_one() -> None:
    """Ten lessons of each of ten logs don't narrow the interval below that of ten."""
    found = [outcome(number % 10, promoted=False, truth=-0.02) for number in range(100)]
    assert "harmful lessons promoted 0 of 100, 0.0 %, at most 30.8 %" in lesson_table(found)


@pytest.mark.parametrize(
    ("kind", "changed"), [("labels shuffled", "labels"), ("second moments / 100", "state"), (HARM, "rate")]
)
def test_a_spoiled_lesson_changes_one_thing(model: Champion, kind: str, changed: str) -> None:
    """Each kind of lesson is spoiled in its own way alone, and labels are shuffled whatever ids the reader knows."""
    found = spoiled(model, LESSONS[kind])
    labels, theirs = (one.features.at(date(2024, 1, 14)).shard(0, "test").impressions.label for one in (model, found))
    differing = {
        "labels": not np.array_equal(labels, theirs),
        "state": any(not torch.equal(found.state[name], tensor) for name, tensor in model.state.items()),
        "rate": found.train != model.train,
    }
    assert {name for name, differs in differing.items() if differs} == {changed}
    assert labels.sum() == theirs.sum()


def test_rows_move_in_the_shipped_table_alone(model: Champion) -> None:
    """A tenth of its rows change places, and the champion keeps its own."""
    learner = ship(model.start(), LESSONS["rows of the shipped table moved"])
    moved = (learner.table != model.state["now.table"]).any(dim=1).sum().item()
    assert moved == len(learner.table) // 10
    assert torch.equal(learner.table.sort(dim=0).values, model.state["now.table"].sort(dim=0).values)


def test_others_have_rows_on_the_last_day_alone(own: Params) -> None:
    """On earlier days their clicks are in their histories, so that no click of theirs is lost."""
    log = drawn(own, USERS)
    everyone = drawn(own, 3 * USERS)
    others = pc.greater(log.events.table[USER_ID], USERS)
    assert pc.unique(log.events.table.filter(others)[TIMESTAMP].cast(pa.date32())).to_pylist() == [date(2024, 1, 15)]
    assert log.history
    assert everyone.history
    rows = len(everyone.events.table) - len(log.events.table)
    added = len(log.history.table) - len(everyone.history.table)
    assert added == clicks(everyone) - clicks(log)
    assert 0 < added < rows


def clicks(log: RawLog) -> int:
    """Return the number of clicks among the events."""
    return pc.sum(log.events.table[LABEL]).as_py()


def test_days_that_wait_become_one_lesson(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day that does not ship is judged again with the next, and a new champion is looked at anew."""
    looks = []

    def second_day(views: Mapping[Metric, Sequence[View]], limits: Gate) -> Verdict:
        looks.append([len(view.days) for view in views["auc"]])
        return "open" if len(views["auc"][-1].days) == 2 else "borderline"

    monkeypatch.setattr(lessons, "newest_verdict", second_day)
    found = wait(Path(), params, USERS, seed=1, days=5)
    assert looks == [[1], [1, 2], [1], [1, 2], [1]]
    assert found.stays == [2, 2, 1]


def test_stays_count_days_until_both_gates_open() -> None:
    """The last champion has stayed until the end."""
    found = Wait(250, 1, ["borderline", "open", "open", "open"], ["open", "closed", "open", "closed"])
    assert found.stays == [3, 1]
    assert "| 250 | 1 | 2 | 2 | 3 | 3 | 75 % | 25 % | 0 % | 50 % |" in wait_table([found])
