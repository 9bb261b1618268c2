"""When `fetch` rewrites files, which files it keeps, and what a failure leaves."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from din.base.artifacts import read_json
from din.base.errors import InputError, Unavailable
from din.base.workspace import Workspace
from din.data import files, rawlog, readers
from din.data.fetch import describe, fetch
from din.data.rows import Rows
from din.params.reading import Params
from din.stages import code
from tests.factories.raw_logs import bytes_of, snapshot

Build = Callable[..., Params]


def day(number: int) -> str:
    """Return the file of one of the three days of clicks.csv."""
    return f"events/date=2023-11-{14 + number}/part-0.parquet"


@pytest.mark.parametrize("until", [None, date(2023, 11, 17)])
def test_nothing_is_read_twice(
    workspace: Workspace,
    table_params: Build,
    until: date | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """If nothing changed, look and fetch read neither rows nor bytes of the source, and fetch keeps every file."""
    params = table_params(until=until)
    seen = describe(workspace, params)
    fetch(workspace, params)
    before = snapshot(workspace)
    capsys.readouterr()
    monkeypatch.setattr(readers, "read", lambda *_: pytest.fail("read the source"))
    monkeypatch.setattr(files, "_sha256", lambda *_: pytest.fail("hashed the source"))
    assert describe(workspace, params) == seen
    fetch(workspace, params)
    assert capsys.readouterr().out == f"fetch: {workspace.raw} is up to date with table (6 rows, 3 days)\n"
    assert snapshot(workspace) == before


def test_a_change_writes_its_days_alone(workspace: Workspace, table_params: Build) -> None:
    """The other days keep bytes, inode and time, and days that the source no longer has are removed."""
    fetch(workspace, table_params())
    before = snapshot(workspace)
    log = workspace.root / "clicks.csv"
    lines = log.read_text().splitlines()
    changed = lines[3].replace(",0,a", ",1,a")  # on the second day; the third is removed, and a fourth is new
    log.write_text("\n".join([*lines[:3], changed, lines[4], "1,10,1700300000,1,a"]) + "\n")
    fetch(workspace, table_params())
    after = snapshot(workspace)
    assert after.keys() == {day(1), day(2), day(4), "manifest.json"}
    assert {path for path in after if after[path] != before.get(path)} == {day(2), day(4), "manifest.json"}


def test_until_drops_later_events_and_behaviours(workspace: Workspace, table_params: Build) -> None:
    """Rows of the day itself stay, later ones are removed, also from the history, and kept days are not rewritten."""
    (workspace.root / "h.csv").write_text("user_id,item_id,timestamp\n1,7,1700000000\n1,8,1700200000\n")
    fetch(workspace, table_params(history="h.csv"))
    before = snapshot(workspace)
    fetch(workspace, table_params(history="h.csv", until=date(2023, 11, 16)))
    after = snapshot(workspace)
    assert [*after] == [day(1), day(2), "history.parquet", "manifest.json"]
    assert after[day(1)] == before[day(1)]
    assert pq.read_table(workspace.raw / "history.parquet")["item_id"].to_pylist() == [7]
    manifest = read_json(workspace.raw / "manifest.json")
    assert (manifest["until"], manifest["rows"]) == ("2023-11-16", 4)


def test_until_before_the_log(workspace: Workspace, table_params: Build) -> None:
    """If no event would be left, the message names the first day of the log."""
    with pytest.raises(InputError, match=r"data.until=2020-01-01: no event is that old, the first is of 2023-11-15"):
        fetch(workspace, table_params(until=date(2020, 1, 1)))
    assert not workspace.raw.exists()


@pytest.mark.parametrize("damage", ["a file", "the manifest"])
def test_damaged_outputs_are_restored(workspace: Workspace, table_params: Build, damage: str) -> None:
    """An equal fingerprint is not enough: the files must have the hashes of the manifest, or they are written again."""
    fetch(workspace, table_params())
    before = bytes_of(workspace)
    (workspace.raw / (day(2) if damage == "a file" else "manifest.json")).write_bytes(b"{")
    fetch(workspace, table_params())
    assert bytes_of(workspace) == before


def test_params_that_shape_rows_count(workspace: Workspace, table_params: Build) -> None:
    """A changed label rule or day gives another fingerprint."""
    changes: list[dict[str, Any]] = [{}, {"label": "tab == a"}, {"until": date(2023, 11, 15)}]
    assert len({describe(workspace, table_params(**each)).fingerprint for each in changes}) == 3


def test_a_moved_log_is_the_same_log(
    workspace: Workspace, table_params: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The fingerprint covers contents, not paths."""
    fetch(workspace, table_params())
    (tmp_path / "logs").mkdir()
    (workspace.root / "clicks.csv").rename(workspace.root / "logs/moved.csv")
    capsys.readouterr()
    fetch(workspace, table_params(events=str(tmp_path / "logs" / "*.csv")))
    assert "up to date" in capsys.readouterr().out


def test_code_that_gives_the_same_rows_changes_the_fingerprint_alone(
    workspace: Workspace, table_params: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a change of its source's code, the log is read again, and the inputs of later stages stay the same."""
    fetch(workspace, table_params())
    before = bytes_of(workspace)
    fingerprint = read_json(workspace.fetch)["fingerprint"]
    digests = code.digests
    monkeypatch.setattr(code, "digests", lambda modules: digests(modules) | {"din/data/tabular.py": "changed"})
    fetch(workspace, table_params())
    assert read_json(workspace.fetch)["fingerprint"] != fingerprint
    assert bytes_of(workspace) == before


def test_only_the_code_of_the_own_source_counts() -> None:
    """The fingerprint of a table covers its module and the shared ones, not another source's."""
    covered = code.digests(code.closure({"din.data.tabular", "din.data.rawlog"}, {"data", "fetch"}, built_in=False))
    assert {"din/data/tabular.py", "din/data/rawlog.py", "din/data/files.py"} < covered.keys()
    assert not {"din_logs/kuairand.py", "din/data/fetch.py", "din/params/gate.py"} & covered.keys()


def test_a_source_that_changes_while_it_is_read(
    workspace: Workspace, table_params: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of two versions are never mixed under one fingerprint."""
    read = readers.read

    def and_append(*args: Any) -> Rows:
        result = read(*args)
        with (workspace.root / "clicks.csv").open("a") as log:
            log.write("1,10,1700300000,1,a\n")
        return result

    monkeypatch.setattr(readers, "read", and_append)
    with pytest.raises(Unavailable, match="changed while they were read; run fetch again"):
        fetch(workspace, table_params())
    assert not workspace.raw.exists()


def test_a_failure_while_writing_leaves_the_old_tree(
    workspace: Workspace, table_params: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failure such as a full disk, data/raw is as before, and no temporary file is left."""
    fetch(workspace, table_params())
    before = snapshot(workspace)

    def full(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(rawlog.pq.ParquetWriter, "write_table", full)
    with pytest.raises(OSError, match="No space"):
        fetch(workspace, table_params(keep=("tab",)))
    assert snapshot(workspace) == before
    assert [path.name for path in (workspace.root / "data").iterdir()] == ["raw"]


def test_a_raw_log_on_another_disk(workspace: Workspace, table_params: Build, tmp_path: Path) -> None:
    """A link in place of data/raw stays, and each fetch replaces the files of its target."""
    disk = tmp_path / "disk" / "raw"
    disk.mkdir(parents=True)
    workspace.raw.parent.mkdir()
    workspace.raw.symlink_to(disk)
    for label in ("label", "label == 0"):
        fetch(workspace, table_params(label=label))
        assert workspace.raw.is_symlink() and (disk / "manifest.json").is_file()
    assert [path.name for path in workspace.raw.parent.iterdir()] == ["raw"]
