"""Named slices of rows. A model may be good on average and bad on one of them.

Rows are sliced by history length, by training count of the item and of the user, by the item's category, and by each
context field. A field with many values is sliced by its ten most frequent ones. A row is in at most one slice of a
property, or for a `multi` field in one per value. Slicing reads the shards of the rows' splits once, for contexts, and
keeps one index array per slice. Combinations such as "new items with short histories" are not supported.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from din.base.errors import InputError
from din.contracts.facts import SliceMetrics
from din.features.reader import Features, Impressions
from din.kinds import UNKNOWN, Column
from din.metrics.summary import summary
from din.schema import ITEM_ID, SPLITS, USER_ID, Field, Group

LARGEST = 10
"""The largest number of slices of a field, one for each of its most frequent values among the rows."""
_LENGTHS = (1, 5, 20)
_COUNTS = (1, 10, 100, 1000)

Rows = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Slice:
    """The rows that share a property.

    Attributes:
        by: history_length, item_count, user_count, or the name of a field.
        value: the value, or range of values, that the rows share.
        rows: their positions.
    """

    by: str
    value: str
    rows: NDArray[np.int64]

    @property
    def name(self) -> str:
        """The name of the slice, e.g. history_length=5-19."""
        return f"{self.by}={self.value}"


def slices(rows: Rows, features: Features) -> list[Slice]:
    """Return all slices that have rows.

    Args:
        rows: columns of predictions, [B] each: user, item, sequence, history_length.
        features: the features that the predictions were made from.

    Raises:
        InputError: a row is not among the impressions of the features.
    """
    parts = _bands("history_length", rows["history_length"], _LENGTHS, "0")
    parts += _by_count("item_count", ITEM_ID, features, features.items[ITEM_ID].values[rows["item"]])
    if any(field.name == USER_ID for field in features.fields):
        parts += _by_count("user_count", USER_ID, features, features.users[USER_ID].values[rows["user"]])
    classes = [field for field in features.of(Group.ITEM) if field.form.has_vocabulary and not field.form.identifies]
    if classes:
        category = min(classes, key=lambda field: field.form.ragged)  # the first with one value, if there is one
        parts += _by_value(category, features, features.items[category.name].take(rows["item"]))
    for field, column in _contexts(rows["sequence"], features):
        parts += _by_value(field, features, column)
    return parts


def slice_table(rows: Rows, probabilities: ArrayLike, features: Features) -> list[SliceMetrics]:
    """Return the `summary` of each slice with its `by` and `value`.

    Args:
        rows: as for `slices`, and label.
        probabilities: the predictions of the rows, [B].
        features: as for `slices`.
    """
    p = np.asarray(probabilities)
    return [
        SliceMetrics(by=s.by, value=s.value, **dict(summary(rows["label"][s.rows], p[s.rows], rows["user"][s.rows])))
        for s in slices(rows, features)
    ]


def _bands(by: str, numbers: NDArray[Any], starts: tuple[int, ...], zero: str) -> list[Slice]:
    """Slice numbers ≥ 0 by range: 0, [starts[0], starts[1]), …, [starts[-1], ∞)."""
    names = [zero, *(f"{low}-{high - 1}" for low, high in pairwise(starts)), f"{starts[-1]}+"]
    band = np.searchsorted(starts, numbers, "right")
    return [Slice(by, names[number], np.flatnonzero(band == number)) for number in np.unique(band)]


def _by_count(by: str, name: str, features: Features, ids: NDArray[np.int32]) -> list[Slice]:
    """Slice by the number of times an id occurs in training; ids without a row of their own are `unknown`."""
    counts = features.vocabulary(name)["count"].to_numpy().copy()
    counts[UNKNOWN] = 0
    return _bands(by, counts[ids], _COUNTS, "unknown")


def _by_value(field: Field, features: Features, column: Column) -> list[Slice]:
    lengths = 1 if column.offsets is None else np.diff(column.offsets)
    owner = np.repeat(np.arange(len(column)), lengths)
    ids, counts = np.unique(column.values, return_counts=True)
    largest = ids[np.argsort(-counts, kind="stable")[:LARGEST]]
    values = features.vocabulary(field.name)["value"]
    unknown = "unknown"
    while pc.index(values.cast("string"), unknown).as_py() >= 0:  # it is a value of the log too
        unknown = f"({unknown})"
    names = [unknown if i == UNKNOWN else str(values[int(i)].as_py()) for i in largest]
    return [
        Slice(field.name, name, np.unique(owner[column.values == i])) for name, i in zip(names, largest, strict=True)
    ]


def _contexts(sequence: NDArray[np.int64], features: Features) -> list[tuple[Field, Column]]:
    """Return the context fields that hold ids, with a value for each row, found by its sequence.

    A sampled negative has the sequence of its click, and therefore the same context.
    """
    fields = [field for field in features.of(Group.CONTEXT) if field.form.holds_ids]
    if not fields:
        return []
    shards: list[Impressions] = []
    for split in reversed(SPLITS):  # most rows are test rows; other splits are read only if rows are missing
        shards += [shard.impressions for shard in features.shards(split)]
        sequences = np.concatenate([shard.sequence for shard in shards])
        order = np.argsort(sequences, kind="stable")
        place = np.append(order, -1)[np.searchsorted(sequences, sequence, sorter=order)]
        if not len(sequence) or (len(sequences) and np.array_equal(sequences[place], sequence)):
            return [(f, Column.joined([shard.contexts[f.name] for shard in shards]).take(place)) for f in fields]
    raise InputError(f"the predictions have rows that {features.root} has not; run `dvc repro evaluate`")
