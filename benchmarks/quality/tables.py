"""Turn figures of several seeds into Markdown tables."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.quality.configurations import Row
from benchmarks.quality.runs import Figures
from din.metrics.ranking import auc, relative_improvement
from din.params import Train

METRICS = ("auc", "gauc", "log_loss")


def mean_sd(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and sample standard deviation, which is NaN for a single value."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def tables(rows: list[Row], figures: Figures, tried: Figures) -> str:
    """Return a table for each log, with validation AUC and the metrics of the test rows, and a table of its tries."""
    parts = []
    for log in dict.fromkeys(row.log for row in rows):
        of_log = [row for row in rows if row.log == log]
        parts += [_table(log, of_log, figures), *_choices(log, of_log, tried)]
    return "\n\n".join(parts)


def _table(log: str, rows: list[Row], figures: Figures) -> str:
    test = figures[log, rows[0].name][0]["test"]
    oracle = (test.get("oracle") or {}).get("auc")
    head = ["model", "valid AUC", "test AUC", "GAUC", "log loss", "RelaImpr AUC", "RelaImpr GAUC", "ensemble AUC"]
    head += ["of the oracle's lift"] * bool(oracle) + ["epoch", "seeds"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in rows:
        found = figures[log, row.name]
        base = figures[log, row.base]
        cells = [_cell([run["valid"]["auc"] for run in found])]
        cells += [_cell([run["test"][metric] for run in found]) for metric in METRICS]
        cells += ["–" if row.name == row.base else _gain(found, base, metric) for metric in ("auc", "gauc")]
        cells += [f"{_of_the_mean(found):.4f}" if len(found) > 1 else "–"]
        if oracle:
            lift = (mean_sd([run["test"]["auc"] for run in found])[0] - 0.5) / (oracle - 0.5)
            cells += [f"{lift * 100:.1f} %"]
        cells += [f"{np.mean([run['epoch'] for run in found]):.1f}", str(len(found))]
        lines.append(f"| {row.name} | " + " | ".join(cells) + " |")
    title = f"**{log}**: {test['rows']:,} test rows of {test['users']:,} users"
    if oracle:
        title += f"; the AUC of the true probabilities is {oracle:.4f}"
    if counted := test.get("popularity"):
        title += f"; popularity has an AUC of {counted['auc']:.4f} and a GAUC of {counted['gauc']:.4f}"
    return title + "\n\n" + "\n".join(lines)


def _gain(found: list[dict[str, Any]], base: list[dict[str, Any]], metric: str) -> str:
    """Return RelaImpr (Eq. 11) in percent, comparing each seed with the base's run of the same seed."""
    pairs = zip(found, base, strict=True)
    mean, sd = mean_sd([relative_improvement(run["test"][metric], other["test"][metric]) for run, other in pairs])
    if np.isnan(mean):  # a base with an AUC of at most 0.5 has no lift to compare with
        return "–"
    return f"{mean:+.1f} %" if np.isnan(sd) else f"{mean:+.1f} ± {sd:.1f} %"


def _of_the_mean(runs: list[dict[str, Any]]) -> float:
    """Return the test AUC of the seeds as one ensemble, which shows what a single model loses by chance."""
    found = [pq.read_table(run["predictions"], columns=["label", "prediction"]) for run in runs]
    return auc(found[0]["label"], np.mean([table["prediction"] for table in found], 0))


def _choices(log: str, rows: list[Row], tried: Figures) -> list[str]:
    """Return a folded table of each row's tries, best first, with the chosen one in bold; nothing without tries."""
    lines = []
    for row in rows:
        scored = zip(row.tries, tried.get((log, row.name), []), strict=True)
        named = sorted(((run["valid"]["auc"], _changes(row, train)) for train, run in scored), reverse=True)
        lines += [f"| {row.name} | {changes} | {auc:.4f} |" for auc, changes in named]
    if not lines:
        return []
    title = f"{log}: {len(lines)} configurations tried, validation AUC of seed 1, the chosen ones in bold"
    head = f"<details><summary>{title}</summary>\n\n"
    return ["\n".join([f"{head}| model | changed | valid AUC |", "|---|---|---|", *lines, "\n</details>"])]


def _changes(row: Row, train: Train) -> str:
    """Describe how a try differs from the row's first try."""
    first, own = (asdict(settings) for settings in (row.tries[0], train))
    changed = {
        key: value for block in ("model", "learning") for key, value in own[block].items() if value != first[block][key]
    }
    said = ", ".join(f"{key} {value}" for key, value in changed.items()) or "nothing"
    return f"**{said}**" if train == row.train else said


def _cell(values: Sequence[float]) -> str:
    mean, sd = mean_sd(values)
    return f"{mean:.4f}" if np.isnan(sd) else f"{mean:.4f} ± {sd:.4f}"
