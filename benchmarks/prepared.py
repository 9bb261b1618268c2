"""Prepare one of the logs of docs/public-logs.md, "Prepared logs", from files that anybody can download.

    python -m benchmarks.prepared amazon-beauty CIKM2020-S3Rec TiCoSeRec logs/amazon-beauty

Files are found by name in the folders and below them. Each must have the content of the named commit: its hash is the
one that `git hash-object FILE` prints. Values are copied as text, so equal input gives equal bytes. The log is held in
memory.
"""

import argparse
import csv
import gzip
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha1
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from din.base.artifacts import replace_directory
from din.base.errors import InputError

Row = Mapping[str, object]
Paths = Mapping[str, Path]
"""The path of each input file, by its name."""
Tables = Mapping[str, Sequence[Row]]
"""The rows of each output file, by its name without .csv.gz."""


@dataclass(frozen=True)
class PreparedLog:
    """A log that is prepared from files of others.

    Attributes:
        files: the name of each input file, with its hash in git.
        make: returns the tables.
    """

    files: Mapping[str, str]
    make: Callable[[Paths], Tables]


def main() -> int:
    """Run the command line and return the exit code: 0 = done, 2 = bad usage or input."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prepared", description="Prepare a log of others.")
    parser.add_argument("name", choices=LOGS)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="with the files; docs/public-logs.md")
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to make")
    options = parser.parse_args()
    try:
        prepare(LOGS[options.name], options.folders, options.out)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def prepare(log: PreparedLog, folders: Sequence[Path], out: Path) -> None:
    """Write the tables of a log to a folder.

    Raises:
        InputError: a file is missing or has other content, or the folder exists.
    """
    if out.exists():
        raise InputError(f"{out}: exists; expected the name of a new folder, so remove it or name another")
    tables = log.make({name: located(name, expected, folders) for name, expected in log.files.items()})
    with replace_directory(out) as folder:
        for name, rows in tables.items():
            path = folder / f"{name}.csv.gz"
            with gzip.GzipFile(path, "wb", mtime=0) as file, io.TextIOWrapper(file, "utf-8", newline="") as text:
                writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
            print(f"{out / name}.csv.gz: {len(rows):,} rows")


def located(name: str, expected: str, folders: Sequence[Path]) -> Path:
    """Return the file with this name and content.

    Raises:
        InputError: there is none.
    """
    hashes = {path: blob(path) for folder in folders for path in sorted(folder.rglob(name))}
    for path, content in hashes.items():
        if content == expected:
            return path
    if not hashes:
        raise InputError(f"{name}: not in {', '.join(map(str, folders))}; docs/public-logs.md says where to get it")
    other = ", ".join(f"{path}: hash {content}" for path, content in hashes.items())
    raise InputError(f"{other}; expected {expected}: check out the commit that docs/public-logs.md names")


def blob(path: Path) -> str:
    """Return the hash of a file's content in git."""
    content = path.read_bytes()
    return sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def movielens(paths: Paths) -> Tables:
    """Rename columns, sort ratings by user and time, and add the first genre as `category`."""
    ratings = [
        {"user_id": row["userId"], "item_id": row["movieId"], "timestamp": row["timestamp"], "rating": row["rating"]}
        for row in read(paths["ratings.csv"])
    ]
    movies = [
        {"item_id": row["movieId"], "category": genre(row["genres"]), "genres": row["genres"], "title": row["title"]}
        for row in read(paths["movies.csv"])
    ]
    return {"interactions": in_order(ratings, "user_id", "timestamp", "item_id"), "items": movies}


def genre(genres: str) -> str:
    """Return the first genre; nothing if there is none."""
    return "" if genres == "(no genres listed)" else genres.split("|")[0]


def beauty(paths: Paths) -> Tables:
    """Join users' items with their times, and name the parts of the items' attributes.

    The attributes of an item are its brand, if it has one, and then the categories along each of its paths. A first
    attribute that is nowhere a later one is a brand. `category` is the last one, `top_category` the first category.
    """
    users = [line.split() for line in paths["Beauty.txt"].read_text().splitlines()]
    times = [line.split() for line in paths["Beauty_time_org_rank.txt"].read_text().splitlines()]
    reviews: list[Row] = []
    for (user, *items), (timed, *moments) in zip(users, times, strict=True):
        if user != timed or len(items) != len(moments):
            raise InputError(f"user {user}: {len(items)} items, and user {timed} has {len(moments)} times")
        for position, (item, moment) in enumerate(zip(items, moments, strict=True)):
            reviews.append({"user_id": user, "item_id": item, "timestamp": moment, "label": 1, "position": position})
    attributes: dict[str, list[int]] = json.loads(paths["Beauty_item2attributes.json"].read_text())
    later = {attribute for attributes_of_item in attributes.values() for attribute in attributes_of_item[1:]}
    described: list[Row] = []
    for item, attributes_of_item in sorted(attributes.items(), key=lambda pair: int(pair[0])):
        brand = "" if attributes_of_item[0] in later else attributes_of_item[0]
        categories = attributes_of_item[1:] if brand else attributes_of_item
        top, last = (categories[0], categories[-1]) if categories else ("", "")
        row = {"item_id": item, "category": last, "top_category": top, "brand": brand}
        described.append(row | {"attributes": "|".join(map(str, attributes_of_item))})
    return {"interactions": reviews, "items": described}


FIRST_DAY, LAST_DAY = 20220425, 20220504
_ACTS = ("long_view", "is_like", "is_follow", "is_comment", "is_forward", "is_hate", "play_time_ms", "duration_ms")
_VIDEO = ("author_id", "video_type", "upload_dt", "upload_type", "video_duration", "music_id", "music_type")
_MOST = 50
"""The longest history that a user has before the first day."""
STANDARD = ("log_standard_4_08_to_4_21_pure.csv", "log_standard_4_22_to_5_08_pure.csv")


class Watched(NamedTuple):
    """A video that was shown to a user. Rows are sorted by user, time in ms, and video."""

    user: int
    time: int
    video: int
    liked: int
    long: int


def kuairand(paths: Paths) -> Tables:
    """Keep ten days of the standard log, without repeated rows, and what each user watched before.

    The log of random exposure is not read. Users and their columns are the publisher's.
    """
    before: list[Watched] = []
    shown: dict[tuple[str, ...], Row] = {}
    for name in STANDARD:
        for line in read(paths[name]):
            if int(line["date"]) < FIRST_DAY:
                numbers = (int(line[key]) for key in ("user_id", "time_ms", "video_id", "is_like", "long_view"))
                before.append(Watched(*numbers))
            elif int(line["date"]) <= LAST_DAY:
                ids = {"user_id": line["user_id"], "item_id": line["video_id"], "timestamp": line["time_ms"]}
                answers = {key: line[key] for key in (*_ACTS, "tab")}
                shown[tuple(line.values())] = {**ids, "label": line["is_click"], **answers, "day": line["date"]}
    videos = []
    for line in read(paths["video_features_basic_pure.csv"]):
        tags = line["tag"].split(",")
        row = {"item_id": line["video_id"], "category": tags[0], "tags": "|".join(tags)}
        videos.append(row | {key: line[key] for key in _VIDEO})
    return {
        "interactions": in_order(shown.values(), "user_id", "timestamp", "item_id"),
        "items": videos,
        "users": list(read(paths["user_features_pure.csv"])),
        "history": histories(before),
    }


def histories(before: Iterable[Watched]) -> list[Row]:
    """Return a row for each user with the newest videos, oldest first: all, those liked, and those watched for long."""
    return [_history(user, list(past)) for user, past in groupby(sorted(before), attrgetter("user"))]


def _history(user: int, past: Sequence[Watched]) -> Row:
    return {
        "user_id": user,
        "history_len": len(past),
        "last_time_ms": past[-1].time,
        "watch_seq": _newest(past),
        "like_seq": _newest([watched for watched in past if watched.liked]),
        "long_watch_seq": _newest([watched for watched in past if watched.long]),
    }


def _newest(past: Sequence[Watched]) -> str:
    return "|".join(str(watched.video) for watched in past[-_MOST:])


def read(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def in_order(rows: Iterable[Row], *keys: str) -> list[Row]:
    """Return rows sorted by columns of whole numbers."""
    return sorted(rows, key=lambda row: [int(str(row[key])) for key in keys])


LOGS = {
    "ml-latest-small-2016": PreparedLog(
        {
            "ratings.csv": "d1252789c2a4c88f1155f68b5d0a196df9410e67",
            "movies.csv": "d6be6613e04d0ea4eec0b60ab2e5886a12ddb17e",
        },
        movielens,
    ),
    "amazon-beauty": PreparedLog(
        {
            "Beauty.txt": "a29773026846d857ec8176cb25f37b23ecf20155",
            "Beauty_item2attributes.json": "805189e7a6dd1005ef38344f5d556f27b8dc240f",
            "Beauty_time_org_rank.txt": "f006d09d78c859f504c018ee22f360d2f3105cbc",
        },
        beauty,
    ),
    "kuairand-pure": PreparedLog(
        {
            STANDARD[0]: "63cba5f8bfd8c5ff7c9b3f8026ee30efabc03ac0",
            STANDARD[1]: "781ec289dbce48096c67801771873ea960f6d038",
            "video_features_basic_pure.csv": "7bdda47cf8d14d0685cc374539e71d7ed929f635",
            "user_features_pure.csv": "3d116a62893fe31d2f30f12a4baa187b50fa699b",
        },
        kuairand,
    ),
}
"""The logs that can be prepared, by the names of their folders."""


if __name__ == "__main__":
    sys.exit(main())
