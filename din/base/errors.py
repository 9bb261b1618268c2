"""The three errors of a command that are not bugs. Any other exception is a bug: exit code 1, with a traceback."""

import errno
import os
import reprlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

MOST_SHOWN = 200
"""The largest number of characters that a message shows of a value from outside."""
_MOST_LISTED = 1000


class InputError(Exception):
    """Bad usage or bad input: exit code 2.

    The message names the file, the row or column, the value, what was expected and what to do next.
    """

    exit_code = 2


class Unavailable(Exception):
    """A resource is temporarily unavailable, e.g. a store that doesn't answer: exit code 1, worth a retry.

    The message names the place, the cause and what to do.
    """

    exit_code = 1


class GateClosed(Exception):
    """A gate is closed, or could not be judged: exit code 3, never retried.

    Args:
        message: the failures and what to do about them, ready to print.
        report: the full report.
    """

    exit_code = 3

    def __init__(self, message: str, report: Path | None = None) -> None:
        super().__init__(message)
        self.report = report


def is_of_this_machine(error: Exception) -> bool:
    """Return whether a full disk or too little memory caused an error, not the data."""
    exhausted = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM)
    return exhausted or isinstance(error, MemoryError)


@contextmanager
def needing_space(folder: Path, kept: str = "") -> Iterator[None]:
    """Turn the error of a full disk, an exhausted quota or too little memory into an Unavailable.

    Args:
        folder: named if the error names no file.
        kept: what the failure leaves in place, for the end of the message.
    """
    try:
        yield
    except MemoryError:
        raise Unavailable(f"too little memory; free some and run the same command again{kept}") from None
    except OSError as error:
        if not is_of_this_machine(error):
            raise
        cause = f"{error.filename or folder}: {os.strerror(error.errno or 0)}"
        raise Unavailable(f"{cause}; free some space and run the same command again{kept}") from None


def shown(value: object, quotes: bool = True) -> str:
    """Return a value as text for a message, in at most `MOST_SHOWN` characters.

    Args:
        value: anything.
        quotes: False to leave printable text as it is.
    """
    plain = not quotes and isinstance(value, str) and value.isprintable()
    text = str(value) if plain else _repr(value)
    return text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 1] + "…"


def _repr(value: object) -> str:
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return "an integer of thousands of digits"


def listed(names: Iterable[str]) -> str:
    """Join names into one line of bounded length for a message, even if they are long or not printable."""
    text = ", ".join(name if name.isprintable() and len(name) <= MOST_SHOWN else shown(name) for name in names)
    return text if len(text) <= _MOST_LISTED else text[: _MOST_LISTED - 1] + "…"


_SHORT = reprlib.Repr()
_SHORT.maxlevel = 3
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = MOST_SHOWN
