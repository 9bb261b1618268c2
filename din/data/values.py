"""The types of a column's values, decided over all rows: ids, numbers, lists, and 0/1.

A column of a CSV is integer if every value is an integer, otherwise numeric if every value is a number, and otherwise
text as written. `007` stays text, because an id or a zip code would lose its zeros. NA and null are missing values
among numbers, and text among words.

Types depend only on the forms of values that occur. Forms are flags, so those of a log are the union over its days, and
a known day need not be read again.
"""

from collections.abc import Callable, Mapping
from enum import IntFlag
from typing import Any

from din.data.rows import Check, Rows, quoted
from din.kinds import EXACT

MISSING = "INTEGER"
"""DuckDB's type of a column without values; all integers are BIGINT."""
_INTEGER = "(0|-?[1-9][0-9]*)"
_NUMBER = r"(?i)-?(((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)(e[-+]?[0-9]+)?|inf|infinity)"
_MARKS = r"'NA', 'N/A', 'NaN', 'nan', 'null', 'NULL', 'None', '\N'"


class Form(IntFlag):
    """The forms of values."""

    WHOLE = 1  # a whole number within 64 bits
    LONG = 2  # a longer one
    NUMBER = 4  # any other number
    MARK = 8  # a word for a missing value, or NaN
    WORD = 16
    FLOAT = 32  # a whole number within 64 bits, written like 17.0


def form(sql: str, kind: str) -> str:
    """Return SQL for the form of a value, 0 for a missing one. `kind` is VARCHAR, DOUBLE, or a list of them."""
    if kind.endswith("[]"):
        each = form("x", kind.removesuffix("[]"))
        return f"list_aggregate(list_transform({sql}, lambda x: {each}), 'bit_or')"
    if kind == "DOUBLE":
        whole = f"{sql} = trunc({sql}) AND abs({sql}) < {EXACT}"
        return (
            f"CASE WHEN {sql} IS NULL THEN 0 WHEN isnan({sql}) THEN {Form.MARK:d} "
            f"WHEN {whole} THEN {Form.WHOLE:d} ELSE {Form.NUMBER:d} END"
        )
    if kind != "VARCHAR":
        return f"CASE WHEN {sql} IS NULL THEN 0 ELSE {Form.WHOLE if kind == 'BIGINT' else Form.WORD:d} END"
    whole = f"CAST(TRY_CAST({sql} AS BIGINT) AS VARCHAR)"
    return (
        f"CASE WHEN {sql} IS NULL THEN 0 "
        f"WHEN {whole} = {sql} THEN {Form.WHOLE:d} "
        f"WHEN ends_with({sql}, '.0') AND {whole} || '.0' = {sql} THEN {Form.FLOAT:d} "
        f"WHEN {sql} IN ({_MARKS}) THEN {Form.MARK:d} "
        f"WHEN regexp_full_match({sql}, '{_INTEGER}') THEN {Form.LONG:d} "
        f"WHEN regexp_full_match({sql}, '{_NUMBER}') THEN {Form.NUMBER:d} ELSE {Form.WORD:d} END"
    )


def forms(rows: Rows, lists: Mapping[str, str | None]) -> dict[str, int]:
    """Return the forms that occur in each column.

    Args:
        lists: maps the columns of lists to the separator of their elements, or to None if they hold lists.
    """
    kinds = {name: "VARCHAR[]" if lists.get(name) else kind for name, kind in rows.types.items()}
    columns = {name: elements(rows, name, lists[name]) if name in lists else rows[name] for name in rows.names}
    masks = rows.ask("0", *(f"coalesce(bit_or({form(columns[name], kinds[name])}), 0)" for name in rows.names))
    return dict(zip(rows.names, masks[1:], strict=True))


def number(mask: int) -> str:
    """Return the type of text with these forms: BIGINT, DOUBLE or VARCHAR."""
    numbers = mask & (Form.WHOLE | Form.LONG | Form.NUMBER | Form.FLOAT)
    if mask & Form.WORD or not numbers:
        return "VARCHAR"
    if mask & (Form.NUMBER | Form.FLOAT):
        return "DOUBLE"
    return "VARCHAR" if mask & Form.LONG else "BIGINT"  # more than 64 bits: an id, not a quantity


def side(kind: str, mask: int, text: bool) -> str:
    """Return the type of a side column. Text of a CSV (`text`) may be numeric, and times become text."""
    if kind.startswith(("DATE", "TIME", "INTERVAL", MISSING)):
        return "VARCHAR"
    return number(mask) if text and kind == "VARCHAR" else kind


def identifier(kind: str, mask: int, text: bool) -> str:
    """Return the type of an id: BIGINT if every id of a CSV (`text`), or every float, is a whole number or missing.

    pandas writes whole numbers as 17.0 if one of them is missing.
    """
    if (text and kind == "VARCHAR") or kind == "DOUBLE":
        others = mask & ~(Form.WHOLE | Form.FLOAT | Form.MARK)
        return kind if others or (kind == "VARCHAR" and mask == Form.MARK) else "BIGINT"
    return kind


_AROUND = " '\""  # an element in brackets, as Python and JSON write lists


def elements(rows: Rows, name: str, separator: str | None) -> str:
    """Return SQL for the elements of a list, or of text that joins them, maybe in brackets, without missing ones."""
    column = rows[name]
    kind = rows.types[name]
    if separator is not None and not kind.endswith("[]"):
        text = f"CAST({column} AS VARCHAR)"
        plain = f"string_split({text}, {quoted(separator)})"
        within = f"string_split({text}[2:-2], {quoted(separator)})"
        bare = f"list_transform({within}, lambda x: trim(x, {quoted(_AROUND)}))"
        column = f"CASE WHEN {text} LIKE '[%]' THEN {bare} ELSE {plain} END"
        kind = "VARCHAR[]"
    present = "x <> ''" if kind == "VARCHAR[]" else "x IS NOT NULL"
    return f"list_filter(coalesce({column}, []), lambda x: {present})"


def cast(sql: str, kind: str, wanted: str) -> str:
    """Return SQL that converts values to another type, and words for a missing number to NULL."""
    return sql if kind == wanted else f"TRY_CAST({sql} AS {wanted})"


def text(sql: str, kind: str) -> str:
    """Return SQL for values of a type as the text that a server compares, like `din.kinds.text`: 7.0 is 7."""
    if kind.endswith("[]"):
        return f"list_transform({sql}, lambda x: {text('x', kind.removesuffix('[]'))})"
    if kind == "BOOLEAN":
        return f"CASE {sql} WHEN true THEN 'True' WHEN false THEN 'False' END"
    if kind.startswith(("DOUBLE", "FLOAT", "DECIMAL")):
        number = f"CAST({sql} AS DOUBLE)"
        whole = f"CASE WHEN {number} = trunc({number}) THEN TRY_CAST({number} AS HUGEINT) END"
        return f"CASE WHEN NOT isnan({number}) THEN coalesce(CAST({whole} AS VARCHAR), CAST({number} AS VARCHAR)) END"
    return f"CAST({sql} AS VARCHAR)"


def whole(rows: Rows, name: str) -> tuple[str, Check]:
    """Return SQL for a column as BIGINT, and the check that every value is a whole number."""
    column = rows[name]
    broken = f"{form(column, rows.types[name])} <> {Form.WHOLE:d}"
    fix = "correct the column, or map another one in fetch.table"
    return f"TRY_CAST({column} AS BIGINT)", Check(broken, name, column, "a whole number within 64 bits", fix)


def binary(rows: Rows, name: str, fix: Callable[[Any], str]) -> tuple[str, Check]:
    """Return SQL for a column of 0/1, false/true, or their text, as TINYINT, and the check that it is one of them."""
    text = f"lower(CAST({rows[name]} AS VARCHAR))"
    one = f"coalesce({text} IN ('1', 'true', '1.0'), false)"
    zero = f"coalesce({text} IN ('0', 'false', '0.0', '-0', '-0.0'), false)"
    return f"CAST({one} AS TINYINT)", Check(f"NOT ({one} OR {zero})", name, rows[name], "0 or 1", fix)
