"""Pairs of models whose truth is known: real trainings on small simulated logs, and resampled scores of a large one.

**Real pairs.** Each log is drawn anew. A champion learns it, and so do candidates that are equal or spoiled in one way.
A spoiled candidate learns from a spoiled copy, in which the rows of held-out users are as they were, so both score the
same test rows. A few hundred test users decide, as in the gate. All the others tell how good the two really are.

**Resampled pairs.** Two real models score a large test set, the population. The candidate's logits get as much noise as
makes it lose a given AUC on the whole set. A pair is the rows of N users drawn from the set with replacement. A user
who is drawn twice counts as two.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks import study
from din.artifacts import MANIFEST, hash_files, write_json
from din.document_types import Verdict
from din.features.reader import Features
from din.featurize.build import featurize
from din.gates.delta import margin_of, ruling
from din.metrics import auc
from din.metrics.estimates import Estimate, Metric, difference
from din.metrics.noninferiority import Look, judge, level_of, resolves
from din.params import Params, source_settings
from din.params.gate import Gate
from din.registry.looks import View, judged
from din.schema import BEHAVIOUR, DAY_US, LABEL, TIMESTAMP, USER_ID
from din.sources import rawlog
from din.sources.rawlog import Part, RawLog
from din.sources.simulate import draw
from din.train.compute import computing
from din.train.fit import fit
from din.train.predict import EVALUATION_BATCH, predict
from din.workspace import FORMAT, Workspace

LOGS = 40
DRAWS = 350
"""Resampled pairs of each size and true loss."""
MONTHS = 200
"""Runs of `DAYS` days of each size and true loss."""
POPULATION = 20_000
SIZES = (250, 1_000, 5_000, 20_000)
REPEATED_SIZES = (250, 1_000)
LOSSES = (0, 1, 2, 3)
DAYS = 30
METRICS: tuple[Metric, ...] = ("auc", "gauc")
VERDICTS: tuple[Verdict, ...] = ("open", "borderline", "closed")
JUDGING = 400
"""The number of test users that decide; the others tell the truth."""
_USERS = 5_000
_IMPRESSIONS = 15
_DAYS = 20
_LEARNED_USERS = 1_500
"""The number of users to learn from and to validate on, whatever the size of the log."""

Spoil = Callable[[RawLog, pa.Array, np.random.Generator], RawLog]
"""Spoils a log, but for the rows of the users that are named."""


def measured(params: Params, folder: Path, jobs: int) -> str:
    """Return all tables of pairs."""
    cases = [study.Case(f"pairs-{seed}", real_pairs, (params, seed)) for seed in range(1, LOGS + 1)]
    real = [pair for of_log in study.results(folder, cases, jobs) for pair in of_log]
    (rows,) = study.results(folder, [study.Case("population", population, (params, POPULATION))], jobs)
    drawn = [
        study.Case(f"drawn-{users}-{loss}", drawn_pairs, (rows, users, loss, params.gate, DRAWS))
        for users in SIZES
        for loss in LOSSES
    ]
    months = [
        study.Case(f"month-{users}-{loss}", repeated_pairs, (rows, users, loss, params.gate, MONTHS))
        for users in REPEATED_SIZES
        for loss in LOSSES
    ]
    tables = [
        real_table(real),
        drawn_table(study.results(folder, drawn, jobs)),
        month_table(study.results(folder, months, jobs)),
    ]
    return "".join(tables)


# --- real pairs


def nothing(log: RawLog, held_out: pa.Array, rng: np.random.Generator) -> RawLog:
    """Return the log as it is."""
    return log


def thirty_percent(log: RawLog, held_out: pa.Array, rng: np.random.Generator) -> RawLog:
    """Keep three tenths of the users to learn from."""
    users = pc.unique(log.events.table[USER_ID])
    kept = users.filter(pa.array(rng.random(len(users)) < 0.3))
    return _events(log, lambda events: events.filter(pc.is_in(events[USER_ID], pa.concat_arrays([held_out, kept]))))


def broken_field(log: RawLog, held_out: pa.Array, rng: np.random.Generator) -> RawLog:
    """Give a tenth of the items the category of another item, for training and test rows alike."""
    assert log.items
    items = log.items.table
    category = items["category"].to_numpy().copy()
    wrong = np.flatnonzero(rng.random(len(category)) < 0.1)
    category[wrong] = category[rng.permutation(wrong)]
    column = items.schema.get_field_index("category")
    return replace(log, items=part(items.set_column(column, "category", pa.array(category))))


def ten_days_old(log: RawLog, held_out: pa.Array, rng: np.random.Generator) -> RawLog:
    """Take away the last ten days of what there is to learn."""
    end = pc.max(log.events.table[TIMESTAMP])
    start = pc.subtract(end, pa.scalar(10 * DAY_US, pa.duration("us")))
    return _events(
        log,
        lambda events: events.filter(pc.or_(pc.is_in(events[USER_ID], held_out), pc.less(events[TIMESTAMP], start))),
    )


def shuffled_labels(log: RawLog, held_out: pa.Array, rng: np.random.Generator) -> RawLog:
    """Shuffle the labels of a twentieth of the rows to learn from."""
    events = log.events.table
    label = events[LABEL].to_numpy().copy()
    learned = ~pc.is_in(events[USER_ID], held_out).to_numpy(zero_copy_only=False)
    drawn = np.flatnonzero(learned & (rng.random(len(label)) < 0.05))
    label[drawn] = label[rng.permutation(drawn)]
    for name in (LABEL, BEHAVIOUR):
        events = events.set_column(events.schema.get_field_index(name), name, pa.array(label))
    return replace(log, events=part(events))


KINDS: dict[str, Spoil] = {
    "equal, another seed": nothing,
    "30 % of the users": thirty_percent,
    "a tenth of the categories wrong": broken_field,
    "ten days old": ten_days_old,
    "5 % of the labels shuffled": shuffled_labels,
}


@dataclass(frozen=True)
class Pair:
    """A champion and a candidate, judged as a first look, beside the truth.

    Attributes:
        kind: a key of `KINDS`.
        verdict: the verdict of all metrics together.
        margin: the margin of AUC.
        truth: the AUC of the candidate less the champion's, from the users that don't decide.
        holds: whether the truth lies within the bounds of AUC. It is itself an estimate, which widens them.
        loses: whether the candidate loses two margins or more, by any metric.
    """

    kind: str
    verdict: Verdict
    margin: float
    truth: float
    holds: bool
    loses: bool


def real_pairs(kept: Path, params: Params, seed: int) -> list[Pair]:
    """Draw a log, train a champion and one candidate of each kind, and judge them.

    Args:
        kept: the document of the case.
        params: params.yaml; the block `train` is used as it is.
        seed: seeds the log, the faults, and the two trainings.
    """
    rng = np.random.default_rng(seed)
    small = _simulated(params, _USERS, seed)
    log = draw(small.fetch.simulate)
    champion = _trained(small, log, seed=1)
    held_out = pa.array(np.unique(champion["user"]))
    judging = np.isin(champion["user"], rng.choice(held_out.to_numpy(), JUDGING, replace=False))
    found = []
    for kind, spoil in KINDS.items():
        candidate = _trained(small, spoil(log, held_out, rng), seed=2)
        assert np.array_equal(champion["label"], candidate["label"])
        found.append(_judged(kind, champion, candidate["prediction"], judging, params.gate))
    return found


def _judged(
    kind: str, champion: Mapping[str, np.ndarray], candidate: np.ndarray, judging: np.ndarray, limits: Gate
) -> Pair:
    columns = (champion["label"], candidate, champion["prediction"], champion["user"])
    today: dict[Metric, Estimate] = {
        metric: difference(metric, *(column[judging] for column in columns)) for metric in METRICS
    }
    truth = {metric: difference(metric, *(column[~judging] for column in columns)) for metric in METRICS}
    margins = {metric: margin_of(limits, found) for metric, found in today.items()}
    looks = first_looks(today, limits)
    interval = looks["auc"].interval
    slack = truth["auc"].width(0.975)
    return Pair(
        kind=kind,
        verdict=together(looks, limits),
        margin=margins["auc"],
        truth=truth["auc"].value,
        holds=interval.lower - slack <= truth["auc"].value <= interval.upper + slack,
        loses=max(-truth[metric].value / margins[metric] for metric in METRICS) >= 2,
    )


def _simulated(params: Params, users: int, seed: int) -> Params:
    simulate = replace(
        params.fetch.simulate, users=users, impressions_per_user=_IMPRESSIONS, days=_DAYS, items=1000, seed=seed
    )
    learned = _LEARNED_USERS / users
    featurize = replace(
        params.featurize, fields=None, protocol="by_user", test_fraction=1 - learned, valid_fraction=learned / 5
    )
    return replace(params, fetch=replace(params.fetch, source="simulate", simulate=simulate), featurize=featurize)


def _trained(params: Params, log: RawLog, seed: int) -> dict[str, np.ndarray]:
    """Featurize and train, and return raw user, label and prediction of the test rows, ordered by sequence."""
    learning = replace(params.train.learning, seed=seed)
    with TemporaryDirectory() as folder, redirect_stdout(StringIO()):
        workspace = Workspace(Path(folder))
        featurized(workspace, params, log)
        features = Features(workspace.features)
        with computing(params.train.compute) as compute:
            trained, _ = fit(features, replace(params.train, learning=learning), compute=compute)
            rows = predict(trained, features, "test", EVALUATION_BATCH, compute)
        user = features.raw_users().take(pa.array(rows.rows["user"])).to_numpy()
    order = np.argsort(rows.rows["sequence"])
    columns = {"user": user, "label": rows.rows["label"], "prediction": rows.probabilities}
    return {name: column[order] for name, column in columns.items()}


def featurized(workspace: Workspace, params: Params, log: RawLog) -> None:
    """Write a log and its features to a workspace."""
    described = rawlog.write(log, workspace.raw, None)
    origin = {"format": FORMAT, "source": params.fetch.source, "params": source_settings(params)}
    write_json(workspace.raw / MANIFEST, origin | {"files": hash_files(workspace.raw)} | described)
    featurize(workspace, params)


def part(table: pa.Table) -> Part:
    """Return a simulated table as a part of a log."""
    return Part(table, (("simulate", table.num_rows),))


def _events(log: RawLog, change: Callable[[pa.Table], pa.Table]) -> RawLog:
    return replace(log, events=part(change(log.events.table)))


# --- resampled pairs


def population(kept: Path, params: Params, test_users: int) -> Path:
    """Train twice on one log, and return the file with the rows of many test users; see `Population`."""
    small = _simulated(params, test_users + _LEARNED_USERS, seed=0)
    log = draw(small.fetch.simulate)
    champion, candidate = (_trained(small, log, seed) for seed in (1, 2))
    scores = {"champion": champion["prediction"], "candidate": candidate["prediction"]}
    pq.write_table(
        pa.table({"user": champion["user"], "label": champion["label"], **scores}), kept.with_suffix(".rows")
    )
    return kept.with_suffix(".rows")


@dataclass(frozen=True)
class Population:
    """All test users of two trained models, with rows [B] ordered by user.

    Attributes:
        starts: the first row of each user, and the end, [U + 1].
    """

    label: np.ndarray
    champion: np.ndarray
    candidate: np.ndarray
    starts: np.ndarray

    @classmethod
    def read(cls, rows: Path) -> "Population":
        """Order the rows of a file by user; the better of the two models becomes the candidate."""
        table = pq.read_table(rows)
        order = np.argsort(table["user"].to_numpy(), kind="stable")
        names = ("user", "label", "champion", "candidate")
        user, label, champion, candidate = (table[name].to_numpy()[order] for name in names)
        if auc(label, candidate) < auc(label, champion):
            champion, candidate = candidate, champion
        first_rows = np.unique(user, return_index=True)[1]
        return cls(label, champion, candidate, np.append(first_rows, len(order)))

    @property
    def difference(self) -> float:
        """The true AUC of the candidate less the champion's."""
        return auc(self.label, self.candidate) - auc(self.label, self.champion)

    def losing(self, loss: float, rng: np.random.Generator) -> "Population":
        """Return the population with a candidate that loses about this much AUC."""
        logit = np.log(self.candidate) - np.log1p(-self.candidate)
        noise = rng.normal(size=len(logit))
        low, high = 0.0, 10.0
        while high - low > 1e-4:
            middle = (low + high) / 2
            if auc(self.label, self.champion) - auc(self.label, logit + middle * noise) < loss:
                low = middle
            else:
                high = middle
        return replace(self, candidate=1 / (1 + np.exp(-(logit + low * noise))))

    def draw(self, users: int, rng: np.random.Generator) -> dict[Metric, Estimate]:
        """Return candidate − champion by both metrics on users drawn with replacement."""
        drawn = rng.integers(len(self.starts) - 1, size=users)
        lengths = np.diff(self.starts)[drawn]
        user = np.repeat(np.arange(users), lengths)
        offset = np.arange(len(user)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        rows = np.repeat(self.starts[drawn], lengths) + offset
        columns = (self.label[rows], self.candidate[rows], self.champion[rows], user)
        return {metric: difference(metric, *columns) for metric in METRICS}

    def typical_margin(self, users: int, limits: Gate, rng: np.random.Generator) -> float:
        """Return the median margin of AUC for a number of users."""
        return float(np.median([margin_of(limits, self.draw(users, rng)["auc"]) for _ in range(20)]))


@dataclass(frozen=True)
class Drawn:
    """The verdicts on pairs of one size and one true loss.

    Attributes:
        users: the number of test users.
        loss: the true loss in margins.
        margin: the median margin of AUC.
        verdicts: the verdict on each pair, all metrics together.
        lower_holds: the share of pairs whose lower bound of AUC lies below the truth.
        upper_holds: the share of pairs whose upper bound lies above it.
        excluded: the share of pairs that rule out, if the truth were no difference, what they say they exclude in four
            of five cases.
    """

    users: int
    loss: float
    margin: float
    verdicts: list[Verdict]
    lower_holds: float
    upper_holds: float
    excluded: float

    def share(self, verdict: Verdict) -> float:
        """Return the share of pairs with a verdict."""
        return self.verdicts.count(verdict) / len(self.verdicts)


@dataclass(frozen=True)
class Month:
    """Runs of `DAYS` days against one champion, every day with other users and a candidate of the same true loss.

    Attributes:
        users: the number of test users of a day.
        loss: the true loss in margins.
        opened: the day, from 1, on which each run first opened; None if it never did.
    """

    users: int
    loss: float
    opened: list[int | None]

    def by(self, day: int) -> float:
        """Return the share of runs that had opened by a day."""
        return sum(one is not None and one <= day for one in self.opened) / len(self.opened)


def drawn_pairs(kept: Path, rows: Path, users: int, loss: int, limits: Gate, trials: int) -> Drawn:
    """Judge pairs of one size, each as a first look; see `resample`."""
    return resample(Population.read(rows), users, loss, limits, trials, np.random.default_rng((users, loss)))


def repeated_pairs(kept: Path, rows: Path, users: int, loss: int, limits: Gate, trials: int) -> Month:
    """Judge runs of `DAYS` days, in which looks spend and add up as in the gate; arguments as for `resample`."""
    rng = np.random.default_rng((users, loss))
    found = Population.read(rows)
    losing = found.losing(loss * found.typical_margin(users, limits, rng), rng)
    return Month(users, loss, [_first_open(losing, users, limits, rng) for _ in range(trials)])


def resample(
    population: Population, users: int, loss: float, limits: Gate, trials: int, rng: np.random.Generator
) -> Drawn:
    """Judge pairs of one size, each as a first look.

    Args:
        population: what to draw from.
        users: the number of users in a pair.
        loss: the true loss in margins of AUC.
        limits: the block `gate`.
        trials: the number of pairs.
        rng: draws noise and users.
    """
    margin = population.typical_margin(users, limits, rng)
    losing = population.losing(loss * margin, rng)
    truth = losing.difference
    first = level_of(1, 1 - limits.confidence)
    verdicts = []
    bounds = []
    excluded = 0
    for _ in range(trials):
        found = losing.draw(users, rng)
        looks = first_looks(found, limits)
        verdicts.append(together(looks, limits))
        bounds.append(looks["auc"].interval)
        excluded += looks["auc"].interval.lower - truth > -resolves(found["auc"], first)
    return Drawn(
        users=users,
        loss=loss,
        margin=margin,
        verdicts=verdicts,
        lower_holds=float(np.mean([one.lower <= truth for one in bounds])),
        upper_holds=float(np.mean([one.upper >= truth for one in bounds])),
        excluded=excluded / trials,
    )


def _first_open(losing: Population, users: int, limits: Gate, rng: np.random.Generator) -> int | None:
    views: dict[Metric, list[View]] = {metric: [] for metric in METRICS}
    for day in range(1, DAYS + 1):
        for metric, found in losing.draw(users, rng).items():
            todays = replace(found, users=found.users + day * users)
            views[metric].append(View(frozenset([day]), todays))
        if newest_verdict(views, limits) == "open":
            return day
    return None


# --- verdicts


def first_looks(found: Mapping[Metric, Estimate], limits: Gate) -> dict[Metric, Look]:
    """Return the first look at a difference by each metric."""
    return {metric: judge([one], margin_of(limits, one), 1, 1 - limits.confidence) for metric, one in found.items()}


def newest_verdict(views: Mapping[Metric, Sequence[View]], limits: Gate) -> Verdict:
    """Return the verdict of the newest look at the champion, by all metrics together.

    Args:
        views: all looks by each metric, oldest first.
        limits: the block `gate`.
    """
    margin = partial(margin_of, limits)
    return together({metric: judged(own, margin, 1 - limits.confidence) for metric, own in views.items()}, limits)


def together(looks: Mapping[Metric, Look], limits: Gate) -> Verdict:
    """Return the verdict by all metrics: open if all are, closed if any is."""
    verdicts = {ruling(look, metric, limits) for metric, look in looks.items()}
    if verdicts == {"open"}:
        return "open"
    return "closed" if "closed" in verdicts else "borderline"


# --- tables


def percent(hits: Sequence[bool]) -> str:
    """Return a share as a rounded percentage."""
    return f"{100 * float(np.mean(hits)):.0f} %"


def real_table(pairs: Sequence[Pair]) -> str:
    """Return the table of real trainings: the verdicts on a few hundred users beside the truth from all others."""
    rows = []
    for kind in KINDS:
        own = [pair for pair in pairs if pair.kind == kind]
        bad = [pair for pair in own if pair.loses]
        rows.append(
            [
                kind,
                len(own),
                f"{np.mean([pair.truth for pair in own]):+.4f}",
                f"{np.median([pair.margin for pair in own]):.4f}",
                *(percent([pair.verdict == verdict for pair in own]) for verdict in VERDICTS),
                len(bad),
                sum(pair.verdict == "open" for pair in bad),
                percent([pair.holds for pair in own]),
            ]
        )
    head = ["candidate", "pairs", "true ΔAUC", "margin", "open", "undecided", "closed"]
    head += ["lose ≥ 2 margins", "of these open", "bounds hold"]
    return f"\n### Real pairs, judged on {JUDGING} test users\n\n{study.table(head, rows)}"


def drawn_table(drawn: Sequence[Drawn]) -> str:
    """Return the table of resampled pairs, each a first look."""
    rows = []
    for one in drawn:
        shares = [*map(one.share, VERDICTS), one.lower_holds, one.upper_holds, one.excluded]
        cells = [f"{one.users:,}", _loss(one.loss), len(one.verdicts), f"{one.margin:.4f}"]
        rows.append([*cells, *(f"{100 * share:.1f} %" for share in shares)])
    head = ["users", "true loss of AUC", "pairs", "margin", "open", "undecided", "closed"]
    head += ["lower bound holds", "upper bound holds", "excludes what it says"]
    return f"\n### Resampled pairs, first look\n\n{study.table(head, rows)}"


def month_table(months: Sequence[Month]) -> str:
    """Return the table of daily repetition."""
    rows = [
        [f"{one.users:,}", _loss(one.loss), len(one.opened), *(f"{100 * one.by(day):.1f} %" for day in (1, 2, 5, DAYS))]
        for one in months
    ]
    head = ["users a day", "true loss of AUC", "runs", "open on day 1", "by day 2", "by day 5", f"by day {DAYS}"]
    return f"\n### Resampled pairs, repeated daily for {DAYS} days\n\n{study.table(head, rows)}"


def _loss(margins: float) -> str:
    return f"{margins:g} margins" if margins else "none"
