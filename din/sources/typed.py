"""Read files of a known layout into typed columns, in batches, so that memory holds only the chosen columns.

A number takes 8 bytes, not the text it was written as. If a value is not of its column's type, the message names file
and line. For that, one thread reads: with more, Arrow's errors don't name the line.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.json as pjson

from din.errors import InputError, listed, shown
from din.sources import columns, files, jsonlines
from din.sources.files import CHUNK, File, unreadable
from din.sources.rawlog import Part, first

Types = Mapping[str, pa.DataType]
Keep = Callable[[pa.RecordBatch], pa.Array]
INT, FLOAT, FLAG, TEXT = pa.int64(), pa.float64(), pa.int8(), pa.string()


def read_csv(
    sources: Sequence[File],
    types: Types,
    keep: Keep | None = None,
    separator: str = ",",
    names: Sequence[str] | None = None,
) -> Part:
    """Read columns of CSV files, one file after the other.

    Args:
        sources: the files.
        types: the columns to read, and their types.
        keep: maps a batch to the mask of rows to keep.
        separator: one character.
        names: all columns of files without a header. In a header, blanks around names are ignored.

    Raises:
        InputError: a file is empty, damaged or not UTF-8, lacks a column, or holds a value of another type.
    """
    batches = _Batches(types, keep)
    parse = pcsv.ParseOptions(delimiter=separator, quote_char='"' if separator == "," else False)
    for file in sources:
        with unreadable(file.name):
            given = {name: name for name in names} if names else _header(file)
            require(given, types, file)
            read = pcsv.ReadOptions(use_threads=False, block_size=CHUNK, column_names=names)
            convert = pcsv.ConvertOptions(
                include_columns=[given[name] for name in types],
                column_types={given[name]: kind for name, kind in types.items()},
                null_values=["", "NULL"],
                strings_can_be_null=True,
            )
            with file.open() as stream, pcsv.open_csv(stream, read, parse, convert) as reader:
                batches.add(file, reader)
    return batches.part()


def read_json(file: File, types: Types, keep: Keep | None = None) -> Part:
    """Read some fields of JSON objects, one object per line; a field that a line lacks is missing in that row.

    Raises:
        InputError: a line is not a JSON object, is not UTF-8, or holds a value of another type.
    """
    batches = _Batches(types, keep)
    read = pjson.ReadOptions(block_size=4 * CHUNK)  # no line may be longer
    parse = pjson.ParseOptions(explicit_schema=pa.schema(list(types.items())), unexpected_field_behavior="ignore")
    with (
        unreadable(file.name),
        jsonlines.explained(file.name, file.lines, _of_types(types)),
        file.open() as stream,
        pjson.open_json(stream, read, parse) as reader,
    ):
        batches.add(file, reader)
    return batches.part()


def read_side(file: File, key: str, ours: str, fields: Collection[str], lists: Mapping[str, str] | None = None) -> Part:
    """Read a table of items or users, each column in the type of its content.

    Args:
        file: the file.
        key: the name of the id in the file.
        ours: the name of the id in the result.
        fields: columns that the file must have.
        lists: maps the columns that hold lists to the separator of their elements.

    Raises:
        InputError: the file can't be read, lacks a column, or an id is missing or not a whole number.
    """
    given: dict[str, str] = {}

    def all_columns(names: Sequence[str], name: str) -> list[str]:
        given.update({each.strip(): each for each in names})
        require(given, [key, *fields], file)
        return list(names)

    part = files.read([file], all_columns)
    result: dict[str, Any] = {ours: columns.whole(part, given[key], "download the file again")}
    for name, theirs in given.items():
        column = part.table[theirs]
        if separator := (lists or {}).get(name):
            lengths, values = columns.lists(column, separator)
            values = columns.typed(pa.chunked_array([values]), text=True).combine_chunks()
            result[name] = columns.joined(lengths, values)
        elif name != key:
            result[name] = columns.typed(column, text=True)
    return Part(pa.table(result), part.files)


def flags(part: Part, name: str) -> pa.ChunkedArray:
    """Return an int8 column whose values must be 0 or 1.

    Raises:
        InputError: a value is missing or something else. The message names its row.
    """
    column = part.table[name]
    valid = pc.is_in(column, value_set=pa.array([0, 1], FLAG))
    if (row := first(pc.invert(valid))) is not None:
        raise InputError(f"{part.at(row)}: {name} is {column[row].as_py()!r}; expected 0 or 1: download the file again")
    return column


def require(given: Collection[str], wanted: Collection[str], file: File) -> None:
    """Raise InputError if the file lacks a wanted column."""
    if missing := [name for name in wanted if name not in given]:
        raise InputError(
            f"{file.name}: no column {missing[0]!r}; its columns: {listed(given)}. Expected {', '.join(wanted)}: "
            "is it the publisher's own file?"
        )


class _Batches:
    """The kept rows of several files, collected in batches, with the row of the files that each came from."""

    def __init__(self, types: Types, keep: Keep | None) -> None:
        self.schema = pa.schema(list(types.items()))
        self.keep = keep
        self.kept: list[pa.RecordBatch] = []
        self.rows: list[np.ndarray] = []
        self.files: list[tuple[str, int]] = []

    def add(self, file: File, reader: Any) -> None:
        before = seen = sum(rows for _, rows in self.files)
        for batch in reader:
            batch = batch.rename_columns(self.schema.names)
            batch.validate(full=True)  # UTF-8
            kept = batch
            if self.keep is not None:
                mask = self.keep(batch)
                self.rows.append(seen + np.flatnonzero(mask.to_numpy(zero_copy_only=False)))
                kept = batch.filter(mask)
            seen += len(batch)
            self.kept.append(kept)
        self.files.append((file.name, seen - before))

    def part(self) -> Part:
        rows = np.concatenate(self.rows) if self.rows else None
        return Part(pa.Table.from_batches(self.kept, self.schema), tuple(self.files), rows)


def header(file: File) -> list[str]:
    """Return the names of a CSV file's columns, without blanks around them."""
    with unreadable(file.name):
        return list(_header(file))


def _header(file: File) -> dict[str, str]:
    """Map each column's name without blanks around it to the name as it is written."""
    options = pcsv.ReadOptions(use_threads=False, block_size=CHUNK)
    with file.open() as stream:
        return {name.strip(): name for name in pcsv.open_csv(stream, options).schema.names}


def _of_types(types: Types) -> jsonlines.Wrong:
    """Return a check for a value that is not of its column's type."""

    def wrong(number: int, record: dict[str, Any]) -> str | None:
        for name, kind in types.items():
            try:
                pa.array([record.get(name)], kind)
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                return f"{name} is {shown(record[name])}; expected {kind}"
        return None

    return wrong
