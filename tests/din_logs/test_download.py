"""How publishers' files are found."""

import gzip
import re
import struct
import zipfile

import pytest

from din.base.errors import InputError
from din.base.workspace import Workspace
from din.data import files
from din_logs.download import Download
from din_start.init.find import publisher


def test_missing_or_broken_files(workspace: Workspace) -> None:
    """The message names the missing file and lists the files that are there; a broken zip gives no traceback."""
    (workspace.root / "d").mkdir()
    (workspace.root / "d/notes.txt").write_text("x")
    (workspace.root / "d/all.tar.gz").write_text("x")
    download = Download.at(workspace, "d")
    with pytest.raises(InputError, match=r"'d' holds no a.csv, .* it holds all.tar.gz, notes.txt. Unpack other arch"):
        download.need("a.csv")
    with pytest.raises(InputError, match=r"fetch\.options\.path: 'e' holds no file; relative paths start at the proj"):
        Download.at(workspace, "e")
    with pytest.raises(InputError, match=r"fetch\.options\.path: missing; .* docs/public-logs\.md says which"):
        Download.at(workspace, None)
    (workspace.root / "cut.zip").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(InputError, match=r"fetch\.options\.path: 'cut.zip': cannot be read"):
        Download.at(workspace, "cut.zip")


HOSTILE = {
    "encrypted": ("a.csv", 6, 8, 1, "'a.csv' in the zip is encrypted; unpack it"),
    "an unknown method": ("a.csv", 8, 10, 97, "'a.csv' in the zip is compressed by method 97, which can't be"),
    "a later version": ("a.csv", 4, 6, 99, "cannot be read (zip file version 9.9)"),
    "an absolute name": ("/a.csv", 4, 6, 20, "'/a.csv' in the zip has an absolute name; unpack it"),
}


@pytest.mark.parametrize("fault", HOSTILE)
def test_a_zip_that_cannot_be_read_is_one_line(workspace: Workspace, fault: str) -> None:
    """Whether its path is a publisher's, a file's of a table, or one that `din init` looks at."""
    name, local, central, value, says = HOSTILE[fault]
    path = workspace.root / "log.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, "user_id,item_id\n1,2\n")
    content = bytearray(path.read_bytes())
    for header, offset in ((b"PK\x03\x04", local), (b"PK\x01\x02", central)):
        struct.pack_into("<H", content, content.index(header) + offset, value)
    path.write_bytes(content)
    for read in (
        lambda: Download.at(workspace, "log.zip"),
        lambda: files.expand(workspace, f"zip://a.csv::{path}", "fetch.table.events"),
        lambda: publisher(workspace, "log.zip"),
    ):
        with pytest.raises(InputError, match=re.escape(says)):
            read()


def test_files_are_found_in_any_folder(workspace: Workspace) -> None:
    """A file is found in any folder, plain or compressed, but not in two; messages show its path as users write it."""
    (workspace.root / "d/deep").mkdir(parents=True)
    (workspace.root / "d/deep/a.csv").write_text("x")
    (workspace.root / "d/b.csv.gz").write_bytes(gzip.compress(b"x"))
    download = Download.at(workspace, "d")
    assert download.need("a.csv").name == "d/deep/a.csv"
    assert download.need("b.csv").name == "d/b.csv.gz"
    assert not download.has("c.csv")
    (workspace.root / "d/a.csv.gz").write_bytes(gzip.compress(b"x"))
    with pytest.raises(InputError, match=r"holds 2 files that may be a.csv: .*; expected one"):
        Download.at(workspace, "d").need("a.csv")
    (workspace.root / "d/a.csv.gz").unlink()
    absolute = Download.at(workspace, str(workspace.root / "d"))
    assert absolute.need("a.csv").name == str(workspace.root / "d/deep/a.csv")


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
