"""Convert the columns of files to the types of the raw contract: ids, numbers, lists, whole numbers, and 0/1.

Types are decided over all rows, vectorised. A column of a CSV is integer if every value is an integer, otherwise
numeric if every value is a number, and otherwise text as written. `007` stays text, because an id or a zip code would
lose its zeros. NA and null are missing values among numbers, and text among words.
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
    """Return a side column in its final type.

    A text column of a CSV (`text`) becomes numeric if it holds nothing but numbers. Times become text.
    """
    if pa.types.is_null(column.type) or pa.types.is_temporal(column.type):
        return column.cast(pa.string())
    return numbers(column) if text and pa.types.is_string(column.type) else column


def ids(column: pa.ChunkedArray, text: bool) -> pa.ChunkedArray:
    """Return an id column as int64 if every id is a whole number, else unchanged.

    In a CSV (`text`), a number with leading zeros is not a whole number.
    """
    if text and pa.types.is_string(column.type) and _all(pc.match_substring_regex(column, INTEGER)):
        return _cast(column, pa.int64())
    if pa.types.is_floating(column.type):  # pandas stores integers as floats where values are missing
        return _cast(column, pa.int64())
    return column


def numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a text column as int64 or float64 if all its values allow it, else unchanged."""
    if column.null_count == len(column):
        return column
    if _all(pc.match_substring_regex(column, INTEGER)):
        whole = _cast(column, pa.int64())
        return whole if whole.type == pa.int64() else column  # more than 64 bits: an id, not a quantity
    present = pc.if_else(pc.is_in(column, value_set=MISSING), None, column)
    if present.null_count == len(column) or not _all(pc.match_substring_regex(present, NUMBER)):
        return column
    kind = pa.int64() if _all(pc.match_substring_regex(present, INTEGER)) else pa.float64()
    number = _cast(present, kind)
    return number if number.type == kind else column


def lists(column: pa.ChunkedArray, separator: str | None) -> tuple[np.ndarray, pa.Array]:
    """Split a list column, or a text column of joined values, into lengths and values; drop missing elements.

    Returns:
        lengths: int64 [rows], 0 where the list is missing.
        values: [sum of lengths].
    """
    if separator is not None and not pa.types.is_list(column.type):
        column = pc.split_pattern(column.cast(pa.string()), separator)
    array = column.combine_chunks()
    values = array.flatten()
    given = pc.list_value_length(array).fill_null(0)  # a missing list of a fixed size has a length otherwise
    rows = pa.array(np.repeat(np.arange(len(array)), given.to_numpy()))
    kept = pc.is_valid(values)
    if pa.types.is_string(values.type):
        kept = pc.and_(kept, pc.not_equal(values, "").fill_null(False))
    lengths = np.bincount(rows.filter(kept).to_numpy(), minlength=len(column)).astype(np.int64)
    return lengths, values.filter(kept)


def joined(lengths: np.ndarray, values: pa.Array) -> pa.Array:
    """Return the list column with these lengths and values: the inverse of `lists`."""
    return pa.ListArray.from_arrays(pa.array(np.concatenate([[0], lengths.cumsum()]), pa.int32()), values)


def whole(part: Part, name: str, advice: str) -> pa.ChunkedArray:
    """Return a column as int64 without missing values.

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
    """Return a column of 0/1, false/true, or their text, as int8.

    Raises:
        InputError: a value is missing or something else. The message names its row.
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
