"""The tables of docs/warranty.md."""

from collections.abc import Sequence

import numpy as np
from scipy.special import betaincinv

from benchmarks.warranty.lessons import ALL_FOLDS, SOUND, Outcome
from benchmarks.warranty.scores import DAYS, Drawn, Month, together
from benchmarks.warranty.trainings import JUDGING, KINDS, Pair
from benchmarks.warranty.waiting import Wait
from din.gates.delta import margin_of
from din.metrics.estimates import difference
from din.metrics.noninferiority import judge
from din.params.gate import Gate
from din.train.crossfit import FOLDS

_METRICS = ("auc", "gauc")


def real_pairs(trained: Sequence[Pair], limits: Gate) -> str:
    """Return the table of real trainings: the verdicts on a few hundred users beside the truth from all others."""
    rows = []
    for kind in KINDS:
        judged = [_Judged(pair, limits) for pair in trained if pair.kind == kind]
        bad = [one for one in judged if one.loses]
        opened_bad = sum(one.verdict == "open" for one in bad)
        rows.append(
            [
                kind,
                len(judged),
                f"{np.mean([one.truth for one in judged]):+.4f}",
                f"{np.median([one.margin for one in judged]):.4f}",
                *(_percent([one.verdict == verdict for one in judged]) for verdict in ("open", "borderline", "closed")),
                len(bad),
                opened_bad,
                _percent([one.holds for one in judged]),
            ]
        )
    columns = ["candidate", "pairs", "true ΔAUC", "margin", "open", "undecided", "closed"]
    columns += ["lose ≥ 2 margins", "of these open", "bounds hold"]
    title = f"\n### Real pairs, judged on {JUDGING} test users\n\n"
    return title + _markdown(columns, rows)


def resampled(drawn: Sequence[Drawn]) -> str:
    """Return the table of resampled pairs, each a first look."""
    rows = [
        [
            f"{one.users:,}",
            f"{one.loss} margins" if one.loss else "none",
            len(one.verdicts),
            f"{one.margin:.4f}",
            *(f"{100 * one.share(verdict):.1f} %" for verdict in ("open", "borderline", "closed")),
            f"{100 * one.lower_holds:.1f} %",
            f"{100 * one.upper_holds:.1f} %",
            f"{100 * one.excluded:.1f} %",
        ]
        for one in drawn
    ]
    columns = ["users", "true loss of AUC", "pairs", "margin", "open", "undecided", "closed"]
    columns += ["lower bound holds", "upper bound holds", "excludes what it says"]
    return "\n### Resampled pairs, first look\n\n" + _markdown(columns, rows)


def repeated(months: Sequence[Month]) -> str:
    """Return the table of daily repetition."""
    rows = [
        [
            f"{one.users:,}",
            f"{one.loss} margins" if one.loss else "none",
            len(one.opened),
            *(f"{100 * one.by(day):.1f} %" for day in (1, 2, 5, DAYS)),
        ]
        for one in months
    ]
    columns = ["users a day", "true loss of AUC", "runs", "open on day 1", "by day 2", "by day 5", f"by day {DAYS}"]
    return f"\n### Resampled pairs, repeated daily for {DAYS} days\n\n" + _markdown(columns, rows)


class _Judged:
    """A real pair, judged as a first look, beside its truth."""

    def __init__(self, pair: Pair, limits: Gate) -> None:
        some = pair.judging
        level = 1 - limits.confidence
        looks = {}
        losses = []
        for metric in _METRICS:
            today = difference(metric, pair.label[some], pair.candidate[some], pair.champion[some], pair.user[some])
            truth = difference(metric, pair.label[~some], pair.candidate[~some], pair.champion[~some], pair.user[~some])
            margin = margin_of(limits, today)
            looks[metric] = judge([today], margin, 1, level)
            losses.append(-truth.value / margin)
            if metric == "auc":
                self.truth = truth.value
                self.margin = margin
                interval = looks[metric].interval
                slack = truth.width(0.975)  # the truth is itself an estimate, from the other users
                self.holds = interval.lower - slack <= truth.value <= interval.upper + slack
        self.verdict = together(looks, limits)
        self.loses = max(losses) >= 2


def _percent(hits: Sequence[bool]) -> str:
    return f"{100 * float(np.mean(hits)):.0f} %"


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def lessons(found: Sequence[Outcome]) -> str:
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
                    _percent([one.promoted for one in some]),
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
    columns = ["users a day", "lesson", "logs", "true ΔAUC", "cross-fitted", "margin", "promoted"]
    columns += ["lose ≥ 2 margins", "of these promoted"]
    return "\n### Lessons of a day\n\n" + _markdown(columns, rows) + "\n" + "".join(statements)


def folds(found: Sequence[Outcome]) -> str:
    """Return the table of numbers of folds."""
    wide = {(one.users, one.seed) for one in found if one.folds != FOLDS}
    rows = []
    for users, days, kind in sorted({(one.users, one.days, one.kind) for one in found if one.folds != FOLDS}):
        some = [one for one in found if (one.users, one.days, one.kind) == (users, days, kind)]
        by_folds = {
            count: [one for one in some if one.folds == count and (users, one.seed) in wide] for count in ALL_FOLDS
        }
        truths = [one.effects["auc"].truth for one in by_folds[FOLDS]]
        rows.append([f"{users:,}", days, kind, len(truths), f"{np.mean(truths):+.4f}"])
        for own in by_folds.values():
            effects = [one.effects["auc"] for one in own]
            width = np.mean([one.width for one in effects])
            rows[-1].append(f"{np.mean([one.judged for one in effects]):+.4f} ± {width:.4f}")
        for own in by_folds.values():
            rows[-1].append(f"{np.mean([one.cross_fit_cpu / one.lesson_cpu for one in own]):.1f}")
    columns = ["users a day", "days", "lesson", "logs", "true ΔAUC", *(f"K = {count}" for count in ALL_FOLDS)]
    columns += [f"CPU, K = {count}" for count in ALL_FOLDS]
    return "\n### Folds\n\n" + _markdown(columns, rows)


def waits(found: Sequence[Wait]) -> str:
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
                *(_percent([one == verdict for one in verdicts]) for verdict in ("open", "borderline", "closed")),
                _percent([verdict != "open" for one in some for verdict in one.shipped]),
            ]
        )
    columns = ["users a day", "logs", "champions", "median stay, days", "95th percentile", "longest"]
    columns += ["open", "undecided", "closed", "`shipped` closed"]
    return f"\n### How long a champion stays, in {len(found[0].champion)} days of sound lessons\n\n" + _markdown(
        columns, rows
    )


def _share(hits: Sequence[bool], logs: int) -> str:
    """Return a share with the upper end of its 95 % interval (Clopper and Pearson), as if a log had one lesson."""
    if not hits:
        return "none of 0"
    events = float(np.mean(hits)) * logs
    upper = betaincinv(events + 1, logs - events, 0.975) if events < logs else 1.0
    return f"{sum(hits)} of {len(hits)}, {100 * events / logs:.1f} %, at most {100 * upper:.1f} %"
