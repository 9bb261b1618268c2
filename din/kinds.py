"""Kinds of field, and the forms in which their values are stored, from feature files and requests to the ONNX graphs.

A kind is a way in which raw values become rows of an embedding table. `KINDS` has its form, by the name of the kind.

    form     kinds                  column of N owners              missing   rows of the table   lookup
    OneId    id, categorical        int32 [N], ids                  0         1 + values          ids [N]
    Bucket   numeric with buckets   int32 [N], ids of buckets       0         2 + edges           ids [N]
    IdList   multi                  int32 [M], offsets [N + 1]      [0]       1 + values          ids, owners [M]
    Number   numeric                float32 [N], standardised       NaN       2                   ids, weights [N]
    Vector   vector of n numbers    float32 [N, n], as given        all NaN   1 + n               ids [1 + n], weights

N owners have M values in all. A form holds nothing that is learned from a log. Methods that need such values take the
field's vocabulary, or its record in the manifest (`rows` and `LearnedValues`). `din.featurize.coders` learns them, and
stores the values of a log in these forms. This module needs only the packages of a scoring process, so that validation
and scoring can share it. A plugin that registers a kind imports no more than that either, except in the method `coder`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from numbers import Real
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NotRequired

import numpy as np
from pydantic import PositiveInt
from typing_extensions import TypedDict, TypeVar, override

from din.base.errors import InputError, shown
from din.seams import Seam

if TYPE_CHECKING:
    import pyarrow as pa

UNKNOWN = 0
"""The row of every embedding table for values that are missing, rare, or never seen in training."""
NEVER_SEEN = "\0never seen"
"""A raw value that no log contains."""
FAR = 100.0
"""The distance of an extreme number from the mean in standard deviations; also each number of an extreme vector."""
OUTSIDE = 1e12
"""A raw number outside every bucket."""
BEYOND_FLOAT32 = (2 - 2**-24) * 2.0**127
"""The smallest float64 that rounds to infinity as a float32. Numbers from here on are missing."""
LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
"""The bound of a standardised number."""
_PLAIN_NUMBERS = {int, float, bool, type(None)}

Array = TypeVar("Array", default=np.ndarray)
EXACT = 2**53
"""Floats hold all whole numbers up to this one; beyond it, several are rounded to one."""
Rows = Callable[[Iterable[object]], list[int]]
"""A vocabulary: returns the row of each value, `UNKNOWN` for a value that it does not hold."""


class LearnedValues(TypedDict):
    """The values that the coders of built-in kinds learn from a log, as keys of the field's record."""

    edges: NotRequired[list[float]]
    mean: NotRequired[float]
    std: NotRequired[float]
    length: NotRequired[PositiveInt]


class Level(StrEnum):
    """Kinds of values that are rare in a log, but must get the same score from PyTorch, ONNX and the scorer."""

    LOWEST = "lowest"
    HIGHEST = "highest"
    MISSING = "missing"
    NEVER_SEEN = "never seen"


@dataclass(frozen=True)
class Column:
    """One field's values for N owners.

    Attributes:
        values: [M], or [M, n] for a `Vector`.
        offsets: int64 [N + 1], where the values of each owner of an `IdList` begin. None: each owner has one value.
    """

    values: np.ndarray
    offsets: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.values) if self.offsets is None else len(self.offsets) - 1

    def take(self, owners: np.ndarray) -> "Column":
        """Return the column of the owners at positions `owners`, in that order."""
        if self.offsets is None:
            return Column(self.values[owners])
        flat, offsets = ragged_take(self.offsets[owners], self.offsets[owners + 1])
        return Column(self.values[flat], offsets)

    def times(self, owners: int) -> "Column":
        """Return `owners` copies of the first owner's value."""
        return self.take(np.zeros(owners, np.int64))

    @classmethod
    def joined(cls, columns: Sequence["Column"]) -> "Column":
        """Return the columns of several groups of owners as one column, one group after the other."""
        values = np.concatenate([column.values for column in columns])
        lengths = [np.diff(column.offsets) for column in columns if column.offsets is not None]
        return cls(values, np.append(0, np.cumsum(np.concatenate(lengths))) if lengths else None)


@dataclass(frozen=True)
class Lookup(Generic[Array]):
    """Rows of the joint embedding table for one field of N owners, as arrays or as tensors.

    Attributes:
        ids: int64 [M]; for a `Vector` the 1 + n ids of its rows, once.
        owners: int64 [M], the owner of each id, non-decreasing, every owner at least once. None: owner i has id i.
        weights: float32 [M], a factor on each row, for a `Number`. float32 [N, 1 + n] for a `Vector`: the embedding of
            owner i is the sum of all rows, each times its weight in weights[i].
    """

    ids: Array
    owners: Array | None = None
    weights: Array | None = None

    @property
    def plain(self) -> bool:
        """True if the embedding of each owner is the row of one id, unchanged."""
        return self.owners is None and self.weights is None

    def __len__(self: "Lookup[np.ndarray]") -> int:
        if self.owners is not None:
            return int(self.owners.max(initial=-1)) + 1
        return len(self.ids if self.weights is None else self.weights)

    def of_owners(self: "Lookup[np.ndarray]") -> list[list[float]]:
        """Return the ids of each owner, and after them their weights, if there are any."""
        if self.owners is not None:
            ends = np.searchsorted(self.owners, np.arange(1, len(self)))
            return [ids.tolist() for ids in np.split(self.ids, ends)]
        ids = self.ids if self.weights is None or self.weights.ndim == 1 else np.tile(self.ids, (len(self), 1))
        parts = [ids] if self.weights is None else [ids, self.weights]
        return np.column_stack(parts).tolist()

    def parts(self) -> dict[str, Array]:
        """Return the arrays that are not None, by the ending of their names as inputs of the graphs."""
        every = {"": self.ids, ".owners": self.owners, ".weights": self.weights}
        return {ending: array for ending, array in every.items() if array is not None}


@dataclass(frozen=True)
class Example:
    """A value as a request states it, and as a column of one owner holds it."""

    raw: Any
    column: Column


class FieldForm(ABC):
    """The form in which a field's values are stored.

    Attributes:
        bucketed: a field of this kind may have `buckets`.
        identifies: a value belongs to one thing, such as an item. Rare ones are unknown (`min_count`), and no slices of
            rows are drawn by them.
        replaced: `unknown_rate` replaces values by unknown in training.
        arrow_type: the type of the column in the feature files.
        rule: a sentence for validation that says which values are allowed there.
        holds_ids: the values are rows of the field's embedding table. If not, they are numbers that scale rows.
        has_vocabulary: each id belongs to one raw value.
        ragged: an owner may have several values.
        scalar: an owner has one value, either an id or a number.
        axes: the dimensions of each input of the graphs, by the ending of its name: `owners`, `values`, or `fixed`.
        missing: the column of one owner whose value is missing.
        traced: the column of one owner in the example that graphs are traced with.
        learned: keys of the field's record that `encode` and `examples` read. A plugin's form may name further ones.
        request_schema: the JSON schema of a value in a request.
    """

    bucketed: ClassVar[bool] = False
    identifies: ClassVar[bool] = False
    replaced: ClassVar[bool] = True
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
    request_schema: ClassVar[Mapping[str, Any]]

    @classmethod
    def of(cls, buckets: int | None, length: int | None) -> "FieldForm":
        """Return the form of a field with `buckets`, whose vectors have a length, if it is known yet."""
        return cls()

    @staticmethod
    def coder() -> type[Any] | None:
        """Return the coder of a plugin's kind (`din.featurize.coders.Coder`), or None for that of the form it extends.

        Import what it needs in this method: a scoring process has none of the packages that read logs.
        """
        return None

    def column(self, array: "pa.ChunkedArray") -> Column:
        """Return a column of the feature files."""
        return Column(array.to_numpy())

    def outside(self, values: np.ndarray, rows: int) -> np.ndarray:
        """Return a mask [M] of the values that a column must not hold.

        Args:
            rows: the number of rows of the field's embedding table.
        """
        return (values < 0) | (values >= rows)

    def forget(self, column: Column, rows: int) -> Column:
        """Return a column with the ids from `rows` on replaced by unknown. Numbers are unchanged."""
        return column

    @abstractmethod
    def look_up(self, column: Column, offset: int, dropped: np.ndarray | None = None) -> Lookup:
        """Return the rows of the values in the joint table.

        Args:
            offset: the field's first row in the joint table.
            dropped: bool [N], the owners whose value is replaced by unknown.
        """

    @abstractmethod
    def encode(self, values: list[Any], record: Mapping[str, Any], vocabulary: Rows | None) -> Column:
        """Return raw values of a request as a column.

        Args:
            record: the field's record in the signature.
            vocabulary: the field's vocabulary, if its form has one.

        Raises:
            InputError: a value has the wrong type.
        """

    def examples(self, record: Mapping[str, Any]) -> dict[Level, Example]:
        """Return example values of the levels that this form has."""
        return {Level.MISSING: Example(None, self.missing)}

    @abstractmethod
    def draw(self, random: Random, record: Mapping[str, Any], draw_known: Callable[[], Any]) -> Any:
        """Return a raw value that a log of this field could hold, for the golden requests of a bundle.

        Args:
            record: the field's record in the manifest.
            draw_known: draws a value of the field's vocabulary, if its form has one.
        """


KINDS: Seam[type[FieldForm]] = Seam(
    "kind of field", dict.fromkeys(("id", "categorical", "multi", "numeric", "vector"), "din.kinds")
)
"""The forms of fields, by the name of their kind."""


@KINDS.register("categorical")
class OneId(FieldForm):
    """One id from a vocabulary."""

    request_schema: ClassVar[Mapping[str, Any]] = {"type": ["string", "number", "boolean", "null"]}

    @override
    def forget(self, column: Column, rows: int) -> Column:
        return Column(np.where(column.values < rows, column.values, np.int32(UNKNOWN)))

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

    @override
    def draw(self, random: Random, record: Mapping[str, Any], draw_known: Callable[[], Any]) -> Any:
        return draw_known()


@KINDS.register("id")
class Identity(OneId):
    """The id of a user, an item or another thing."""

    identifies = True


class Bucket(OneId):
    """A number, stored as the id of its bucket: 1 + the number of edges at or below it."""

    has_vocabulary = False
    learned = frozenset({"edges"})
    request_schema: ClassVar[Mapping[str, Any]] = {"type": ["number", "null"]}

    @override
    def encode(self, values: list[Any], record: Mapping[str, Any], vocabulary: Rows | None) -> Column:
        numbers = numbers_of(values)
        buckets = 1 + np.searchsorted(np.array(record["edges"], np.float64), numbers, side="right")
        return Column(np.where(np.isnan(numbers), UNKNOWN, buckets).astype(np.int32))

    @override
    def examples(self, record: Mapping[str, Any]) -> dict[Level, Example]:
        lowest, highest = (Column(np.array([bucket], np.int32)) for bucket in (1, record["rows"] - 1))
        return {
            Level.MISSING: Example(None, self.missing),
            Level.LOWEST: Example(-OUTSIDE, lowest),
            Level.HIGHEST: Example(OUTSIDE, highest),
        }

    @override
    def draw(self, random: Random, record: Mapping[str, Any], draw_known: Callable[[], Any]) -> Any:
        return random.choice([None, *record["edges"]])


@KINDS.register("multi")
class IdList(FieldForm):
    """The ids of the known values of a list, each once. A list without known values has the unknown id."""

    arrow_type = "list<item: int32>"
    ragged = True
    scalar = False
    axes: ClassVar[Mapping[str, tuple[str, ...]]] = {"": ("values",), ".owners": ("values",)}
    missing = Column(np.full(1, UNKNOWN, np.int32), np.array([0, 1]))
    traced = Column(np.full(2, UNKNOWN, np.int32), np.array([0, 2]))
    request_schema: ClassVar[Mapping[str, Any]] = {"type": ["array", "null"], "items": {"type": ["string", "number"]}}

    @override
    def column(self, array: "pa.ChunkedArray") -> Column:
        lists: Any = array.combine_chunks()
        return Column(lists.values.to_numpy(zero_copy_only=False), lists.offsets.to_numpy().astype(np.int64))

    @override
    def forget(self, column: Column, rows: int) -> Column:
        assert column.offsets is not None
        kept = column.values < rows
        lengths = np.diff(np.append(0, np.cumsum(kept))[column.offsets])
        emptied = (lengths == 0) & (np.diff(column.offsets) > 0)
        values = np.where(kept, column.values, np.int32(UNKNOWN))
        kept[column.offsets[:-1][emptied]] = True  # keep their first value, as unknown
        return Column(values[kept], np.append(0, np.cumsum(lengths + emptied)))

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

    @override
    def draw(self, random: Random, record: Mapping[str, Any], draw_known: Callable[[], Any]) -> Any:
        return [draw_known() for _ in range(random.randrange(4))]


@KINDS.register("numeric")
class Number(FieldForm):
    """A standardised number, which scales row 1. A missing number is stored as NaN and has row 0."""

    bucketed = True
    replaced = False
    arrow_type = "float"
    rule = "a value must be finite, or NaN for missing"
    holds_ids = False
    has_vocabulary = False
    axes: ClassVar[Mapping[str, tuple[str, ...]]] = {"": ("owners",), ".weights": ("owners",)}
    missing = Column(np.full(1, math.nan, np.float32))
    traced = Column(np.zeros(1, np.float32))
    learned = frozenset({"mean", "std"})
    request_schema: ClassVar[Mapping[str, Any]] = {"type": ["number", "null"]}

    @override
    @classmethod
    def of(cls, buckets: int | None, length: int | None) -> FieldForm:
        return Bucket() if buckets else cls()

    @override
    def outside(self, values: np.ndarray, rows: int) -> np.ndarray:
        return np.isinf(values)

    def look_up(self, column: Column, offset: int, dropped: np.ndarray | None = None) -> Lookup:
        """Return the rows of the numbers in the joint table. Numbers are never dropped."""
        missing = np.isnan(column.values)
        ids = np.where(missing, UNKNOWN, 1).astype(np.int64)
        return Lookup(ids + offset, weights=np.where(missing, 1, column.values).astype(np.float32))

    @override
    def encode(self, values: list[Any], record: Mapping[str, Any], vocabulary: Rows | None) -> Column:
        with np.errstate(over="ignore"):
            scaled = (numbers_of(values) - record["mean"]) / record["std"]
        return Column(np.clip(scaled, -LARGEST_FLOAT32, LARGEST_FLOAT32).astype(np.float32))

    @override
    def examples(self, record: Mapping[str, Any]) -> dict[Level, Example]:
        mean, far = record["mean"], FAR * record["std"]
        return super().examples(record) | {
            Level.LOWEST: Example(mean - far, Column(np.full(1, -FAR, np.float32))),
            Level.HIGHEST: Example(mean + far, Column(np.full(1, FAR, np.float32))),
        }

    @override
    def draw(self, random: Random, record: Mapping[str, Any], draw_known: Callable[[], Any]) -> Any:
        return record["mean"] + record["std"] * random.uniform(-2, 2)


@KINDS.register("vector")
class Vector(FieldForm):
    """A list of `length` numbers, used as given. Number k scales row k; the embedding is the sum of the scaled rows.

    The embedding is a linear projection of the vector, learned as rows of the table. A missing vector is stored as NaNs
    and has row 0.
    """

    arrow_type = "list<item: float>"
    rule = "a vector must have the length of its field, and hold finite numbers, or only NaN if it is missing"
    holds_ids = False
    has_vocabulary = False
    scalar = False
    axes: ClassVar[Mapping[str, tuple[str, ...]]] = {"": ("fixed",), ".weights": ("owners", "fixed")}
    learned = frozenset({"length"})
    request_schema: ClassVar[Mapping[str, Any]] = {"type": ["array", "null"], "items": {"type": "number"}}

    def __init__(self, length: int) -> None:
        self.length = length
        self.missing = self._column(math.nan)
        self.traced = self._column(0.0)

    @override
    @classmethod
    def of(cls, buckets: int | None, length: int | None) -> FieldForm:
        return cls(length or 0)

    def column(self, array: "pa.ChunkedArray") -> Column:
        """Return a column of the feature files.

        Raises:
            InputError: a list does not have the length of the field.
        """
        lists: Any = array.combine_chunks()
        lengths = np.diff(lists.offsets.to_numpy())
        if (lengths != self.length).any():
            wrong = lengths[lengths != self.length][0]
            raise InputError(f"a list of {wrong} numbers; expected {self.length}")
        return Column(lists.flatten().to_numpy(zero_copy_only=False).reshape(-1, self.length))

    @override
    def outside(self, values: np.ndarray, rows: int) -> np.ndarray:
        finite = np.isfinite(values).sum(1)
        missing = np.isnan(values).sum(1)
        return (finite < self.length) & (missing < self.length)

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
        vectors = np.array([self._numbers(value) for value in values], np.float32).reshape(-1, self.length)
        vectors[np.isnan(vectors).any(1)] = math.nan
        return Column(vectors)

    @override
    def examples(self, record: Mapping[str, Any]) -> dict[Level, Example]:
        return super().examples(record) | {
            Level.LOWEST: Example([-FAR] * self.length, self._column(-FAR)),
            Level.HIGHEST: Example([FAR] * self.length, self._column(FAR)),
        }

    @override
    def draw(self, random: Random, record: Mapping[str, Any], draw_known: Callable[[], Any]) -> Any:
        return [random.uniform(-0.1, 0.1) for _ in range(self.length)]

    def _column(self, value: float) -> Column:
        return Column(np.full((1, self.length), value, np.float32))

    def _numbers(self, value: Any) -> np.ndarray:
        numbers = numbers_of(_listed(value))
        if len(numbers) not in (0, self.length):
            raise InputError(f"{len(numbers)} numbers; expected {self.length}, or null where the vector is missing")
        return numbers if len(numbers) else np.full(self.length, math.nan)


def form_of(kind: str, buckets: int | None, length: int | None) -> FieldForm:
    """Return the storage form of a kind. A vector whose length is not known yet has length 0.

    Raises:
        InputError: no plugin that is loaded registers the kind.
    """
    return _form(KINDS[kind].thing, buckets, length)


@cache
def _form(made_by: type[FieldForm], buckets: int | None, length: int | None) -> FieldForm:
    return made_by.of(buckets, length)


def text(value: object) -> str | None:
    """Return a value as text for comparison, so that 7, 7.0 and "7" are equal; return None for None and NaN.

    Raises:
        InputError: the value is a list, an object, or an integer of more than 4,300 digits.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        try:
            return str(value)
        except ValueError:  # Python writes no integer of more than 4,300 digits
            raise InputError(f"{shown(value)}; expected a shorter number, or text") from None
    if isinstance(value, float | np.floating):
        if math.isnan(value):
            return None
        return str(int(value)) if float(value).is_integer() else repr(float(value))
    if isinstance(value, Collection):
        raise InputError(f"{shown(value)} is not one value; expected a number or text")
    return str(value)


def ragged_take(starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions in the slices [start, end), one slice after the other, and where each slice begins.

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


def numbers_of(values: Sequence[Any]) -> np.ndarray:
    """Return values as float64, NaN where missing or beyond float32. Booleans are 1 and 0. Text is not a number.

    Raises:
        InputError: a value is not a number.
    """
    numbers = None
    if set(map(type, values)) <= _PLAIN_NUMBERS:
        with suppress(OverflowError):  # `_number` reports it with the value
            numbers = np.array(values, np.float64)
    if numbers is None:
        numbers = np.fromiter(map(_number, values), np.float64, len(values))
    return np.where(np.abs(numbers) < BEYOND_FLOAT32, numbers, math.nan)


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    try:
        if isinstance(value, Real | np.bool_):
            return float(value)
    except OverflowError:
        raise InputError(f"{shown(value)} is beyond the range of numbers; correct it, or send null") from None
    raise InputError(f"{shown(value)} is not a number; expected a number, or null where it is missing")
