"""The log of a server becomes the raw contract: which clicks count, which days are whole, and what is refused."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from din.base.errors import InputError, Unavailable
from din.base.workspace import Workspace
from din.data.fetch import describe, fetch
from din.params.reading import Params
from din_loop.served_log import OPEN, SCHEMA
from tests.din_loop.served_days import write_csv
from tests.factories.raw_logs import parquet

START = 1_700_006_400  # 2023-11-15 00:00 UTC
BY_ID = ("request_id", "item_id", "timestamp")
BY_USER = ("user_id", "item_id", "timestamp")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "work"


Asked = tuple[str, float, Any, list[Any], dict[str, Any]]  # id, hours since START, user, candidates, context


def serve(
    root: Path,
    asked: list[Asked],
    hashed: bool = False,
    name: str = "a",
    histories: Mapping[str, list[Any]] = MappingProxyType({}),
) -> None:
    """Write requests, with histories by their id, as files of the log. Their first candidates are the best."""
    days: dict[str, list[dict[str, Any]]] = {}
    for request_id, hour, user, items, context in asked:
        at = datetime.fromtimestamp(START + 3600 * hour, UTC).replace(tzinfo=None)
        row = {
            "request_id": request_id,
            "answered_at": at,
            "version": "v",
            "user_id": user,
            "hashed": hashed,
            "items": items,
        }
        request = {"context": context, "history": histories.get(request_id)}
        row |= {"request": json.dumps(request), "probabilities": [1 / (2 + n) for n in range(len(items))]}
        days.setdefault(f"date={at:%Y-%m-%d}/hour={at:%H}", []).append(row)
    for folder, rows in days.items():
        path = root / "served" / folder / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)


@pytest.fixture
def events(root: Path, params: Params) -> Callable[..., list[dict[str, Any]]]:
    """Return a function that fetches the log and returns its events by sequence."""

    def run(**options: Any) -> list[dict[str, Any]]:
        workspace = Workspace(root)
        fetch(workspace, served(params, **options))
        days = [pq.ParquetFile(path).read() for path in sorted(workspace.raw.glob("events/*/*.parquet"))]
        return pa.concat_tables(days, promote_options="default").sort_by("sequence").to_pylist()

    return run


def served(params: Params, until: Any = None, **options: Any) -> Params:
    """Return the shipped params with this source."""
    options = {"path": "served", "clicks": "clicks.csv", **options}
    block = replace(params.fetch, source="served", options=options)
    return replace(params, fetch=block, data=replace(params.data, until=until))


ASKED: list[Asked] = [
    ("r0", 1, "7", ["a", "b"], {"tab": "home"}),
    ("r1", 2, "7", ["a"], {"tab": "search", "marks": ["x"]}),
    ("r2", 23.5, "8", ["b", "a"], {}),
    ("r3", 30, "7", ["c"], {}),
    ("r4", 60, "7", ["c"], {}),
]


def clicks(root: Path, names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    """Write clicks, with their hours since START as seconds."""
    root.mkdir(exist_ok=True)
    seconds = [
        tuple(START + 3600 * v if n == "timestamp" else v for n, v in zip(names, row, strict=True)) for row in rows
    ]
    write_csv(root / "clicks.csv", names, seconds)


def clicked(rows: list[dict[str, Any]]) -> set[tuple[int, str]]:
    """Return hour and item of the events with a click."""
    return {(round((row["timestamp"].timestamp() - START) / 3600), row["item_id"]) for row in rows if row["label"]}


def test_clicks_by_request(root: Path, events: Callable[..., list[dict[str, Any]]], capsys) -> None:
    """A click counts once, within the window; contexts keep their types, and places begin with the best."""
    serve(root, ASKED)
    clicks(
        root,
        BY_ID,
        [("r0", "b", 1.5), ("r0", "b", 1.6), ("r1", "a", 3.5), ("r9", "a", 2), ("r2", "a", 24.4), ("r4", "c", 60)],
    )
    rows = events(window_hours=1)
    assert [(row["user_id"], row["item_id"], row["place"], row["label"]) for row in rows] == [
        ("7", "a", 1, 0), ("7", "b", 2, 1), ("7", "a", 1, 0), ("8", "b", 1, 0), ("8", "a", 2, 1), ("7", "c", 1, 0),
    ]  # fmt: skip
    assert [row["sequence"] for row in rows] == [*range(6)]
    assert [(row["tab"], row["marks"]) for row in rows[:3]] == [("home", []), ("home", []), ("search", ["x"])]
    output = capsys.readouterr().err
    assert "6 clicks: 3 count, 1 are repeated, 1 came after the window of 1 h, 1 belong to no answer" in output
    assert "half of the clicks came within 36 minutes of the answer, 99 % within 1.5 h" in output
    assert "compare the clocks" not in output
    assert "1 answers after 2023-11-16 are left out: the newest answer with a click is of 2023-11-17 12:00" in output


def test_clicks_before_their_answers(root: Path, events: Callable[..., list[dict[str, Any]]], capsys) -> None:
    """A time is never negative in words."""
    serve(root, ASKED)
    clicks(root, BY_ID, [("r0", "b", 1 - 5 / 60), ("r1", "a", 2 - 5 / 60), ("r4", "c", 60 - 5 / 60)])
    events(window_hours=1)
    output = capsys.readouterr().err
    assert "half of the clicks are 5 minutes or more before their answers: compare the clocks" in output
    assert "came within" not in output


def test_clicks_by_user(root: Path, events: Callable[..., list[dict[str, Any]]]) -> None:
    """A click belongs to the last impression of its user and item before it."""
    serve(root, ASKED)
    clicks(root, BY_USER, [("7", "a", 2.5), ("7", "b", 1.9), ("8", "a", 1.0), ("8", "c", 30), ("7", "c", 60)])
    assert clicked(events(window_hours=1)) == {(2, "a"), (1, "b")}
    assert clicked(events(window_hours=1.4)) == {(2, "a"), (1, "b")}
    clicks(root, BY_USER, [("7", "a", 1.5), ("7", "c", 60)])
    assert clicked(events(window_hours=1)) == {(1, "a")}


def test_the_history_of_a_first_request(root: Path, events: Callable[..., list[dict[str, Any]]]) -> None:
    """It is what its user did before: not what is as new as the request, nor what later requests hold."""
    marked = {"item_id": "x", "timestamp": START - 60, "stars": 4}
    newer = {"item_id": "y", "timestamp": START + 3600}
    serve(root, ASKED, histories={"r0": [marked, "z", newer], "r1": ["a"], "r2": [], "r4": ["late"]})
    write_csv(root / "clicks.csv", (*BY_ID, "stars"), [("r0", "b", START + 5400, 5), ("r4", "c", START + 60 * 3600, 1)])
    events(feedback=["stars"], window_hours=1)
    prior = pq.read_table(root / "data/raw/history.parquet").to_pylist()
    assert [(row["user_id"], row["item_id"], row["sequence"], row["stars"]) for row in prior] == [
        ("7", "x", 0, 4),
        ("7", "z", 1, None),
    ]
    assert [row["timestamp"] and row["timestamp"].timestamp() for row in prior] == [START - 60, None]


def test_a_log_that_continues_another(root: Path, events: Callable[..., list[dict[str, Any]]]) -> None:
    """The rows of the earlier log come first. Users that it lacks have the history of their first request."""
    asked = [(name, hour, user, [{"a": "1", "b": "2", "c": "3"}[item] for item in items], context)
             for name, hour, user, items, context in ASKED]  # fmt: skip
    serve(root, asked, histories={"r0": ["3"], "r2": ["3"]})
    clicks(root, BY_ID, [("r0", "2", 1.5), ("r2", "1", 23.6), ("r4", "3", 60)])
    before = [(7, 3, START - 86400, 1, 5), (9, 1, START - 3600, 0, 2), (7, 1, START + 2 * 3600, 1, 4)]
    write_csv(root / "before.csv", ("user_id", "item_id", "timestamp", "click", "stars"), before)
    write_csv(root / "items.csv", ("item_id", "price"), [(1, 5), (2, 6), (3, 7)])
    table = {"events": "before.csv", "items": "items.csv", "label": "click", "keep": ["stars"]}
    rows = events(before={"source": "table", "table": table}, window_hours=1)
    assert [(row["user_id"], row["item_id"], row["label"], row["stars"]) for row in rows[:4]] == [
        (7, 3, 1, 5), (9, 1, 0, 2), (7, 1, 0, None), (7, 2, 1, None),
    ]  # fmt: skip
    assert [row["sequence"] for row in rows] == [*range(len(rows))]
    assert pq.read_table(root / "data/raw/items.parquet").column_names == ["item_id", "price"]
    assert pq.read_table(root / "data/raw/history.parquet")["user_id"].to_pylist() == [8]


def test_values_of_the_earlier_log_in_another_type(root: Path, events: Callable[..., list[dict[str, Any]]]) -> None:
    """A number or a truth value beside words is the text that the server makes of it."""
    serve(root, [("r0", 1, "7", ["1"], {"prime": True, "zone": 7.0}), ("r1", 60, "7", ["1"], {"prime": False})])
    clicks(root, BY_ID, [("r0", "1", 1.5), ("r1", "1", 60)])
    write_csv(root / "before.csv", ("user_id", "item_id", "timestamp", "click", "prime", "zone"),
              [(7, 3, START - 86400, 1, "never", "A"), (9, 1, START - 3600, 0, "True", "7")])  # fmt: skip
    table = {"events": "before.csv", "label": "click", "keep": ["prime", "zone"]}
    rows = events(before={"source": "table", "table": table}, window_hours=1)
    assert [(row["prime"], row["zone"]) for row in rows] == [("never", "A"), ("True", "7"), ("True", "7")]


def test_an_empty_item_is_none(root: Path, events: Callable[..., list[dict[str, Any]]]) -> None:
    """A client that sends empty ids, among candidates or in a history, stops no retraining."""
    serve(root, [("r0", 1, "7", ["", "a"], {}), ("r1", 60, "7", ["a"], {})], histories={"r0": ["", "b"]})
    clicks(root, BY_ID, [("r0", "a", 1.5), ("r1", "a", 60)])
    assert [(row["item_id"], row["place"]) for row in events(window_hours=1)] == [("a", 2)]
    assert pq.read_table(root / "data/raw/history.parquet")["item_id"].to_pylist() == ["b"]


def test_clicks_in_text_of_another_form(root: Path, events: Callable[..., list[dict[str, Any]]]) -> None:
    """The keys of `table.csv` say how the clicks are written, too."""
    serve(root, ASKED)
    clicks(root, BY_ID, [("r0", "a", 1), ("r4", "c", 60)])
    path = root / "clicks.csv"
    path.write_text(path.read_text().replace(",", ";"))
    assert clicked(events(window_hours=1, table={"csv": {"delimiter": ";"}})) == {(1, "a")}


def test_repeated_events(root: Path, events: Callable[..., list[dict[str, Any]]]) -> None:
    """An answer that is logged again under another request is dropped if `table.drop_duplicates` says so."""
    serve(root, [*ASKED, ("r5", 1, "7", ["a"], {})])
    clicks(root, BY_ID, [("r0", "a", 1), ("r4", "c", 60)])
    runs = [events(window_hours=1, table={"drop_duplicates": drop}) for drop in (False, True)]
    assert [len(rows) for rows in runs] == [7, 6]
    assert clicked(runs[1]) == {(1, "a")}


def test_feedback_on_what_was_shown(root: Path, events: Callable[..., list[dict[str, Any]]]) -> None:
    """A click counts once, with the columns of its first record. Candidates below the `shown` first are left out."""
    serve(root, ASKED)
    names = (*BY_ID, "stars")
    clicks(root, names, [("r0", "a", 1.2, 2), ("r0", "a", 1.1, 5), ("r1", "a", 2, 1), ("r4", "c", 60, 3)])
    rows = events(window_hours=1, feedback=("stars",), shown=1)
    assert [(row["place"], row["stars"]) for row in rows] == [(1, 5), (1, 1), (1, None), (1, None)]


def test_rows_do_not_depend_on_files(root: Path, params: Params) -> None:
    """Requests that are logged again in other files change nothing, and later days don't change earlier ones."""
    serve(root, ASKED)
    clicks(root, BY_ID, [("r0", "a", 1), ("r4", "c", 60)])
    workspace = Workspace(root)
    options = {"window_hours": 1}
    first = describe(workspace, served(params, until=date(2023, 11, 15), **options))
    serve(root, ASKED[1:], name="copy")
    serve(root, [("r5", 100, "9", ["z"], {}), ("r6", 50, "9", ["z"], {"new": 1})], name="later")
    clicks(root, BY_ID, [("r0", "a", 1), ("r4", "c", 60), ("r5", "z", 100)])
    assert describe(workspace, served(params, until=date(2023, 11, 15), **options)) == first
    assert describe(workspace, served(params, **options)).last_day == "2023-11-17"


def test_ids_are_numbers_or_text(root: Path, events: Callable[..., list[dict[str, Any]]]) -> None:
    """Ids are text, or the whole numbers that `int_ids` declares; nothing is guessed from the ids of others."""
    serve(root, [("r0", 1, "7", ["1", "-2"], {}), ("r1", 60, "test", ["1"], {})])
    clicks(root, BY_ID, [("r0", "1", 1), ("r1", "1", 60)])
    assert {(row["user_id"], row["item_id"]) for row in events(window_hours=1)} == {("7", "1"), ("7", "-2")}
    rows = events(window_hours=1, int_ids=("user_id", "item_id"))
    assert {(row["user_id"], row["item_id"]) for row in rows} == {(7, 1), (7, -2)}
    serve(root, [("r2", 2, "7", ["007"], {})], name="b")
    with pytest.raises(InputError, match=r"int_ids: item_id '007' of request r2 is not a whole number, like 1 impress"):
        events(window_hours=1, int_ids=("item_id",))


def test_a_stray_id_stops_no_fetch(
    root: Path, events: Callable[..., list[dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    """The server answers an id in another form as an unknown one. A few are left out, and counted."""
    serve(root, [("r0", 1, "7", [*map(str, range(150)), "x"], {}), ("r1", 60, "8", ["1"], {})])
    clicks(root, BY_ID, [("r0", "1", 1), ("r1", "1", 60)])
    assert {row["item_id"] for row in events(window_hours=1, int_ids=("item_id",))} == set(range(150))
    assert "1 impressions are left out, e.g. item_id 'x' of request r0 is not a whole number" in capsys.readouterr().err


def test_ids_as_pandas_writes_them(root: Path, events: Callable[..., list[dict[str, Any]]]) -> None:
    """Whole floats are integers, and an empty request is none."""
    serve(root, [("r0", 1, "7", ["1", "2"], {}), ("r1", 60, "8", ["1"], {})])
    rows = {"user_id": [7.0, 8.0], "item_id": [2.0, 1.0], "timestamp": [START + 3600 * hour for hour in (1.5, 60)]}
    pq.write_table(pa.table(rows | {"request_id": ["", None]}), root / "clicks.parquet")
    assert clicked(events(clicks="clicks.parquet", window_hours=1)) == {(1, "2")}


@pytest.mark.parametrize(("hours", "at"), [(1, 110), (1, 1000 * START / 3600), (24, 83.8)])
def test_a_wrong_clock_completes_no_day(
    hours: float, at: float, root: Path, events: Callable[..., list[dict[str, Any]]]
) -> None:
    """A click days or hours ahead, or in milliseconds, doesn't say that the clicks of today have arrived."""
    serve(root, ASKED)
    clicks(root, BY_ID, [("r0", "a", 1), ("r3", "c", 30.5), ("r4", "c", at)])
    assert {row["timestamp"].day for row in events(window_hours=hours)} == {15}


def test_a_server_of_the_future_completes_no_day(root: Path, events: Callable[..., list[dict[str, Any]]]) -> None:
    """An answer years after its own click doesn't say that the clicks of today have arrived."""
    serve(root, [*ASKED, ("r9", 90_000, "9", ["z"], {})])
    clicks(root, BY_ID, [("r0", "a", 1), ("r3", "c", 30.5), ("r9", "z", 40)])
    assert {row["timestamp"].day for row in events(window_hours=1)} == {15}


def test_an_unfinished_day_is_refused(root: Path, params: Params) -> None:
    """A run of a day whose clicks may still come can be tried again; older rows would pass as its own."""
    serve(root, ASKED)
    clicks(root, BY_ID, [("r0", "a", 1), ("r3", "c", 30)])
    fetch(Workspace(root), served(params, until=date(2023, 11, 15), window_hours=1))
    with pytest.raises(InputError, match=r"data\.until=2023-11-01: no answer is that old"):
        fetch(Workspace(root), served(params, until=date(2023, 11, 1), window_hours=1))
    message = r"data.until=2023-11-16: the day is not complete: the newest answer with .* of 2023-11-17 01:00 or later"
    with pytest.raises(Unavailable, match=message):
        fetch(Workspace(root), served(params, until=date(2023, 11, 16), window_hours=1))


def test_types_of_contexts(root: Path, events: Callable[..., list[dict[str, Any]]]) -> None:
    """Negative integers stay integers, a later day doesn't change them, and the place is the source's."""
    serve(root, [*ASKED, ("r5", 3, "7", ["a"], {"hour": -3, "place": 9}), ("r6", 4, "7", ["a"], {"hour": 3})])
    serve(root, [("r7", 61, "7", ["a"], {"hour": "noon"})], name="later")
    clicks(root, BY_ID, [("r0", "a", 1), ("r4", "c", 60)])
    contexts = [(row["hour"], row["place"]) for row in events(window_hours=1)]
    assert contexts == [(None, 1), (None, 2), (None, 1), (-3, 1), (3, 1), (None, 1), (None, 2), (None, 1)]


@pytest.mark.parametrize("place", ["top", 1.5, [1]])
def test_a_context_named_place_that_is_no_place_is_refused(
    place: object, root: Path, events: Callable[..., list[dict[str, Any]]]
) -> None:
    """The source's own places would replace what the model has read."""
    serve(root, [*ASKED, ("r5", 3, "7", ["a"], {"place": place})])
    clicks(root, BY_ID, [("r0", "a", 1), ("r4", "c", 60)])
    with pytest.raises(InputError, match="'place' in requests' contexts is no whole number"):
        events(window_hours=1)


def test_contexts_of_several_types(root: Path, events: Callable[..., list[dict[str, Any]]]) -> None:
    """Values are text as the server reads them, so that 7, 7.0 and "7" are the same."""
    values = [7, 7.0, "7", True, None, 0.5, [7]]
    contexts = [{"page": value, "tags": [value]} for value in values]
    serve(root, [(f"c{hour}", hour, "7", ["a"], context) for hour, context in enumerate(contexts)] + [ASKED[-1]])
    clicks(root, BY_ID, [("r4", "c", 60)])
    rows = events(window_hours=1)
    expected = ["7", "7", "7", "True", None, "0.5", "[7]"]
    assert [row["page"] for row in rows] == expected
    assert [row["tags"] for row in rows] == [[value] if value else [] for value in expected]


def test_long_integers_in_contexts(root: Path, events: Callable[..., list[dict[str, Any]]]) -> None:
    """A context with integers of more than 64 bits is text, as in a CSV; fractions make it a quantity."""
    values = [7, 2**63, 2**64 + 1, None]
    contexts = [{"page": value, "tags": [1, value], "size": value and value / 2} for value in values]
    serve(root, [(f"c{hour}", hour, "7", ["a"], context) for hour, context in enumerate(contexts)] + [ASKED[-1]])
    clicks(root, BY_ID, [("r4", "c", 60)])
    rows = events(window_hours=1)
    assert [row["page"] for row in rows] == ["7", str(2**63), str(2**64 + 1), None]
    assert [row["tags"] for row in rows] == [["1", "7"], ["1", str(2**63)], ["1", str(2**64 + 1)], ["1"]]
    assert [row["size"] for row in rows] == [3.5, 2.0**62, 2.0**63, None]


def test_rows_of_a_killed_process(root: Path, events: Callable[..., list[dict[str, Any]]]) -> None:
    """They are published before the log is read; an empty user is nobody."""
    serve(root, ASKED)
    clicks(root, BY_ID, [("r0", "a", 1), ("r4", "c", 60)])
    rows = pq.ParquetFile(next((root / "served").glob("*/hour=01/*"))).read()
    path = root / "served" / OPEN / "2023-11-15T05-x.arrows"
    path.parent.mkdir()
    with path.open("wb") as file, pa.ipc.new_stream(file, SCHEMA) as stream:
        for number, user in enumerate(["9", ""]):
            row = rows.to_pylist()[0] | {"request_id": f"k{number}", "user_id": user}
            stream.write_table(pa.Table.from_pylist([row], SCHEMA))
    assert [row["user_id"] for row in events(window_hours=1)].count("9") == 2
    assert "" not in {row["user_id"] for row in events(window_hours=1)}


def test_a_day_on_another_disk(root: Path, events: Callable[..., list[dict[str, Any]]]) -> None:
    """A day's folder may be a symbolic link, as for `din watch` and `din replay`."""
    serve(root, ASKED)
    clicks(root, BY_ID, [("r0", "a", 1), ("r4", "c", 60)])
    expected = events(window_hours=1)
    day = root / "served/date=2023-11-15"
    day.symlink_to(day.rename(root / "elsewhere"))
    assert events(window_hours=1) == expected


Rows = list[tuple[Any, ...]]
IN_TIME = [("r0", "a", 1), ("r4", "c", 60)]


@pytest.mark.parametrize(
    ("asked", "names", "rows", "options", "message"),
    [
        ([], BY_ID, IN_TIME, {}, "fetch.options.path: served: no files such as date=2026-"),
        (ASKED, BY_ID, IN_TIME, {"path": None}, "fetch.options.path: missing; expected the folder of `din serve"),
        (ASKED, BY_ID, [], {"clicks": None}, "fetch.options.clicks: missing; expected the path"),
        (ASKED, BY_ID, IN_TIME, {"path": "s3://bucket/served"}, "expected a local folder; copy the log here first"),
        (ASKED, BY_ID, [], {"clicks": "none.csv"}, "fetch.options.clicks: 'none.csv' matches no file"),
        (ASKED, BY_USER[::2], [("7", 1)], {}, "columns user_id, timestamp; expected item_id .* map them in"),
        (ASKED, BY_ID, IN_TIME, {"feedback": ("stars",)}, "feedback: clicks.csv has no column 'stars'"),
        (ASKED, BY_ID, [("r9", "a", 1)], {}, "none of 1 clicks belongs to an answer; the log is of 2023-11-15 01:"),
        (ASKED, BY_ID, [("r0", "a", 1)], {}, "no day of the log is complete: .* with a click is of 2023-11-15 01:00"),
        ([*ASKED, ("r8", 1, "7", ["a"], {"label": 1})], BY_ID, IN_TIME, {}, "'label' is the name of two columns"),
        ([*ASKED, ("r8", 1, "7", ["a"], {"x": 1})], (*BY_ID, "x"), [("r0", "a", 1, 1), ("r4", "c", 60, 1)],
            {"feedback": ("x",)}, "'x' is the name of two columns"),
        ([("r0", 1, None, ["a"], {})], BY_ID, IN_TIME, {}, "1 requests, none with a user_id and a candidate"),
    ],
)  # fmt: skip
def test_wrong_input(
    asked: list[Asked], names: tuple[str, ...], rows: Rows, options: dict[str, Any], message: str, root: Path, events
) -> None:
    """The message names the place and the way out."""
    serve(root, asked)
    clicks(root, names, rows)
    with pytest.raises(InputError, match=message):
        events(**{"window_hours": 1, **options})


def test_hashed_users(root: Path, events) -> None:
    """A hash finds no click by its user, and a log of ids and hashes would hold one person twice."""
    serve(root, ASKED, hashed=True)
    clicks(root, BY_USER, [("7", "a", 1)])
    with pytest.raises(InputError, match="the log holds hashes of users"):
        events()
    serve(root, [("r8", 1, "7", ["a"], {})], name="plain")
    with pytest.raises(InputError, match="one person would be two"):
        events()


@pytest.mark.parametrize("content", [b"no Parquet, but long enough", parquet()])
def test_other_files(content: bytes, root: Path, events) -> None:
    """A damaged file, and one of other columns, is not from the server."""
    serve(root, ASKED)
    clicks(root, BY_ID, IN_TIME)
    (root / "served" / "date=2023-11-15" / "hour=01" / "a.parquet").write_bytes(content)
    with pytest.raises(InputError, match=r"path: served: .*; expected the files that `din serve --log` writes"):
        events()


def test_a_time_that_is_none(root: Path, events) -> None:
    """The message shows the value."""
    serve(root, ASKED)
    write_csv(root / "clicks.csv", BY_ID, [("r0", "a", "2023-11-15T01:10:00Z"), ("r0", "b", "soon")])
    with pytest.raises(InputError, match=r"clicks.csv row 2: timestamp is 'soon'; expected seconds since 1970"):
        events()


def test_a_log_larger_than_the_memory_of_the_engine(root: Path, events: Callable[..., list[dict[str, Any]]]) -> None:
    """Requests of 160 MB with long histories are read, though the engine has 128 MB."""
    serve(root, [("r0", 1, "7", ["a"], {}), ("r1", 49, "7", ["a"], {})])
    path, _ = sorted((root / "served").glob("*/*/*.parquet"))
    few = pq.ParquetFile(path).read().drop(["request_id", "request"])
    request = json.dumps({"context": {}, "history": ["x" * 8_000]})
    for part in range(10):
        columns = {"request_id": [f"{part}-{n}" for n in range(2_000)], "request": [request] * 2_000}
        many = pa.concat_tables([few] * 2_000)
        for name, values in columns.items():
            many = many.append_column(name, [values])
        pq.write_table(many.select(SCHEMA.names), path.with_name(f"part-{part}.parquet"))
    clicks(root, BY_ID, [("r0", "a", 1), ("r1", "a", 49)])
    assert len(events(window_hours=1)) == 20_001
