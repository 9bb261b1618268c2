"""Small tables as files, fixtures that fetch them in a workspace of the test's own, and what a fetch wrote."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from din.base.workspace import Workspace
from din.data.fetch import fetch
from din.params.blocks import parse, to_json
from din.params.overlays import overlaid, read_overlay
from din.params.reading import Params

Build = Callable[..., Params]

ROOT = Path(__file__).parents[2]
DAY = 86_400
HEADER = "user_id,item_id,timestamp,label"
T = 1_700_006_400  # 2023-11-15 00:00 UTC
GOOD = f"{HEADER}\n1,10,{T},0\n"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Return a workspace with nothing but `clicks.csv`: six events of two users over three days."""
    rows = [f"{1 + i % 2},{10 + i},{T + i * DAY // 2},{i % 2},{'ab'[i % 2]}" for i in range(6)]
    (tmp_path / "clicks.csv").write_text("\n".join([f"{HEADER},tab", *rows]) + "\n")
    return Workspace(tmp_path)


@pytest.fixture
def table_params(params: Params) -> Build:
    """Return a function that gives the shipped params with `fetch.source: table` and keys of `fetch.table`."""

    def build(until: date | None = None, **table: Any) -> Params:
        block = replace(params.fetch.table, **{"events": "clicks.csv", **table})
        return replace(
            params, data=replace(params.data, until=until), fetch=replace(params.fetch, source="table", table=block)
        )

    return build


@pytest.fixture
def fetch_table(workspace: Workspace, table_params: Build) -> Callable[..., dict[str, pa.Table]]:
    """Return a function that fetches a table source and returns the tables of `data/raw/`, as `read_raw` does."""

    def run(**table: Any) -> dict[str, pa.Table]:
        fetch(workspace, table_params(**table))
        return read_raw(workspace.raw)

    return run


@pytest.fixture
def public_params(params: Params) -> Build:
    """Return a function that gives the shipped params with a publisher's log as the source, and keys of its block."""

    def build(source: str, path: str | None, **keys: Any) -> Params:
        given = {"path": path, **keys}
        return replace(params, fetch=replace(params.fetch, source=source, options=given))

    return build


@pytest.fixture
def fetch_public(workspace: Workspace, public_params: Build) -> Callable[..., dict[str, pa.Table]]:
    """Return a function that fetches a publisher's log and returns the tables of `data/raw/`, as `read_raw` does."""

    def run(source: str, path: str | None, **keys: Any) -> dict[str, pa.Table]:
        fetch(workspace, public_params(source, path, **keys))
        return read_raw(workspace.raw)

    return run


@pytest.fixture
def example_params(params: Params) -> Callable[[str], Params]:
    def build(name: str) -> Params:
        path = ROOT / "docs" / "examples" / f"{name}.yaml"
        return parse(Params, overlaid(to_json(params), read_overlay(path), path), path)

    return build


def read_raw(raw: Path) -> dict[str, pa.Table]:
    """Return the tables of `data/raw/` by name; events of all days are one table, by sequence."""
    days = [pq.read_table(path, partitioning=None) for path in sorted(raw.glob("events/*/*.parquet"))]
    others = {path.stem: pq.read_table(path) for path in raw.glob("*.parquet")}
    return {"events": pa.concat_tables(days).sort_by("sequence"), **others}


def table_of(**columns: Any) -> bytes:
    """Return the bytes of a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


def parquet(**columns: Any) -> bytes:
    """Return the bytes of a Parquet file of events, with key columns unless they are given."""
    return table_of(**{"user_id": [1], "item_id": [10], "timestamp": [T], "label": [0], **columns})


def snapshot(workspace: Workspace) -> dict[str, tuple[bytes, int, int]]:
    paths = sorted(path for path in workspace.raw.rglob("*") if path.is_file())
    return {
        path.relative_to(workspace.raw).as_posix(): (path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns)
        for path in paths
    }


def bytes_of(workspace: Workspace) -> dict[str, bytes]:
    return {path: content for path, (content, *_) in snapshot(workspace).items()}
