"""The fingerprint of a day, and fetch with a pinned fingerprint."""

from collections.abc import Callable
from datetime import date
from functools import partial

import pytest

from din.base.artifacts import read_json
from din.base.errors import InputError
from din.base.workspace import Workspace
from din.data.fetch import describe, fetch
from din.params.reading import Params

Build = Callable[..., Params]

DAY = date(2023, 11, 16)
LATER = "guest,10,1700300000,,c\n"  # 2023-11-18, with an id that is text, no label, and another tab for the item


def test_later_days_do_not_count(workspace: Workspace, table_params: Build) -> None:
    """Later rows, in the same or new files, leave the day's fingerprint as it is; a new row of the day changes it.

    So they decide no type of a column, close no check and describe no item. Without data.until, the fingerprint is that
    of the newest day of the events, even if the history goes on.
    """
    (workspace.root / "h.csv").write_text("user_id,item_id,timestamp\n1,7,1700000000\nguest,x,1700300000\n")
    table_params = partial(table_params, items_from_events=("tab",), history="h.csv")
    newest = describe(workspace, table_params(until=date(2023, 11, 17)))  # first, or it would be remembered
    assert describe(workspace, table_params()) == newest
    before = describe(workspace, table_params(until=DAY))
    assert (before.first_day, before.last_day) == ("2023-11-15", "2023-11-16")
    fetch(workspace, table_params(until=DAY))
    manifest = read_json(workspace.raw / "manifest.json")
    assert read_json(workspace.fetch)["fingerprint"] == before.fingerprint
    with (workspace.root / "clicks.csv").open("a") as log:
        log.write(LATER)
    with (workspace.root / "h.csv").open("a") as history:
        history.write("user,y,1700300000\n")
    (workspace.root / "clicks2.csv").write_text(f"user_id,item_id,timestamp,label,tab\n{LATER}")
    assert describe(workspace, table_params(until=DAY, events="clicks*.csv")) == before
    fetch(workspace, table_params(until=DAY, events="clicks*.csv"))
    assert read_json(workspace.raw / "manifest.json") == manifest
    with (workspace.root / "clicks.csv").open("a") as log:
        log.write("1,10,1700006400,1,a\n")
    assert describe(workspace, table_params(until=DAY)).fingerprint != before.fingerprint


@pytest.mark.parametrize("remembered", [True, False])
def test_another_log_than_the_pinned_one(
    workspace: Workspace, table_params: Build, monkeypatch: pytest.MonkeyPatch, remembered: bool
) -> None:
    """Another fingerprint is exit 2 and names both, with or without reading the log, and data/raw stays."""
    fetch(workspace, table_params(until=DAY))
    before = read_json(workspace.raw / "manifest.json")
    (workspace.root / "clicks.csv").write_text((workspace.root / "clicks.csv").read_text().replace(",0,a", ",1,a"))
    seen = describe(workspace, table_params(until=DAY))
    if not remembered:
        workspace.seen.unlink()
    monkeypatch.setenv("DIN_SOURCE_FINGERPRINT", "0" * 64)
    with pytest.raises(InputError, match=f"{seen.fingerprint}.*{'0' * 64}"):
        fetch(workspace, table_params(until=DAY))
    assert read_json(workspace.raw / "manifest.json") == before


def test_pinned_rows_need_no_source(workspace: Workspace, table_params: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the pinned rows in data/raw, the source is not read; if data/raw is damaged, it is read again."""
    monkeypatch.setenv("DIN_SOURCE_FINGERPRINT", describe(workspace, table_params(until=DAY)).fingerprint)
    fetch(workspace, table_params(until=DAY))
    (workspace.root / "clicks.csv").rename(workspace.root / "elsewhere.csv")
    fetch(workspace, table_params(until=DAY))
    (workspace.raw / "events/date=2023-11-15/part-0.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="matches no file"):
        fetch(workspace, table_params(until=DAY))
