"""A MovieLens release (1M, 10M, 20M, 25M, 32M, latest or latest-small) in its own files: `fetch.source: movielens`.

`fetch.movielens.path` is the release's zip or its unpacked folder: `ratings.csv` and `movies.csv` (20M and later), or
`ratings.dat` and `movies.dat` with `::` between values (10M, and 1M, which has `users.dat` as well).

As in `movielens-100k`, every rating is a behaviour, and a rating of at least `positive_rating` is a click. Whole users
are held out. The paper (arXiv 1706.06978, 6.1) uses 20M with rating >= 4, and tests on 38,493 of the 138,493 users.
Ratings are sorted by user and film, not by time, so films rated in the same second are not each other's history.

Sources: https://files.grouplens.org/datasets/movielens/ml-1m-README.txt and ml-20m-README.html.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from din.errors import InputError
from din.params import fetch as blocks
from din.schema import BEHAVIOUR, ITEM_ID, LABEL, SEQUENCE, TIMESTAMP, USER_ID
from din.sources import columns, files, movielens, times
from din.sources.download import Download
from din.sources.files import File
from din.sources.rawlog import Part, RawLog, first
from din.sources.typed import FLOAT, INT, TEXT, read_csv
from din.workspace import Workspace

_RATINGS = {"userId": INT, "movieId": INT, "rating": FLOAT, "timestamp": INT}
_USERS = {"userId": INT, "gender": TEXT, "age": INT, "occupation": INT, "zip": TEXT}  # age: the start of a range
_FIELDS = {group: movielens.FIELDS[group] for group in ("item", "behaviour")}


class MovieLensRelease:
    """The release at `fetch.movielens.path`."""

    def __init__(self, workspace: Workspace, params: blocks.MovieLens) -> None:
        self.workspace = workspace
        self.params = params

    def identity(self) -> Any:
        """Return the digests of the files, and the parameter that decides clicks."""
        used = [file for file in self._files() if file]
        return {"files": files.digests(self.workspace, used), "positive_rating": self.params.positive_rating}

    def read(self) -> RawLog:
        """Read ratings, films and, if the release has them, users.

        Raises:
            InputError: a file is missing or not in the publisher's form. The message names the line.
        """
        ratings, films, people = self._files()
        part = read_csv([ratings], _RATINGS) if ratings.suffix == "csv" else _read_dat(ratings, _RATINGS)
        rating = part.table["rating"]
        if (row := first(pc.is_null(rating))) is not None:
            raise InputError(f"{part.at(row)}: rating is missing; expected a number of stars: download the file again")
        events = {
            USER_ID: part.table["userId"],
            ITEM_ID: part.table["movieId"],
            TIMESTAMP: times.since_1970(part, "timestamp", "s"),
            SEQUENCE: np.arange(len(rating)),
            LABEL: pc.greater_equal(rating, self.params.positive_rating).cast(pa.int8()),
            BEHAVIOUR: np.ones(len(rating), np.int8),
            "rating": rating,
        }
        users = _read_dat(people, _USERS) if people else None
        fields = _FIELDS
        if users:
            users = Part(users.table.rename_columns({"userId": USER_ID}), users.files)
            fields = {"user": dict.fromkeys(("gender", "age", "occupation"), "categorical"), **_FIELDS}
        return RawLog(
            events=Part(pa.table(events), part.files),
            items=_films(films),
            users=users,
            fields=fields,
            protocol="by_user",
        )

    def _files(self) -> tuple[File, File, File | None]:
        download = Download.at(self.workspace, self.params.path, movielens.KEY)
        ratings = download.need("ratings.csv", "ratings.dat")
        return ratings, download.need(f"movies.{ratings.suffix}"), download.find("users.dat")


def _read_dat(file: File, types: Mapping[str, pa.DataType]) -> Part:
    """Read rows like `1::1193::5::978300760`, with `:` as the separator and every other column empty."""
    names = [name for column in types for name in (column, f"-{column}")][:-1]
    return read_csv([file], types, separator=":", names=names)


def _films(file: File) -> Part:
    if file.suffix == "csv":
        part = read_csv([file], {"movieId": INT, "title": TEXT, "genres": TEXT})
    else:
        part = _films_dat(file)
    genres = part.table["genres"]
    genres = pc.if_else(pc.is_in(genres, value_set=pa.array(["(no genres listed)"])), None, genres)
    columns_ = {
        ITEM_ID: part.table["movieId"],
        "year": pa.array([movielens.year(title or "") for title in part.table["title"].to_pylist()], INT),
        "genres": columns.joined(*columns.lists(genres, "|")),
    }
    return Part(pa.table(columns_), part.files)


def _films_dat(file: File) -> Part:
    """Read lines like `1::Toy Story (1995)::Animation|Children's|Comedy`.

    Titles may hold single colons. The titles of 1M are in Latin-1.
    """
    rows = []
    with files.unreadable(file.name), file.lines() as lines:
        for number, line in enumerate(lines, 1):
            values = line.decode("latin-1").rstrip("\r\n").split("::")
            if len(values) != 3 or not values[0].isdigit():
                raise InputError(
                    f"{file.name} line {number}: {line[:80]!r}; expected id::title::genres: download the file again"
                )
            rows.append((int(values[0]), *values[1:]))
    table = pa.table(list(zip(*rows, strict=True)) or [[], [], []], names=["movieId", "title", "genres"])
    return Part(table, ((file.name, table.num_rows),))
