"""Guess what every column is beside user, item, time and label: a field of some kind, feedback, or nothing.

    does its name mean a click?                                     -> nothing: it repeats the label or sums it up
    is its name one of feedback, or does it tell the label alone?   -> behaviour: only the history may use it
    is it the same for all rows of an item?                         -> item: candidates and histories have it
    else it is known when the item is shown                         -> context

A column is left out if it has one value, another one in nearly every row, or new ones on later days.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from din.data import readers
from din.metrics.ranking import auc
from din.schema import ITEM_ID, LABEL, TIMESTAMP, USER_ID, Group, name_problem
from din_start.init import words
from din_start.init.look import Column
from din_start.init.roles import unit_of

TELLS_ALL = 0.8  # AUC of one column; no honest feature comes near it
_SAME = 0.995  # share of rows with the commonest value of their item, user or day
_OFTEN = 5  # rows a value, so that an embedding can be learned
_NEW = 0.2  # share of later rows with new values, for which validate_features would close
_FEW = 1000  # values of a category
_FEW_NUMBERS = 30
_SUMMED = ("rating", "click", "total")  # names of answers, which tables of items and users sum up
_GAPS = 1.05  # highest code, divided by the number of codes


@dataclass(frozen=True)
class FieldGuess:
    """How to use a column.

    Attributes:
        reason: why.
        group: the group of the field, or None if the column is left out.
        kind: the kind of the field, as in `featurize.fields`.
    """

    name: str
    reason: str
    group: Group | None = None
    kind: Any = None

    @property
    def sentence(self) -> str:
        """How the column is used, and why."""
        use = " is left out" if self.group is None else f" ({self.group})"
        return f"{self.name}{use}: {self.reason}"


@dataclass(frozen=True)
class Events:
    """The keys of all events as numbers, [rows] each."""

    users: np.ndarray
    items: np.ndarray
    days: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, table: pa.Table) -> "Events":
        """Return the keys of the raw log's events."""
        days = table[TIMESTAMP].to_numpy().astype("datetime64[D]").astype(np.int64)
        return cls(_codes(table[USER_ID]), _codes(table[ITEM_ID]), days - days.min(), table[LABEL].to_numpy())


def of_event(
    name: str, column: pa.ChunkedArray, events: Events, described: Group | None, is_graded: bool
) -> FieldGuess:
    """Return what a further column of the raw log's events is.

    Args:
        name, column: the column.
        events: the keys of the events.
        described: the group of columns that describe the item, or None if there is an item table.
        is_graded: whether the label's rule is over this column.
    """
    kind, why = kind_of(name, column)
    if kind is None:
        return FieldGuess(name, why)
    if is_graded and len(column.unique().drop_null()) == 2:
        return FieldGuess(name, "the label's own column")
    if words.means(name, "click") and (not words.describes_click(name) or tells(column, events.labels) > TELLS_ALL):
        return FieldGuess(name, "by its name a click: it repeats the label or sums it up")
    if is_graded:
        reason = f"the label's own column, so only the history may use it; {why}"
        return FieldGuess(name, reason, Group.BEHAVIOUR, kind)
    values = _codes(column)
    of_item = _follows(events.items, values)
    if words.means(name, "rating", "reaction", "feedback"):
        if of_item or _follows(events.users, values):
            whose = "to the item" if of_item else "of the user"
            return FieldGuess(name, f"sums up answers {whose}, including later ones")
        return FieldGuess(name, f"by its name an answer, known only after the click; {why}", Group.BEHAVIOUR, kind)
    if (column_auc := tells(column, events.labels)) > TELLS_ALL:
        reason = f"predicts the label on its own (AUC {column_auc:.2f}), so it comes after the click; {why}"
        return FieldGuess(name, reason, Group.BEHAVIOUR, kind)
    if of_item and _counts(name, kind):
        return FieldGuess(name, "by its name counts impressions or answers of the item, including later ones")
    if of_item and described is None:
        return FieldGuess(name, "the same in all rows of an item, but items have a table of their own")
    if of_item:
        return FieldGuess(name, f"the same in all rows of an item; {why}", described, kind)
    if (share := _new_later(events.days, values)) > _NEW:
        return FieldGuess(name, f"{share:.0%} of the later rows have values that no earlier row has")
    return FieldGuess(name, f"known when the item is shown, as far as its name says; {why}", Group.CONTEXT, kind)


def is_answer(name: str) -> bool:
    """Return whether a name means an answer of users, or a sum of answers or impressions."""
    return words.means(name, *_SUMMED, "reaction", "feedback", "shown")


def _counts(name: str, kind: Any) -> bool:
    """Return whether numbers of an item are counts by their name, which grow with the log."""
    return isinstance(kind, dict) and is_answer(name) and not words.means(name, "money")


def of_table(table: pa.Table, group: Group, key: str) -> list[FieldGuess]:
    """Return what the columns of an item or user table are."""
    guesses = []
    for name in table.column_names:
        if name == key:
            continue
        kind, why = kind_of(name, table[name])
        if kind is not None and (words.means(name, *_SUMMED) or (group is Group.ITEM and _counts(name, kind))):
            kind, why = None, "may count impressions or answers that came later"
        guesses.append(FieldGuess(name, why, None if kind is None else group, kind))
    return guesses


def kind_of(name: str, column: pa.ChunkedArray) -> tuple[Any, str]:
    """Return the kind of a column and the reason; None as kind if the column is of no use."""
    if problem := name_problem(name):
        return None, f"{problem}; rename the column to use it"
    if pa.types.is_list(column.type):
        return _kind_of_lists(column)
    seen = Column(name, column)
    rows = len(column)
    distinct = seen.distinct
    if distinct < 2:
        return None, "the same value in all rows"
    if pa.types.is_boolean(column.type):
        return "categorical", "true or false"
    if seen.is_amount:
        return None, f"{seen.examples} are texts, not numbers; write them without currency and thousands separators"
    is_id = words.means(name, "id")
    if distinct > 0.9 * rows and (seen.kind != "number" or is_id):
        return None, f"{distinct:,} values in {rows:,} rows: hardly any repeats, so there is nothing to learn"
    if unit_of(seen) and (seen.kind != "number" or words.means(name, "time")):
        return None, "a time or date: later rows have values that training never saw"
    if seen.kind == "number" and not is_id and distinct > _FEW_NUMBERS and not _is_code(seen):
        return {"kind": "numeric", "buckets": 10}, f"{distinct:,} numbers, in ten buckets"
    if distinct <= _FEW and not (is_id and distinct > 100):
        return "categorical", f"{distinct:,} values"
    if rows / distinct >= _OFTEN or is_id:
        return "id", f"{distinct:,} values"
    return None, f"{distinct:,} texts in {rows:,} rows: too few rows of each to learn from"


def _is_code(column: Column) -> bool:
    """Return whether numbers are codes of categories: by their name, or because they are whole and leave no gaps.

    Without a name, whole numbers that repeat count as codes. Bucketing unrelated codes destroys them; treating a number
    as a category costs little.
    """
    if not column.is_whole or words.means(column.name, "money", "number"):
        return False
    if column.name.startswith(readers.UNNAMED) and len(column.values) / column.distinct >= _OFTEN:
        return True
    low, high = pc.min_max(column.values).as_py().values()
    return words.means(column.name, "category") or (low in (0, 1) and high <= _GAPS * column.distinct)


def _kind_of_lists(column: pa.ChunkedArray) -> tuple[Any, str]:
    values = column.combine_chunks().flatten()
    lengths = pc.list_value_length(column).drop_null().unique()
    if pa.types.is_floating(values.type) and len(lengths) == 1 and lengths[0].as_py() > 3:
        return "vector", f"lists of {lengths[0]} numbers"
    distinct = len(values.unique())
    if distinct < 2 or distinct > 0.9 * len(values):
        return None, f"lists of {distinct:,} different values, which hardly repeat"
    return "multi", f"lists of {distinct:,} different values"


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """Number the values of a column; a missing value has a number of its own."""
    if pa.types.is_list(column.type):
        column = pc.binary_join(column.cast(pa.list_(pa.string())), "\x1f")
    return column.combine_chunks().dictionary_encode("encode").indices.to_numpy()


def _follows(keys: np.ndarray, values: np.ndarray) -> bool:
    """Return whether rows of one key nearly always have the same value, where rows of several keys don't."""
    pairs = pa.table({"key": keys, "value": values}).group_by(["key", "value"]).aggregate([([], "count_all")])
    counts = pairs.group_by("key").aggregate([("count_all", "sum"), ("count_all", "max")])
    rows = counts["count_all_sum"].to_numpy()
    common = counts["count_all_max"].to_numpy()
    again = rows > 1
    others = 1 - np.bincount(values).max() / len(values)  # share of the rows without the commonest value
    apart = 1 - common[again].sum() / max(rows[again].sum(), 1)
    return bool(again.sum() > 10 and apart <= (1 - _SAME) and apart <= others / 10)


def _new_later(days: np.ndarray, values: np.ndarray) -> float:
    """Return the share of rows of the last fifth of days whose value no earlier row has."""
    later = days > 0.8 * days.max()
    return float(np.mean(~np.isin(values[later], values[~later]))) if later.any() and not later.all() else 0.0


def tells(column: pa.ChunkedArray, labels: np.ndarray) -> float:
    """Return the AUC of a column alone: click rates of its values in half of the rows, judged on the other half."""
    if pa.types.is_list(column.type) or labels.all():
        return 0.5
    values = _codes(column)
    if column.type in (pa.int64(), pa.float64()) and values.max() > 50:
        numbers = column.fill_null(0).to_numpy()
        values = np.searchsorted(np.unique(np.quantile(numbers, np.linspace(0, 1, 50))), numbers)
    half = np.arange(len(labels)) % 2 == 0
    clicks = np.bincount(values[half], labels[half], minlength=values.max() + 1)
    rows = np.bincount(values[half], minlength=values.max() + 1)
    rates = (clicks + labels.mean()) / (rows + 1)
    return auc(labels[~half], rates[values[~half]]) or 0.5
