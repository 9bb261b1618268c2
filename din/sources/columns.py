"""Columns as files give them to columns as the contract wants them: types by content, lists, whole numbers, 0/1.

Types are decided over all rows, vectorised: a CSV column is integer where every value is one, else numeric where every
value is a number, else text as written. `007` stays text (an id or a zip code would lose its zeros), and so do NA or
null among words, while among numbers they are missing.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from din.errors import InputError
from din.sources.rawlog import Part, first

INTEGER = r"^(0|-?[1-9][0-9]*)$"
NUMBER = r"(?i)^-?(((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)(e[-+]?[0-9]+)?|inf|infinity)$"
MISSING = pa.array(["NA", "N/A", "NaN", "nan", "null", "NULL", "None", r"\N"])


def typed(column: pa.ChunkedArray, text: bool) -> pa.ChunkedArray:
    """A side column: numbers where `text` (from a CSV) holds nothing else; times of other formats as text."""
    if pa.types.is_null(column.type) or pa.types.is_temporal(column.type):
        return column.cast(pa.string())
    return numbers(column) if text and pa.types.is_string(column.type) else column


def ids(column: pa.ChunkedArray, text: bool) -> pa.ChunkedArray:
    """An id column: int64 where every id is a whole number (in a CSV: written without leading zeros), else as it is."""
    if text and pa.types.is_string(column.type) and _all(pc.match_substring_regex(column, INTEGER)):
        return _cast(column, pa.int64())
    if pa.types.is_floating(column.type):  # what pandas makes of integers beside missing values
        return _cast(column, pa.int64())
    return column


def numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A text column as int64 or float64 where all its values allow it, else unchanged."""
    if column.null_count == len(column):
        return column
    if _all(pc.match_substring_regex(column, INTEGER)):
        whole = _cast(column, pa.int64())
        return whole if whole.type == pa.int64() else column  # beyond 64 bits: an id, not a quantity
    present = pc.if_else(pc.is_in(column, value_set=MISSING), None, column)
    if present.null_count == len(column) or not _all(pc.match_substring_regex(present, NUMBER)):
        return column
    return _cast(present, pa.int64() if _all(pc.match_substring_regex(present, INTEGER)) else pa.float64())


def lists(column: pa.ChunkedArray, separator: str | None) -> tuple[np.ndarray, pa.Array]:
    """A list column, or a text column of joined values, as values beside row lengths; missing elements are dropped.

    Returns:
        lengths: int64 [rows]; 0 where the list is missing. values: [sum of lengths].
    """
    if separator is not None and not pa.types.is_list(column.type):
        column = pc.split_pattern(column.cast(pa.string()), separator)
    array = column.combine_chunks()
    values, rows = array.flatten(), pc.list_parent_indices(array)
    kept = pc.is_valid(values)
    if pa.types.is_string(values.type):
        kept = pc.and_(kept, pc.not_equal(values, "").fill_null(False))
    lengths = np.bincount(rows.filter(kept).to_numpy(), minlength=len(column)).astype(np.int64)
    return lengths, values.filter(kept)


def joined(lengths: np.ndarray, values: pa.Array) -> pa.Array:
    """The inverse of `lists`: a list column, empty where nothing was there."""
    return pa.ListArray.from_arrays(pa.array(np.concatenate([[0], lengths.cumsum()]), pa.int32()), values)


def whole(part: Part, name: str, advice: str) -> pa.ChunkedArray:
    """An int64 column without gaps.

    Raises:
        InputError: a value is missing or not a whole number.
    """
    given = part.table[name]
    column = ids(given, text=pa.types.is_string(given.type))
    if column.type != pa.int64() or column.null_count:
        row = first(pc.invert(pc.match_substring_regex(given.cast(pa.string()), INTEGER)).fill_null(True)) or 0
        raise InputError(
            f"{part.at(row)}: {name} is {given[row].as_py()!r}; expected a whole number within 64 bits: {advice}"
        )
    return column


def binary(part: Part, name: str, column: pa.ChunkedArray, advice: str) -> pa.ChunkedArray:
    """A column of 0/1, false/true or their text as int8.

    Raises:
        InputError: another value, or none; names its row.
    """
    text = pc.utf8_lower(column.cast(pa.string()))
    one = pc.is_in(text, value_set=pa.array(["1", "true", "1.0"]))
    zero = pc.is_in(text, value_set=pa.array(["0", "false", "0.0", "-0"]))
    if (row := first(pc.invert(pc.or_(one, zero)))) is not None:
        raise InputError(f"{part.at(row)}: {name} is {column[row].as_py()!r}; expected 0 or 1: {advice}")
    return one.cast(pa.int8())


def _all(mask: pa.ChunkedArray) -> bool:
    return pc.all(mask).as_py() is not False


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    try:
        return column.cast(kind)
    except pa.ArrowInvalid:
        return column
