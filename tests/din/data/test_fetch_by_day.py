"""Logs whose path names days: what is read, that the bytes equal a whole read, and which days are refused."""

import os
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from din.base.artifacts import read_json, write_json
from din.base.errors import InputError
from din.base.workspace import Workspace
from din.data import readers
from din.data.fetch import describe, fetch
from din.data.memory import recall
from din.params.reading import Params
from tests.factories.raw_logs import bytes_of, snapshot

FIRST = date(2024, 5, 1)
MIDNIGHT = 1_714_521_600  # of the first day
HEADER = "user_id,item_id,timestamp,label,price,tags,sequence"
BY_DAY = {"events": "logs/{date}.csv", "keep": ("price", "tags"), "separators": {"tags": "|"}, "label": "label == 1"}
NUMBERS = ("0", "1", "-7", "1")
WORDS = ("", "1", "1.5", "NA", "007", "x", "99999999999999999999", "9223372036854775807", "-9223372036854775809")

Build = Callable[..., Params]


@pytest.fixture
def by_day(table_params: Build) -> Build:
    """Return a function that gives the shipped params with the source of this file's logs."""
    return lambda **keys: table_params(**{**BY_DAY, **keys})


def name(number: int) -> str:
    """Return a day of the log, counted from 0."""
    return str(FIRST + timedelta(number))


def raw_file(number: int) -> str:
    return f"events/date={name(number)}/part-0.parquet"


def deliver(root: Path, number: int, rows: int = 4, path: str | None = None) -> Path:
    """Write the file of a day, with its rows spread over the day."""
    lines = [f"{row % 2},{row},{_time(number, row)},{row % 2},{row},a|b" for row in range(rows)]
    target = root / (path or f"logs/{name(number)}.csv")
    target.parent.mkdir(exist_ok=True, parents=True)
    target.write_text("\n".join([HEADER.removesuffix(",sequence"), *lines]) + "\n")
    return target


def _time(number: int, row: int) -> int:
    return MIDNIGHT + 86_400 * number + 1000 * row


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list of the files that are read from now on."""
    found: list[str] = []
    read = readers.read

    def listed(given, *how):
        found.extend(Path(file.name).name for file in given)
        return read(given, *how)

    monkeypatch.setattr(readers, "read", listed)
    return found


def test_only_changed_days_are_read(workspace: Workspace, by_day: Build, reads: list[str]) -> None:
    """New days and days delivered again are read; the files of the others keep their bytes, inode and time."""
    for number in range(3):
        deliver(workspace.root, number)
    fetch(workspace, by_day())
    before = snapshot(workspace)
    deliver(workspace.root, 1, 6)
    deliver(workspace.root, 2).unlink()
    deliver(workspace.root, 3)
    reads.clear()
    fetch(workspace, by_day())
    after = snapshot(workspace)
    assert reads == [f"{name(1)}.csv", f"{name(3)}.csv"]
    assert after.keys() == {*map(raw_file, (0, 1, 3)), "manifest.json"}
    assert {path for path in after if after[path] != before.get(path)} == {raw_file(1), raw_file(3), "manifest.json"}
    assert read_json(workspace.raw / "manifest.json")["rows"] == 4 + 6 + 4


def test_later_days_are_not_listed(workspace: Workspace, by_day: Build, reads: list[str]) -> None:
    """`data.until` says which files exist for fetch, so a day that is being written does no harm."""
    for number in range(2):
        deliver(workspace.root, number)
    (workspace.root / "logs" / f"{name(2)}.csv").touch()
    fetch(workspace, by_day(until=FIRST + timedelta(1)))
    assert reads == [f"{name(0)}.csv", f"{name(1)}.csv"]
    with pytest.raises(InputError, match=r"no event is that old, the first file is of 2024-05-01; set a later day"):
        fetch(workspace, by_day(until=date(2024, 4, 30)))


def test_a_pinned_day_in_an_empty_workspace(workspace: Workspace, by_day: Build, reads: list[str]) -> None:
    """With the memory of an earlier run alone, `look` reads the new day, and fetch finds what it pinned."""
    for number in range(3):
        deliver(workspace.root, number)
    fetch(workspace, by_day())
    workspace.raw.rename(workspace.root / "elsewhere")
    deliver(workspace.root, 3)
    reads.clear()
    seen = describe(workspace, by_day())
    assert reads == [f"{name(3)}.csv"]
    assert (seen.first_day, seen.last_day) == (name(0), name(3))
    fetch(workspace, by_day(until=FIRST + timedelta(3)))
    assert read_json(workspace.fetch)["fingerprint"] == seen.fingerprint


@pytest.mark.parametrize(("content", "recalled"), [('{"a": "b"}', {"a": "b"}), ('{"a": "b', {}), ('{"a": 1}', {})])
def test_a_damaged_memory_counts_as_empty(tmp_path: Path, content: str, recalled: dict[str, str]) -> None:
    """A file that is cut, or of another form, counts as empty."""
    path = tmp_path / "memory"
    path.write_text(content)
    assert recall(dict[str, str], path) == recalled


def test_a_large_memory_is_kept(tmp_path: Path) -> None:
    """Or a log of many days would be read anew each time, and a day that shrinks would pass."""
    known = {str(number): "x" * 10_000_000 for number in range(2)}
    write_json(tmp_path / "memory", known)
    assert recall(dict[str, str], tmp_path / "memory") == known


def test_an_order_that_some_days_lack(workspace: Workspace, by_day: Build) -> None:
    """Either all rows have a sequence, or none has."""
    deliver(workspace.root, 0)
    path = deliver(workspace.root, 1)
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([f"{head},sequence", *(f"{row},{at}" for at, row in enumerate(rows))]) + "\n")
    with pytest.raises(InputError, match=r"2024-05-01\.csv row 1: sequence is missing"):
        fetch(workspace, by_day())


@pytest.mark.parametrize("events", ["logs/{date}.parquet", "logs/*.parquet"])
def test_milliseconds_that_were_stored_as_seconds(events: str, workspace: Workspace, by_day: Build) -> None:
    """Such times are after the year 9999, which Python can't show."""
    times = pa.array([MIDNIGHT * 1_000_000], pa.timestamp("ms"))
    table = pa.table({"user_id": [1], "item_id": [3], "timestamp": times, "label": [0]})
    (workspace.root / "logs").mkdir()
    pq.write_table(table, workspace.root / "logs" / f"{name(0)}.parquet")
    with pytest.raises(InputError, match=r"56301|56302"):
        fetch(workspace, by_day(events=events, keep=(), separators={}, until=FIRST))


def test_several_files_of_one_day(workspace: Workspace, by_day: Build) -> None:
    """They are read in the order of their names. A path may name its day twice; other dates in it don't count.

    The default sequence is the number of days since 1970, times a billion, plus the row's number in its day.
    """
    deliver(workspace.root, 0, 2, f"logs/{name(0)}/{name(0)}-b.csv")
    deliver(workspace.root, 0, 3, f"logs/{name(0)}/{name(0)}-2020-01-01.csv")
    fetch(workspace, by_day(events="logs/{date}/{date}-*.csv", drop_duplicates=True))
    assert pq.read_table(workspace.raw / raw_file(0), partitioning=None)["item_id"].to_pylist() == [0, 1, 2]
    fetch(workspace, by_day(events="logs/{date}/{date}-*.csv"))
    table = pq.read_table(workspace.raw / raw_file(0), partitioning=None)
    assert table["item_id"].to_pylist() == [0, 1, 2, 0, 1]
    start = (FIRST - date(1970, 1, 1)).days * 10**9
    assert table["sequence"].to_pylist() == [*range(start, start + 5)]


def test_rows_of_another_day(workspace: Workspace, by_day: Build) -> None:
    """The message names the row, its time and both days; the offset of the log's days makes the rows fit."""
    deliver(workspace.root, 0)
    path = deliver(workspace.root, 1)
    path.write_text(path.read_text().replace(str(_time(1, 2)), str(_time(1, 0) - 1)))
    message = r"2024-05-02.csv row 3: its time is 2024-05-01 23:59:59; expected one on 2024-05-02.*utc_offset_hours=0"
    with pytest.raises(InputError, match=message):
        fetch(workspace, by_day())
    assert not workspace.raw.exists()
    fetch(workspace, by_day(utc_offset_hours=1))


def test_a_change_to_summer_time(workspace: Workspace, by_day: Build) -> None:
    """Days of 24 hours, then 23, then 24 an hour earlier fit no offset; the message names the path that reads them."""
    hours = [range(-1, 23), range(23, 46), range(46, 70)]  # of local days in Berlin, from midnight UTC of the second
    for number, times in enumerate(hours):
        rows = [f"{hour % 2},{hour + 1},{MIDNIGHT + 3600 * hour},{hour % 2},0,a" for hour in times]
        deliver(workspace.root, number).write_text("\n".join([HEADER.removesuffix(",sequence"), *rows]) + "\n")
    for offset in (1, 2):
        with pytest.raises(
            InputError, match=r"if clocks change for summer, write \* for \{date\} in fetch.table.events"
        ):
            fetch(workspace, by_day(utc_offset_hours=offset))
    fetch(workspace, by_day(events="logs/*.csv", utc_offset_hours=1, daily=True))
    read = [pq.read_table(workspace.raw / raw_file(number), partitioning=None)["item_id"] for number in range(3)]
    assert [items.to_pylist() for items in read] == [[*range(24 * day, min(24 * day + 24, 71))] for day in range(3)]


@pytest.mark.parametrize("rows", [3, 0])
def test_a_day_that_shrinks(workspace: Workspace, by_day: Build, rows: int) -> None:
    """Fewer rows than before are refused again and again; data/raw stays; fetch.shrunk_days accepts them."""
    deliver(workspace.root, 0)
    deliver(workspace.root, 1)
    fetch(workspace, by_day())
    before = snapshot(workspace)
    deliver(workspace.root, 0, rows)
    for _ in range(2):
        with pytest.raises(InputError, match=rf"logs/2024-05-01.csv: {rows} rows of 2024-05-01, but 4 at an earlier"):
            fetch(workspace, by_day())
        with pytest.raises(InputError, match=r"set fetch.shrunk_days to accept"):
            describe(workspace, by_day())
    assert snapshot(workspace) == before
    accepting = by_day()
    accepting = replace(accepting, fetch=replace(accepting.fetch, shrunk_days="accept"))
    fetch(workspace, accepting)
    assert read_json(workspace.raw / "manifest.json")["rows"] == 4 + rows
    fetch(workspace, by_day())


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("logs/2024-13-01.csv", "logs/{date}.csv"),
        ("logs/2024-05-01-2024-05-02.csv", "logs/{date}-{date}.csv"),
    ],
)
def test_no_day_in_a_path(workspace: Workspace, by_day: Build, path: str, pattern: str) -> None:
    """A path that fits but for its day is named."""
    deliver(workspace.root, 0, path=path)
    with pytest.raises(InputError, match=f"fetch.table.events: {path}: expected one day, as YYYY-MM-DD"):
        fetch(workspace, by_day(events=pattern))


def test_later_files_that_cannot_be_read(workspace: Workspace, by_day: Build) -> None:
    """Files after `data.until` without a valid day, of another format, or broken links leave earlier days alone."""
    deliver(workspace.root, 0)
    fetch(workspace, by_day(events="logs/{date}.*", until=FIRST))
    before = snapshot(workspace)
    deliver(workspace.root, 0, path="logs/2024-05-99.csv")
    deliver(workspace.root, 1, path=f"logs/{name(1)}.xlsx")
    (workspace.root / "logs/2024-05-03.csv").symlink_to("nowhere")
    fetch(workspace, by_day(events="logs/{date}.*", until=FIRST))
    assert snapshot(workspace) == before
    deliver(workspace.root, 0, path="logs/2024-04-31.csv")
    with pytest.raises(InputError, match=r"logs/2024-04-31\.csv: expected one day"):
        fetch(workspace, by_day(events="logs/{date}.*", until=FIRST))


def test_brackets_in_the_path_of_the_workspace(tmp_path: Path, by_day: Build) -> None:
    """They stand for themselves, and those in a pattern for one of their letters."""
    workspace = Workspace(tmp_path / "log[1]")
    for number in range(2):
        deliver(workspace.root, number)
    fetch(workspace, by_day(events="log[rs]/{date}.csv"))
    assert read_json(workspace.raw / "manifest.json")["rows"] == 8


def test_histories_up_to_the_day(workspace: Workspace, by_day: Build) -> None:
    """A path of the history may name days; later ones are not read."""
    for number in range(2):
        deliver(workspace.root, number)
        (workspace.root / f"h-{name(number)}.csv").write_text(f"user_id,item_id,timestamp\n1,7,{_time(number, 0)}\n")
    fetch(workspace, by_day(history="h-{date}.csv", until=FIRST))
    assert pq.read_table(workspace.raw / "history.parquet").num_rows == 1


@st.composite
def logs(draw: st.DrawFn) -> list[list[str]]:
    """Draw the rows of up to four days, with columns of numbers or of anything; sequence numbers are unique."""
    ids, prices, tags = (st.sampled_from(draw(st.sampled_from([NUMBERS, WORDS]))) for _ in range(3))
    numbers = random.Random(draw(st.integers(0, 9)))
    days = []
    for number in range(draw(st.integers(1, 4))):
        rows = []
        for row in range(draw(st.integers(0 if number else 1, 3))):
            user = draw(ids.filter(lambda text: text not in ("", "NA")))  # which mean that there is no user
            label = draw(st.sampled_from(["1", "0", "1.0"]))
            several = "|".join(draw(st.lists(tags, max_size=2)))
            sequence = number * 100 + numbers.randrange(10) * 10 + row
            rows.append(f"{user},{row},{_time(number, row)},{label},{draw(prices)},{several},{sequence}")
        days.append(rows)
    return days


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(logs(), st.randoms(use_true_random=False))
def test_by_day_gives_the_bytes_of_the_whole_log(
    tmp_path_factory: pytest.TempPathFactory, by_day: Build, log: list[list[str]], order: random.Random
) -> None:
    """Days that arrive one by one, in any order, give the bytes of all days at once, and of a path without days."""
    stepwise, at_once, whole = (Workspace(tmp_path_factory.mktemp(name)) for name in ("stepwise", "at-once", "whole"))
    arrivals = list(enumerate(log))
    order.shuffle(arrivals)
    arrived = 0
    for number, rows in arrivals:
        for workspace in (stepwise, at_once, whole):
            deliver(workspace.root, number).write_text("\n".join([HEADER, *rows]) + "\n")
        arrived += len(rows)
        if arrived:
            fetch(stepwise, by_day())
    fetch(at_once, by_day())
    assert bytes_of(stepwise) == bytes_of(at_once)
    fetch(whole, by_day(events="logs/*.csv"))
    assert bytes_of(whole) == bytes_of(at_once)


def test_a_preserved_time_does_not_hide_a_change(workspace: Workspace, by_day: Build) -> None:
    """A day of equal size and time with other contents is read again."""
    path = deliver(workspace.root, 0)
    fetch(workspace, by_day())
    status = path.stat()
    path.write_text(path.read_text().replace(",0,0,", ",0,9,"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    fetch(workspace, by_day())
    assert pq.read_table(workspace.raw / raw_file(0), partitioning=None)["price"].to_pylist()[0] == 9


@pytest.mark.parametrize(
    ("days", "kind"),
    [
        ([[1, 2], [0.5, 1.0]], pa.float64()),
        ([[None, None], ["a", None], [None, "b"]], pa.string()),
        ([[[], []], [["a"], []]], pa.list_(pa.string())),
    ],
    ids=str,
)
def test_types_of_parquet(workspace: Workspace, by_day: Build, days: list[list[Any]], kind: pa.DataType) -> None:
    """All days decide the type of a column, as in one log: one may have integers or nothing, and another has more."""
    for number, values in enumerate(days):
        path = workspace.root / "logs" / f"{name(number)}.parquet"
        path.parent.mkdir(exist_ok=True)
        times = [_time(number, row) for row in range(2)]
        pq.write_table(
            pa.table({"user_id": [1, 2], "item_id": [3, 4], "timestamp": times, "label": [0, 1], "price": values}), path
        )
        fetch(workspace, by_day(events="logs/{date}.parquet", keep=("price",), separators={}))
    for number, values in enumerate(days):
        table = pq.read_table(workspace.raw / raw_file(number), partitioning=None)
        assert (table["price"].type, table["price"].to_pylist()) == (kind, values)


def test_floats_of_another_day_round_no_id(workspace: Workspace, by_day: Build) -> None:
    """Whole numbers that would become equal as floats are refused, as in a path without days."""
    (workspace.root / "logs").mkdir()
    for number, users in enumerate(([2**53, 2**53 + 1], [7.0, 8.0])):
        times = [_time(number, row) for row in range(2)]
        table = pa.table({"user_id": users, "item_id": [3, 4], "timestamp": times, "label": [0, 1]})
        pq.write_table(table, workspace.root / "logs" / f"{name(number)}.parquet")
    for pattern, says in (("{date}", "05-01.parquet row 2: user_id is 9007199254740993"), ("*", "can't hold")):
        with pytest.raises(InputError, match=says):
            fetch(workspace, by_day(events=f"logs/{pattern}.parquet", keep=(), separators={}))
