"""The log of a server: what `din serve` answered, a row for each request, in Parquet files by day and hour (UTC).

    FOLDER/date=2026-01-31/hour=09/<name>.parquet    complete files
    FOLDER/open/2026-01-31T09-<name>.arrows          the rows that a process has not published yet

`request` is the request as JSON. `items` are the ids of its candidates as text, and `probabilities` are theirs, in the
same order. `answered_at` is the server's time of the answer. If `hashed` is true, the user's id is a keyed hash.
"""

import hmac
from pathlib import Path

import pyarrow as pa

from din.errors import InputError

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
FILES = "date=*/hour=*/*.parquet"
OPEN = "open"


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
