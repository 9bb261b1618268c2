"""How publishers' files are found."""

import errno
import gzip
import zipfile
from collections.abc import Callable

import fsspec
import pytest
from stages import exit_code

from din.artifacts import read_json
from din.errors import InputError
from din.params import Params
from din.sources import files
from din.sources.download import Download
from din.sources.fetch import fetch
from din.workspace import Workspace

Build = Callable[..., Params]

SOURCES = ("movielens", "amazon-reviews", "kuairand-pure", "taobao-ads")


@pytest.mark.parametrize("source", SOURCES)
def test_a_missing_file(workspace: Workspace, source: str, public_params: Build) -> None:
    """The message names the missing file and lists the files that are there."""
    (workspace.root / "d").mkdir()
    (workspace.root / "d/notes.txt").write_text("x")
    (workspace.root / "d/all.tar.gz").write_text("x")
    with pytest.raises(InputError, match=r"'d' holds no .*; it holds all.tar.gz, notes.txt. Unpack other archives"):
        fetch(workspace, public_params(source, "d"))
    with pytest.raises(
        InputError, match=r"fetch\.options\.path: 'e' holds no file; relative paths start at the project's root"
    ):
        fetch(workspace, public_params(source, "e"))


def test_files_are_found_in_any_folder(workspace: Workspace) -> None:
    """A file is found in any folder, plain or compressed, and messages show its path as the user would write it."""
    (workspace.root / "d/deep").mkdir(parents=True)
    (workspace.root / "d/deep/a.csv").write_text("x")
    (workspace.root / "d/b.csv.gz").write_bytes(gzip.compress(b"x"))
    download = Download.at(workspace, "d")
    assert download.need("a.csv").name == "d/deep/a.csv"
    assert download.need("b.csv").name == "d/b.csv.gz"
    assert not download.has("c.csv")
    absolute = Download.at(workspace, str(workspace.root / "d"))
    assert absolute.need("a.csv").name == str(workspace.root / "d/deep/a.csv")


def test_two_files_of_a_name_are_refused(workspace: Workspace) -> None:
    """If two files have the name, neither is chosen."""
    (workspace.root / "d").mkdir()
    (workspace.root / "d/a.csv").write_text("x")
    (workspace.root / "d/a.csv.gz").write_bytes(gzip.compress(b"x"))
    with pytest.raises(InputError, match=r"holds 2 files that may be a.csv: a.csv, a.csv.gz; expected one"):
        Download.at(workspace, "d").need("a.csv")


def test_a_broken_zip(workspace: Workspace) -> None:
    """A broken zip ends with one message, not a traceback."""
    (workspace.root / "a.zip").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(InputError, match=r"fetch\.options\.path: 'a.zip': cannot be read"):
        Download.at(workspace, "a.zip")


def test_a_remote_folder(workspace: Workspace, public_params: Build) -> None:
    """A remote folder is read through fsspec like a local one."""
    memory = fsspec.filesystem("memory")
    memory.pipe("/ml/ratings.csv", b"userId,movieId,rating,timestamp\n1,2,4,978300760\n")
    memory.pipe("/ml/movies.csv", b"movieId,title,genres\n2,A (1990),Drama\n")
    fetch(workspace, public_params("movielens", "memory://ml"))
    assert len([*(workspace.raw / "events").iterdir()]) == 1


class ClientError(Exception):
    """An error of a store's client, which is neither an OSError nor an exception of Python's own."""


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (ConnectionResetError("peer went away"), 1),
        (TimeoutError(), 1),
        (OSError(errno.EIO, "internal error"), 1),
        (ClientError("could not connect to the endpoint"), 1),
        (FileNotFoundError("no such bucket"), 2),
        (PermissionError("denied"), 2),
        (OSError("cut"), 2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_store_that_does_not_answer(
    workspace: Workspace,
    fault: Exception,
    code: int,
    public_params: Build,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 1 asks for another try, unless the file is missing, not permitted or damaged, which is bad input."""
    memory = fsspec.filesystem("memory")
    memory.pipe({"/down/ratings.csv": b"x", "/down/movies.csv": b"x"})

    def fail(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(type(memory), "open", fail)
    assert exit_code(workspace, "fetch", lambda: fetch(workspace, public_params("movielens", "memory://down"))) == code
    assert read_json(workspace.outcome("fetch"))["exit_code"] == code
    said = capsys.readouterr().err
    assert "memory:///down/ratings.csv: cannot be read" in said
    assert "Traceback" not in said and "bug" not in said


def test_members_of_a_zip_are_hashed_once(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive's own checksums tell whether a member has changed."""
    for content in ("x", "y"):
        with zipfile.ZipFile(workspace.root / "a.zip", "w") as archive:
            archive.writestr("d/a.csv", content)
        found = [Download.at(workspace, "a.zip").need("a.csv")]
        first = files.digests(workspace, found)
        with monkeypatch.context() as patch:
            patch.setattr(files, "_sha256", lambda *_: pytest.fail("hashed again"))
            assert files.digests(workspace, found) == first
