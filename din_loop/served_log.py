"""The log of a server: the answers of `din serve`, one row per request, in Parquet files by day and hour (UTC).

    FOLDER/date=2026-01-31/hour=09/<name>.parquet    complete files
    FOLDER/open/2026-01-31T09-<name>.arrows          the rows that a process has not published yet

`request` is the request as JSON. `items` are the ids of its candidates as text, and `probabilities` are their
probabilities in the same order. `answered_at` is the server's time of the answer. If `hashed` is true, the user's id is
a keyed hash.

A process locks its open file. The next process that finds an open file without a lock publishes it: the rows are
written as Parquet under a temporary name in `open`, and the file is renamed.
"""

import fcntl
import hmac
import logging
import os
from datetime import date
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from din.base.errors import InputError

SCHEMA = pa.schema(
    {
        "request_id": pa.string(),
        "answered_at": pa.timestamp("us"),
        "version": pa.string(),
        "user_id": pa.string(),
        "hashed": pa.bool_(),
        "request": pa.string(),
        "items": pa.list_(pa.string()),
        "probabilities": pa.list_(pa.float64()),
    }
)
FILES = "date=*/hour=*/[!.]*.parquet"
EXAMPLE = "date=2026-01-31/hour=09/….parquet"
OPEN = "open"
_OPEN_FILES = "????-??-??T??-*.arrows"
_LOG = logging.getLogger("din_loop.served_log")


def files(folder: Path, first: date = date.min, last: date = date.max) -> list[Path]:
    """Return the complete files of a log, after publishing the rows that killed processes left.

    Args:
        folder: the folder of the log. Folders in it may be symbolic links.
        first, last: the days of the files (UTC).

    Raises:
        InputError: rows that a killed process left can't be published.
    """
    if problems := publish(folder):
        raise InputError(
            f"{problems[0]}; a killed process left rows there that are to be published in {folder}: make the folder "
            "writable, or free space, and run it again"
        )
    return sorted(path for path in folder.glob(FILES) if f"date={first}" <= path.parent.parent.name <= f"date={last}")


def publish(folder: Path) -> list[str]:
    """Publish the open files that no process writes, and return the problems of those that could not be published.

    A file that was published, but not yet removed, is published again with the same rows under the same name. If a file
    can't be read to its end, the rows before the damage are published, and the file is kept as `.damaged`.
    """
    problems = []
    for path in sorted((folder / OPEN).glob(_OPEN_FILES)):
        try:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.exists():  # otherwise another process has published it in the meantime
                    _publish(folder, path, file)
        except (BlockingIOError, FileNotFoundError):  # a process writes it, or another one has published it
            continue
        except Exception as error:  # an unexpected one, e.g. MemoryError, must not end a server's log
            problems.append(f"{path}: {getattr(error, 'strerror', None) or repr(error)}")
    return problems


def _publish(folder: Path, path: Path, file: BinaryIO) -> None:
    batches = []
    problem = None
    try:
        for batch in pa.ipc.open_stream(file):
            batches.append(batch.cast(SCHEMA))
    except (OSError, ValueError, pa.ArrowException) as error:
        if getattr(error, "errno", None):  # an error of the disk, not of Arrow
            raise
        problem = error
    rows = pa.Table.from_batches(batches, SCHEMA)
    if rows.num_rows:
        _write_parquet(folder, path.stem, rows)
    if problem:
        _LOG.warning("%s ends after %d rows (%s); it is kept as .damaged", path, rows.num_rows, problem)
        path.rename(path.with_suffix(".damaged"))
    else:
        path.unlink()


def _write_parquet(folder: Path, name: str, rows: pa.Table) -> None:
    temporary = folder / OPEN / f".tmp-{name}.parquet"
    with temporary.open("wb") as file:
        pq.write_table(rows, file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())
    day, hour = name[:13].split("T")
    target = folder / f"date={day}" / f"hour={hour}" / f"{name}.parquet"
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary.replace(target)


def read_key(path: Path | str) -> bytes:
    """Return the key of the hashes of users from a file, without white space around it.

    Raises:
        InputError: the file can't be read, or holds fewer than 16 bytes.
    """
    try:
        key = Path(path).read_bytes().strip()
    except OSError as error:
        raise InputError(f"--log-key {path}: {error.strerror}; expected a file that holds a key") from None
    if len(key) < 16:
        raise InputError(f"--log-key {path}: {len(key)} bytes; expected at least 16, e.g. of `openssl rand -hex 32`")
    return key


def pseudonym(key: bytes, user_id: str) -> str:
    """Return the keyed hash that replaces a user's id."""
    return hmac.digest(key, user_id.encode(), "sha256").hex()[:32]
