"""Find the CSV cell that is too long for Arrow, whose own error names neither row nor column.

The usual cause is an open quote, which makes the rest of the file one cell. The search reads the file once more, row by
row, and only after a failure. It needs memory for one row.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from io import BufferedReader

import pyarrow as pa

from din.errors import MOST_SHOWN, InputError, shown

_TOO_LONG = ("straddling", "Empty CSV file or block")  # Arrow's messages about a row and about the header


@contextmanager
def explained(
    name: str, lines: Callable[[], AbstractContextManager[BufferedReader]], delimiter: str, most: int
) -> Iterator[None]:
    """Replace Arrow's error about a row longer than its block by one that names the row and its longest cell.

    Args:
        name: the file, for messages.
        lines: opens its decompressed bytes.
        delimiter: one character.
        most: the largest number of bytes in a row.

    Raises:
        InputError: a row is longer.
    """
    try:
        yield
    except pa.ArrowInvalid as error:
        if not any(words in str(error) for words in _TOO_LONG):
            raise
        with lines() as stream:
            problem = _too_long(stream, delimiter.encode(), most)
        if problem is None:
            raise
        raise InputError(
            f"{name} {problem}: is a quote left open there? Correct the cell, or leave the row out"
        ) from None


def _too_long(stream: BufferedReader, delimiter: bytes, most: int) -> str | None:
    """Describe the first row of more than `most` bytes and its longest cell; read no further than that row."""
    header: list[bytes] = []
    row: list[bytes] = []
    number = size = quotes = 0  # row 0 is the header
    while line := stream.readline(most + 1):
        row.append(line)
        size += len(line)
        quotes += line.count(b'"')
        if size > most:
            place = f"row {number}" if number else "header"
            longest = _longest(_cells(b"".join(row), delimiter), header)
            return f"{place} has more than {most >> 20} MB, {longest}"
        if line.endswith(b"\n") and quotes % 2 == 0:
            header = header or _cells(b"".join(row).rstrip(b"\r\n"), delimiter)
            row.clear()
            number += 1
            size = quotes = 0
    return None


def _cells(row: bytes, delimiter: bytes) -> list[bytes]:
    cell = re.compile(rb'(?:"[^"]*(?:""[^"]*)*(?:"|$))?[^' + re.escape(delimiter) + rb"]*")
    found = []
    at = 0
    while at <= len(row):
        match = cell.match(row, at)
        assert match is not None  # the pattern matches the empty cell, too
        found.append(match[0])
        at = match.end() + len(delimiter)
    return found


def _longest(cells: list[bytes], header: list[bytes]) -> str:
    sizes = [len(cell) for cell in cells]
    at = sizes.index(max(sizes))
    column = _quoted(header[at]) if at < len(header) else f"number {at + 1}"
    return f"of which column {column} has {sizes[at]:,} bytes or more, beginning with {_quoted(cells[at][:40])}"


def _quoted(cell: bytes) -> str:
    return shown(cell[:MOST_SHOWN].decode(errors="replace").strip('"'))
