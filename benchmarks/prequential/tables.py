"""The tables of a finished study, as Markdown."""

from collections.abc import Sequence
from itertools import product

import pyarrow as pa

from benchmarks.daily import CHAMPION, FIRST, SCRATCH, STALE, advantage, average
from benchmarks.prequential.study import LEARNING, Study
from din.metrics.estimates import Metric

NAMES = {
    SCRATCH: "from scratch, `refit`",
    STALE: "from scratch, no passes",
    CHAMPION: "goes on daily",
    FIRST: "never retrained",
}
COMPARED = ((SCRATCH, STALE), (CHAMPION, STALE), (CHAMPION, SCRATCH), (SCRATCH, FIRST), (CHAMPION, FIRST))
METRICS: tuple[Metric, ...] = ("auc", "gauc")


def text(study: Study) -> str:
    """Return all tables."""
    return "\n".join([_head(study), _levels(study), _differences(study), _by_day(study)])


def _head(study: Study) -> str:
    days = study.scored_days
    rows = sum(len(study.scores(day, study.seeds[0])) for day in days)
    seeds = ", ".join(map(str, study.seeds))
    return f"{len(days)} days, {days[0]} to {days[-1]}, with {rows:,} impressions. Seeds: {seeds}.\n"


def _levels(study: Study) -> str:
    """Return the table of each policy's mean metrics and of what its models cost."""
    everything = _scores(study)
    lines = ["| model of the morning | AUC | GAUC | learning, CPU s a day |", "|---|---|---|---|"]
    for policy, name in NAMES.items():
        found = [f"{average(everything, policy, metric):.4f}" for metric in METRICS]
        lines.append(f"| {name} | {' | '.join(found)} | {_cost(study, policy)} |")
    return "\n".join(lines) + "\n"


def _cost(study: Study, policy: str) -> str:
    if policy not in LEARNING:
        return "0"
    runs = [study.made(day, seed, policy).seconds for day, seed in product(study.days[1:-1], study.seeds)]
    return f"{sum(runs) / len(runs):.1f}"


def _differences(study: Study) -> str:
    """Return the table of differences, of all seeds and of each."""
    by_seed = {seed: _scores(study, seeds=[seed]) for seed in study.seeds}
    head = ["difference", "AUC", "GAUC", *(f"seed {seed}: AUC, GAUC" for seed in by_seed)]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for ours, theirs in COMPARED:
        cells = [f"{NAMES[ours]} − {NAMES[theirs]}"]
        for metric in METRICS:
            found = advantage(_scores(study), ours, theirs, metric)
            cells.append(f"**{found.point:+.4f}** [{found.lower:+.4f}, {found.upper:+.4f}]")
        for tables in by_seed.values():
            points = [advantage(tables, ours, theirs, metric).point for metric in METRICS]
            cells.append(", ".join(f"{point:+.4f}" for point in points))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _by_day(study: Study) -> str:
    """Return the table with a row for each day."""
    head = ["day", "impressions", *(f"{name}: AUC, GAUC" for name in NAMES.values())]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for day in study.scored_days:
        tables = _scores(study, days=[day])
        cells = [str(day), f"{len(tables[0]):,}"]
        for policy in NAMES:
            cells.append(", ".join(f"{average(tables, policy, metric):.4f}" for metric in METRICS))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _scores(study: Study, days: Sequence | None = None, seeds: Sequence[int] | None = None) -> list[pa.Table]:
    """Return the scores of some days and seeds, by default of all."""
    return [study.scores(day, seed) for day, seed in product(days or study.scored_days, seeds or study.seeds)]
