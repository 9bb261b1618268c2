"""Read logs, rows and training parameters from quality.yaml, paper.yaml or attention.yaml.

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
"""

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from benchmarks.environments import ROOT
from benchmarks.logs import absolute, below
from din.errors import InputError
from din.params import Params, Train, load, parse, to_json
from din.params.overlays import overlaid, read_overlay

BASE = "BaseModel"


@dataclass(frozen=True)
class Log:
    """A log's parameter file as plain values with absolute paths, and queries over its tables."""

    name: str
    params: dict[str, Any]
    derive: dict[str, str]


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


def read(path: Path, data: Path, own: Mapping[str, Path] | None = None) -> tuple[dict[str, Log], list[Row]]:
    """Read all logs and rows of a configuration file.

    Args:
        path: the configuration file.
        data: the folder of the logs.
        own: parameter files of the user's logs by name, which replace the file's logs. Each gets every row; of rows
            with equal names, the first.

    Raises:
        InputError: a key is unknown or of a wrong type, or a row names a log or a base that does not exist.
    """
    raw = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    if own:
        logs = {name: Log(name, absolute(to_json(load(file)), file.parent), {}) for name, file in own.items()}
        first: dict[str, Any] = {}
        for spec in raw["rows"]:
            first.setdefault(spec["name"], spec | {"logs": logs})
        raw["rows"] = first.values()
    else:
        logs = {name: _log(name, spec, data) for name, spec in raw["logs"].items()}
    rows = []
    for spec in raw["rows"]:
        where = f"{path}: row {spec['name']!r}"
        for log in spec.get("logs", logs):
            if log not in logs:
                raise InputError(f"{where}: log {log!r} is not one of {', '.join(logs)}")
            settled = [raw.get("train", {}), spec["train"]]
            tries = [_train(logs[log], [*settled, *chosen], where) for chosen in _tries(**spec.get("search", {}))]
            train = _train(logs[log], settled, where)
            rows.append(Row(log, spec["name"], spec.get("base", BASE), train, tuple(tries)))
    for row in rows:
        if not any((other.log, other.name) == (row.log, row.base) for other in rows):
            raise InputError(f"{path}: row {row.name!r}: no row {row.base!r} of log {row.log!r} to compare with")
    return logs, rows


def _tries(draws: int = 0, space: Sequence[list[dict[str, Any]]] = ()) -> list[tuple[dict[str, Any], ...]]:
    """Return overlays: none, then distinct random points of the space (Bergstra & Bengio, JMLR 13, 2012)."""
    if not draws:
        return []
    points = random.Random(draws).sample(list(itertools.product(*space)), draws - 1)
    return [(), *points]


def _train(log: Log, overlays: Sequence[dict[str, Any]], where: str) -> Train:
    """Return a log's block `train` with overlays of that block."""
    params = log.params
    for overlay in overlays:
        params = overlaid(params, {"train": overlay}, where)
    return parse(Train, params["train"], where)


def _log(name: str, spec: dict[str, Any], data: Path) -> Log:
    params = to_json(load(ROOT / "params.yaml"))
    if "example" in spec:
        params = overlaid(params, read_overlay(ROOT / spec["example"]), spec["example"])
    params = overlaid(params, spec.get("set", {}), f"log {name!r}")
    params = to_json(parse(Params, params, f"log {name!r}"))
    return Log(name, below(params, data), spec.get("derive", {}))
