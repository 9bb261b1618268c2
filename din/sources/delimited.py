"""Find the cause of an error of Arrow about a CSV file that Arrow does not name.

If a cell is too long, the usual cause is an open quote, which makes the rest of the file one cell. The search reads the
file once more, row by row, and only after a failure. It needs memory for one row. If the first row below the header has
another number of cells, the cause may be the line that was taken for the header.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from io import BufferedReader

import pyarrow as pa

from din.errors import MOST_SHOWN, InputError, shown

_OTHER_WIDTH = "Row #2: Expected"  # Arrow's message about the first row below the header
_TOO_LONG = ("straddling", "Empty CSV file or block")  # Arrow's messages about a row and about the header


@contextmanager
def explained(
    name: str, lines: Callable[[], AbstractContextManager[BufferedReader]], delimiter: str, most: int, headed: bool
) -> Iterator[None]:
    """Replace Arrow's errors about a row that is too long, or not as wide as the header, by ones with the cause.

    Args:
        name: the file, for messages.
        lines: opens its decompressed bytes.
        delimiter: one character.
        most: the largest number of bytes in a row.
        headed: whether the first line names the columns.

    Raises:
        InputError: a row is longer, or the first row has more or fewer cells than the header.
    """
    try:
        yield
    except pa.ArrowInvalid as error:
        if headed and _OTHER_WIDTH in str(error) and "\0" not in str(error):  # zero bytes have another cause
            with lines() as stream:
                first = shown(stream.readline(MOST_SHOWN).decode(errors="replace").rstrip())
            problem = str(error).splitlines()[0].replace("Row #2", "line 2")
            raise InputError(
                f"{name}: cannot be read ({problem}); correct that line, or the first line, {first}, which was taken "
                "for the header"
            ) from None
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
