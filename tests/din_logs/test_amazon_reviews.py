"""Amazon reviews in the publisher's three editions."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from din.base.artifacts import read_json
from din.base.errors import InputError
from din.base.workspace import Workspace
from din.params.reading import Params

Fetch = Callable[..., dict[str, pa.Table]]
DAY = 86_400
# user, item, stars, day; A1 reviewed three items on day 1, in the file's order
REVIEWS = [("A2", "B0", 5.0, 0), ("A1", "B0", 4.0, 0), ("A1", "B2", 1.0, 1), ("A1", "B1", 5.0, 1), ("A1", "B3", 3.0, 1)]
REVIEWS += [("A2", "B1", 2.0, 2), ("A2", "B3", 5.0, 3), ("A3", "B4", 5.0, 4)]
PATHS = {"B0": [["Electronics", "Cables"], ["Electronics", "Audio", "Ear buds"]], "B1": [["Electronics", "Cables"]]}
PATHS |= {
    "B2": [["Electronics"]],
    "B3": [[]],
    "unseen": [["Electronics", "Cameras"]],
}  # B3 has no category, B4 is missing


def lines(path: Path, records: list[Any]) -> None:
    """Return a gzip file with one record per line: text unchanged, anything else as JSON."""
    text = "".join((record if isinstance(record, str) else json.dumps(record)) + "\n" for record in records)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()))


def reviews(time: int, *names: str) -> list[dict[str, Any]]:
    """Return the reviews as records with the edition's names of user, item, stars and time, and its other keys."""
    return [
        dict(zip(names, (*row[:3], (1_370_044_800 + row[3] * DAY) * time), strict=True))
        | {"summary": "Good, \"really\"", "style": {"Size:": " M"}, "vote": "2" if number % 2 else None}
        for number, row in enumerate(REVIEWS)
    ]  # fmt: skip


def write_2014(folder: Path) -> None:
    """Write reviews_Electronics_5 and meta_Electronics of 2014, whose metadata are Python literals."""
    lines(folder / "reviews_Electronics_5.json.gz", reviews(1, "reviewerID", "asin", "overall", "unixReviewTime"))
    records = [{"asin": asin, "title": 'It\'s "new"', "categories": paths} for asin, paths in PATHS.items()]
    records[1] |= {"brand": "Kef", "related": {"also_bought": ["B0", "B9"]}}
    backwards = dict(reversed(records[4].items()))  # the key that identifies an item without parsing comes last
    lines(folder / "meta_Electronics.json.gz", [repr(record) for record in [*records, backwards]])


def write_2018(folder: Path) -> None:
    """Write the edition of 2018: one path per item, strict JSON, and an item that is described twice."""
    lines(folder / "Electronics_5.json.gz", reviews(1, "reviewerID", "asin", "overall", "unixReviewTime"))
    records = [
        {"category": paths[-1], "tech1": "", "brand": "Kef" if asin == "B1" else "", "asin": asin, "price": "$1.99"}
        for asin, paths in PATHS.items()
    ]
    lines(folder / "meta_Electronics.json.gz", [*records, records[1] | {"category": ["Electronics", "Other"]}])


def write_2023(folder: Path) -> None:
    """Write the edition of 2023: milliseconds, variants with a parent, details of any type."""
    rows = [row | {"asin": f"variant{number}"} for number, row in enumerate(reviews(1000, *COLUMNS_2023))]
    lines(folder / "Electronics.jsonl.gz", rows)
    records = [
        {"main_category": "All Electronics", "price": None if number % 2 else 9.99, "categories": paths[-1]}
        | {"details": {"Rank": number} if number % 2 else {"Rank": "1"}, "parent_asin": asin}
        | {"store": "Kef" if asin == "B1" else None}
        for number, (asin, paths) in enumerate(PATHS.items())
    ]
    lines(folder / "meta_Electronics.jsonl.gz", records)


COLUMNS_2023 = ("user_id", "parent_asin", "rating", "timestamp")
EDITIONS = {"2014": write_2014, "2018": write_2018, "2023": write_2023}


@pytest.mark.parametrize("edition", EDITIONS)
def test_the_log(workspace: Workspace, edition: str, fetch_public: Fetch) -> None:
    """Reviews are clicks in file order, the category is the last name of the last path; only reviewed items stay."""
    EDITIONS[edition](workspace.root / "a")
    raw = fetch_public("amazon-reviews", "a")
    events = raw["events"].to_pydict()
    assert list(zip(events["user_id"], events["item_id"], events["rating"], strict=True)) == [r[:3] for r in REVIEWS]
    assert [f"{time:%Y-%m-%d}" for time in events["timestamp"][:3]] == ["2013-06-01", "2013-06-01", "2013-06-02"]
    assert events["label"] == events["behaviour"] == [1] * 8
    items = raw["items"].to_pydict()
    assert items["item_id"] == ["B0", "B1", "B2", "B3"]
    assert items["category"] == ["Ear buds", "Cables", "Electronics", None]
    assert items["brand"][1] == "Kef"
    assert items["categories"][1] == ["Electronics", "Cables"]
    if edition == "2014":  # an item has several paths
        assert items["categories"][0] == ["Electronics", "Cables", "Audio", "Ear buds"]
    manifest = read_json(workspace.raw / "manifest.json")
    assert manifest["fields"] == {"item": {"category": "categorical"}}
    assert (manifest["protocol"], manifest["order"]) == ("leave_last_out", "sequence")


def test_ids_and_ratings_alone(workspace: Workspace, fetch_public: Fetch) -> None:
    """The 5-core files of 2023 are CSV, and give the same log."""
    write_2023(workspace.root / "a")
    full = fetch_public("amazon-reviews", "a")
    rows = [",".join(str(row[name]) for name in COLUMNS_2023) for row in reviews(1000, *COLUMNS_2023)]
    (workspace.root / "a/Electronics.jsonl.gz").unlink()
    lines(workspace.root / "a" / "Electronics.csv.gz", [",".join(COLUMNS_2023), *rows])
    assert fetch_public("amazon-reviews", "a") == full


def test_the_example(workspace: Workspace, fetch_public: Fetch, example_params: Callable[[str], Params]) -> None:
    """The example declares columns of the publisher's files."""
    write_2014(workspace.root / "amazon-beauty")
    params = example_params("amazon-beauty")
    items = fetch_public(params.fetch.source, params.fetch.options["path"])["items"]
    assert params.featurize.fields and params.featurize.fields["item"].keys() <= {*items.column_names}


@pytest.mark.parametrize(
    ("name", "line", "expected"),
    [
        ("meta_Electronics.json.gz", "{'asin': __import__('os').getcwd()}", ("line 1: ", "a Python dict with 'asin'")),
        ("reviews_Electronics_5.json.gz", '{"reviewerID": "A1", "asin": ', ("(line 2: ", "a JSON object")),
    ],
)  # fmt: skip
def test_a_bad_line(workspace: Workspace, fetch_public: Fetch, name: str, line: str, expected: tuple[str, ...]) -> None:
    """The message names file and line, and no line is ever evaluated as code."""
    write_2014(workspace.root / "a")
    content = gzip.decompress((workspace.root / "a" / name).read_bytes()).decode().splitlines()
    lines(workspace.root / "a" / name, [line, *content] if name.startswith("meta") else [content[0], line, *content])
    with pytest.raises(InputError) as error:
        fetch_public("amazon-reviews", "a")
    assert all(part in str(error.value) for part in (f"a/{name}", *expected)), error.value


def test_one_category_at_a_time(workspace: Workspace, fetch_public: Fetch) -> None:
    """Two categories in a folder are refused, and a glob chooses one of them."""
    write_2014(workspace.root / "a")
    lines(workspace.root / "a" / "meta_Books.json.gz", [])
    with pytest.raises(InputError, match=r"2 files that may be metadata.*meta_Books.json.gz, meta_Electronics.json.gz"):
        fetch_public("amazon-reviews", "a")
    assert fetch_public("amazon-reviews", "a/*_Electronics*")["events"].num_rows == 8
