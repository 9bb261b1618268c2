"""Find, open and hash the files of a log, local or through fsspec; `readers.py` reads their rows."""

import errno
import fnmatch
import hashlib
import io
import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
from fsspec.implementations.zip import ZipFileSystem

from din.base import documents
from din.base.artifacts import write_json
from din.base.errors import InputError, Unavailable, shown
from din.base.names import Digest
from din.base.progress import track
from din.base.workspace import Workspace
from din.data.memory import recall
from din.params.fetch import DATE

_SUFFIXES = {
    "CSV": "csv tsv txt dat data inter item user log",
    "Parquet": "parquet pq",
    "JSON-lines": "jsonl ndjson json",
}
FORMATS = {suffix: form for form, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
ANY_DAY = "????-??-??"
CHUNK = 1 << 22  # bytes read at once
_MARK = "@date@"  # stands in for the day while a pattern is turned into a regular expression
_COMPRESSIONS = {"gz": "gzip", "bz2": "bz2", "zst": "zstd"}
_PACKED = {b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\x28\xb5\x2f\xfd": ".zst", b"PK\x03\x04": ".zip"}
"""The first bytes of compressed files, and their suffixes."""
_STAMPS = ("mtime", "created", "ino", "ETag", "etag", "LastModified", "last_modified", "updated", "generation", "CRC")
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
_LOCKED = 0x41  # the flags of a zip's member that is encrypted, the second more strongly
_UNREAD = (
    *(OSError, ValueError, EOFError, NotImplementedError),
    *(pa.ArrowException, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
_FINAL = {None, errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ENAMETOOLONG}


@dataclass(frozen=True)
class File:
    """One file of a table: its file system, its path in it, its name in messages, and the day that its path names."""

    system: Any
    path: str
    name: str
    day: str | None = None

    @property
    def compression(self) -> str | None:
        """The compression that the suffix names, or None."""
        return _COMPRESSIONS.get(self.path.lower().rsplit(".", 1)[-1])

    @property
    def suffix(self) -> str:
        """The suffix of the format, before the suffix of the compression."""
        return _suffix(self.path)

    @contextmanager
    def open(self) -> Iterator[pa.NativeFile]:
        """Yield a stream of the decompressed bytes.

        It copies what it reads into Arrow's memory, which can be returned as soon as it is free. Python's cannot, once
        a thread of Arrow has read ahead.
        """
        with self.system.open(self.path, "rb") as raw:
            stream = pa.BufferedInputStream(pa.PythonFile(raw, mode="r"), CHUNK)
            yield pa.CompressedInputStream(stream, self.compression) if self.compression else stream

    @contextmanager
    def lines(self) -> Iterator[io.BufferedReader]:
        """Yield a stream of the decompressed lines; Arrow's own compressed stream can't be iterated."""
        with self.open() as stream, io.BufferedReader(stream, CHUNK) as lines:  # pyright: ignore[reportArgumentType]  # a raw stream by behaviour
            yield lines


@dataclass(frozen=True)
class _Hashed:
    """The digest of a file that was read."""

    __pydantic_config__ = documents.STRICT

    stamp: list[Any] | None  # its size and time stamps; None if its file system has none
    sha256: Digest


def format_of(path: str) -> str:
    """Return the format of a file that `expand` found."""
    return FORMATS[_suffix(path)]


def _suffix(path: str) -> str:
    parts = path.lower().split(".")
    return parts[-2 if parts[-1] in _COMPRESSIONS else -1]


def expand(workspace: Workspace, patterns: str, key: str, until: date | None = None) -> tuple[File, ...]:
    """Return the files that match a comma-separated list of paths and globs.

    Patterns keep their order, and the files of each pattern are sorted by name. `{date}` in a pattern matches a day.
    Files of days after `until` are left out before anything is checked, so that they can't affect earlier days.

    Args:
        workspace: where relative patterns start.
        patterns: e.g. `clicks/*.csv.gz` or `s3://bucket/a.parquet,s3://bucket/b.parquet`.
        key: the parameter that holds the patterns, for messages.
        until: the last day; None for all. A day that doesn't exist, such as 2024-05-99, is after the whole month.

    Raises:
        InputError: a pattern matches nothing, or something other than files; a path has no valid day; the format is
            unknown or mixed; the package for a file system is not installed.
    """
    by_name: dict[str, File] = {}
    for pattern in (part.strip() for part in patterns.split(",")):
        with unreadable(f"{key}: {pattern!r}"):
            system, path = place_of(workspace, pattern, key)
            path = as_glob(system, path)
            matches = sorted(system.glob(path.replace(DATE, ANY_DAY)))
            paths = [match for match in matches if not system.isdir(match)]
        if not paths:
            if matches:
                problem = f"is a directory; name its files, e.g. {pattern.rstrip('/')}/*.parquet"
            else:
                problem = "matches no file; check the path: relative ones start at the project's root"
            raise InputError(f"{key}: {pattern!r} {problem}")
        for match in paths:
            name = name_as(workspace, pattern, system, match)
            day = _day(path, match, f"{key}: {name}", until) if DATE in path else None
            if day and until and day > until.isoformat():
                continue
            if not system.isfile(match):  # reading it could block forever
                raise InputError(f"{key}: {name} is a pipe, a device or a broken link; replace it by a file")
            file = File(system, match, name, day)
            by_name.setdefault(file.name, file)
    files = tuple(by_name.values())
    formats = {FORMATS.get(file.suffix, f"unknown ({file.name})") for file in files}
    if len(formats) > 1 or not formats <= {*FORMATS.values()}:
        raise InputError(
            f"{key}: formats {', '.join(sorted(formats))}; expected files of one format with one of the suffixes "
            f"{', '.join(f'.{suffix}' for suffix in FORMATS)}, followed by .gz, .bz2 or .zst if they are compressed"
        )
    return files


def place_of(workspace: Workspace, path: str, key: str) -> tuple[Any, str]:
    """Return the file system of a path or URL, and the path in it.

    Raises:
        InputError: the file system needs more than a path, or it is a zip with a member that can't be read. `key` is
            the parameter that holds it.
    """
    try:
        system, place = fsspec.core.url_to_fs(workspace.located(path))
    except (AttributeError, LookupError, TypeError) as error:
        problem = f"not a place that can be opened ({error})"
        raise InputError(f"{key}: {path!r}: {problem}; give a path, s3:// or gs://") from None
    if isinstance(system, ZipFileSystem):
        check_members(system.zip, f"{key}: {path!r}")
    return system, place


def check_members(archive: zipfile.ZipFile, where: str) -> None:
    """Raise InputError for a member that Python or fsspec can't open; their errors would look like bugs."""
    for member in archive.infolist():
        if member.flag_bits & _LOCKED:
            problem = "is encrypted"
        elif member.compress_type not in _METHODS:
            problem = f"is compressed by method {member.compress_type}, which can't be read"
        elif member.filename.startswith("/"):
            problem = "has an absolute name"
        else:
            continue
        raise InputError(f"{where}: {shown(member.filename)} in the zip {problem}; unpack it, and name the folder")


def as_glob(system: Any, path: str) -> str:
    """Return a path as a glob in which the brackets of a folder or file that exists stand for themselves."""
    existing = path
    while "[" in existing and not system.exists(existing):
        existing = existing.rpartition("/")[0]
    return existing.replace("[", "[[]") + path[len(existing) :]


def _day(pattern: str, path: str, where: str, until: date | None) -> str:
    """Return the day that a path names where its pattern has `{date}`, as text.

    Raises:
        InputError: there is no such day, and it would not be after `until`; or the path names two days or none.
    """
    form = fnmatch.translate(pattern.replace(DATE, _MARK))
    form = form.replace(_MARK, r"(?P<day>\d{4}-\d{2}-\d{2})", 1).replace(_MARK, "(?P=day)")
    match = re.match(form, path, re.ASCII)
    day = match["day"] if match else ""
    if until and day > until.isoformat():
        return day
    try:
        return date.fromisoformat(day).isoformat()
    except ValueError:
        raise InputError(
            f"{where}: expected one day, as YYYY-MM-DD, where the path has {DATE}; rename or remove the file"
        ) from None


def name_as(workspace: Workspace, user_path: str, system: Any, path: str) -> str:
    """Return a file's name for messages: relative, absolute or a URL, like the path that the user gave."""
    if "://" in user_path:
        return system.unstrip_protocol(path)
    return path if Path(user_path).is_absolute() else os.path.relpath(path, workspace.root)


def digests(workspace: Workspace, files: Sequence[File]) -> list[str]:
    """Return the sha256 of each file's bytes.

    A file is read only if its size or time stamps changed since its digest was stored in the workspace.

    Raises:
        InputError: a file is gone or unreadable.
    """
    hashes = recall(dict[str, _Hashed], workspace.digests)
    result: list[str] = []
    changed = False
    for file in track(files, len(files), "hashing", "file"):
        with unreadable(file.name):
            info = file.system.info(file.path)
            stamps = [str(info[key]) for key in _STAMPS if info.get(key)]
            stamp = [info.get("size"), *stamps] if stamps else None
            entry = hashes.get(file.name)
            if stamp is None or entry is None or entry.stamp != stamp:
                entry = hashes[file.name] = _Hashed(stamp, _sha256(file))
                changed = True
        result.append(entry.sha256)
    if changed:
        write_json(workspace.digests, hashes)
    return result


@contextmanager
def unreadable(what: str) -> Iterator[None]:
    """Turn errors of file systems and parsers into errors that name the next step.

    Raises:
        InputError: the file is missing, not readable, damaged, or of another format.
        Unavailable: the connection was lost, or the client of a remote store raised an error of its own.
    """
    try:
        yield
    except (UnicodeDecodeError, pa.ArrowInvalid) as error:
        problem = re.sub(r"Row #(\d+)", r"line \1", str(error).strip().splitlines()[0])
        if "\0" in problem or "utf" in problem.lower():
            advice = (
                "set csv.encoding, e.g. to cp1252 or utf-16, in fetch.table, or in fetch.options.table of the source "
                "served; convert the file, e.g. with iconv -t UTF-8; or export it again if it is damaged"
            )
            raise InputError(f"{what}: not UTF-8 text ({shown(problem, quotes=False)}); {advice}") from None
        damaged = "the file is damaged or of another format: export it again"
        place = re.search(r"\b(line|object) \d", problem)
        advice = ", ".join([f"correct that {place[1]}" if place else damaged, *getattr(error, "__notes__", ())])
        raise InputError(f"{what}: cannot be read ({problem}); {advice}") from None
    except ImportError as error:
        package = getattr(error.__cause__, "name", None) or "that package"
        raise InputError(f"{what}: {error}; pip install {package}") from None
    except Exception as error:
        unread = isinstance(error, _UNREAD)
        if not unread and type(error).__module__.split(".")[0] in ("builtins", "din"):
            raise  # a bug, or an error that already says what to do
        problem = (str(error).strip() or type(error).__name__).splitlines()[0]
        lost = isinstance(error, ConnectionError | TimeoutError) or getattr(error, "errno", None) not in _FINAL
        if lost or not unread:
            raise Unavailable(f"{what}: cannot be read now ({problem}); run it again once it can be reached") from None
        advice = "check the path and its permissions, or export it again"
        raise InputError(f"{what}: cannot be read ({problem}); {advice}") from None


def require_plain(file: File) -> None:
    """Check that a file whose name has no suffix of a compression is not compressed.

    Raises:
        InputError: it begins as a compressed file does.
    """
    with file.system.open(file.path, "rb") as stream:
        beginning = stream.read(4)
    suffix = next((suffix for start, suffix in _PACKED.items() if beginning.startswith(start)), None)
    if suffix and not file.compression and format_of(file.path) != "Parquet":
        fix = "unpack it" if suffix == ".zip" else f"rename it to {Path(file.path).name}{suffix}"
        raise InputError(f"{file.name}: compressed, although its name does not end in {suffix}; {fix}")


def _sha256(file: File) -> Digest:
    with file.system.open(file.path, "rb") as stream:
        return Digest(hashlib.file_digest(stream, "sha256").hexdigest())
