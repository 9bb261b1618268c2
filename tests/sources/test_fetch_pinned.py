"""A day's fingerprint, and fetch under a pin."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import pytest

from din.artifacts import read_json
from din.errors import InputError
from din.params import Params
from din.sources import files
from din.sources.fetch import fetch, look
from din.workspace import Workspace

DAY = date(2023, 11, 16)
LATER = "1,10,1700300000,1,a\n"  # 2023-11-18


def test_later_days_do_not_count(workspace: Workspace, table_params: Callable[..., Params]) -> None:
    """Appended to the file, or in files of their own: the day stays as it is; a new row of the day counts."""
    before = look(workspace, table_params(until=DAY))
    assert (before.first_day, before.last_day) == ("2023-11-15", "2023-11-16")
    fetch(workspace, table_params(until=DAY))
    manifest = read_json(workspace.raw / "manifest.json")
    assert read_json(workspace.fetch)["fingerprint"] == before.fingerprint
    with (workspace.root / "clicks.csv").open("a") as log:
        log.write(LATER)
    (workspace.root / "clicks2.csv").write_text(f"user_id,item_id,timestamp,label,tab\n{LATER}")
    assert look(workspace, table_params(until=DAY, events="clicks*.csv")) == before
    fetch(workspace, table_params(until=DAY, events="clicks*.csv"))
    assert read_json(workspace.raw / "manifest.json") == manifest
    with (workspace.root / "clicks.csv").open("a") as log:
        log.write("1,10,1700006400,1,a\n")
    assert look(workspace, table_params(until=DAY)).fingerprint != before.fingerprint


def test_the_newest_day_is_pinned(workspace: Workspace, table_params: Callable[..., Params]) -> None:
    """Without data.until the fingerprint is that of the newest day, which stays when later ones come."""
    seen = look(workspace, table_params())
    assert seen.last_day == "2023-11-17"
    assert look(workspace, table_params(until=date(2023, 11, 17))) == seen
    with (workspace.root / "clicks.csv").open("a") as log:
        log.write(LATER)
    assert look(workspace, table_params(until=date(2023, 11, 17))) == seen
    assert look(workspace, table_params()).last_day == "2023-11-18"


@pytest.mark.parametrize("source", ["table", "simulate"])
def test_fetch_finds_what_was_pinned(
    workspace: Workspace,
    table_params: Callable[..., Params],
    params: Params,
    source: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What `din source` says of a log is what `din fetch` writes, with and without its memory."""
    of_source = table_params().fetch
    if source == "simulate":
        of_source = replace(of_source, source="simulate", simulate=replace(params.fetch.simulate, users=20))
    seen = look(workspace, replace(params, fetch=of_source))
    monkeypatch.setenv("DIN_SOURCE_FINGERPRINT", seen.fingerprint)
    pinned = replace(params, fetch=of_source, data=replace(params.data, until=date.fromisoformat(seen.last_day)))
    fetch(workspace, pinned)
    workspace.seen.unlink()
    fetch(workspace, pinned)
    assert read_json(workspace.fetch)["fingerprint"] == seen.fingerprint


@pytest.mark.parametrize("remembered", [True, False])
def test_another_log_than_the_pinned_one(
    workspace: Workspace, table_params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch, remembered: bool
) -> None:
    """Exit 2 with both fingerprints, whether or not reading is needed to know; data/raw stays."""
    fetch(workspace, table_params(until=DAY))
    before = read_json(workspace.raw / "manifest.json")
    (workspace.root / "clicks.csv").write_text((workspace.root / "clicks.csv").read_text().replace(",0,a", ",1,a"))
    seen = look(workspace, table_params(until=DAY))
    if not remembered:
        workspace.seen.unlink()
    monkeypatch.setenv("DIN_SOURCE_FINGERPRINT", "0" * 64)
    with pytest.raises(InputError, match=f"{seen.fingerprint}.*{'0' * 64}"):
        fetch(workspace, table_params(until=DAY))
    assert read_json(workspace.raw / "manifest.json") == before


def test_pinned_rows_need_no_source(
    workspace: Workspace, table_params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where data/raw came from another worker, the source is not even looked at; damaged, it is read again."""
    monkeypatch.setenv("DIN_SOURCE_FINGERPRINT", look(workspace, table_params(until=DAY)).fingerprint)
    fetch(workspace, table_params(until=DAY))
    (workspace.root / "clicks.csv").rename(workspace.root / "elsewhere.csv")
    fetch(workspace, table_params(until=DAY))
    (workspace.raw / "events/date=2023-11-15/part-0.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="matches no file"):
        fetch(workspace, table_params(until=DAY))


def test_looking_twice_reads_once(
    workspace: Workspace, table_params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing changed: neither rows nor bytes are read, by `look` or by a fetch that is up to date."""
    seen = look(workspace, table_params(until=DAY))
    fetch(workspace, table_params(until=DAY))
    monkeypatch.setattr(files, "read", lambda *_: pytest.fail("read the source"))
    monkeypatch.setattr(files, "_sha256", lambda *_: pytest.fail("hashed the source"))
    assert look(workspace, table_params(until=DAY)) == seen
    fetch(workspace, table_params(until=DAY))
