"""Model quality: `make quality` trains every row of quality.yaml with several seeds, and writes docs/quality.md.

A group of quality.yaml names logs, with the source of their features, and rows, with the models to train on each log:

    paper:
      train: {learning: {metric: auc}}           # over the block `train` of every log
      logs:
        beauty: {example: docs/examples/….yaml, set: {featurize: {max_history: 20}}}
      rows:
        - {name: BaseModel, train: {model: {name: base}}}            # a row of every log
        - {name: DIN, logs: [beauty], base: BaseModel, train: {}}    # base: what RelaImpr compares with

A log is the defaults with the overlays `example` and `set` in turn, and with its paths below the folder DATA. A log
that is marked `full: true` is left out without `--full`. Every (log, row, seed) is a case.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from benchmarks import harness
from benchmarks.environments import ROOT
from benchmarks.features import featurized
from benchmarks.generated_tables import publish
from benchmarks.harness import parsed, positive
from benchmarks.logs import read_log
from benchmarks.training import QualityRun, run
from din.base.errors import InputError
from din.metrics.estimates import Metric, mean
from din.metrics.ranking import relative_improvement
from din.params.blocks import parse, to_json
from din.params.overlays import overlaid
from din.params.reading import Params
from din.params.train import Train

STORE = harness.STORE / "quality"
CONFIDENCE = 0.95
"""The confidence of each bound of the mean difference from the base; intervals are by user."""
_COMPARED: tuple[Metric, ...] = ("auc", "gauc")


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        log: the name of the log.
        name: the name in the table.
        base: the name of the row of the same log that RelaImpr compares with.
        train: the training parameters.
    """

    log: str
    name: str
    base: str
    train: Train


def main() -> int:
    """Run the command line and return the exit code: 0 = done, 2 = bad usage or input."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description="Compare models on logs.")
    parser.add_argument("--data", type=Path, help="the folder of the prepared logs; default: simulated logs alone")
    parser.add_argument("--seeds", type=positive, default=2, help="of each row, by default %(default)s")
    parser.add_argument("--jobs", type=positive, default=1, help="processes of one thread each")
    parser.add_argument("--log", help="only this log of quality.yaml")
    parser.add_argument("--write", action="store_true", help="write the tables to docs/quality.md")
    options = parsed(parser, full={"seeds": 3})

    def tables() -> str:
        logs, rows = read(options.data, options.full)
        if options.log and options.log not in logs:
            raise InputError(f"--log {options.log!r}: expected one of {', '.join(map(repr, logs))}")
        asked = [row for row in rows if options.log in (None, row.log)]
        read_logs = {row.log: logs[row.log] for row in asked}
        return text(asked, trained(asked, featurized(read_logs, STORE, options.jobs), options.seeds, options.jobs))

    return publish("quality" if options.write else "", tables)


def read(data: Path | None, full: bool = True) -> tuple[dict[str, Params], list[Row]]:
    """Return the parameters of each log of quality.yaml, and all rows.

    Args:
        data: the folder of the prepared logs. None leaves them out.
        full: whether to include logs that are marked `full`.

    Raises:
        InputError: a key is unknown or of a wrong type.
    """
    path = ROOT / "benchmarks/quality.yaml"
    logs: dict[str, Params] = {}
    rows = []
    for group in YAML(typ="safe").load(path.read_text(encoding="utf-8")).values():
        asked = {name: log for name, log in group["logs"].items() if full or not log.get("full")}
        group_logs = {name: read_log(ROOT / log["example"], data, log.get("set")) for name, log in asked.items()}
        group_logs = {name: params for name, params in group_logs.items() if data or params.fetch.source != "table"}
        logs |= group_logs
        for row in group["rows"]:
            where = f"{path}: row {row['name']!r}"
            for log in [log for log in group_logs if log in row.get("logs", group_logs)]:
                params = to_json(group_logs[log])
                for overlay in (group["train"], row["train"], {"compute": {"threads": 1}}):
                    params = overlaid(params, {"train": overlay}, where)
                train = parse(Train, params["train"], where)
                rows.append(Row(log, row["name"], row.get("base", "BaseModel"), train))
    return logs, rows


def trained(
    rows: Sequence[Row], features: Mapping[str, Path], seeds: int, jobs: int = 0, store: Path = STORE
) -> list[list[QualityRun]]:
    """Return the runs of each row with seeds 1 … `seeds`."""
    cases = []
    for row in rows:
        for seed in range(1, seeds + 1):
            train = replace(row.train, learning=replace(row.train.learning, seed=seed))
            cases.append(harness.StudyCase(f"{row.log} {row.name} {seed}", run, (features[row.log], train)))
    results = harness.results(store / "runs", cases, jobs)
    return [results[start : start + seeds] for start in range(0, len(results), seeds)]


def text(rows: Sequence[Row], runs: Sequence[list[QualityRun]]) -> str:
    """Return a table for each log."""
    by_row = {(row.log, row.name): row_runs for row, row_runs in zip(rows, runs, strict=True)}
    parts = []
    for log in dict.fromkeys(row.log for row in rows):
        lines = [_line(row, by_row[log, row.name], by_row[log, row.base]) for row in rows if row.log == log]
        first = next(row_runs[0] for (name, _), row_runs in by_row.items() if name == log)
        title = f"**{log}**: {first.test.rows:,} test rows of {first.test.users:,} users"
        if first.oracle:
            title += f"; the AUC of the true probabilities is {first.oracle.auc:.4f}"
        parts.append(f"{title}\n\n{harness.table(list(lines[0]), [list(line.values()) for line in lines])}")
    return "\n".join(parts)


def _line(row: Row, runs: list[QualityRun], base: list[QualityRun]) -> dict[str, str]:
    """Return the cells of a row by the heads of their columns."""
    cells = {"model": row.name, "valid AUC": _mean_sd([run.valid.auc for run in runs])}
    for head, metric in (("test AUC", "auc"), ("GAUC", "gauc"), ("log loss", "log_loss")):
        cells[head] = _mean_sd(_test(runs, metric))
    gains = list(map(relative_improvement, _test(runs, "auc"), _test(base, "auc")))
    compared = row.name != row.base and not np.isnan(gains).any()  # a base at or below 0.5 has no lift
    cells["RelaImpr AUC"] = f"{_mean_sd(gains, '+.1f')} %" if compared else "–"
    for metric in _COMPARED:
        paired = [run.less(other, metric) for run, other in zip(runs, base, strict=True)]
        gain = harness.interval(mean(paired).interval(CONFIDENCE))
        cells[f"{metric.upper()} minus base"] = gain if row.name != row.base else "–"
    if oracle := runs[0].oracle:
        lift = (np.mean(_test(runs, "auc")) - 0.5) / (oracle.auc - 0.5)
        cells["of the oracle's lift"] = f"{lift * 100:.1f} %"
    epoch = np.mean([run.epoch for run in runs])
    return cells | {"epoch": f"{epoch:.1f}", "seeds": str(len(runs))}


def _test(runs: list[QualityRun], metric: str) -> list[float]:
    return [getattr(run.test, metric) for run in runs]


def _mean_sd(values: Sequence[Any], form: str = ".4f") -> str:
    """Return the mean and, of more than one value, the sample standard deviation."""
    mean = f"{np.mean(values):{form}}"
    return f"{mean} ± {np.std(values, ddof=1):{form.removeprefix('+')}}" if len(values) > 1 else mean


if __name__ == "__main__":
    sys.exit(main())
