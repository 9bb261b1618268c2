"""The example of a source, from a database to features."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from din import plugins
from din.base.artifacts import read_json
from din.base.errors import InputError
from din.base.workspace import Workspace
from din.data.fetch import fetch
from din.params.reading import Params

ROOT = Path(__file__).parent.parent.parent
DAY = 86_400


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with a database of three days."""
    plugins.load(["examples/plugins/sqlite.py"], ROOT)
    with sqlite3.connect(tmp_path / "clicks.db") as database:
        database.execute("CREATE TABLE events (user_id, item_id, shown_at, clicked)")
        rows = [(user, f"i{user % 5}", day * DAY + user, user % 2) for day in range(3) for user in range(20)]
        database.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", rows)
    return Workspace(tmp_path)


def of(params: Params, **options: str) -> Params:
    return replace(params, fetch=replace(params.fetch, source="sqlite", options=options))


def test_a_plugin_brings_a_log(workspace: Workspace, params: Params) -> None:
    """Every row of the database is in the raw log, with further columns, and an equal database is not read again."""
    fetch(workspace, of(params))
    days = sorted((workspace.raw / "events").glob("*/*.parquet"))
    assert [pq.read_metadata(path).num_rows for path in days] == [20, 20, 20]
    before = read_json(workspace.fetch)
    fetch(workspace, of(params))
    assert read_json(workspace.fetch) == before
    fetch(workspace, of(params, query="SELECT user_id, item_id, shown_at, 1, 'ad' AS page FROM events"))
    assert read_json(workspace.fetch)["fingerprint"] != before["fingerprint"]
    assert pq.read_table(days[0])["page"].to_pylist() == 20 * ["ad"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "other.db"}, r"fetch.options.path: .*other.db: not found; name a SQLite database"),
        ({"query": "SELECT 1"}, "fetch.options.query: expected rows of user, item, time and click"),
    ],
)
def test_wrong_options_are_named(workspace: Workspace, params: Params, options: dict[str, str], message: str) -> None:
    """Each message names the option and what was expected."""
    with pytest.raises(InputError, match=message):
        fetch(workspace, of(params, **options))
