"""Model quality: `make quality`, `make paper` and `make attention`, each of which writes its page below docs/.

A configuration names logs, with the source of their features, and rows, with the models to train on them:

    train: {learning: {metric: auc}}           # over the block `train` of every log
    logs:
      beauty: {example: docs/examples/….yaml, set: {featurize: {max_history: 20}}}
    rows:
      - {name: BaseModel, train: {model: {name: base}}}            # a row of every log
      - {name: DIN, logs: [beauty], base: BaseModel, train: {}}    # base: what RelaImpr compares with
        search:
          draws: 8
          space:
            - [{learning: {dropout: 0}}, {learning: {dropout: 0.5}}]
            - [{model: {softmax: false}}, {model: {softmax: true}}]

A log is params.yaml with the overlays `example` and `set` in turn, and with its paths below the folder DATA.
`derive: {table: SQL}` replaces the log's events, items, users or history by a DuckDB query over the log's files, which
have these names in the query. `search` tries the row as it is, and `draws - 1` random choices of one alternative from
each list, which are equal for equal spaces.

Every (log, row, seed) is a case. Configurations are chosen on validation rows, and only the chosen ones score test
rows.
"""

import argparse
import contextlib
import copy
import io
import itertools
import math
import random
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
from ruamel.yaml import YAML

from benchmarks import stages, study
from benchmarks.environments import ROOT
from benchmarks.figures import publish
from benchmarks.logs import TABLES, below
from benchmarks.study import positive
from din.artifacts import sha256_file
from din.errors import InputError
from din.features.reader import Features
from din.metrics.ranking import auc, gauc, relative_improvement
from din.metrics.summary import summary
from din.params import Params, Train, load, parse, to_json
from din.params.overlays import overlaid, read_overlay
from din.train.compute import computing
from din.train.evaluate import oracle
from din.train.fit import fit
from din.train.predict import EVALUATION_BATCH, Predictions, predict
from din.workspace import Workspace

HERE = Path(__file__).parent
STORE = study.STORE / "quality"
BASE = "BaseModel"
METRICS = ("auc", "gauc", "log_loss")
FINALISTS = 0.2
"""The share of tries that are rerun with more seeds."""
FINAL_SEEDS = (1, 2, 3)

Run = dict[str, Any]
"""The figures of a training, by split."""


@dataclass(frozen=True)
class Log:
    """A log's parameters as plain values with absolute paths, and queries over its tables."""

    name: str
    params: dict[str, Any]
    derive: dict[str, str]

    @property
    def files(self) -> dict[str, Path]:
        """The files of the log, by the name of their table."""
        fetch = self.params["fetch"]
        return {
            name: Path(fetch["table"][name]) for name in TABLES if fetch["source"] == "table" and fetch["table"][name]
        }


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        log: the name of the log.
        name: the name in the table.
        base: the name of the row of the same log that RelaImpr compares with.
        train: the training parameters.
        tries: the configurations to choose from on validation rows; empty if `train` is fixed.
    """

    log: str
    name: str
    base: str
    train: Train
    tries: tuple[Train, ...] = ()

    def is_base_of(self, other: "Row") -> bool:
        """Return whether another row is compared with this one."""
        return (self.log, self.name) == (other.log, other.base)


@dataclass(frozen=True)
class Result:
    """A row with its chosen configuration.

    Attributes:
        row: the row.
        runs: the run of each seed.
        tried: the validation AUC of each of the row's tries, with seed 1.
    """

    row: Row
    runs: list[Run]
    tried: list[float]


def main() -> int:
    """Run the command line and return the exit code: 0 = done, 2 = bad usage or input."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description="Compare models on public logs.")
    parser.add_argument("tables", choices=("quality", "paper", "attention"))
    parser.add_argument("--data", type=Path, default=Path(), help="folder of the logs, as docs/quality.md lists them")
    parser.add_argument("--seeds", type=positive, default=5, help="the number of seeds of every row")
    parser.add_argument("--jobs", type=positive, default=1, help="processes of one thread each")
    parser.add_argument(
        "--only",
        default="",
        help="only rows whose 'log/name' contains this text, and the rows they are compared with; writes no page",
    )
    given = parser.parse_args()
    return publish("" if given.only else given.tables, lambda: measured(given))


def measured(given: argparse.Namespace) -> str:
    """Run the missing cases and return the tables.

    Raises:
        InputError: no row is asked for, or a log can't be read.
    """
    logs, rows = read(HERE / f"{given.tables}.yaml", given.data)
    shown = [row for row in rows if given.only in f"{row.log}/{row.name}"]
    if not shown:
        listed = ", ".join(f"{row.log}/{row.name}" for row in rows)
        raise InputError(f"--only {given.only!r} is not contained in any of {listed}")
    needed = [row for row in rows if row in shown or any(map(row.is_base_of, shown))]
    folders = features_of([logs[name] for name in dict.fromkeys(row.log for row in needed)], jobs=given.jobs)
    results = [result_of(row, given.seeds, folders[row.log], given.jobs) for row in needed]
    return tables(results, [(row.log, row.name) for row in shown])


def read(path: Path, data: Path) -> tuple[dict[str, Log], list[Row]]:
    """Read all logs and rows of a configuration file.

    Args:
        path: the configuration file.
        data: the folder of the logs.

    Raises:
        InputError: a key is unknown or of a wrong type.
    """
    raw = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    logs = {name: _log(name, spec, data) for name, spec in raw["logs"].items()}
    rows = []
    for spec in raw["rows"]:
        where = f"{path}: row {spec['name']!r}"
        for log in spec.get("logs", logs):
            settled = [raw.get("train", {}), spec["train"]]
            tries = [_train(logs[log], [*settled, *chosen], where) for chosen in _tries(**spec.get("search", {}))]
            train = _train(logs[log], settled, where)
            rows.append(Row(log, spec["name"], spec.get("base", BASE), train, tuple(tries)))
    return logs, rows


def _tries(draws: int = 0, space: Sequence[list[dict[str, Any]]] = ()) -> list[tuple[dict[str, Any], ...]]:
    """Return overlays: none, then distinct random points of the space (Bergstra & Bengio, JMLR 13, 2012)."""
    if not draws:
        return []
    points = random.Random(draws).sample(list(itertools.product(*space)), draws - 1)
    return [(), *points]


def _train(log: Log, overlays: Sequence[dict[str, Any]], where: str) -> Train:
    """Return a log's block `train` with overlays of that block, for one thread."""
    params = log.params
    for overlay in (*overlays, {"compute": {"threads": 1}}):
        params = overlaid(params, {"train": overlay}, where)
    return parse(Train, params["train"], where)


def _log(name: str, spec: dict[str, Any], data: Path) -> Log:
    params = to_json(load(ROOT / "params.yaml"))
    if "example" in spec:
        params = overlaid(params, read_overlay(ROOT / spec["example"]), spec["example"])
    params = overlaid(params, spec.get("set", {}), f"log {name!r}")
    params = to_json(parse(Params, params, f"log {name!r}"))
    return Log(name, below(params, data), spec.get("derive", {}))


def features_of(logs: Sequence[Log], store: Path = STORE, jobs: int = 0) -> dict[str, Path]:
    """Return the feature directory of each log.

    Raises:
        InputError: a log can't be read.
    """
    cases = [
        study.Case(log.name, featurized, (log, [sha256_file(path) for path in log.files.values()])) for log in logs
    ]
    found = study.results(store / "logs", cases, jobs)
    return dict(zip((log.name for log in logs), found, strict=True))


def featurized(kept: Path, log: Log, hashes: Sequence[str]) -> Path:
    """Make a log's features in a workspace beside the document, and return them.

    Args:
        kept: the document of the case.
        log: the log.
        hashes: the hashes of its files, so that another log makes another case.
    """
    workspace = Workspace(kept.with_suffix(""))
    workspace.root.mkdir(exist_ok=True)
    params = copy.deepcopy(log.params)
    for name, query in log.derive.items():
        target = str(workspace.root / f"{name}.parquet")
        params["fetch"]["table"][name] = target
        with duckdb.connect() as connection:
            for table, file in log.files.items():
                connection.read_csv(str(file)).create_view(table)
            connection.sql(query).write_parquet(target)
    stages.run(["fetch", "featurize"], workspace, parse(Params, params, log.name), kept.with_suffix(".txt"))
    return workspace.features


def result_of(row: Row, seeds: int, features: Path, jobs: int = 0, store: Path = STORE) -> Result:
    """Choose a row's best try by validation AUC, and score the test rows with seeds 1 … `seeds`.

    If the best `FINALISTS` are more than one, they are rerun with `FINAL_SEEDS`, and the best mean is chosen: on a
    small log, seeds differ by more than most tries.
    """

    def runs(trains: Sequence[Train], seeds: Sequence[int], *splits: str) -> list[list[Run]]:
        """Return the runs of each configuration, one for each seed."""
        name = f"{'-'.join(splits)} {row.log} {row.name}"
        seeded = [replace(train, learning=replace(train.learning, seed=seed)) for train in trains for seed in seeds]
        cases = [study.Case(f"{name} {train.learning.seed}", run, (features, train, splits)) for train in seeded]
        found = study.results(store / "runs", cases, jobs)
        return [found[place : place + len(seeds)] for place in range(0, len(found), len(seeds))]

    def valid(trains: Sequence[Train], seeds: Sequence[int]) -> list[float]:
        """Return the mean validation AUC of each configuration."""
        return [float(np.mean([one["valid"]["auc"] for one in own])) for own in runs(trains, seeds, "valid")]

    tried = valid(row.tries, [1])
    best = _by_score(row.tries, tried)[: math.ceil(len(tried) * FINALISTS)]
    if len(best) > 1:
        best = _by_score(best, valid(best, FINAL_SEEDS))
    chosen = replace(row, train=best[0]) if best else row
    (own,) = runs([chosen.train], range(1, seeds + 1), "valid", "test")
    return Result(chosen, own, tried)


def _by_score(trains: Sequence[Train], scores: Sequence[float]) -> list[Train]:
    """Return configurations by falling score; equal ones keep their order."""
    return [trains[place] for place in np.argsort([-score for score in scores], kind="stable")]


def run(kept: Path, features: Path, train: Train, splits: Sequence[str]) -> Run:
    """Train once and return the figures of some splits; predictions of test rows are kept beside the document.

    Args:
        kept: the document of the case.
        features: the feature directory.
        train: the training parameters, with the seed.
        splits: the splits to score.
    """
    began = time.process_time()
    opened = Features(features)
    with contextlib.redirect_stdout(io.StringIO()), computing(train.compute) as compute:
        trained, progress = fit(opened, train, compute=compute)
    record: Run = {"epoch": progress.best_epoch + 1}
    for split in splits:
        found = predict(trained, opened, split, EVALUATION_BATCH)
        record[split] = summary(found.rows["label"], found.probabilities, found.rows["user"]).model_dump()
        record[split]["popularity"] = _popularity(found, opened)
        known = oracle(found, Workspace(features.parents[1]).truth)
        record[split]["oracle"] = known and known.model_dump()
        if split == "test":
            record["predictions"] = str(kept.with_suffix(".parquet"))
            pq.write_table(found.table(), kept.with_suffix(".parquet"))
    return record | {"cpu_seconds": round(time.process_time() - began)}


def _popularity(found: Predictions, features: Features) -> dict[str, float]:
    """Return AUC and GAUC of the items' popularity in training on the same rows."""
    scores = features.popularity()[found.rows["item"]]
    label = found.rows["label"]
    return {"auc": auc(label, scores), "gauc": gauc(label, scores, found.rows["user"]).value}


def tables(results: Sequence[Result], shown: Collection[tuple[str, str]]) -> str:
    """Return a table for each log, and a folded one of its tries.

    Args:
        results: the results of all rows, those among them that others are compared with.
        shown: log and name of the rows to show.
    """
    parts = []
    for log in dict.fromkeys(log for log, _ in shown):
        of_log = [one for one in results if one.row.log == log]
        own = [one for one in of_log if (log, one.row.name) in shown]
        parts += [_table(log, own, of_log), *_choices(log, own)]
    return "\n".join(parts)


def _table(log: str, results: Sequence[Result], bases: Sequence[Result]) -> str:
    test = results[0].runs[0]["test"]
    best = (test.get("oracle") or {}).get("auc")
    head = ["model", "valid AUC", "test AUC", "GAUC", "log loss", "RelaImpr AUC", "RelaImpr GAUC", "ensemble AUC"]
    head += ["of the oracle's lift"] * bool(best) + ["epoch", "seeds"]
    lines = []
    for result in results:
        row, found = result.row, result.runs
        base = next(other.runs for other in bases if other.row.is_base_of(row))
        cells = [row.name, _mean_sd([run["valid"]["auc"] for run in found])]
        cells += [_mean_sd([run["test"][metric] for run in found]) for metric in METRICS]
        cells += ["–" if row.name == row.base else _gain(found, base, metric) for metric in ("auc", "gauc")]
        cells += [f"{_of_the_mean(found):.4f}" if len(found) > 1 else "–"]
        if best:
            lift = (np.mean([run["test"]["auc"] for run in found]) - 0.5) / (best - 0.5)
            cells += [f"{lift * 100:.1f} %"]
        lines.append([*cells, f"{np.mean([run['epoch'] for run in found]):.1f}", len(found)])
    title = f"**{log}**: {test['rows']:,} test rows of {test['users']:,} users"
    if best:
        title += f"; the AUC of the true probabilities is {best:.4f}"
    if counted := test.get("popularity"):
        title += f"; popularity has an AUC of {counted['auc']:.4f} and a GAUC of {counted['gauc']:.4f}"
    return f"{title}\n\n{study.table(head, lines)}"


def _gain(found: list[Run], base: list[Run], metric: str) -> str:
    """Return RelaImpr (Eq. 11) in percent, comparing each seed with the base's run of the same seed."""
    pairs = zip(found, base, strict=True)
    gains = [relative_improvement(run["test"][metric], other["test"][metric]) for run, other in pairs]
    if np.isnan(gains).any():  # a base with an AUC of at most 0.5 has no lift to compare with
        return "–"
    return f"{_mean_sd(gains, '+.1f')} %"


def _of_the_mean(runs: list[Run]) -> float:
    """Return the test AUC of the seeds as one ensemble, which shows what a single model loses by chance."""
    found = [pq.read_table(run["predictions"], columns=["label", "prediction"]) for run in runs]
    return auc(found[0]["label"], np.mean([table["prediction"] for table in found], 0))


def _choices(log: str, results: Sequence[Result]) -> list[str]:
    """Return a folded table of each row's tries, best first, with the chosen one in bold; nothing without tries."""
    lines = []
    for one in results:
        named = [(auc, _changes(one.row, train)) for train, auc in zip(one.row.tries, one.tried, strict=True)]
        lines += [[one.row.name, changes, f"{auc:.4f}"] for auc, changes in sorted(named, reverse=True)]
    if not lines:
        return []
    title = f"{log}: {len(lines)} configurations tried, validation AUC of seed 1, the chosen ones in bold"
    listed = study.table(["model", "changed", "valid AUC"], lines)
    return [f"<details><summary>{title}</summary>\n\n{listed}\n</details>\n"]


def _changes(row: Row, train: Train) -> str:
    """Describe how a try differs from the row's first try."""
    first, own = (asdict(settings) for settings in (row.tries[0], train))
    changed = {
        key: value for block in ("model", "learning") for key, value in own[block].items() if value != first[block][key]
    }
    said = ", ".join(f"{key} {value}" for key, value in changed.items()) or "nothing"
    return f"**{said}**" if train == row.train else said


def _mean_sd(values: Sequence[float], form: str = ".4f") -> str:
    """Return the mean and, of more than one value, the sample standard deviation."""
    mean = f"{np.mean(values):{form}}"
    return f"{mean} ± {np.std(values, ddof=1):{form.removeprefix('+')}}" if len(values) > 1 else mean


if __name__ == "__main__":
    sys.exit(main())
