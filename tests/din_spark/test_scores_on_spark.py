"""Spark scores a table of requests as `din score` scores a file of them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from din import cli
from din.bundle import Scorer
from din.release.registry.registry import Registry
from tests.factories.bundles import REQUEST, Finished, crown
from tests.helpers.spark_processes import configured, needs_java, needs_sail, needs_spark, started

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), needs_spark]


@pytest.fixture
def champion(finished: Finished, tmp_path: Path) -> Registry:
    """A registry with a champion."""
    registry = Registry(str(tmp_path / "registry"), "test")
    crown(registry, finished.bundle)
    return registry


@pytest.fixture
def registry(champion: Registry, sail: str, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A registry with a champion, beside a server of Spark."""
    monkeypatch.setenv("SPARK_REMOTE", sail)
    return champion


def table(folder: Path, requests: list[Any]) -> str:
    """Write requests to a folder of three files, with the columns `day` and `id`, and return its path."""
    folder.mkdir()
    texts = [request if isinstance(request, str | None) else json.dumps(request) for request in requests]
    keys = {"day": ["2026-01-31"] * len(texts), "id": range(len(texts))}
    rows = pa.table({**keys, "request": pa.array(texts, pa.string())})
    for start in range(3):
        pq.write_table(rows.take([*range(start, len(texts), 3)]), folder / f"{start}.parquet")
    return str(folder)


def words(registry: Registry, requests: str, out: Path) -> list[str]:
    return ["score-table", requests, "--registry", registry.uri, "--out", str(out)]


def score(registry: Registry, requests: str, out: Path, *options: str) -> Any:
    return CliRunner().invoke(cli.app, [*words(registry, requests, out), *options])


def refused(done: Any) -> str:
    assert done.exit_code == 2 and done.stderr.count("\n") == 1, done.output
    return done.stderr


@needs_sail
def test_every_row_has_its_scores(registry: Registry, scorer: Scorer, tmp_path: Path) -> None:
    """Rows in are rows out, with their keys, the version, and the probabilities of `score_many`."""
    requests = [{**REQUEST, "candidates": [f"i{n % 30}"] * (n % 4), "user": {"user_id": n % 50}} for n in range(700)]
    done = score(registry, table(tmp_path / "requests", requests), tmp_path / "out/scores")
    assert json.loads(done.stdout) == {"out": str(tmp_path / "out/scores"), "rows": 700, "version": scorer.version}
    found = pq.read_table(tmp_path / "out/scores").sort_by("id")
    assert found.column_names == ["day", "id", "version", "probabilities"]
    assert found["id"].to_pylist() == [*range(700)]
    assert set(found["version"].to_pylist()) == {scorer.version}
    expected = scorer.score_many(requests)
    assert [*map(len, found["probabilities"].to_pylist())] == [*map(len, expected)]
    np.testing.assert_allclose(found["probabilities"].combine_chunks().flatten(), np.concatenate(expected), rtol=1e-6)
    assert [*(tmp_path / "out").iterdir()] == [tmp_path / "out/scores"]
    again = score(registry, str(tmp_path / "requests"), tmp_path / "out/scores")
    assert "scores: exists already; name a new folder" in refused(again)


@needs_java
def test_spark_itself_scores(champion: Registry, scorer: Scorer, tmp_path: Path) -> None:
    """Spark in the process of the command gives the scores too, also in folders named like globs."""
    folder = tmp_path / "a[1]"
    folder.mkdir()
    command = ["din", *words(champion, table(folder / "requests", [REQUEST] * 20), folder / "scores")]
    code = f"import sys\nfrom din.cli import main\nsys.argv = {command}\nmain()\n"
    conf = configured(tmp_path / "conf", "local[2]")
    printed, told = started(code, SPARK_CONF_DIR=conf, XDG_CACHE_HOME=str(tmp_path / "cache")).communicate()
    assert printed, told[-3000:]
    assert json.loads(printed)["rows"] == 20
    found = pq.read_table(folder / "scores").sort_by("id")
    assert found["id"].to_pylist() == [*range(20)]
    for probabilities in found["probabilities"].to_pylist():
        np.testing.assert_allclose(probabilities, scorer.score(REQUEST), rtol=1e-6)


@needs_sail
@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"candidates": 7}, "candidates"),
        ({"candidates": ["i1"] * 5}, "candidates: 5 entries; expected at most 4"),
        ("{", "not a JSON document"),
        (None, "not a JSON document"),
    ],
)
def test_a_wrong_request_names_its_row(wrong: Any, problem: str, registry: Registry, tmp_path: Path) -> None:
    """The message has the row's keys and the problem, and nothing is written."""
    requests = table(tmp_path / "requests", [REQUEST, REQUEST, wrong, REQUEST])
    done = score(registry, requests, tmp_path / "out/scores", "--max-candidates", "4")
    assert refused(done).startswith(f"row {{'day': '2026-01-31', 'id': 2}}: {problem}")
    assert not any((tmp_path / "out").iterdir())


@needs_sail
def test_a_table_without_requests_is_refused(registry: Registry, tmp_path: Path) -> None:
    """The message has the columns that are there and those that were expected, or says that there is no table."""
    folder = tmp_path / "requests"
    folder.mkdir()
    pq.write_table(pa.table({"id": [1], "request": [2]}), folder / "0.parquet")
    (tmp_path / "empty").mkdir()
    assert str(tmp_path / "empty") in refused(score(registry, str(tmp_path / "empty"), tmp_path / "scores"))
    done = score(registry, str(folder), tmp_path / "scores")
    assert "column 'request' is bigint, the others are id; expected JSON text" in refused(done)
    done = score(registry, "lake.requests", tmp_path / "scores")
    assert "lake.requests: neither a folder nor a table that Spark knows" in refused(done)
