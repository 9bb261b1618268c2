"""Find the few rows of a table that decide the types of its columns.

Types are decided over all rows of a log (`columns.py`), but only by the forms of values that occur: a text that is a
whole number, one with a fraction, a mark for a missing value, any other. The first row of each form in each column
therefore decides as all rows do, and can stand in for a day whose files are not read again.

This takes about five passes over a column of text, and finds at most five rows for each column and one more.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from din.sources import columns
from din.sources.rawlog import first

_LONG = 19  # a whole number of fewer characters fits into 64 bits
_LONGEST = 20  # and one of more does not


def deciding_rows(table: pa.Table, separators: Mapping[str, str | None]) -> np.ndarray:
    """Return the first row, and the first row of each form of values in each column, ascending.

    Args:
        table: as it was read.
        separators: maps the columns of lists to the separator of their elements, or to None if they hold lists.
    """
    found = {0} if table.num_rows else set[int]()
    for name, column in zip(table.column_names, table.columns, strict=True):
        if name not in separators:
            found.update(_firsts(column))
            continue
        lengths, values = columns.lists(column, separators[name])
        rows = np.repeat(np.arange(len(lengths)), lengths)
        found.update(int(rows[at]) for at in _firsts(pa.chunked_array([values])))
    return np.array(sorted(found), dtype=np.int64)


def _firsts(column: pa.ChunkedArray) -> Iterator[int]:
    for form in _forms(column):
        if (row := first(form)) is not None:
            yield row


def _forms(column: pa.ChunkedArray) -> Iterator[pa.ChunkedArray]:
    """Yield a mask for each form of values that may decide the type of a column; a missing value decides nothing."""
    if pa.types.is_floating(column.type):
        fits = pc.and_(pc.greater_equal(column, -(2.0**63)), pc.less(column, 2.0**63))
        whole = pc.and_(fits, pc.equal(pc.trunc(column), column))
        yield whole
        yield pc.invert(whole)
    elif pa.types.is_string(column.type):
        whole = pc.match_substring_regex(column, columns.INTEGER)
        long = pc.and_(whole, pc.greater_equal(pc.utf8_length(column), _LONG))
        beyond = [text for text in column.filter(long).unique().to_pylist() if not _fits(text)]
        too_long = pc.is_in(column, value_set=pa.array(beyond, pa.string()))
        yield pc.and_(whole, pc.invert(too_long))
        yield too_long
        number = pc.match_substring_regex(column, columns.NUMBER)
        missing = pc.is_in(column, value_set=columns.MISSING)
        yield pc.and_(number, pc.invert(whole))
        yield missing
        yield pc.invert(pc.or_(number, missing))


def _fits(text: str) -> bool:
    """Return whether a whole number fits into 64 bits."""
    return len(text) <= _LONGEST and -(2**63) <= int(text) < 2**63
