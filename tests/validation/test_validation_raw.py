"""The raw suite: every expectation has a defect that closes exactly this expectation."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from din.params.reading import Params
from tests.validation.planting import HERE, RAW, Plant, day, edit, events, failed, fill, judge, limits, names, put, seal
from validation.log import Log
from validation.raw import PHASES

Enter = Callable[..., Params]
NEXT_DAY = datetime(2024, 1, 2, 12)
ITEMS, USERS, HISTORY = (RAW / f"{name}.parquet" for name in ("items", "users", "history"))


def cast(column: str, kind: pa.DataType, path: Path | None = None) -> Plant:
    """Store a column of one file, by default of the second day, with another type."""

    def plant() -> None:
        file = path or day(1)
        fill(file, column, pq.read_table(file)[column].cast(kind))

    return plant


def value(column: str, row: int, bad: Any, path: Path | None = None) -> Plant:
    return lambda: put(path or day(0), column, row, bad)


def twice(path: Path) -> Plant:
    """Repeat the first row of a side table at its end."""
    return lambda: edit(path, lambda table: pa.concat_tables([table, table.slice(0, 1)]))


def everywhere(column: str, value: int) -> Plant:
    def plant() -> None:
        for path in events():
            fill(path, column, value)

    return plant


def vectors(*first: Any) -> Plant:
    def plant() -> None:
        given = pq.read_table(ITEMS)["embedding"].to_pylist()
        fill(ITEMS, "embedding", pa.array([*first, *given[len(first) :]]))

    return plant


# the planted defect, the expectations that must fail while others hold, and a value that their samples must show
DEFECTS = {
    "no event files": (lambda: shutil.rmtree(RAW / "events"), {"event_files"}, None),
    "user_id missing": (lambda: edit(day(1), lambda t: t.drop_columns("user_id")), {"columns"}, "missing"),
    "item_id a float": (cast("item_id", pa.float64()), {"columns", "ids_of_one_type"}, "double"),
    "timestamp an integer": (cast("timestamp", pa.int64()), {"columns"}, "int64"),
    "items with text ids": (cast("item_id", pa.string(), ITEMS), {"ids_of_one_type"}, "string"),
    **{
        f"{column} null": (value(column, 3, None), {f"{column}_not_null"}, None)
        for column in ("user_id", "item_id", "timestamp", "sequence")
    },
    "label 2": (value("label", 3, 2), {"label_0_or_1"}, 2),
    "only clicks": (everywhere("label", 1), {"ctr"}, None),
    "behaviour -1": (value("behaviour", 3, -1), {"behaviour_0_or_1"}, -1),
    "timestamp of the next day": (value("timestamp", 3, NEXT_DAY), {"timestamp_within_day"}, str(NEXT_DAY)),
    "seconds read as milliseconds": (
        value("timestamp", 3, datetime(1970, 1, 20)),
        {"timestamp_plausible", "timestamp_within_day"},
        "1970-01-20 00:00:00",
    ),
    "context infinite": (value("hour", 3, float("inf")), {"hour_finite"}, "inf"),
    "price infinite": (value("price", 3, float("-inf"), ITEMS), {"items_price_finite"}, "-inf"),
    "sequence used twice": (
        lambda: put(day(0), "sequence", 0, pq.read_table(day(0))["sequence"][1].as_py()),
        {"sequence_unique"},
        2,
    ),
    "words instead of vectors": (vectors(*120 * [["a", "b"]]), {"vectors_of_numbers"}, "VARCHAR[]"),
    "half of the items unknown": (lambda: edit(ITEMS, lambda t: t.slice(0, 60)), {"unknown_items_rate"}, None),
    "item listed twice": (twice(ITEMS), {"items_unique"}, 2),
    "user listed twice": (twice(USERS), {"users_unique"}, 2),
    **{
        f"{path.stem} without {column}": (value(column, 0, None, path), {f"{path.stem}_{column}_not_null"}, None)
        for path, column in ((ITEMS, "item_id"), (HISTORY, "user_id"), (HISTORY, "item_id"), (USERS, "user_id"))
    },
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_each_defect_closes_exactly_its_expectation(defect: str, workspace: Enter) -> None:
    """The named expectations fail, all others hold, and the sample shows the offending row."""
    params = workspace()
    plant, expected, shown = DEFECTS[defect]
    plant()
    seal(RAW)
    found = failed(judge("raw", params))
    assert found.keys() == expected
    if shown is not None:
        cells = [cell for name in expected for row in found[name]["sample"] for cell in row.values()]
        assert any(shown in str(cell) if isinstance(shown, str) else shown == cell for cell in cells)


def test_every_expectation_has_a_defect(workspace: Enter) -> None:
    """Every expectation on files and rows needs a planted defect."""
    params = workspace()
    last = day(-1).parent.name.removeprefix("date=")
    seal(RAW, until=last)
    own = {"files_match_manifest", "rows", "not_after_until", "watched_finite", "worth_finite"}
    own |= {"files_readable", "duplicate_rate", "distinct_users", "distinct_items"}  # see benchmarks/defects
    told = own.union(*(expected for _, expected, _ in DEFECTS.values()))
    assert names(PHASES, params, "files", "rows") <= told


def test_an_edited_an_added_and_a_lost_file_are_named(workspace: Enter) -> None:
    """Edited, added and lost files are all found by the manifest's hashes."""
    params = workspace()
    put(day(0), "label", 0, 1 - pq.read_table(day(0))["label"][0].as_py())
    (RAW / "events" / "notes.txt").write_text("mine")
    day(1).unlink()
    found = failed(judge("raw", params))
    assert found.keys() == {"files_match_manifest"}
    problems = {row["problem"] for row in found["files_match_manifest"]["sample"]}
    assert problems == {"changed after it was written", "not in the manifest", "missing"}


def test_the_limits_of_params_are_used(workspace: Enter) -> None:
    """A sound log closes the gate if the limits are stricter."""
    assert failed(judge("raw", limits(workspace(), "validate_raw", min_rows=10**6))).keys() == {"rows"}


def test_few_duplicates_and_unknown_items_are_warnings(workspace: Enter) -> None:
    """Below the limits, duplicates and unknown items are shown with examples and don't block."""
    params = workspace()
    again = pq.read_table(day(0)).slice(0, 2)
    again = again.set_column(again.column_names.index("sequence"), "sequence", pa.array([10**9, 10**9 + 1]))
    edit(day(0), lambda table: pa.concat_tables([table, again]))
    edit(ITEMS, lambda table: table.slice(0, 118))
    put(USERS, "user_id", 0, 10**6)
    seal(RAW)
    report = judge("raw", params)
    assert not failed(report)
    warnings = failed(report, "warning")
    assert warnings.keys() == {"unknown_items", "unknown_users"}
    assert all(warning["sample"] for warning in warnings.values())


def test_clicks_alone_are_a_log_for_leave_last_out(workspace: Enter) -> None:
    """Under leave_last_out all labels may be 1, since negatives are sampled later."""
    params = workspace("leave_last_out")
    everywhere("label", 1)()
    seal(RAW)
    assert not failed(judge("raw", params))


@pytest.mark.parametrize(
    ("mode", "daily", "severity"),
    [("critical", True, "critical"), ("critical", False, "warning"), ("warning", True, "warning"), ("off", True, None)],
)
def test_missing_days(mode: str, daily: bool, severity: str | None, workspace: Enter) -> None:
    """A hole of one day, and an end one day before `until`, are critical only if the source promises every day."""
    params = limits(workspace(), "validate_raw", missing_days=mode)
    hole, last = day(2).parent, day(-1).parent.name.removeprefix("date=")
    shutil.rmtree(hole)
    until = (datetime.fromisoformat(last) + timedelta(days=1)).date()
    seal(RAW, daily=daily, until=str(until))
    report = judge("raw", params)
    found = failed(report, "critical") | failed(report, "warning")
    assert {e["severity"] for e in found.values()} == ({severity} if severity else set())
    if severity:
        assert found.keys() == {"missing_days", "days_behind_until"}
        assert found["missing_days"]["sample"] == [{"date": hole.name.removeprefix("date=")}]
        assert ("missing_days to warning" in found["missing_days"]["advice"]) == (severity == "critical")


@pytest.mark.parametrize(("of", "warns"), [("min", False), ("max", True)])
def test_a_history_dated_within_the_log(of: str, warns: bool, workspace: Enter) -> None:
    """A user who comes late may have a late history, from just before; a history dated by its export is suspicious."""
    params = workspace()
    times = pa.concat_tables(pq.read_table(path, columns=["user_id", "timestamp"]) for path in events())
    times = times.group_by("user_id").aggregate([("timestamp", of)])

    def dated(history: pa.Table) -> pa.Table:
        found = history.join(times, "user_id", join_type="inner")
        just_before = pc.subtract(found[f"timestamp_{of}"], pa.scalar(1, pa.duration("us")))
        return found.drop_columns("timestamp").append_column("timestamp", just_before).select(history.column_names)

    edit(HISTORY, dated)
    seal(RAW)
    assert ("history_within_log" in failed(judge("raw", params), "warning")) == warns


def test_a_history_dated_after_the_log(workspace: Enter) -> None:
    """Behaviours after the last event are told once, as critical, and don't count as dated within the log."""
    params = workspace()
    fill(HISTORY, "timestamp", [datetime(2031, 1, 1)] * pq.read_metadata(HISTORY).num_rows)
    seal(RAW)
    report = judge("raw", params)
    assert "history_after_log" in failed(report)
    assert "history_within_log" not in failed(report, "warning")


def test_events_after_until(workspace: Enter) -> None:
    """Events after `data.until` close the gate."""
    params = workspace()
    first = day(0).parent.name.removeprefix("date=")
    seal(RAW, until=first)
    found = failed(judge("raw", params))
    assert found.keys() == {"not_after_until"}
    assert found["not_after_until"]["sample"][0]["date"] > first


def test_a_missing_vector_is_no_defect(workspace: Enter) -> None:
    """Null and an empty list stand for no vector."""
    params = workspace()
    vectors(None, [])()
    seal(RAW)
    report = judge("raw", params)
    assert not failed(report) and not failed(report, "warning")


def test_no_behaviours_is_a_warning(workspace: Enter) -> None:
    """A log without behaviours can be learned from, but not by interest."""
    params = workspace()
    everywhere("behaviour", 0)()
    HISTORY.unlink()
    seal(RAW)
    report = judge("raw", params)
    assert not failed(report)
    assert failed(report, "warning").keys() == {"behaviours"}


def test_an_own_column_called_date_is_no_obstacle(workspace: Enter) -> None:
    """The day of the partition takes precedence over a column `date`, and other columns may need quotes."""
    params = workspace()
    for path in events():
        edit(path, lambda t: t.append_column("date", t["hour"]).append_column('dwell "s"', t["hour"]))
    seal(RAW)
    assert not failed(judge("raw", params))


def test_a_log_may_have_no_fields(workspace: Enter) -> None:
    """Null means the fields that the source declares, and an empty mapping means none, as in featurize."""
    params = workspace()

    def declared(fields: dict[str, Any] | None) -> set[str]:
        return {*Log(HERE, replace(params, featurize=replace(params.featurize, fields=fields))).fields}

    assert declared({}) == {"item_id"} < declared(None)
