"""A yes or no about an event: a 0/1 column, or a rule over one column, such as `rating >= 4` or `action == click`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from din.errors import InputError
from din.sources.columns import binary, numbers
from din.sources.rawlog import Part, first

_RULE = re.compile(r"\s*(?P<column>.*?)\s*(?P<operator>>=|<=|==|!=|>|<)\s*(?P<value>.*?)\s*")
_OPERATORS = {
    ">=": pc.greater_equal,
    "<=": pc.less_equal,
    ">": pc.greater,
    "<": pc.less,
    "==": pc.equal,
    "!=": pc.not_equal,
}


@dataclass(frozen=True)
class Rule:
    """1 where `column comparison value` holds; without a comparison, the column itself.

    Attributes:
        key: the parameter that holds the rule, for messages.
    """

    key: str
    column: str
    comparison: str | None = None
    value: str = ""

    @classmethod
    def parse(cls, key: str, text: str, names: Sequence[str], file: str) -> "Rule":
        """Parse the name of a column, or a rule over one.

        Raises:
            InputError: the text is neither. The message names the file's columns.
        """
        if text in names:
            return cls(key, text)
        rule = _RULE.fullmatch(text)
        if rule is None or rule["column"] not in names or not rule["value"]:
            raise InputError(
                f"{key}: {text!r} is neither a column of {file} nor a rule over one; its columns: {', '.join(names)}. "
                "Expected one of them, or a rule, e.g. rating >= 4"
            )
        return cls(key, rule["column"], rule["operator"], rule["value"].strip("'\""))

    def of(self, part: Part) -> pa.ChunkedArray:
        """Return the answers about the B rows as int8 0 or 1, [B].

        Raises:
            InputError: a value is not 0/1, or the rule can't judge it. The message names its row.
        """
        column = part.table[self.column]
        if self.comparison is None:
            advice = f"correct it, or set {self.key} to a rule, e.g. {self.column} >= 4"
            return binary(part, self.column, column, advice)
        rule = f"{self.key}: {self.column} {self.comparison} {self.value}"
        number = _number(self.value)
        if pa.types.is_string(column.type) and number is not None:
            column = numbers(column)
        if (row := first(pc.is_null(column, nan_is_null=True))) is not None:
            raise InputError(f"{part.at(row)}: {self.column} is missing, so {rule} is unknown; fill it or drop the row")
        is_number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
        if is_number and number is not None:
            return _OPERATORS[self.comparison](column, number).cast(pa.int8())
        if self.comparison in ("==", "!=") and not is_number:
            return _OPERATORS[self.comparison](column.cast(pa.string()), self.value).cast(pa.int8())
        row = _first_text(column)
        raise InputError(
            f"{part.at(row)}: {self.column} is {column[row].as_py()!r}, which {rule} can't compare; expected numbers "
            "on both sides, or == or != with text"
        )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _first_text(column: pa.ChunkedArray) -> int:
    """Return the row to show in the message: the first value that is not a number, or else the first row."""
    return next((row for row, value in enumerate(column) if _number(str(value.as_py())) is None), 0)
