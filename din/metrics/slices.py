"""Named parts of the test rows, where a model may be bad while its average is good.

By history length, training count of the item and of the user, the item's category, and each context field; of fields
with many values the ten most frequent ones. A row is in at most one slice of a kind, except that a `multi` field puts
it in one for each of its values. Costs one read of the test shards (for contexts), one index array a slice. It gives up
combinations ("new items with short histories").
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from din.errors import InputError
from din.features.reader import Column, Features
from din.metrics.summary import summary
from din.schema import ITEM_ID, UNKNOWN, USER_ID, Field, Group, Kind

LARGEST = 10
"""Slices of one field at most: its most frequent values among the rows."""
_LENGTHS = (1, 5, 20)
_COUNTS = (1, 10, 100, 1000)

Rows = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Slice:
    """Some rows by a property of theirs: `by` history_length, item_count, user_count, or a field; `rows` positions."""

    by: str
    value: str
    rows: NDArray[np.int64]

    @property
    def name(self) -> str:
        """Such as history_length=5-19."""
        return f"{self.by}={self.value}"


def slices(rows: Rows, features: Features) -> list[Slice]:
    """All slices that have rows.

    Args:
        rows: columns of reports/predictions/test.parquet, [B] each: user, item, sequence, history_length.
        features: what they were made from.

    Raises:
        InputError: a row is not among the test impressions of the features.
    """
    found = _bands("history_length", rows["history_length"], _LENGTHS, "0")
    found += _by_count("item_count", ITEM_ID, features, features.items[ITEM_ID].values[rows["item"]])
    if any(field.name == USER_ID for field in features.fields):
        found += _by_count("user_count", USER_ID, features, features.users[USER_ID].values[rows["user"]])
    item_fields = features.of(Group.ITEM)
    category = next((f for kind in (Kind.CATEGORICAL, Kind.MULTI) for f in item_fields if f.kind is kind), None)
    if category:
        found += _by_value(category, features, features.items[category.name].take(rows["item"]))
    for field, column in _contexts(rows["sequence"], features):
        found += _by_value(field, features, column)
    return found


def slice_table(rows: Rows, probabilities: ArrayLike, features: Features) -> list[dict[str, Any]]:
    """`summary` of each slice, with its `by` and `value`; JSON-ready.

    Args:
        rows: as for `slices`, and label.
        probabilities: of the rows, [B].
    """
    p = np.asarray(probabilities)
    return [
        {"by": s.by, "value": s.value, **summary(rows["label"][s.rows], p[s.rows], rows["user"][s.rows])}
        for s in slices(rows, features)
    ]


def _bands(by: str, numbers: NDArray[Any], starts: tuple[int, ...], zero: str) -> list[Slice]:
    """Numbers ≥ 0 by range: 0, [starts[0], starts[1]), …, [starts[-1], ∞)."""
    names = [zero, *(f"{low}-{high - 1}" for low, high in pairwise(starts)), f"{starts[-1]}+"]
    band = np.searchsorted(starts, numbers, "right")
    return [Slice(by, names[number], np.flatnonzero(band == number)) for number in np.unique(band)]


def _by_count(by: str, name: str, features: Features, ids: NDArray[np.int32]) -> list[Slice]:
    """By how often an id occurs in training; ids unseen or too rare for a row of their own are `unknown`."""
    counts = features.vocabulary(name)["count"].to_numpy().copy()
    counts[UNKNOWN] = 0
    return _bands(by, counts[ids], _COUNTS, "unknown")


def _by_value(field: Field, features: Features, column: Column) -> list[Slice]:
    lengths = 1 if column.offsets is None else np.diff(column.offsets)
    owner = np.repeat(np.arange(len(column.values) if column.offsets is None else len(column.offsets) - 1), lengths)
    ids, counts = np.unique(column.values, return_counts=True)
    largest = ids[np.argsort(-counts, kind="stable")[:LARGEST]]
    values = features.vocabulary(field.name)["value"]
    names = ["unknown" if i == UNKNOWN else str(values[int(i)].as_py()) for i in largest]
    return [
        Slice(field.name, name, np.unique(owner[column.values == i])) for name, i in zip(names, largest, strict=True)
    ]


def _contexts(sequence: NDArray[np.int64], features: Features) -> list[tuple[Field, Column]]:
    """The context fields that have ids, with a value for each row; a sampled negative has its click's sequence."""
    fields = [field for field in features.of(Group.CONTEXT) if not field.standardised]
    if not fields:
        return []
    shards = [shard.impressions for shard in features.shards("test")]
    known = np.concatenate([shard.sequence for shard in shards])
    order = np.argsort(known, kind="stable")
    place = np.append(order, -1)[np.searchsorted(known, sequence, sorter=order)]
    if len(sequence) and not (len(known) and np.array_equal(known[place], sequence)):
        raise InputError(f"the predictions have rows that {features.root} has not; run `dvc repro evaluate`")
    return [(f, _concatenate([shard.contexts[f.name] for shard in shards]).take(place)) for f in fields]


def _concatenate(columns: list[Column]) -> Column:
    values = np.concatenate([column.values for column in columns])
    lengths = [np.diff(column.offsets) for column in columns if column.offsets is not None]
    return Column(values, np.append(0, np.cumsum(np.concatenate(lengths))) if lengths else None)
