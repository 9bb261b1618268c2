"""Tell DuckDB's lack of memory or disk from faults of the data, as `din.base.errors` does for Python's own errors."""

import errno
import os

import duckdb

from din.base.errors import Unavailable

_FULL = [os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM)]


def exhausted(error: Exception) -> Unavailable | None:
    """Return an Unavailable if DuckDB raised an error because memory was too little or a disk full, otherwise None."""
    reason = str(error).partition("\n")[0]
    full = isinstance(error, duckdb.Error) and any(words in reason for words in _FULL)
    if not full and not isinstance(error, duckdb.OutOfMemoryException):
        return None
    return Unavailable(f"DuckDB: {reason}; free some memory and disk space, and run the same command again")
