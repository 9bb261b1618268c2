"""A yes or no about an event: a 0/1 column, or a rule over one column, such as `rating >= 4` or `action == click`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from din.base.errors import InputError, shown
from din.data import values
from din.data.rows import Check, Rows, quoted

_RULE = re.compile(r"\s*(?P<column>.*?)\s*(?P<operator>>=|<=|==|!=|>|<)\s*(?P<value>.*?)\s*")
_BOOLEANS = {"1": "true", "true": "true", "0": "false", "false": "false"}


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
                "Expected one of them, or a rule, e.g. rating >= 4 or action == buy"
            )
        return cls(key, rule["column"], rule["operator"], rule["value"].strip("'\""))

    def of(self, rows: Rows, forms: int) -> tuple[str, list[Check]]:
        """Return SQL for the answer about a row, 0 or 1, and checks that every row has one.

        Args:
            forms: the forms of the values in the column.
        """
        if self.comparison is None:
            answer, check = values.binary(rows, self.column, self._fix)
            return answer, [check]
        column = rows[self.column]
        kind = rows.types[self.column]
        threshold = _number(self.value)
        if kind == "VARCHAR" and threshold is not None:
            kind = values.number(forms)
        rule = f"{self.key}: {self.column} {self.comparison} {self.value}"
        is_number = kind in ("BIGINT", "DOUBLE")
        number = f"TRY_CAST({column} AS DOUBLE)"
        missing = f"{number} IS NULL OR isnan({number})" if is_number else f"{column} IS NULL"
        checks = [Check(missing, self.column, "NULL", f"a value for {rule}", "fill it or leave the row out")]
        operator = {"==": "=", "!=": "<>"}.get(self.comparison, self.comparison)
        if is_number and threshold is not None:
            answer = f"{number} {operator} CAST('{threshold!r}' AS DOUBLE)"
        elif kind == "BOOLEAN" and operator in ("=", "<>") and self.value.lower() in _BOOLEANS:
            answer = f"{column} {operator} {_BOOLEANS[self.value.lower()]}"
        elif not is_number and kind != "BOOLEAN" and operator in ("=", "<>"):
            answer = f"CAST({column} AS VARCHAR) {operator} {quoted(self.value)}"
        else:
            answer = "false"
            is_word = f"TRY_CAST(CAST({column} AS VARCHAR) AS DOUBLE) IS NULL"
            expected = f"numbers on both sides of {rule}, or == or != with text"
            expected = f"== or != with true or false in {rule}" if kind == "BOOLEAN" else expected
            word = Check(is_word, self.column, column, expected, "change the rule")
            checks += [word, word._replace(broken="true")]
        return f"CAST({answer} AS TINYINT)", checks

    def _fix(self, value: Any) -> str:
        is_word = isinstance(value, str) and _number(value) is None
        example = f"== {shown(value, quotes=False)}" if is_word else ">= 4"
        return f"correct it, or set {self.key} to a rule, e.g. {self.column} {example}"


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
