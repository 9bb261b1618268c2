"""Lessons, sound or spoiled, judged as the product does before it ships, beside their effect on the next day.

A champion of a simulated log by days learns one more day. The log is that of docs/examples/month.yaml, but smaller.
The verdict is that of the comparison with the champion, on a first look, and of the gate `shipped`. The truth comes
from all users of the next day. Of these, some learn. The others have rows on that day alone, and their clicks of
earlier days are in their histories, so that they are users like the rest. The truth is an estimate too, with its own
error.

**Waiting.** A champion learns day after day of sound lessons, each of which is judged before it ships. A day that does
not ship is learned and judged with the next ones as one lesson. Every look at the champion spends a part of the
permitted error, as in the product.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from datetime import date
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import betaincinv
from torch import Tensor

from benchmarks import study
from benchmarks.environments import ROOT
from benchmarks.warranty.pairs import METRICS, VERDICTS, featurized, newest_verdict, part, percent
from din.document_types import Verdict
from din.features.days import DayRows, days_of, in_order_of_files
from din.features.packing import Packer
from din.features.reader import Features, Shard
from din.gates import candidate
from din.gates.delta import margin_of
from din.gates.evidence import Evidence
from din.metrics.estimates import Estimate, Metric, difference
from din.params import Params, Train, parse, to_json
from din.params.gate import Gate
from din.params.overlays import nested, overlaid, read_overlay
from din.registry.looks import View
from din.schema import BEHAVIOUR, DAY_US, ITEM_ID, LABEL, SEQUENCE, TIMESTAMP, USER_ID
from din.sources.daily_simulation import World
from din.sources.rawlog import TIME, RawLog
from din.sources.simulate import START_US
from din.train.advance import advance, learn_day
from din.train.compute import Compute, computing
from din.train.crossfit import FOLDS, CrossFitted, cross_fit
from din.train.fit import fit_learner
from din.train.learner import Learner
from din.train.predict import EVALUATION_BATCH, Predictions, predict
from din.train.results import CrossFit, RefitReport
from din.workspace import Workspace

LOGS = {250: 30, 1_000: 100, 5_000: 4, 20_000: 1}
"""The number of logs by users a day."""
WIDE_LOGS = {250: 4, 1_000: 4, 5_000: 1, 20_000: 0}
"""On how many of them other numbers of folds are measured."""
WAITING_LOGS = {250: 4, 1_000: 2, 5_000: 1}
WAITING_DAYS = 60
IMPRESSIONS = 5
"""Impressions of a user on a usual day."""
EPOCHS = 3
EPOCH_DAYS = 7
"""The days that a champion learns by epochs."""
PASS_DAYS = 6
"""The days that it learns in a pass afterwards, as one that goes on daily."""
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


def measured(params: Params, folder: Path, jobs: int) -> str:
    """Return all tables of lessons."""
    lessons = [
        study.Case(f"lessons-{users}-{seed}", measure, (params, users, seed <= WIDE_LOGS[users], seed))
        for users, logs in LOGS.items()
        for seed in range(1, logs + 1)
    ]
    waiting = [
        study.Case(f"waiting-{users}-{seed}", wait, (params, users, seed, WAITING_DAYS))
        for users, logs in WAITING_LOGS.items()
        for seed in range(1, logs + 1)
    ]
    found = [one for of_log in study.results(folder, lessons, jobs) for one in of_log]
    return lesson_table(found) + fold_table(found) + wait_table(study.results(folder, waiting, jobs))


# --- champions


@dataclass(frozen=True)
class Champion:
    """A model with the state of its optimizers, and the features with the ids that it knows."""

    features: Features
    state: Mapping[str, Tensor]
    train: Train
    compute: Compute

    @classmethod
    def of(cls, learner: Learner, train: Train, compute: Compute) -> Self:
        """Copy the state of a learner."""
        return cls(learner.features, {name: own.clone() for name, own in learner.state().items()}, train, compute)

    def start(self) -> Learner:
        """Return a new learner in this state."""
        learner = Learner(self.features, Packer(self.features), self.train, self.compute)
        learner.load_state({name: own.clone() for name, own in self.state.items()})
        return learner

    def learned(self, days: Sequence[DayRows]) -> Learner:
        """Return a learner that has learned some days."""
        learner = self.start()
        for day in days:
            learner, _ = learn_day(learner, day, self.train, self.compute)
        return learner

    def cross_fitted(self, days: Sequence[DayRows], folds: int = FOLDS) -> CrossFitted:
        """Cross-fit a lesson of some test days."""
        return cross_fit(self.start, days, self.train, self.compute, folds)["test"]

    def after(self, days: Sequence[DayRows]) -> Self:
        """Return the champion that has learned some days."""
        return self.of(self.learned(days), self.train, self.compute)

    def score(self, learner: Learner, days: Sequence[DayRows]) -> Predictions:
        """Return a learner's predictions of some test days."""
        rows = in_order_of_files(days)
        return predict(learner.trained, learner.features, "test", EVALUATION_BATCH, self.compute, rows)


def settings(params: Params, users: int, all_users: int, days: int, seed: int) -> Params:
    """Return the parameters of a small log by days, and of a small model.

    Args:
        params: params.yaml.
        users: the users who learn.
        all_users: those and the ones who only tell the truth.
        days: the number of test days.
        seed: seeds the log and the training.
    """
    month = ROOT / "docs/examples/month.yaml"
    values = {
        "data.until": None,
        "fetch.simulate.users": all_users,
        "fetch.simulate.daily.impressions": IMPRESSIONS * all_users,
        "fetch.simulate.days": EPOCH_DAYS + PASS_DAYS + days,
        "fetch.simulate.seed": seed,
        "featurize.valid_days": PASS_DAYS,
        "featurize.test_days": days,
        "train.learning.seed": seed,
        "train.learning.epochs": EPOCHS,
        "train.model.hidden": [64, 32],
        "train.model.attention_hidden": [32],
    }
    asked = overlaid(to_json(params), read_overlay(month), month)
    return parse(Params, overlaid(asked, nested(values), "the settings of a lesson"), month)


def drawn(params: Params, users: int) -> RawLog:
    """Draw the log; users beyond the first `users` have rows on the last day alone."""
    world = World(params.fetch.simulate)
    last = params.fetch.simulate.days - 1
    events = pa.concat_tables(_events(world, day) for day in range(last + 1)).combine_chunks()
    events = events.append_column(SEQUENCE, pa.array(np.arange(len(events))))
    has_rows = pc.or_(
        pc.less_equal(events[USER_ID], users),
        pc.greater_equal(events[TIMESTAMP].cast(pa.int64()), START_US + last * DAY_US),
    )
    clicks = events.filter(pc.and_(pc.invert(has_rows), pc.equal(events[LABEL], 1)))
    history = world.history()
    return RawLog(
        events=part(events.filter(has_rows)),
        items=part(world.items(last)),
        history=part(pa.concat_tables([history, clicks.select(history.column_names)])),
        fields={"item": {"category": "categorical"}},
        protocol="temporal",
        daily=True,
    )


def _events(world: World, day: int) -> pa.Table:
    found = world.impressions(day)
    label = found.label.astype(np.int8)
    time = pa.array(found.time).cast(TIME)
    return pa.table({USER_ID: found.user, ITEM_ID: found.item, TIMESTAMP: time, LABEL: label, BEHAVIOUR: label})


@contextmanager
def champion(params: Params, users: int) -> Iterator[Champion]:
    """Draw a log and train a champion that has learned all but its test days."""
    with TemporaryDirectory() as folder, computing(params.train.compute) as compute:
        workspace = Workspace(Path(folder))
        with redirect_stdout(StringIO()):
            featurized(workspace, params, drawn(params, users))
            features = Features(workspace.features)
            learner, _ = fit_learner(features, params.train, compute=compute, with_optimizers=True)
            learner = advance(learner, params.train, "valid", compute).learner
        yield Champion.of(learner, params.train, compute)


# --- lessons


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


@dataclass(frozen=True)
class Effect:
    """The effect of a lesson by one metric.

    Attributes:
        judged: what cross-fitting says, on the rows of the lesson.
        width: how far the two-sided 95 % interval of `judged` reaches.
        margin: the permitted loss.
        truth: the change on the next day.
    """

    judged: float
    width: float
    margin: float
    truth: float


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


def measure(kept: Path, params: Params, users: int, wide: bool, seed: int) -> list[Outcome]:
    """Draw a log, train a champion, and measure lessons.

    Args:
        kept: the document of the case.
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
        truth = changes(self._day_after, taught.score(learner, [self._last]).probabilities)
        for count in folds:
            began = time.process_time()
            found = taught.cross_fitted(self._days, count)
            cross_fit_cpu = time.process_time() - began
            change = changes(self._before, found.unseen.probabilities)
            yield Outcome(
                users=self._users,
                seed=self._params.fetch.simulate.seed,
                kind=kind,
                days=len(self._days),
                folds=count,
                champion=newest_verdict({metric: [View(frozenset(), own)] for metric, own in change.items()}, limits),
                shipped=knows_its_rows(self._params, self._before, found, shipped),
                effects={metric: effect(change[metric], truth[metric], limits) for metric in METRICS},
                lesson_cpu=lesson_cpu,
                cross_fit_cpu=cross_fit_cpu,
            )


def changes(before: Predictions, after: np.ndarray) -> dict[Metric, Estimate]:
    """Return after − before by each metric, where `before` has the rows and the champion's scores."""
    labels, users = before.rows["label"], before.rows["user"]
    return {metric: difference(metric, labels, after, before.probabilities, users) for metric in METRICS}


def effect(judged: Estimate, truth: Estimate, limits: Gate) -> Effect:
    """Return what is kept of a change on the rows of the lesson, and of the change on the next day."""
    return Effect(judged.value, judged.width(0.975), margin_of(limits, judged), truth.value)


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
    return candidate.knows_its_rows(evidence).verdict


# --- waiting


@dataclass(frozen=True)
class Wait:
    """The verdicts of each day.

    Attributes:
        users: the users who learn.
        champion: the verdicts of the comparison with the champion.
        shipped: the verdicts of the gate `shipped`.
    """

    users: int
    seed: int
    champion: list[Verdict]
    shipped: list[Verdict]

    @property
    def stays(self) -> list[int]:
        """The number of days that each champion stayed, and for the last one how long it has stayed."""
        stays = [0]
        for verdicts in zip(self.champion, self.shipped, strict=True):
            stays[-1] += 1
            if verdicts == ("open", "open"):
                stays.append(0)
        return [days for days in stays if days]


def wait(kept: Path, params: Params, users: int, seed: int, days: int) -> Wait:
    """Draw a log, train a champion, and let it learn day after day.

    Args:
        kept: the document of the case.
        params: params.yaml.
        users: the users who learn.
        seed: seeds the log and the training.
        days: how long.
    """
    own = settings(params, users, users, days, seed)
    found = Wait(users, seed, [], [])
    with champion(own, users) as now:
        lesson = []
        views: dict[Metric, list[View]] = {metric: [] for metric in METRICS}
        for day in days_of(now.features, "test"):
            lesson.append(day)
            before = now.score(now.start(), lesson)
            learner = now.learned(lesson)
            fitted = now.cross_fitted(lesson)
            numbers = frozenset(one.day.toordinal() for one in lesson)
            for metric, change in changes(before, fitted.unseen.probabilities).items():
                views[metric].append(View(numbers, change))
            shipped = now.score(learner, lesson).probabilities
            found.champion.append(newest_verdict(views, own.gate))
            found.shipped.append(knows_its_rows(own, before, fitted, shipped))
            if found.champion[-1] == found.shipped[-1] == "open":
                now = now.of(learner, now.train, now.compute)
                lesson = []
                views = {metric: [] for metric in METRICS}
    return found


# --- tables


def lesson_table(found: Sequence[Outcome]) -> str:
    """Return the table of lessons of one day, with folds as shipped, and the shares that the bars are about."""
    rows = []
    statements = []
    for users in sorted({one.users for one in found}):
        own = [one for one in found if (one.users, one.days, one.folds) == (users, 1, FOLDS)]
        for kind in dict.fromkeys(one.kind for one in own):
            some = [one for one in own if one.kind == kind]
            effects = [one.effects["auc"] for one in some]
            harmful = [one for one in some if one.harmful]
            rows.append(
                [
                    f"{users:,}",
                    kind,
                    len(some),
                    f"{np.mean([one.truth for one in effects]):+.4f}",
                    f"{np.mean([one.judged for one in effects]):+.4f}",
                    f"{np.median([one.margin for one in effects]):.4f}",
                    percent([one.promoted for one in some]),
                    len(harmful),
                    sum(one.promoted for one in harmful),
                ]
            )
        logs = len({one.seed for one in own})
        harm = _share([one.promoted for one in own if one.harmful], logs)
        sound = _share([not one.promoted for one in own if one.kind == SOUND], logs)
        statements.append(
            f"- {users:,} users a day, {logs} logs: harmful lessons promoted {harm}; sound refused {sound}\n"
        )
    head = ["users a day", "lesson", "logs", "true ΔAUC", "cross-fitted", "margin", "promoted"]
    head += ["lose ≥ 2 margins", "of these promoted"]
    return f"\n### Lessons of a day\n\n{study.table(head, rows)}\n{''.join(statements)}"


def fold_table(found: Sequence[Outcome]) -> str:
    """Return the table of numbers of folds."""
    wide = {(one.users, one.seed) for one in found if one.folds != FOLDS}
    rows = []
    for users, days, kind in sorted({(one.users, one.days, one.kind) for one in found if one.folds != FOLDS}):
        some = [one for one in found if (one.users, one.days, one.kind) == (users, days, kind)]
        by_folds = [[one for one in some if one.folds == count and (users, one.seed) in wide] for count in ALL_FOLDS]
        truths = [one.effects["auc"].truth for one in by_folds[ALL_FOLDS.index(FOLDS)]]
        judged = [[one.effects["auc"] for one in own] for own in by_folds]
        means = [f"{np.mean([e.judged for e in own]):+.4f} ± {np.mean([e.width for e in own]):.4f}" for own in judged]
        costs = [f"{np.mean([one.cross_fit_cpu / one.lesson_cpu for one in own]):.1f}" for own in by_folds]
        rows.append([f"{users:,}", days, kind, len(truths), f"{np.mean(truths):+.4f}", *means, *costs])
    head = ["users a day", "days", "lesson", "logs", "true ΔAUC", *(f"K = {count}" for count in ALL_FOLDS)]
    head += [f"CPU, K = {count}" for count in ALL_FOLDS]
    return f"\n### Folds\n\n{study.table(head, rows)}"


def wait_table(found: Sequence[Wait]) -> str:
    """Return the table of how long champions stay."""
    rows = []
    for users in sorted({one.users for one in found}):
        some = [one for one in found if one.users == users]
        stays = [days for one in some for days in one.stays]
        verdicts = [verdict for one in some for verdict in one.champion]
        rows.append(
            [
                f"{users:,}",
                len(some),
                len(stays),
                f"{np.median(stays):.0f}",
                f"{np.quantile(stays, 0.95, method='higher'):.0f}",
                max(stays),
                *(percent([one == verdict for one in verdicts]) for verdict in VERDICTS),
                percent([verdict != "open" for one in some for verdict in one.shipped]),
            ]
        )
    head = ["users a day", "logs", "champions", "median stay, days", "95th percentile", "longest"]
    head += ["open", "undecided", "closed", "`shipped` closed"]
    title = f"How long a champion stays, in {len(found[0].champion)} days of sound lessons"
    return f"\n### {title}\n\n{study.table(head, rows)}"


def _share(hits: Sequence[bool], logs: int) -> str:
    """Return a share with the upper end of its 95 % interval (Clopper and Pearson), as if a log had one lesson."""
    if not hits:
        return "none of 0"
    events = float(np.mean(hits)) * logs
    upper = betaincinv(events + 1, logs - events, 0.975) if events < logs else 1.0
    return f"{sum(hits)} of {len(hits)}, {100 * events / logs:.1f} %, at most {100 * upper:.1f} %"
