"""A MovieLens release (1M, 10M, 20M, 25M, 32M, latest or latest-small) in its own files: `fetch.source: movielens`.

`fetch.options.path` is the release's zip or its unpacked folder: `ratings.csv` and `movies.csv` (20M and later), or
`ratings.dat` and `movies.dat` with `::` between values (10M, and 1M, which has `users.dat` as well).

As in `movielens-100k`, every rating is a behaviour, and a rating of at least `positive_rating` is a click. Whole users
are held out. The paper (arXiv 1706.06978, 6.1) uses 20M with rating >= 4, and tests on 38,493 of the 138,493 users.
Ratings are sorted by user and film, not by time, so films rated in the same second are not each other's history.

Sources: https://files.grouplens.org/datasets/movielens/ml-1m-README.txt and ml-20m-README.html.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import ClassVar

from din.params import Table
from din.params import fetch as blocks
from din.sources import SOURCES, movielens
from din.sources.files import File
from din.sources.publisher import Publisher
from din.sources.rawlog import RawLog
from din.sources.readers import Dialect
from din.sources.rows import Rows
from din.workspace import Workspace

_DAT = {
    "events": ("userId", "movieId", "rating", "timestamp"),
    "items": ("movieId", "title", "genres"),
    "users": ("userId", "gender", "age", "occupation", "zip"),  # age: the start of a range
}
"""The columns of files without a header."""
_TYPES = dict.fromkeys(("userId", "movieId", "timestamp", "age", "occupation"), "BIGINT") | {"rating": "DOUBLE"}
_FIELDS = {group: movielens.FIELDS[group] for group in ("item", "behaviour")}
_NO_GENRES = "(no genres listed)"


@SOURCES.register("movielens", blocks.MovieLens)
class MovieLensRelease(Publisher):
    """The release at `fetch.options.path`."""

    stated = _TYPES
    needs: ClassVar = {"items": ("title", "genres")}

    def __init__(self, workspace: Workspace, params: blocks.MovieLens, until: date | None) -> None:
        table = Table(
            items_columns={"item_id": "movieId"},
            columns={"user_id": "userId", "item_id": "movieId"},
            label=f"rating >= {params.positive_rating}",
            behaviour="rating >= 0",
            keep=("rating",),
            users_columns={"user_id": "userId"},
            separators={"genres": "|"},
        )
        super().__init__(workspace, params, until, table)

    def found(self) -> dict[str, tuple[File, ...]]:
        """Return the files of each table."""
        download = self.download()
        ratings = download.need("ratings.csv", "ratings.dat")
        users = download.find(lambda name: name == "users.dat", "users.dat")
        films = download.need(f"movies.{ratings.suffix}")
        return {"events": (ratings,), "items": (films,), "users": (users,) if users else ()}

    def read(self) -> RawLog:
        """Read ratings, films and, if the release has them, users."""
        log = super().read()
        users = {"user": dict.fromkeys(("gender", "age", "occupation"), "categorical")} if log.users else {}
        return replace(log, fields={**users, **_FIELDS}, protocol="by_user")

    def dialect(self, table: str) -> Dialect:
        """Return how a file is written: .dat has `::` between cells, and the titles of 1M are in Latin-1."""
        if self._files(table)[0].suffix == "csv":
            return super().dialect(table)
        return Dialect("::", _DAT[table], "latin-1")

    def _read(self, table: str, found: Sequence[File]) -> Rows:
        rows = super()._read(table, found)
        if table != "items":
            return rows
        years = f"regexp_extract_all({rows['title']}, '\\((\\d{{4}})\\)', 1)"
        genres = f"nullif({rows['genres']}, '{_NO_GENRES}')"
        year = f"CAST({years}[-1] AS BIGINT)"
        return rows.select({"movieId": rows["movieId"], "year": year, "genres": genres})
