"""The fields that a source declares, checked against the tables that it returned, so that fetch can name the source."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import types

from din.base.errors import InputError, listed
from din.kinds import IdList, OneId, Vector
from din.schema import USER_ID, Field, Group, parse_fields

_TABLES = {Group.USER: "users.parquet", Group.ITEM: "items.parquet"}
_EVENTS = "events"


def check_fields(declared: Mapping[str, Mapping[str, Any]], tree: Path, source: str) -> None:
    """Check the fields that a source declares.

    Args:
        declared: `RawLog.fields`.
        tree: the log as it was written.

    Raises:
        InputError: a field is declared wrongly, its column is missing or has another type than its kind needs, or its
            vectors differ in length. The message names source, field and expectation.
    """
    where = f"fetch.source {source}: fields"
    for field in parse_fields(declared, where)[1:]:
        if field.name != USER_ID:
            table = _TABLES.get(field.group, _EVENTS)
            files = sorted((tree / table).glob("*/*.parquet")) if table == _EVENTS else [tree / table]
            _check(field, [file for file in files if file.exists()], f"{where}.{field.group}.{field.name}", table)


def _check(field: Field, files: Sequence[Path], at: str, table: str) -> None:
    """Check a field's column in the files of a table. A plugin's coder checks what its own kind needs."""
    columns = pq.read_schema(files[0]) if files else pa.schema([])
    if field.name not in columns.names:
        has = f"only {listed(columns.names)}" if files else "no rows"
        raise InputError(f"{at}: {table} of the RawLog has {has}; return this column, or take the field out of fields")
    kind = columns.field(field.name).type
    expected = _expected(field, kind)
    if expected and field.form.coder() is None:
        raise InputError(f"{at}: kind {field.kind} needs {expected}, but the column in {table} is {kind}; correct one")
    if isinstance(field.form, Vector):
        lengths = [pc.list_value_length(pq.read_table(file, columns=[field.name])[field.name]) for file in files]
        sizes = sorted({size for length in lengths for size in pc.unique(length).to_pylist()} - {None, 0})
        if len(sizes) > 1:
            raise InputError(f"{at}: vectors of {sizes[0]} and of {sizes[-1]} numbers; expected one length")


def _expected(field: Field, kind: pa.DataType) -> str:
    """Return what the field's kind needs instead of a type, or nothing if they fit."""
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    inner = kind.value_type if is_list else None
    match field.form:
        case Vector():
            return "" if inner is not None and _is_number(inner) else "lists of numbers"
        case IdList():
            return "" if inner is not None else "lists"
        case OneId() if field.buckets is None:
            return "" if inner is None else "single values"
        case _:
            return "" if _is_number(kind) else "numbers"


def _is_number(kind: pa.DataType) -> bool:
    return any(check(kind) for check in (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean))
