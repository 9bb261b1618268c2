"""The tables of docs/warranty.md."""

from collections.abc import Sequence

import numpy as np

from benchmarks.warranty.scores import DAYS, Drawn, Month, together
from benchmarks.warranty.trainings import JUDGING, KINDS, Pair
from din.metrics.estimates import difference
from din.metrics.noninferiority import judge
from din.params.gate import Gate
from din.promotion.delta import margin_of

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
        self.verdict = together(list(looks.values()))
        self.loses = max(losses) >= 2


def _percent(hits: Sequence[bool]) -> str:
    return f"{100 * float(np.mean(hits)):.0f} %"


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
