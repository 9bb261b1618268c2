"""The log of a server becomes the raw contract: which clicks count, which days are whole, and what is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factories.served_days import write_csv

from din.errors import InputError
from din.params import Params
from din.served_log import SCHEMA
from din.sources.fetch import fetch, look
from din.workspace import Workspace

DAY = 86_400
START = 1_700_006_400  # 2023-11-15 00:00 UTC
BY_ID = ("request_id", "item_id", "timestamp")
BY_USER = ("user_id", "item_id", "timestamp")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the root of a workspace."""
    return tmp_path / "work"


Asked = tuple[str, float, Any, list[Any], dict[str, Any]]  # id, hours since START, user, candidates, context


def serve(root: Path, asked: list[Asked], hashed: bool = False, name: str = "a") -> None:
    """Write requests as files of the log. The first candidate of each has the highest probability."""
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
        row |= {"request": json.dumps({"context": context}), "probabilities": [1 / (2 + n) for n in range(len(items))]}
        days.setdefault(f"date={at:%Y-%m-%d}/hour={at:%H}", []).append(row)
    for folder, rows in days.items():
        path = root / "served" / folder / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)


@pytest.fixture
def events(root: Path, params: Params) -> Callable[..., list[dict[str, Any]]]:
    """Return a function that fetches the log and returns its events by sequence."""

    def run(**options: Any) -> list[dict[str, Any]]:
        here = Workspace(root)
        fetch(here, served(params, **options))
        days = [pq.ParquetFile(path).read() for path in sorted(here.raw.glob("events/*/*.parquet"))]
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


def clicked(found: list[dict[str, Any]]) -> set[tuple[int, str]]:
    """Return hour and item of the events with a click."""
    return {(round((row["timestamp"].timestamp() - START) / 3600), row["item_id"]) for row in found if row["label"]}


def test_clicks_by_request(root: Path, events: Callable[..., list[dict[str, Any]]], capsys) -> None:
    """A click counts once, within the window; contexts keep their types, and places begin with the best."""
    serve(root, ASKED)
    clicks(
        root,
        BY_ID,
        [("r0", "b", 1.5), ("r0", "b", 1.6), ("r1", "a", 3.5), ("r9", "a", 2), ("r2", "a", 24.4), ("r4", "c", 60)],
    )
    found = events(window_hours=1)
    assert [(row["user_id"], row["item_id"], row["place"], row["label"]) for row in found] == [
        (7, "a", 1, 0), (7, "b", 2, 1), (7, "a", 1, 0), (8, "b", 1, 0), (8, "a", 2, 1), (7, "c", 1, 0),
    ]  # fmt: skip
    assert [row["sequence"] for row in found] == [*range(6)]
    assert [(row["tab"], row["marks"]) for row in found[:3]] == [("home", []), ("home", []), ("search", ["x"])]
    told = capsys.readouterr().err
    assert "6 clicks: 3 count, 1 are repeated, 1 came after the window of 1 h, 1 belong to no answer" in told
    assert "1 answers after 2023-11-16 are left out: the newest click is of 2023-11-17 12:00" in told


def test_clicks_by_user(root: Path, events: Callable[..., list[dict[str, Any]]]) -> None:
    """A click belongs to the last impression of its user and item before it."""
    serve(root, ASKED)
    clicks(root, BY_USER, [("7", "a", 2.5), ("7", "b", 1.9), ("8", "a", 1.0), ("8", "c", 30), ("7", "c", 60)])
    assert clicked(events(window_hours=1)) == {(2, "a"), (1, "b")}
    assert clicked(events(window_hours=1.4)) == {(2, "a"), (1, "b")}
    clicks(root, BY_USER, [("7", "a", 1.5), ("7", "c", 60)])
    assert clicked(events(window_hours=1)) == {(1, "a")}


def test_only_what_was_shown(root: Path, events: Callable[..., list[dict[str, Any]]]) -> None:
    """With `shown`, candidates below are no impressions."""
    serve(root, ASKED)
    clicks(root, BY_ID, [("r0", "a", 1), ("r0", "b", 1), ("r4", "c", 60)])
    assert {row["place"] for row in events(window_hours=1, shown=1)} == {1}


def test_feedback(root: Path, events: Callable[..., list[dict[str, Any]]]) -> None:
    """Columns of the clicks are kept; of repeated clicks the first counts."""
    serve(root, ASKED)
    names = (*BY_ID, "stars")
    clicks(root, names, [("r0", "a", 1.2, 2), ("r0", "a", 1.1, 5), ("r1", "a", 2, 1), ("r4", "c", 60, 3)])
    found = events(window_hours=1, feedback=("stars",))
    assert [row["stars"] for row in found] == [5, None, 1, None, None, None]


def test_rows_do_not_depend_on_files(root: Path, params: Params) -> None:
    """The same requests in other files, twice, give the same log; later days don't change earlier ones."""
    serve(root, ASKED)
    clicks(root, BY_ID, [("r0", "a", 1), ("r4", "c", 60)])
    here = Workspace(root)
    options = {"window_hours": 1}
    first = look(here, served(params, until=date(2023, 11, 15), **options))
    serve(root, ASKED[1:], name="copy")
    serve(root, [("r5", 100, "9", ["z"], {})], name="later")
    clicks(root, BY_ID, [("r0", "a", 1), ("r4", "c", 60), ("r5", "z", 100)])
    assert look(here, served(params, until=date(2023, 11, 15), **options)) == first
    assert look(here, served(params, **options)).last_day == "2023-11-17"


def test_ids_are_numbers_or_text(root: Path, events: Callable[..., list[dict[str, Any]]]) -> None:
    """Whole numbers are integers, unless they must match tables of text."""
    serve(root, [("r0", 1, "7", ["1", "2"], {}), ("r1", 60, "7", ["1"], {})])
    clicks(root, BY_ID, [("r0", "1", 1), ("r1", "1", 60)])
    assert {row["item_id"] for row in events(window_hours=1)} == {1, 2}
    assert {row["item_id"] for row in events(window_hours=1, text_ids=True)} == {"1", "2"}


def _no_log(root: Path) -> None:
    clicks(root, BY_ID, [("r0", "a", 1)])


def _log(*rows: tuple[Any, ...], names: tuple[str, ...] = BY_ID, hashed: bool = False) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        serve(root, ASKED, hashed)
        clicks(root, names, [*rows])

    return write


def _mixed(root: Path) -> None:
    _log(("r0", "a", 1))(root)
    serve(root, [("r8", 1, "7", ["a"], {})], hashed=True, name="hashed")


def _nobody(root: Path) -> None:
    serve(root, [("r0", 1, None, ["a"], {})])
    clicks(root, BY_ID, [("r0", "a", 1)])


@pytest.mark.parametrize(
    ("write", "options", "message"),
    [
        (_no_log, {}, "served/date=.* matches no file"),
        (_log(), {"clicks": None}, "fetch.options.clicks: missing; expected the path"),
        (_log(), {"clicks": "none.csv"}, "fetch.options.clicks: 'none.csv' matches no file"),
        (
            _log(("7", 1), names=("user_id", "timestamp")),
            {},
            "clicks.csv: columns user_id, timestamp; expected item_id",
        ),
        (_log(("7", "a"), names=("user_id", "item_id")), {}, "or item_id, user_id and timestamp"),
        (_log(("r0", "a"), names=("request_id", "sku")), {}, "map them in fetch.options.clicks_columns"),
        (_log(("r0", "a", 1)), {"feedback": ("stars",)}, "fetch.options.feedback: clicks.csv has no column 'stars'"),
        (_log(("7", "a", 1), names=BY_USER, hashed=True), {}, "the log holds hashes of users"),
        (_log(("r9", "a", 1)), {}, "none of 1 clicks belongs to an answer; the log is of 2023-11-15 01:00:00"),
        (_log(("7", "a", 1e7), names=BY_USER), {}, "and the unit of the time"),
        (_log(("r0", "a", 1)), {}, "no day of the log is complete: the newest click is of 2023-11-15 01:00"),
        (_log(("r0", "a", 1)), {"window": 1}, "key 'window' is unknown"),
        (_mixed, {}, "one person would be two"),
        (_nobody, {}, "1 requests, none with a user_id and a candidate"),
    ],
)
def test_wrong_input(write: Callable[[Path], None], options: dict[str, Any], message: str, root: Path, events) -> None:
    """The message names the place and the way out."""
    write(root)
    with pytest.raises(InputError, match=message):
        events(**options)


def test_a_time_that_is_none(root: Path, events) -> None:
    """The message shows the value."""
    serve(root, ASKED)
    write_csv(root / "clicks.csv", BY_ID, [("r0", "a", "2023-11-15T01:10:00Z"), ("r0", "b", "soon")])
    with pytest.raises(InputError, match=r"clicks.csv: timestamp is 'soon'; expected seconds since 1970"):
        events()
