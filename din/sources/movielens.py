"""MovieLens-100k, real ratings of real people: `fetch.source: movielens-100k`, the default.

Its licence forbids redistribution. It is read from `fetch.options.path` (`ml-100k.zip`, or its unpacked folder).
Without a path it is downloaded once into `.din/fetch/`: from the publisher, or else from the package index, where the
wheel of recbole 1.2.1 carries the same rows in its own form. Both forms are parsed to one canonical text with one
checksum, so all routes give the same `data/raw/`. Only columns that both forms share are kept, which excludes dates of
release and zip codes. Titles are for people: the run report shows them, and no model reads them.

Every rating is an impression and a behaviour. A rating of at least `fetch.options.positive_rating` is a click.
Source: https://grouplens.org/datasets/movielens/100k/ (Harper & Konstan 2015, doi 10.1145/2827872).
"""

import hashlib
import http.client
import re
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from din.artifacts import atomic_path
from din.errors import InputError, Unavailable
from din.params import fetch as blocks
from din.progress import progress
from din.schema import BEHAVIOUR, ITEM_ID, LABEL, SEQUENCE, TIMESTAMP, USER_ID
from din.sources import SOURCES
from din.sources.download import KEY, Download
from din.sources.files import unreadable
from din.sources.rawlog import TIME, Part, RawLog
from din.sources.source import Source
from din.workspace import Workspace

URL = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
PACKAGE = "recbole==1.2.1"
ARCHIVES = ("ml-100k.zip", "recbole-1.2.1-py3-none-any.whl")
SHA256 = "c2520c2581886c72a63c281880b5340d5c3e8b6d781078a652da73baaa11ef60"
FIELDS = {
    "user": {"gender": "categorical", "age": {"kind": "numeric", "buckets": 8}, "occupation": "categorical"},
    "item": {"genres": "multi", "year": {"kind": "numeric", "buckets": 10}},
    "behaviour": {"rating": "categorical"},
}
_TIMEOUT_S = 10
_CHUNK = 1 << 16
# in the order of the flags in u.item
_GENRES = ["unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"]
_GENRES += ["Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"]


class Ratings(NamedTuple):
    """The canonical rows, in the publisher's order."""

    ratings: list[tuple[int, int, int, int]]  # user, film, rating, unix seconds
    films: list[tuple[int, str | None, int | None, tuple[str, ...]]]  # film, title, year, genres
    users: list[tuple[int, int, str, str]]  # user, age, gender, occupation

    def sha256(self) -> str:
        """Return the SHA-256 over the rows, one line each, with None written as `None`."""
        text = "\n".join(repr(row) for rows in self for row in rows)
        return hashlib.sha256(text.encode()).hexdigest()


@SOURCES.register("movielens-100k", blocks.MovieLens)
class MovieLens(Source):
    """The log at `fetch.options.path`, or downloaded where that is null."""

    params: blocks.MovieLens

    def identity(self) -> Any:
        """Return the checksum of the rows, known without a download, and the parameter that decides clicks."""
        return {"sha256": SHA256, "positive_rating": self.params.positive_rating}

    def read(self) -> RawLog:
        """Parse the files at the path, or without a path the cached archive, which is downloaded if it is missing.

        Raises:
            InputError: the files at the path are not the publisher's.
            Unavailable: there is no path, and neither route delivered the expected rows.
        """
        path = self.params.path
        rows = at(self.workspace, path) if path else obtain(self.workspace.fetched)
        user, film, rating, seconds = np.array(rows.ratings).T
        label = (rating >= self.params.positive_rating).astype(np.int8)
        events = {
            USER_ID: user,
            ITEM_ID: film,
            TIMESTAMP: pc.cast(pa.array(seconds * 1_000_000), TIME),
            SEQUENCE: np.arange(len(user)),
            LABEL: label,
            BEHAVIOUR: np.ones_like(label),
            "rating": rating,
        }
        films, titles, years, names = zip(*rows.films, strict=True)
        genres = pa.array(names, pa.list_(pa.string()))
        users, ages, genders, occupations = zip(*rows.users, strict=True)
        return RawLog(
            events=Part.of("ml-100k", events),
            items=Part.of("ml-100k", {ITEM_ID: films, "title": titles, "year": years, "genres": genres}),
            users=Part.of("ml-100k", {USER_ID: users, "age": ages, "gender": genders, "occupation": occupations}),
            fields=FIELDS,
            protocol="by_user",
        )


def at(workspace: Workspace, path: str) -> Ratings:
    """Return the rows of the publisher's zip, or of its unpacked folder, at `fetch.options.path`.

    Raises:
        InputError: a file is missing or damaged, or the rows differ from the publisher's.
    """
    download = Download.at(workspace, path)

    def content(name: str) -> bytes:
        with download.need(name).open() as stream:
            return stream.read()

    with unreadable(f"{KEY}: {path!r}"):
        rows = _of_publisher(content)
    if rows.sha256() != SHA256:
        raise InputError(
            f"{KEY}: {path!r} holds rows with sha256 {rows.sha256()}, expected {SHA256}: download {URL} again, or "
            f"set {KEY} to null, and it is downloaded for you"
        )
    return rows


def obtain(cache: Path) -> Ratings:
    """Return the rows of the first archive with the expected checksum.

    Cached archives are tried first, then the publisher, then the package index.

    Args:
        cache: the folder for downloads.

    Raises:
        Unavailable: every route failed. The message says why each did.
    """
    routes: tuple[tuple[str, str, Callable[[Path], object] | None], ...] = (
        ("cache", ARCHIVES[0], None),
        ("cache", ARCHIVES[1], None),
        (URL, ARCHIVES[0], _from_publisher),
        (f"pip download {PACKAGE}", ARCHIVES[1], _from_index),
    )
    failures = []
    for route, name, download in routes:
        archive = cache / name
        try:
            if download is not None:
                print(f"fetch: downloading MovieLens-100k: {route}", file=sys.stderr)
                download(cache)
            elif not archive.exists():
                continue
            rows = parse(archive)
            if rows.sha256() == SHA256:
                return rows
            problem = f"its rows have sha256 {rows.sha256()}, expected {SHA256}"
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, http.client.HTTPException) as error:
            problem = str(error) or type(error).__name__
        archive.unlink(missing_ok=True)
        failures.append(f"{archive if download is None else route}: {problem}")
        print(f"fetch: {failures[-1]}", file=sys.stderr)
    raise Unavailable(
        "movielens-100k could not be fetched:\n  "
        + "\n  ".join(failures)
        + f"\nconnect to the network and run again, or put {ARCHIVES[0]} into {cache}/ by hand, or set fetch.source to "
        "`simulate`, which needs no download"
    )


def parse(archive: Path) -> Ratings:
    """Return the rows of the publisher's zip or of the wheel.

    Raises:
        KeyError, ValueError, zipfile.BadZipFile: the archive is neither.
    """
    with zipfile.ZipFile(archive) as file:
        members = {Path(name).name: name for name in file.namelist() if "ml-100k/" in name}
        form = _of_publisher if "u.data" in members else _of_recbole
        return form(lambda name: file.read(members[name]))


def _of_publisher(content: Callable[[str], bytes]) -> Ratings:
    films = [
        (film, title, [genre for genre, flag in zip(_GENRES, flags, strict=True) if flag == "1"])
        for film, title, _released, _video, _url, *flags in _values(content("u.item"), "|", "latin-1")
    ]
    return _ratings(_values(content("u.data"), "\t"), films, _values(content("u.user"), "|"))


def _of_recbole(content: Callable[[str], bytes]) -> Ratings:
    """Return the rows of the wheel's files, which have a header, a column for the year, and genres joined by blanks."""
    ratings, films, users = (_values(content(f"ml-100k.{name}"), "\t")[1:] for name in ("inter", "item", "user"))
    titled = [(film, f"{title} ({year})", genres.split()) for film, title, year, genres in films]
    return _ratings(ratings, titled, users)


def _values(content: bytes, separator: str, encoding: str = "utf-8") -> list[list[str]]:
    return [line.split(separator) for line in content.decode(encoding).splitlines() if line]


def _ratings(ratings: list[list[str]], films: list[tuple[str, str, list[str]]], users: list[list[str]]) -> Ratings:
    """Return typed rows. The film that is unknown to the publisher, the only one without a year, has no title."""
    return Ratings(
        [(int(user), int(film), int(rating), int(time)) for user, film, rating, time in ratings],
        [
            (int(film), title.strip() if year(title) else None, year(title), tuple(sorted({*genres} - {"unknown"})))
            for film, title, genres in films
        ],
        [(int(user), int(age), gender, occupation) for user, age, gender, occupation, _ in users],
    )


def year(title: str) -> int | None:
    """Return the last year in brackets, e.g. 1995 for `Land Before Time III … (1995) (V)`, or None."""
    years = re.findall(r"\((\d{4})\)", title)
    return int(years[-1]) if years else None


def _from_publisher(cache: Path) -> None:
    with (
        urllib.request.urlopen(URL, timeout=_TIMEOUT_S) as response,
        atomic_path(cache / ARCHIVES[0]) as temporary,
        temporary.open("wb") as file,
        progress(response.length, f"downloading {ARCHIVES[0]}", "B", unit_scale=True) as bar,
    ):
        while chunk := response.read(_CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
        if response.length:
            raise http.client.IncompleteRead(b"", response.length)


def _from_index(cache: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--retries=2", "--no-deps", "--only-binary=:all:"]
    done = subprocess.run([*command, "--dest", str(cache), PACKAGE], capture_output=True, text=True)
    if done.returncode:
        hint = "; this environment has no pip: python -m ensurepip" if "No module named pip" in done.stderr else ""
        raise ValueError((done.stderr.strip().splitlines() or ["pip failed"])[-1] + hint)
