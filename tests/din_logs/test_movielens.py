"""MovieLens-100k in both forms, on made-up rows and without a network."""

import shutil
import subprocess
import urllib.request
import zipfile
from pathlib import Path

import pytest

from din.base.artifacts import read_json
from din.base.errors import InputError, Unavailable
from din.base.workspace import Workspace
from din.data.fetch import fetch
from din.data.rawlog import RawLog
from din.params.reading import Params
from din_logs import movielens
from din_logs.movielens import MovieLens
from tests.helpers.stages import exit_code

RATINGS = [(2, 1, 3, 881250949), (1, 3, 5, 881250950), (1, 2, 4, 881250950)]
USERS = "1{0}24{0}M{0}technician{0}85711\n2{0}53{0}F{0}other{0}94043\n"
DATA = "".join(f"{user}\t{film}\t{rating}\t{time}\n" for user, film, rating, time in RATINGS)


def film(number: int, title: str, date: str, *genres: int) -> str:
    """Return a line of u.item."""
    flags = "|".join(str(int(flag in genres)) for flag in range(19))
    return f"{number}|{title}|{date}||http://x|{flags}\n"


def write_publisher(path: Path, data: str = DATA) -> None:
    """Write the publisher's form."""
    films = film(1, "Café Noir (1994) ", "01-Jan-1995", 10, 8) + film(2, "unknown", "", 0)
    films += film(3, "Ape III (The Ape) (1995) (V)", "01-Jan-1995", 4)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ml-100k/u.data", data)
        archive.writestr("ml-100k/u.item", films.encode("latin-1"))
        archive.writestr("ml-100k/u.user", USERS.format("|"))


def write_wheel(path: Path) -> None:
    """Write RecBole's atomic files."""
    prefix = "recbole/dataset_example/ml-100k/ml-100k"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{prefix}.inter", "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + DATA)
        archive.writestr(
            f"{prefix}.item",
            "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
            "1\tCafé Noir\t1994\tDrama Film-Noir\n2\tunkonwn\tunkonwn\tunknown\n"
            "3\tApe III (The Ape) (1995)\tV\tChildren's\n",
        )
        header = "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
        archive.writestr(f"{prefix}.user", header + USERS.format("\t"))


def read(archive: Path) -> RawLog:
    return movielens.Files100k(Workspace(archive.parent), MovieLens(path=archive.name), None).read()


@pytest.fixture(autouse=True)
def offline(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Keep tests offline: routes fail and are recorded, and the made-up rows are the expected ones."""
    tried: list[str] = []

    def publisher(url: str, timeout: float) -> None:
        tried.append(url)
        raise OSError("no route to host")

    def index(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        tried.append(" ".join(command[1:]))
        return subprocess.CompletedProcess(command, 1, "", "/x/python: No module named pip\n")

    monkeypatch.setattr(urllib.request, "urlopen", publisher)
    monkeypatch.setattr(subprocess, "run", index)
    write_wheel(tmp_path / "rows.whl")
    monkeypatch.setattr(movielens, "SHA256", movielens.sha256(read(tmp_path / "rows.whl")))
    workspace.fetched.mkdir(parents=True, exist_ok=True)
    return tried


def test_both_forms_are_read_alike(tmp_path: Path) -> None:
    """Both forms differ in columns, encodings and flags, and give the same ids, titles, years, genres and profiles."""
    write_publisher(tmp_path / "a.zip")
    log = read(tmp_path / "a.zip")
    tables = [part.table for part in (log.events, log.items, log.users) if part]
    other = read(tmp_path / "rows.whl")
    assert tables == [part.table for part in (other.events, other.items, other.users) if part]
    assert tables[1].to_pylist() == [
        {"item_id": 1, "title": "Café Noir (1994)", "year": 1994, "genres": ["Drama", "Film-Noir"]},
        {"item_id": 2, "title": None, "year": None, "genres": []},
        {"item_id": 3, "title": "Ape III (The Ape) (1995) (V)", "year": 1995, "genres": ["Children's"]},
    ]
    assert tables[2].to_pylist() == [
        {"user_id": 1, "age": 24, "gender": "M", "occupation": "technician"},
        {"user_id": 2, "age": 53, "gender": "F", "occupation": "other"},
    ]


def test_a_path_is_read_without_the_network(workspace: Workspace, public_params, offline: list[str]) -> None:
    """The publisher's unpacked folder gives the same files as a download."""
    write_wheel(workspace.fetched / movielens.ARCHIVES[1])
    fetch(workspace, public_params("movielens-100k", None))
    downloaded = read_json(workspace.raw / "manifest.json")
    shutil.rmtree(workspace.root / "data")
    (workspace.fetched / movielens.ARCHIVES[1]).unlink()
    write_publisher(workspace.root / "ml-100k.zip")
    with zipfile.ZipFile(workspace.root / "ml-100k.zip") as archive:
        archive.extractall(workspace.root)
    fetch(workspace, public_params("movielens-100k", "ml-100k"))
    assert read_json(workspace.raw / "manifest.json") == downloaded
    assert offline == []


def test_a_path_to_other_rows_is_bad_input(workspace: Workspace, public_params, offline: list[str]) -> None:
    """A changed archive is named and kept, and nothing is downloaded instead."""
    write_publisher(workspace.root / "ml-100k.zip", DATA.replace("\t3\t", "\t2\t", 1))
    with pytest.raises(InputError, match=r"'ml-100k.zip': its rows have sha256 \w+, expected"):
        fetch(workspace, public_params("movielens-100k", "ml-100k.zip"))
    assert (workspace.root / "ml-100k.zip").exists()
    assert offline == []


def test_an_up_to_date_tree_needs_no_archive(workspace: Workspace, params: Params, offline: list[str]) -> None:
    """The checksum identifies the rows, so with data/raw in place, nothing is downloaded or parsed."""
    write_wheel(workspace.fetched / movielens.ARCHIVES[1])
    fetch(workspace, params)
    (workspace.fetched / movielens.ARCHIVES[1]).unlink()
    fetch(workspace, params)
    assert offline == []


def test_without_a_route(
    workspace: Workspace, params: Params, offline: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Both routes are tried, the message says why each failed and what to do, and exit 1 allows a retry."""
    assert exit_code(workspace, "fetch", lambda: fetch(workspace, params)) == 1
    message = capsys.readouterr().err
    assert read_json(workspace.outcome("fetch"))["exit_code"] == 1
    assert "Traceback" not in message and "bug" not in message
    assert "no route to host" in message
    assert "No module named pip; this environment has no pip: python -m ensurepip" in message
    assert f"put ml-100k.zip into {workspace.fetched}/ by hand" in message
    assert offline[0] == movielens.URL
    assert movielens.PACKAGE in offline[1]
    assert message.count("downloading MovieLens-100k") == 2
    assert not workspace.raw.exists()


def test_other_rows_are_refused(workspace: Workspace, params: Params) -> None:
    """A cached archive with one changed rating is named, removed, and not used."""
    archive = workspace.fetched / movielens.ARCHIVES[0]
    write_publisher(archive, DATA.replace("\t3\t", "\t2\t", 1))
    with pytest.raises(Unavailable, match=r"ml-100k.zip: its rows have sha256 \w+, expected"):
        fetch(workspace, params)
    assert not archive.exists()
