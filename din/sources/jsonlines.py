"""Find the line of a JSON-lines file that Arrow refuses, since Arrow's own error doesn't name it."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pyarrow as pa

from din.errors import InputError, listed, shown

Wrong = Callable[[int, dict[str, Any]], str | None]  # describes the problem of a line, given its number and object

_TYPES = {int: "number", float: "number", str: "text", bool: "boolean", list: "list", dict: "object"}


@contextmanager
def explained(name: str, lines: Callable[[], AbstractContextManager[Iterable[bytes]]], wrong: Wrong) -> Iterator[None]:
    """Replace Arrow's error by one that names the first bad line of the file that `lines` opens.

    Raises:
        InputError: the file holds a JSON array.
        pa.ArrowInvalid: a line is not UTF-8, is not a JSON object, or has a problem that `wrong` finds.
    """
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:  # Arrow counts rows anew in each block
        with lines() as opened:
            if next(iter(opened), b"").lstrip().startswith(b"["):
                raise InputError(
                    f"{name}: a JSON array; expected JSON lines, so convert it, e.g. with jq -c '.[]' {name}"
                ) from None
        with lines() as opened:
            raise pa.ArrowInvalid(_problem(opened, wrong) or str(error)) from None


def one_type_each() -> Wrong:
    """Return a check for a value whose type differs from earlier values of the same name."""
    seen: dict[str, tuple[str, int]] = {}

    def wrong(number: int, record: dict[str, Any]) -> str | None:
        for name, value in record.items():
            kind = _TYPES.get(type(value))
            before, where = seen.setdefault(name, (kind, number)) if kind else (None, 0)
            if kind != before:
                return f"{listed([name])} is {shown(value)}, a {kind}, but a {before} in line {where}; use one type"
        return None

    return wrong


def of_types(schema: pa.Schema) -> Wrong:
    """Return a check for a value that is not of its column's type."""

    def wrong(number: int, record: dict[str, Any]) -> str | None:
        for field in schema:
            try:
                pa.array([record.get(field.name)], field.type)
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                return f"{field.name} is {shown(record[field.name])}; expected {field.type}"
        return None

    return wrong


def _problem(lines: Iterable[bytes], wrong: Wrong) -> str | None:
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line.decode())
        except ValueError as error:
            return f"line {number}: {error}, in {_beginning(line)}"
        if not isinstance(record, dict):
            return f"line {number}: {_beginning(line)}; expected one JSON object per line"
        if problem := wrong(number, record):
            return f"line {number}: {problem}"
    return None


def _beginning(line: bytes) -> str:
    return shown(line[:80].decode(errors="replace").rstrip())
