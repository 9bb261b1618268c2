"""Plant one defect in a sound workspace, seal it as its stage would have, and read the gate's report."""

import importlib
import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from din.base.artifacts import MANIFEST, hash_files, read_json, write_json
from din.base.errors import GateClosed
from din.base.workspace import Suite, Workspace
from din.params.reading import Params
from validation.run import Phases, validate

HERE = Workspace(Path())
RAW, FEATURES, PREDICTIONS = HERE.raw, HERE.features, HERE.predictions
ITEMS, USERS = FEATURES / "items.parquet", FEATURES / "users.parquet"
SHARDS = 3
Plant = Callable[[], object]


def judge(suite: Suite, params: Params) -> dict[str, Any]:
    """Judge a suite and return its report, whether open or closed; the verdict file must agree with it."""
    closed = False
    try:
        validate(HERE, suite, importlib.import_module(f"validation.{suite}").PHASES, params)
    except GateClosed as error:
        closed = True
        assert error.report == HERE.validation(suite)
    report = read_json(HERE.validation(suite))
    verdict = HERE.verdict(suite)
    assert report["verdict"] == ("closed" if closed else "open")
    assert (verdict.read_bytes() if verdict.exists() else None) == (None if closed else b"open\n")
    return report


def described(suite: Suite) -> re.Pattern[str]:
    """Return a pattern of the names in the docstrings of a suite's detectors, which the site lists."""
    phases: Phases = importlib.import_module(f"validation.{suite}").PHASES
    docs = "".join(str(detector.__doc__) for own in phases.detectors.values() for detector in own)
    docs = docs.replace("_newest_days", "_<days>")  # each has a counterpart of all days
    return re.compile("|".join(re.sub("<.*?>", ".+", name) for name in re.findall(r"`([\w<>]+)`", docs)))


def names(phases: Phases, params: Params, *of: str) -> set[str]:
    with closing(phases.data(HERE, params)) as data:
        return {one.name for phase in of for detector in phases.detectors[phase] for one in detector(data)}


def failed(report: dict[str, Any], severity: str = "critical") -> dict[str, dict[str, Any]]:
    """Return the names of the failed expectations of one severity."""
    return {e["name"]: e for e in report["expectations"] if not e["success"] and e["severity"] == severity}


def seal(root: Path, **changes: Any) -> None:
    """Write the files' hashes into the manifest, so that the planted defect is the only one."""
    manifest = read_json(root / MANIFEST)
    files = {path: sha256 for path, sha256 in hash_files(root).items() if path != MANIFEST}
    write_json(root / MANIFEST, manifest | changes | {"files": files})


def limits(params: Params, block: str, **changes: Any) -> Params:
    """Return the parameters with other thresholds in one block."""
    return replace(params, **{block: replace(getattr(params, block), **changes)})


def edit(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def fill(path: Path, column: str, values: Any) -> None:
    """Replace a column: by an Arrow array, by values in its own type, or by one value in all rows."""

    def change(table: pa.Table) -> pa.Table:
        at = table.column_names.index(column)
        found = [values] * len(table) if values is None or isinstance(values, int | float) else values
        kind = table.schema.field(at).type
        return table.set_column(
            at, column, found if isinstance(found, pa.Array | pa.ChunkedArray) else pa.array(found, kind)
        )

    edit(path, change)


def put(path: Path, column: str, row: int, value: Any) -> None:
    values = pq.read_table(path)[column].to_pylist()
    values[row] = value
    fill(path, column, values)


def events() -> list[Path]:
    """Return the files of the log's events, a day each."""
    return sorted(RAW.glob("events/*/part-0.parquet"))


def day(number: int) -> Path:
    return events()[number]


def shard(name: str, number: int = 0) -> Path:
    return FEATURES / "shards" / f"{number:05d}" / f"{name}.parquet"


def shards(*names: str) -> list[Path]:
    return [shard(name, number) for name in names for number in range(SHARDS)]


def columns(path: Path) -> dict[str, np.ndarray]:
    """Return a file's own columns."""
    table = pq.read_table(path)
    fields = ("tab", "hour", "watched", "place")
    return {name: table[name].to_numpy() for name in table.column_names if name not in fields}


def leaking(column: str, values: Callable[[np.ndarray], Any], *splits: str) -> Plant:
    """Add a context that follows from the label, in the named splits."""

    def plant() -> None:
        for path in shards(*splits or ("train",)):
            fill(path, column, values(columns(path)["label"]))

    return plant
