"""Storage forms: how a field's values are held, from the feature files and requests to the inputs of the graphs.

    form      kinds                   column of N owners          lookup in the embedding table     inputs of the graphs
    OneId     id, categorical         int32 [N]                   ids [N]                           ids
    Bucket    numeric with buckets    int32 [N]                   ids [N]                           ids
    IdList    multi                   int32 [M], offsets [N + 1]  ids [M], owners [M]               ids, owners
    Number    numeric                 float32 [N]                 ids [N], weights [N]              ids, weights
    Vector    vector of n numbers     float32 [N, n]              ids [1 + n], weights [N, 1 + n]   ids, weights

A form holds nothing that is learned: methods that need it are given the field's record of the manifest (`rows`,
`edges`, `mean`, `std`, `length`) or its vocabulary. Numpy only, so that validation and scoring can share it.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from typing_extensions import override

from din.errors import InputError, shown

if TYPE_CHECKING:
    import pyarrow as pa

UNKNOWN = 0
"""Row of every embedding table: missing, rare, or never seen in training."""
NEVER_SEEN = "\0never seen"
"""A raw value that no log holds."""
FAR = 100.0
"""Standard deviations from the mean of an extreme number; a number of an extreme vector."""
OUTSIDE = 1e12
"""A raw number outside every bucket."""
_PLAIN_NUMBERS = {int, float, bool, type(None)}

Rows = Callable[[Iterable[object]], list[int]]
"""A vocabulary: the row of each value, `UNKNOWN` where it has none."""


class Level(StrEnum):
    """Values that are rare in a log, but must be scored alike on every path."""

    LOWEST = "lowest"
    HIGHEST = "highest"
    MISSING = "missing"
    NEVER_SEEN = "never seen"


@dataclass(frozen=True)
class Column:
    """One field's values for N owners.

    values: [M], or [M, n] for a `Vector`. offsets: int64 [N + 1] into `values` for an `IdList`; None where M = N.
    """

    values: np.ndarray
    offsets: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.values) if self.offsets is None else len(self.offsets) - 1

    def take(self, owners: np.ndarray) -> "Column":
        """Return the column of `owners` [K], in that order."""
        if self.offsets is None:
            return Column(self.values[owners])
        flat, offsets = ragged_take(self.offsets[owners], self.offsets[owners + 1])
        return Column(self.values[flat], offsets)

    def times(self, owners: int) -> "Column":
        """Return `owners` copies of the first owner's value."""
        return self.take(np.zeros(owners, np.int64))

    @classmethod
    def joined(cls, columns: Sequence["Column"]) -> "Column":
        """Return the owners of several columns of one form, one column after the other."""
        values = np.concatenate([column.values for column in columns])
        lengths = [np.diff(column.offsets) for column in columns if column.offsets is not None]
        return cls(values, np.append(0, np.cumsum(np.concatenate(lengths))) if lengths else None)


@dataclass(frozen=True)
class Lookup:
    """Rows of the joint embedding table for one field of N owners.

    ids: int64 [M]. owners: int64 [M], the owner of each id, non-decreasing, every owner at least once; None where
    M = N and owner i has id i. weights: float32 [M] for a `Number`. A `Vector` has its n + 1 ids once and weights
    float32 [N, n + 1]: the embedding of owner i is the sum of all rows by weights i.
    """

    ids: np.ndarray
    owners: np.ndarray | None = None
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        if self.owners is not None:
            return int(self.owners.max(initial=-1)) + 1
        return len(self.ids if self.weights is None else self.weights)

    def parts(self) -> dict[str, np.ndarray]:
        """Return the arrays that are there, by the ending of the graphs' inputs."""
        every = {"": self.ids, ".owners": self.owners, ".weights": self.weights}
        return {ending: array for ending, array in every.items() if array is not None}


@dataclass(frozen=True)
class Example:
    """A value as a request says it, and as a column of one owner holds it."""

    raw: Any
    column: Column


class Form(ABC):
    """The way a field's values are held.

    Attributes:
        arrow_type: of the column in the feature files.
        rule: what validation expects of each value there.
        holds_ids: values are rows of the field's embedding table; else numbers that scale them.
        has_vocabulary: each id is that of a raw value.
        ragged: an owner may have several values.
        scalar: an owner has one value, which is an id or a number.
        axes: of each input of the graphs, by its ending: `owners`, `values`, or `fixed` to one size.
        missing: the column of one owner of whom nothing is known.
        traced: the column of one owner in the example that graphs are traced with.
        learned: keys of the field's record that `encode` and `examples` read.
    """

    arrow_type: ClassVar[str] = "int32"
    rule: ClassVar[str] = "an id must lie in [0, rows) of its table"
    holds_ids: ClassVar[bool] = True
    has_vocabulary: ClassVar[bool] = True
    ragged: ClassVar[bool] = False
    scalar: ClassVar[bool] = True
    axes: ClassVar[Mapping[str, tuple[str, ...]]] = {"": ("owners",)}
    missing: Column = Column(np.full(1, UNKNOWN, np.int32))
    traced: Column = missing
    learned: ClassVar[frozenset[str]] = frozenset()

    def rows(self, known: int) -> int:
        """Return the rows of the embedding table of a field with this many known values, or bucket edges."""
        return 1 + known

    def column(self, array: "pa.ChunkedArray") -> Column:
        """Return a column of the feature files."""
        return Column(array.to_numpy())

    def outside(self, values: np.ndarray, rows: int) -> np.ndarray:
        """Return a mask [M] of the values that no column may hold, given the rows of the embedding table."""
        return (values < 0) | (values >= rows)

    @abstractmethod
    def look_up(self, column: Column, offset: int, dropped: np.ndarray | None = None) -> Lookup:
        """Return the rows in the joint table.

        Args:
            offset: where the field's table begins.
            dropped: bool [N], owners whose value is taken as unknown.
        """

    @abstractmethod
    def encode(self, values: list[Any], record: Mapping[str, Any], vocabulary: Rows | None) -> Column:
        """Return raw values of a request as a column.

        Args:
            record: the field's, of the signature.
            vocabulary: of a form that has one.

        Raises:
            InputError: a value of another type.
        """

    def examples(self, record: Mapping[str, Any]) -> dict[Level, Example]:
        """Return values to compare paths on, by level; a level that the form does not know is left out."""
        return {Level.MISSING: Example(None, self.missing)}


class OneId(Form):
    """One id of a vocabulary."""

    @override
    def look_up(self, column: Column, offset: int, dropped: np.ndarray | None = None) -> Lookup:
        ids = column.values.astype(np.int64)
        if dropped is not None:
            ids[dropped] = UNKNOWN
        return Lookup(ids + offset)

    @override
    def encode(self, values: list[Any], record: Mapping[str, Any], vocabulary: Rows | None) -> Column:
        assert vocabulary is not None
        return Column(np.array(vocabulary(values), np.int32))

    @override
    def examples(self, record: Mapping[str, Any]) -> dict[Level, Example]:
        return super().examples(record) | {Level.NEVER_SEEN: Example(NEVER_SEEN, self.missing)}


class Bucket(OneId):
    """A number as the id of its bucket: 1 + the number of edges at or below it."""

    has_vocabulary = False
    learned = frozenset({"edges"})

    @override
    def rows(self, known: int) -> int:
        return 2 + known

    @override
    def encode(self, values: list[Any], record: Mapping[str, Any], vocabulary: Rows | None) -> Column:
        numbers = _numbers(values)
        buckets = 1 + np.searchsorted(np.array(record["edges"], np.float64), numbers, side="right")
        return Column(np.where(np.isfinite(numbers), buckets, UNKNOWN).astype(np.int32))

    @override
    def examples(self, record: Mapping[str, Any]) -> dict[Level, Example]:
        lowest, highest = (Column(np.array([bucket], np.int32)) for bucket in (1, record["rows"] - 1))
        return {
            Level.MISSING: Example(None, self.missing),
            Level.LOWEST: Example(-OUTSIDE, lowest),
            Level.HIGHEST: Example(OUTSIDE, highest),
        }


class IdList(Form):
    """Ids of the known values of a list, each once; a list without any has the unknown id."""

    arrow_type = "list<item: int32>"
    ragged = True
    scalar = False
    axes: ClassVar[Mapping[str, tuple[str, ...]]] = {"": ("values",), ".owners": ("values",)}
    missing = Column(np.full(1, UNKNOWN, np.int32), np.array([0, 1]))
    traced = Column(np.full(2, UNKNOWN, np.int32), np.array([0, 2]))

    @override
    def column(self, array: "pa.ChunkedArray") -> Column:
        lists: Any = array.combine_chunks()
        return Column(lists.values.to_numpy(zero_copy_only=False), lists.offsets.to_numpy().astype(np.int64))

    @override
    def look_up(self, column: Column, offset: int, dropped: np.ndarray | None = None) -> Lookup:
        assert column.offsets is not None
        ids = column.values.astype(np.int64)
        owners = np.repeat(np.arange(len(column)), np.diff(column.offsets))
        if dropped is not None:
            ids[dropped[owners]] = UNKNOWN
        return Lookup(ids + offset, owners)

    @override
    def encode(self, values: list[Any], record: Mapping[str, Any], vocabulary: Rows | None) -> Column:
        assert vocabulary is not None
        lists = [_distinct(vocabulary(_listed(value))) for value in values]
        offsets = np.cumsum([0, *map(len, lists)])
        return Column(np.array([row for rows in lists for row in rows], np.int32), offsets)

    @override
    def examples(self, record: Mapping[str, Any]) -> dict[Level, Example]:
        return super().examples(record) | {Level.NEVER_SEEN: Example([NEVER_SEEN], self.missing)}


class Number(Form):
    """A standardised number: it scales row 1; row 0 is a missing one, stored as NaN."""

    arrow_type = "float"
    rule = "a value must be finite, or NaN for missing"
    holds_ids = False
    has_vocabulary = False
    axes: ClassVar[Mapping[str, tuple[str, ...]]] = {"": ("owners",), ".weights": ("owners",)}
    missing = Column(np.full(1, math.nan, np.float32))
    traced = Column(np.zeros(1, np.float32))
    learned = frozenset({"mean", "std"})

    @override
    def rows(self, known: int) -> int:
        return 2

    @override
    def outside(self, values: np.ndarray, rows: int) -> np.ndarray:
        return np.isinf(values)

    def look_up(self, column: Column, offset: int, dropped: np.ndarray | None = None) -> Lookup:
        """Return the rows in the joint table; a number is never dropped."""
        missing = np.isnan(column.values)
        ids = np.where(missing, UNKNOWN, 1).astype(np.int64)
        return Lookup(ids + offset, weights=np.where(missing, 1, column.values).astype(np.float32))

    @override
    def encode(self, values: list[Any], record: Mapping[str, Any], vocabulary: Rows | None) -> Column:
        numbers = _numbers(values)
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = (numbers - record["mean"]) / record["std"]
            return Column(np.where(np.isfinite(numbers), scaled, math.nan).astype(np.float32))

    @override
    def examples(self, record: Mapping[str, Any]) -> dict[Level, Example]:
        mean, far = record["mean"], FAR * record["std"]
        return super().examples(record) | {
            Level.LOWEST: Example(mean - far, Column(np.full(1, -FAR, np.float32))),
            Level.HIGHEST: Example(mean + far, Column(np.full(1, FAR, np.float32))),
        }


class Vector(Form):
    """A list of `length` numbers, used as given: it weighs the rows 1 to n; row 0 is a missing one, stored as NaNs.

    So its embedding is a linear projection of the vector, learned as rows of the table like any other.
    """

    arrow_type = "list<item: float>"
    rule = "a vector must have the length of its field, and hold finite numbers, or NaN alone for missing"
    holds_ids = False
    has_vocabulary = False
    scalar = False
    axes: ClassVar[Mapping[str, tuple[str, ...]]] = {"": ("fixed",), ".weights": ("owners", "fixed")}
    learned = frozenset({"length"})

    def __init__(self, length: int) -> None:
        self.length = length
        self.missing = self._column(math.nan)
        self.traced = self._column(0.0)

    @override
    def rows(self, known: int) -> int:
        return 1 + self.length

    def column(self, array: "pa.ChunkedArray") -> Column:
        """Return a column of the feature files.

        Raises:
            InputError: a list of another length.
        """
        lists: Any = array.combine_chunks()
        lengths = np.diff(lists.offsets.to_numpy())
        if (lengths != self.length).any():
            wrong = lengths[lengths != self.length][0]
            raise InputError(f"a list of {wrong} numbers; expected {self.length}")
        return Column(lists.flatten().to_numpy(zero_copy_only=False).reshape(-1, self.length))

    @override
    def outside(self, values: np.ndarray, rows: int) -> np.ndarray:
        known = np.isfinite(values).sum(1)
        missing = np.isnan(values).sum(1)
        return (known < self.length) & (missing < self.length)

    @override
    def look_up(self, column: Column, offset: int, dropped: np.ndarray | None = None) -> Lookup:
        missing = np.isnan(column.values).any(1)
        if dropped is not None:
            missing |= dropped
        weights = np.zeros((len(column), 1 + self.length), np.float32)
        weights[:, 1:] = column.values
        weights[missing] = 0
        weights[missing, 0] = 1
        return Lookup(np.arange(offset, offset + 1 + self.length), weights=weights)

    @override
    def encode(self, values: list[Any], record: Mapping[str, Any], vocabulary: Rows | None) -> Column:
        numbers = np.array([self._numbers(value) for value in values], np.float64).reshape(-1, self.length)
        with np.errstate(over="ignore"):
            vectors = numbers.astype(np.float32)
        vectors[~np.isfinite(vectors).all(1)] = math.nan
        return Column(vectors)

    @override
    def examples(self, record: Mapping[str, Any]) -> dict[Level, Example]:
        return super().examples(record) | {
            Level.LOWEST: Example([-FAR] * self.length, self._column(-FAR)),
            Level.HIGHEST: Example([FAR] * self.length, self._column(FAR)),
        }

    def _column(self, value: float) -> Column:
        return Column(np.full((1, self.length), value, np.float32))

    def _numbers(self, value: Any) -> np.ndarray:
        numbers = _numbers(_listed(value))
        if len(numbers) not in (0, self.length):
            raise InputError(f"{len(numbers)} numbers; expected {self.length}, or null where the vector is missing")
        return numbers if len(numbers) else np.full(self.length, math.nan)


def ragged_take(starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of the slices [start, end) one after the other, and where each slice begins.

        starts [1, 7, 4], ends [3, 7, 6]  ->  flat [1, 2, 4, 5], offsets [0, 2, 2, 4]

    Returns:
        flat: int64 [sum of lengths]. offsets: int64 [len(starts) + 1].
    """
    lengths = ends.astype(np.int64) - starts
    offsets = np.zeros(len(starts) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    flat = np.repeat(starts - offsets[:-1], lengths)
    flat += np.arange(offsets[-1])
    return flat, offsets


def _listed(value: Any) -> Sequence[Any]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise InputError(f"{shown(value)}; expected a list of values, or null")
    return value


def _distinct(rows: list[int]) -> list[int]:
    return list(dict.fromkeys(row for row in rows if row != UNKNOWN)) or [UNKNOWN]


def _numbers(values: Sequence[Any]) -> np.ndarray:
    """Return values as float64, NaN where missing; booleans are 1 and 0, text is never a number."""
    if set(map(type, values)) <= _PLAIN_NUMBERS:
        with suppress(OverflowError):  # `_number` names the value
            return np.array(values, np.float64)
    return np.fromiter(map(_number, values), np.float64, len(values))


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    try:
        if isinstance(value, Real | np.bool_):
            return float(value)
    except OverflowError:
        raise InputError(f"{shown(value)} is beyond the range of numbers; correct it, or send null") from None
    raise InputError(f"{shown(value)} is not a number; expected a number, or null where it is missing")
