"""Lessons, sound or spoiled, judged as the product does before it ships, beside their effect on the next day.

The verdict is that of the comparison with the champion, on a first look, and of the gate `shipped`. The truth comes
from all users of the next day, of whom most have no row in the lesson. It is an estimate too, with its own error.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.warranty.champions import Champion, champion, settings
from benchmarks.warranty.scores import together
from din.document_types import Verdict
from din.features.days import DayRows, days_of
from din.features.reader import Features, Shard
from din.gates.budgets import measure_latency
from din.gates.candidate import candidate_gates
from din.gates.delta import margin_of
from din.gates.evidence import Evidence
from din.metrics.estimates import Estimate, Metric, difference
from din.metrics.noninferiority import Look
from din.params import Params
from din.params.gate import Gate
from din.registry.looks import View, judged
from din.train.crossfit import FOLDS, CrossFitted
from din.train.learner import Learner
from din.train.predict import Predictions
from din.train.results import CrossFit, RefitReport
from din.workspace import Workspace

METRICS: tuple[Metric, ...] = ("auc", "gauc")
ALL_FOLDS = (2, 4, 8)
TRUTH_USERS = 3_000
"""The users of the day that tells the truth, if the lesson has fewer."""


@dataclass(frozen=True)
class Lesson:
    """A fault of a lesson, or none.

    Attributes:
        rate: a factor on the learning rate.
        moments: a factor on the optimizers' second moments.
        shuffled: the labels that are learned are shuffled.
        moved: a tenth of the rows of the shipped table lie in each other's places.
    """

    rate: float = 1
    moments: float = 1
    shuffled: bool = False
    moved: bool = False


SOUND = "sound"
LESSONS = {
    SOUND: Lesson(),
    "rate × 3": Lesson(rate=3),
    "rate × 5": Lesson(rate=5),
    "rate × 10": Lesson(rate=10),
    "rate × 20": Lesson(rate=20),
    "labels shuffled": Lesson(shuffled=True),
    "second moments / 100": Lesson(moments=0.01),
    "rows of the shipped table moved": Lesson(moved=True),
}


@dataclass(frozen=True)
class Effect:
    """The effect of a lesson by one metric.

    Attributes:
        judged: what cross-fitting says, on the rows of the lesson.
        width: how far the two-sided 95 % interval of `judged` reaches.
        margin: the permitted loss.
        truth: the change on the next day.
        truth_width: how far its 95 % interval reaches.
    """

    judged: float
    width: float
    margin: float
    truth: float
    truth_width: float


@dataclass(frozen=True)
class Outcome:
    """A lesson, cross-fitted and judged.

    Attributes:
        users: the users who learn.
        days: the days of the lesson.
        champion: the verdict of the comparison with the champion, both metrics together.
        shipped: the verdict of the gate `shipped`.
        effects: by metric.
        lesson_cpu: CPU seconds of the lesson alone.
        cross_fit_cpu: CPU seconds of cross-fitting it.
    """

    users: int
    seed: int
    kind: str
    days: int
    folds: int
    champion: Verdict
    shipped: Verdict
    effects: dict[Metric, Effect]
    lesson_cpu: float
    cross_fit_cpu: float

    @property
    def promoted(self) -> bool:
        """True if the lesson ships."""
        return self.champion == self.shipped == "open"

    @property
    def harmful(self) -> bool:
        """True if the truth is a loss of two margins or more, by any metric."""
        return any(-one.truth >= 2 * one.margin for one in self.effects.values())


class Mislabelled(Features):
    """Features whose test labels are shuffled, shard by shard."""

    def at(self, day: date) -> Features:
        """Return a reader that is spoiled in the same way."""
        return Mislabelled(self.root, day)

    def shard(self, number: int, split: str) -> Shard:
        """Read a shard with shuffled labels."""
        shard = super().shard(number, split)
        label = np.random.default_rng(number).permutation(shard.impressions.label)
        return replace(shard, impressions=replace(shard.impressions, label=label))


def spoiled(sound: Champion, lesson: Lesson) -> Champion:
    """Return a champion that learns as the lesson is spoiled."""
    learning = replace(sound.train.learning, learning_rate=lesson.rate * sound.train.learning.learning_rate)
    state = {
        name: lesson.moments * tensor if name == "sparse.second" or name.endswith("exp_avg_sq") else tensor
        for name, tensor in sound.state.items()
    }
    features = Mislabelled(sound.features.root, sound.features.known_until) if lesson.shuffled else sound.features
    return replace(sound, features=features, state=state, train=replace(sound.train, learning=learning))


def ship(learner: Learner, lesson: Lesson) -> Learner:
    """Spoil a model on its way into the file."""
    if lesson.moved:
        rows = np.random.default_rng(0).permutation(len(learner.table))[: len(learner.table) // 10]
        learner.table[rows] = learner.table[np.roll(rows, 1)].clone()
    return learner


def measure(params: Params, users: int, wide: bool, seed: int) -> list[Outcome]:
    """Draw a log, train a champion, and measure lessons.

    Args:
        params: params.yaml.
        users: the users who learn.
        wide: with lessons of three days, and other numbers of folds, for two kinds of lesson.
        seed: seeds the log and the training.
    """
    own = settings(params, users, max(users, TRUTH_USERS), days=4, seed=seed)
    compared = (SOUND, "rate × 5") if wide else ()
    with champion(own, users) as first:
        *days, last = days_of(first.features, "test")
        newest = Taught(own, users, first.after(days[:2]), days[2:], last)
        found = [one for kind in LESSONS for one in newest.outcomes(kind, ALL_FOLDS if kind in compared else (FOLDS,))]
        if wide:
            late = Taught(own, users, first, days, last)
            found += [one for kind in compared for one in late.outcomes(kind, ALL_FOLDS)]
        return found


class Taught:
    """A champion, the days of its lesson, and the day that tells the truth."""

    def __init__(self, params: Params, users: int, sound: Champion, days: Sequence[DayRows], last: DayRows) -> None:
        self._params = params
        self._users = users
        self._champion = sound
        self._days = days
        self._last = last
        self._before = sound.score(sound.start(), days)
        self._day_after = sound.score(sound.start(), [last])

    def outcomes(self, kind: str, folds: Sequence[int]) -> Iterator[Outcome]:
        """Yield what becomes of a kind of lesson, judged with each number of folds."""
        limits = self._params.gate
        lesson = LESSONS[kind]
        taught = spoiled(self._champion, lesson)
        began = time.process_time()
        learner = taught.learned(self._days)
        lesson_cpu = time.process_time() - began
        learner = ship(learner, lesson)
        shipped = taught.score(learner, self._days).probabilities
        truth = effects(self._day_after, taught.score(learner, [self._last]).probabilities)
        for count in folds:
            began = time.process_time()
            found = taught.cross_fitted(self._days, count)
            cross_fit_cpu = time.process_time() - began
            change = effects(self._before, found.unseen.probabilities)
            yield Outcome(
                users=self._users,
                seed=self._params.fetch.simulate.seed,
                kind=kind,
                days=len(self._days),
                folds=count,
                champion=verdict({metric: [View(frozenset(), own)] for metric, own in change.items()}, limits),
                shipped=knows_its_rows(self._params, self._before, found, shipped),
                effects={metric: _effect(change[metric], truth[metric], limits) for metric in METRICS},
                lesson_cpu=lesson_cpu,
                cross_fit_cpu=cross_fit_cpu,
            )


def effects(before: Predictions, after: np.ndarray) -> dict[Metric, Estimate]:
    """Return after − before by each metric, where `before` has the rows and the champion's scores."""
    labels, users = before.rows["label"], before.rows["user"]
    return {metric: difference(metric, labels, after, before.probabilities, users) for metric in METRICS}


def verdict(views: Mapping[Metric, Sequence[View]], limits: Gate) -> Verdict:
    """Return the verdict of the newest look at the champion, by all metrics together.

    Args:
        views: all looks by each metric, oldest first.
        limits: the block `gate`.
    """
    level = 1 - limits.confidence
    margin = partial(margin_of, limits)
    looks: dict[Metric, Look] = {metric: judged(own, margin, level) for metric, own in views.items()}
    return together(looks, limits)


def knows_its_rows(params: Params, before: Predictions, found: CrossFitted, shipped: np.ndarray) -> Verdict:
    """Return the verdict of the gate `shipped`.

    Args:
        params: the settings.
        before: the rows of the lesson.
        found: the cross-fitted predictions.
        shipped: the probabilities of the shipped model.
    """
    evidence = Evidence(Workspace(Path()), params)
    crossfit = CrossFit.model_construct(folds=FOLDS)
    evidence.refit = RefitReport.model_construct(crossfit=crossfit)  # in place of the files of a workspace
    evidence.crossfit = Predictions(before.rows, found.unseen.logits).table(
        taught=found.taught.probabilities, shipped=shipped
    )
    return next(gate for gate in candidate_gates(evidence, measure_latency) if gate.name == "shipped").judge().verdict


def _effect(judged: Estimate, truth: Estimate, limits: Gate) -> Effect:
    margin = margin_of(limits, judged)
    return Effect(judged.value, judged.width(0.975), margin, truth.value, truth.width(0.975))
