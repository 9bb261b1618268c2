"""docs/bring-your-own-log.md agrees with the code."""

import re
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest

from din import data as sources
from din.base.workspace import Workspace
from din.data.fetch import fetch
from din.params.fetch import Table
from din.params.overlays import edit
from din.params.reading import Params, load, plain

ROOT = Path(sources.__file__).parents[2]
PAGE = (ROOT / "docs" / "bring-your-own-log.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("key", [field.name for field in fields(Table)])
def test_every_key_is_explained(key: str) -> None:
    """The page has an entry for every key."""
    assert re.search(rf"^- .*\*\*`{key}`\*\*", PAGE, re.M)


def test_the_shortest_way(workspace: Workspace, params: Params, table_params: Callable[..., Params]) -> None:
    """The page's first log and its keys work as written."""
    log, keys = re.search(r"```\n(uid,.*?)```.*?```yaml\n(fetch:\n  source: table\n.*?)```", PAGE, re.S).groups()  # type: ignore[union-attr]  # a missing block fails too
    (workspace.root / "clicks.csv").write_text(log)
    shipped = (ROOT / "params.yaml").read_text(encoding="utf-8")
    workspace.params.write_text(edit(shipped, plain(keys, "the page"), "the page").text)
    loaded = load(workspace.params)
    assert loaded.fetch.table == replace(
        params.fetch.table,
        events="clicks.csv",
        columns={"user_id": "uid", "item_id": "sku", "timestamp": "ts"},
        label="clicked",
        timestamp_unit="iso",
    )
    fetch(workspace, loaded)
    assert (workspace.raw / "events/date=2024-05-01/part-0.parquet").exists()
