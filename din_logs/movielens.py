"""MovieLens, ratings of films: `fetch.source: movielens-100k`, the default, and `fetch.source: movielens`.

Every rating is an impression and a behaviour. A rating of at least `fetch.options.positive_rating` is a click. Whole
users are held out.

`movielens` reads a release (1M, 10M, 20M, 25M, 32M, latest or latest-small) at `fetch.options.path`, its zip or its
unpacked folder: `ratings.csv` and `movies.csv` (20M and later), or `ratings.dat` and `movies.dat` with `::` between
values (10M, and 1M, which has `users.dat` as well). The paper (arXiv 1706.06978, 6.1) uses 20M with rating >= 4, and
tests on 38,493 of the 138,493 users. Ratings are sorted by user and film, not by time, so films rated in the same
second are not each other's history.

`movielens-100k` has a licence that forbids redistribution. It is read from `fetch.options.path` (`ml-100k.zip`, or its
unpacked folder). Without a path it is downloaded once into `.din/fetch/`: from the publisher, or else from the package
index, where the wheel of recbole 1.2.1 carries the same rows in its own form. Both forms are read as tables with one
checksum, so all routes give the same `data/raw/`. Only columns that both forms share are kept, which excludes dates of
release and zip codes. Titles are for people: the run report shows them, and no model reads them.

Sources: https://grouplens.org/datasets/movielens/ (Harper & Konstan 2015, doi 10.1145/2827872).
"""

import hashlib
import http.client
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, ClassVar

from din.base.artifacts import write_bytes
from din.base.errors import InputError, Unavailable
from din.base.workspace import Workspace
from din.data import SOURCES
from din.data.files import File
from din.data.rawlog import RawLog
from din.data.readers import Dialect
from din.data.rows import Rows, quoted
from din.params.fetch import ALL_ROWS, Table
from din.schema import ITEM_ID, TIMESTAMP, USER_ID
from din_logs.download import KEY
from din_logs.publisher import Publisher

URL = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
PACKAGE = "recbole==1.2.1"
ARCHIVES = ("ml-100k.zip", "recbole-1.2.1-py3-none-any.whl")
SHA256 = "9fa844a68faad480a9c422b665a34fd68f8f76da2249b711e5c8b8e380fc50a4"
FIELDS: dict[str, dict[str, Any]] = {
    "user": {"gender": "categorical", "age": {"kind": "numeric", "buckets": 8}, "occupation": "categorical"},
    "item": {"genres": "multi", "year": {"kind": "numeric", "buckets": 10}},
    "behaviour": {"rating": "categorical"},
}
_TIMEOUT_S = 10
_RATING = ("userId", "movieId", "rating", "timestamp")
_NO_GENRES = "(no genres listed)"
_DAT = {
    "events": Dialect("::", _RATING, "latin-1"),
    "items": Dialect("::", ("movieId", "title", "genres"), "latin-1"),
    "users": Dialect("::", ("userId", "gender", "age", "occupation", "zip"), "latin-1"),  # age: the start of a range
}
_PROFILE = ("userId", "age", "gender", "occupation")
# in the order of the flags in u.item, after the flag for unknown genres
_GENRES = ["Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy"]
_GENRES += ["Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"]
_100K = {
    "events": Dialect("\t", _RATING),
    "items": Dialect("|", ("movieId", "title", "released", "video", "url", "unknown", *_GENRES), "latin-1"),
    "users": Dialect("|", (*_PROFILE, "zip")),
}
_RECBOLE = {
    "events": Dialect("\t", _RATING, skip=1),
    "items": Dialect("\t", ("movieId", "title", "year", "genres"), skip=1),
    "users": Dialect("\t", (*_PROFILE, "zip"), skip=1),
}


@dataclass(frozen=True, kw_only=True)
class MovieLens:
    """Options of the sources `movielens-100k` and `movielens`.

    Attributes:
        path: a folder, zip or glob of the publisher's files. None: movielens-100k is downloaded.
        positive_rating: the lowest rating that counts as a click.
    """

    path: str | None = None
    positive_rating: float = 4.0


@SOURCES.register("movielens", MovieLens)
class MovieLensRelease(Publisher):
    """The release at `fetch.options.path`."""

    layout = Table(
        items_columns={"item_id": "movieId"},
        columns={"user_id": "userId", "item_id": "movieId"},
        behaviour=ALL_ROWS,
        keep=("rating",),
        users_columns={"user_id": "userId"},
        separators={"genres": "|"},
    )
    fields: ClassVar = FIELDS | {"user": {"gender": "categorical", "age": "categorical", "occupation": "categorical"}}
    protocol = "by_user"
    needs: ClassVar = {"items": ("title", "genres")}

    def __init__(self, workspace: Workspace, params: MovieLens, until: date | None) -> None:
        super().__init__(workspace, params, until)
        self.params = replace(self.params, label=f"rating >= {params.positive_rating}")

    def found(self) -> dict[str, tuple[File, ...]]:
        """Return the files of each table."""
        download = self.download()
        ratings = download.need("ratings.csv", "ratings.dat")
        films = download.need(f"movies.{ratings.suffix}")
        users = (download.need("users.dat"),) if download.has("users.dat") else ()
        return {"events": (ratings,), "items": (films,), "users": users}

    def dialect(self, table: str) -> Dialect:
        """Return how a file is written: .dat has `::` between cells, and the titles of 1M are in Latin-1."""
        return super().dialect(table) if self._files(table)[0].suffix == "csv" else _DAT[table]

    def columns(self, table: str, rows: Rows) -> dict[str, str]:
        """Return the columns of a table; those of films have the year instead of the title."""
        if table != "items":
            return super().columns(table, rows)
        genres = f"nullif({rows['genres']}, '{_NO_GENRES}')"
        return {"movieId": rows["movieId"], "year": _year(rows["title"]), "genres": genres}


class Files100k(MovieLensRelease):
    """The files of MovieLens-100k, from the publisher or from RecBole's wheel."""

    fields: ClassVar = FIELDS
    needs: ClassVar = {}

    def found(self) -> dict[str, tuple[File, ...]]:
        """Return the files of each table."""
        download = self.download()
        names = {"events": ("u.data", "inter"), "items": ("u.item", "item"), "users": ("u.user", "user")}
        return {table: (download.need(name, f"ml-100k.{suffix}"),) for table, (name, suffix) in names.items()}

    def dialect(self, table: str) -> Dialect:
        """Return how a file is written."""
        return (_100K if self._files("events")[0].suffix == "data" else _RECBOLE)[table]

    def columns(self, table: str, rows: Rows) -> dict[str, str]:
        """Return the columns of a table; films are described alike in both forms."""
        if table != "items":
            return {name: rows[name] for name in rows.names if name != "zip"}
        title = rows["title"]
        if "released" in rows.names:
            flags = ", ".join(f"CASE WHEN {rows[genre]} = 1 THEN {quoted(genre)} END" for genre in _GENRES)
            genres = f"list_filter([{flags}], lambda x: x IS NOT NULL)"
        else:
            title = f"({title} || ' (' || {rows['year']} || ')')"
            genres = f"list_filter(string_split({rows['genres']}, ' '), lambda x: x <> 'unknown')"
        titles = f"CASE WHEN {_year(title)} IS NOT NULL THEN trim({title}) END"  # one film is unknown to the publisher
        genres = f"list_sort({genres})"
        return {"movieId": rows["movieId"], "title": titles, "year": _year(title), "genres": genres}


@SOURCES.register("movielens-100k", MovieLens)
class MovieLens100k(Files100k):
    """The log at `fetch.options.path`, or downloaded if that is null."""

    def identity(self) -> Any:
        """Return the checksum of the rows, known without a download, and the parameter that decides clicks."""
        return {"sha256": SHA256, "positive_rating": self.settings.positive_rating}

    def read(self) -> RawLog:
        """Read the files at the path, or without a path the cached archive, which is downloaded if it is missing.

        Raises:
            InputError: the files at the path are not the publisher's.
            Unavailable: there is no path, and neither route delivered the expected rows.
        """
        path = self.settings.path
        if path is None:
            return self._obtained(self.workspace.fetched)
        try:
            return self._at(path)
        except ValueError as error:
            advice = f"download {URL} again, or set {KEY} to null, and it is downloaded for you"
            raise InputError(f"{KEY}: {path!r}: {error}: {advice}") from None

    def _at(self, path: str) -> RawLog:
        """Read the zip, the wheel or the unpacked folder at a path; raise ValueError if it holds other rows."""
        log = Files100k(self.workspace, replace(self.settings, path=path), None).read()  # the checksum is of all rows
        if (digest := sha256(log)) != SHA256:
            raise ValueError(f"its rows have sha256 {digest}, expected {SHA256}")
        return log

    def _obtained(self, cache: Path) -> RawLog:
        """Read the first archive with the expected rows: a cached one, the publisher's, or the package index's."""
        routes: list[tuple[str, str, Callable[[Path], object] | None]] = [
            *(("cache", name, None) for name in ARCHIVES if (cache / name).exists()),
            (URL, ARCHIVES[0], _from_publisher),
            (f"pip download {PACKAGE}", ARCHIVES[1], _from_index),
        ]
        failures = []
        for route, name, download in routes:
            archive = cache / name
            try:
                if download is not None:
                    print(f"fetch: downloading MovieLens-100k: {route}", file=sys.stderr)
                    download(cache)
                return self._at(str(archive.absolute()))
            except (OSError, ValueError, InputError, http.client.HTTPException) as error:
                archive.unlink(missing_ok=True)
                failures.append(f"{archive if download is None else route}: {error or type(error).__name__}")
                print(f"fetch: {failures[-1]}", file=sys.stderr)
        raise Unavailable(
            "movielens-100k could not be fetched:\n  "
            + "\n  ".join(failures)
            + f"\nconnect to the network and run again, or put {ARCHIVES[0]} into {cache}/ by hand, or set "
            "fetch.source to `simulate`, which needs no download"
        )


def _year(title: str) -> str:
    """Return SQL for the last year in brackets, e.g. 1995 for `Land Before Time III … (1995) (V)`, or NULL."""
    return f"CAST(regexp_extract_all({title}, '\\((\\d{{4}})\\)', 1)[-1] AS BIGINT)"


def sha256(log: RawLog) -> str:
    """Return the SHA-256 over the rows of MovieLens-100k in the publisher's order, one line each."""
    assert log.items and log.users, "the log is that of Files100k"
    tables = (
        log.events.table.select([USER_ID, ITEM_ID, "rating", TIMESTAMP]),
        log.items.table.select([ITEM_ID, "title", "year", "genres"]),
        log.users.table.select([USER_ID, "age", "gender", "occupation"]),
    )
    rows = (repr(row) for table in tables for row in table.to_pylist())
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _from_publisher(cache: Path) -> None:
    with urllib.request.urlopen(URL, timeout=_TIMEOUT_S) as response:
        write_bytes(cache / ARCHIVES[0], response.read())  # raises if the connection ends early


def _from_index(cache: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--retries=2", "--no-deps", "--only-binary=:all:"]
    done = subprocess.run([*command, "--dest", str(cache), PACKAGE], capture_output=True, text=True)
    if done.returncode:
        hint = "; this environment has no pip: python -m ensurepip" if "No module named pip" in done.stderr else ""
        raise ValueError((done.stderr.strip().splitlines() or ["pip failed"])[-1] + hint)
