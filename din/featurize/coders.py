"""Turn one field's raw values into ids or floats: learn from evidence, then encode any table.

    id, categorical   value -> id, by descending count, ties by value; unseen, rare (id only) or missing -> 0
    multi             list -> ids of its known values, each once, in the list's order; none -> [0]
    numeric, buckets  value -> 1 + number of edges <= value; edges are the exact k/buckets quantiles, without duplicates
    numeric           value -> (value − mean) / std as float32, at most the largest one; missing -> NaN
    vector            list -> its numbers as float32, as given; missing, empty, or one number missing -> NaNs

A number that is NaN, or beyond the range of float32, is missing.

Everything is learned from training, with one exception: values that become known on a held-out day get ids after those
of training, in the order of the days. No result is approximate or depends on the number of threads.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import ibis
import ibis.expr.types as ir
from typing_extensions import override

from din.base.errors import InputError
from din.featurize.engine import Session, bounds_below, double
from din.kinds import (
    BEYOND_FLOAT32,
    LARGEST_FLOAT32,
    UNKNOWN,
    Bucket,
    FieldForm,
    IdList,
    Number,
    OneId,
    Vector,
)
from din.schema import Field

_STEPS = 2**30  # steps of the integer grid on which moments are summed
_TOGETHER = 8  # fields that one query encodes; each nests the query deeper, and ibis compiles it recursively


@dataclass(frozen=True)
class Coder(ABC):
    """The encoding of a field."""

    field: Field

    @staticmethod
    @abstractmethod
    def typed(values: ir.Value, described: str) -> ir.Value:
        """Return raw values with the type that the coder needs, null where missing.

        Args:
            described: the column and its type, for errors.

        Raises:
            InputError: the values have another type.
        """

    @staticmethod
    def completed(session: Session, field: Field, columns: Sequence[ir.Value], at: str) -> Field:
        """Return the field, completed by properties of its values, such as the length of vectors.

        Args:
            columns: the typed values of each table that has the field.
            at: the field's key, for errors.

        Raises:
            InputError: the values do not fit together.
        """
        return field

    @classmethod
    @abstractmethod
    def learn(cls, session: Session, field: Field, evidence: ir.Table, min_count: int) -> Self:
        """Return a field's coder.

        Args:
            evidence: value (typed, not null), day (0 for training) and weight (int64, the number of occurrences on that
                day). Weights of repeated values are added. Only fields with a vocabulary have evidence of other days.
            min_count: a value of an `id` field with fewer occurrences stays unknown.
        """

    @abstractmethod
    def encode(self, table: ir.Table) -> ir.Table:
        """Return the table with the field's column encoded as in the feature files."""

    @property
    def values(self) -> list[float | None]:
        """The value of each row of the embedding table except row 0, the unknown value."""
        return [None]

    def known(self) -> ir.Table:
        """Return value, id and day of every row of the embedding table except row 0, the unknown value."""
        rows = {"value": self.values, "id": range(1, len(self.values) + 1), "day": [0] * len(self.values)}
        return ibis.memtable(rows, schema={"value": "float64", "id": "int32", "day": "int32"})

    @property
    def rows(self) -> int:
        """The number of rows of the embedding table that training knows, including row 0."""
        return 1 + len(self.values)

    def rows_after(self, day: int) -> int:
        """Return the number of rows of the embedding table that are known after the nth held-out day."""
        return self.rows

    def in_training(self, encoded: ir.Table) -> ir.Table:
        """Return encoded rows with ids that training does not know replaced by unknown."""
        return encoded

    def ids(self, encoded: ir.Table) -> ir.Table:
        """Return encoded rows with a column `id` in place of the field's column. A list gives one row for each id."""
        return encoded.rename(id=column(self.field))

    def spread(self, tally: ir.Table) -> ir.Table:
        """Return counts of the ids of `ids` as counts of the rows of the embedding table."""
        return tally

    def to_json(self) -> dict[str, Any]:
        """Return the field's record in the manifest."""
        return self.field.to_json() | {"rows": self.rows}


@dataclass(frozen=True)
class VocabularyCoder(Coder):
    """The encoding of values as ids.

    Attributes:
        vocabulary: value, id, day (0 for training, n for the nth held-out day), and count until that day.
        sizes: the number of values that become known on each day.
    """

    vocabulary: ir.Table
    sizes: dict[int, int]

    @override
    @staticmethod
    def typed(values: ir.Value, described: str) -> ir.Value:
        return _finite(_single(values, described))

    @override
    @classmethod
    def learn(cls, session: Session, field: Field, evidence: ir.Table, min_count: int) -> Self:
        counts = cls._counts(evidence)
        until = ibis.window(group_by="value", order_by="day", preceding=(None, 0))
        counts = session.store("counts", counts.mutate(so_far=counts.weight.sum().over(until).cast("int64")))
        enough = counts.filter(counts.so_far >= (min_count if field.form.identifies else 1))
        entries = enough.group_by("value").aggregate(day=enough.day.min(), count=enough.so_far.min())
        ids = 1 + ibis.row_number().over(order_by=[entries.day, entries["count"].desc(), entries.value])
        vocabulary = session.store(f"ids_{field.name}", entries.mutate(id=ids.cast("int32")))
        sizes = session.rows(vocabulary.group_by("day").aggregate(size=ibis._.count()))
        return cls(field, vocabulary, {row["day"]: row["size"] for row in sizes})

    @override
    def encode(self, table: ir.Table) -> ir.Table:
        name = column(self.field)
        codes = self._codes(table, name)
        joined = table.left_join(codes, table[name] == codes.raw_value).drop("raw_value")
        return joined.mutate(**{name: joined.code.fill_null(self._unknown())}).drop("code")

    @override
    def known(self) -> ir.Table:
        return self.vocabulary

    @override
    @property
    def rows(self) -> int:
        return self.rows_after(0)

    @override
    def rows_after(self, day: int) -> int:
        return 1 + sum(size for since, size in self.sizes.items() if since <= day)

    @override
    def in_training(self, encoded: ir.Table) -> ir.Table:
        name = column(self.field)
        return encoded.mutate(**{name: self._below(encoded[name])}) if self.late else encoded

    @property
    def late(self) -> bool:
        """True if values become known on held-out days."""
        return any(day > 0 for day in self.sizes)

    def _below(self, codes: ir.Value) -> ir.Value:
        """Return codes with the ids of held-out days replaced by unknown."""
        return ibis.ifelse(codes < self.rows, codes, self._unknown())

    @staticmethod
    def _counts(evidence: ir.Table) -> ir.Table:
        """Return the summed weight of each value on each day."""
        return evidence.group_by("value", "day").aggregate(weight=evidence.weight.sum())

    def _codes(self, table: ir.Table, name: str) -> ir.Table:
        """Return the code of each raw value."""
        return self.vocabulary.select(raw_value="value", code="id")

    @staticmethod
    def _unknown() -> ir.Value:
        return ibis.literal(UNKNOWN, "int32")


@dataclass(frozen=True)
class ListCoder(VocabularyCoder):
    """The encoding of lists of values as lists of ids."""

    @override
    @staticmethod
    def typed(values: ir.Value, described: str) -> ir.Value:
        if not values.type().is_array():
            raise InputError(f"{described}, but multi needs lists; name its separator in fetch.table.separators")
        return values

    @override
    def ids(self, encoded: ir.Table) -> ir.Table:
        return super().ids(encoded).unnest("id")

    @staticmethod
    def _counts(evidence: ir.Table) -> ir.Table:
        parts = _parts(VocabularyCoder._counts(evidence).rename(raw_value="value"))
        once = parts.group_by("raw_value", "day", "part").aggregate(weight=parts.weight.max())
        return once.group_by("day", value="part").aggregate(weight=once.weight.sum())

    @override
    def _below(self, codes: ir.Value) -> ir.Value:
        below = codes.filter(lambda code: code < self.rows)
        return ibis.ifelse(below.length() == 0, self._unknown(), below)

    def _codes(self, table: ir.Table, name: str) -> ir.Table:
        """Return one row for each distinct list of the table. They are far fewer than its rows."""
        parts = _parts(table.select(raw_value=table[name]).distinct())
        parts = parts.join(self.vocabulary, parts.part == self.vocabulary.value)
        once = parts.group_by("raw_value", "id").aggregate(at=parts["at"].min())
        placed = ibis.struct({"at": once["at"], "id": once.id}).collect()  # Spark's collect takes no order
        return once.group_by("raw_value").aggregate(code=placed.sort().map(lambda element: element.id))

    @staticmethod
    def _unknown() -> ir.Value:
        return ibis.literal([UNKNOWN], "array<int32>")


class _NumberCoder(Coder):
    @staticmethod
    def typed(values: ir.Value, described: str) -> ir.Value:
        if not (_single(values, described).type().is_numeric() or values.type().is_boolean()):
            raise InputError(f"{described}, but numeric needs numbers; declare it categorical, or correct the source")
        numbers = values.cast("float64")
        return ibis.ifelse(_beyond(numbers), ibis.null("float64"), numbers)


@dataclass(frozen=True)
class BucketCoder(_NumberCoder):
    """The encoding of numbers as ids of quantile buckets."""

    edges: tuple[float, ...]

    @override
    @classmethod
    def learn(cls, session: Session, field: Field, evidence: ir.Table, min_count: int) -> Self:
        if not field.buckets:
            raise InputError(
                f"field {field.name!r}: kind {field.kind!r} needs a number of buckets; declare "
                f"{{kind: {field.kind}, buckets: 10}} in featurize.fields"
            )
        return cls(field, _quantiles(session, evidence, field.buckets))

    @override
    def encode(self, table: ir.Table) -> ir.Table:
        name = column(self.field)
        bucket = ibis.ifelse(table[name].isnull(), UNKNOWN, bounds_below(table[name], self.edges, 1))
        return table.mutate(**{name: bucket.cast("int32")})

    @override
    @property
    def values(self) -> list[float | None]:
        return [float("-inf"), *self.edges]

    @override
    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {"edges": list(self.edges)}


@dataclass(frozen=True)
class MomentsCoder(_NumberCoder):
    """The encoding of numbers as standardised numbers."""

    mean: float
    std: float

    @override
    @classmethod
    def learn(cls, session: Session, field: Field, evidence: ir.Table, min_count: int) -> Self:
        mean, std = _moments(session, evidence)
        return cls(field, mean, std)

    @override
    def encode(self, table: ir.Table) -> ir.Table:
        name = column(self.field)
        scaled = (table[name] - double(self.mean)) / double(self.std)
        scaled = scaled.clip(double(-LARGEST_FLOAT32), double(LARGEST_FLOAT32))
        return table.mutate(**{name: scaled.fill_null(float("nan")).cast("float32")})

    def ids(self, encoded: ir.Table) -> ir.Table:
        """Return rows with the id 0 where the number is missing, else 1."""
        ids = super().ids(encoded)
        return ids.mutate(id=(~ids.id.isnan()).cast("int32"))

    @override
    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {"mean": self.mean, "std": self.std}


@dataclass(frozen=True)
class VectorCoder(Coder):
    """The encoding of vectors, which learns nothing from training."""

    @override
    @staticmethod
    def typed(values: ir.Value, described: str) -> ir.Value:
        kind = values.type()
        if not kind.is_array() or not kind.value_type.is_numeric():
            raise InputError(f"{described}, but vector needs lists of numbers; declare it multi, or correct the source")
        vectors = values.try_cast("array<float32>")  # null on DuckDB, infinite on Spark, if a number is too large
        doubles = values.cast("array<float64>")
        broken = doubles.filter(lambda number: number.isnull() | _beyond(number)).length() > 0
        return ibis.ifelse(broken | (vectors.length() == 0), ibis.null(vectors.type()), vectors)

    @override
    @staticmethod
    def completed(session: Session, field: Field, columns: Sequence[ir.Value], at: str) -> Field:
        lengths = ibis.union(*(values.length().name("length").as_table() for values in columns)).distinct()
        sizes = sorted(row["length"] for row in session.rows(lengths) if row["length"] is not None)
        if not sizes:
            raise InputError(f"{at}: no value is a list of finite numbers; correct the source, or take the field out")
        if len(sizes) > 1:
            raise InputError(
                f"{at}: vectors of {sizes[0]} and of {sizes[-1]} numbers; expected one length: correct them"
            )
        return replace(field, length=sizes[0])

    @override
    @classmethod
    def learn(cls, session: Session, field: Field, evidence: ir.Table, min_count: int) -> Self:
        return cls(field)

    @override
    def encode(self, table: ir.Table) -> ir.Table:
        name = column(self.field)
        missing = ibis.array([double(float("nan")).cast("float32")] * self._length)  # a literal would be float64
        return table.mutate(**{name: table[name].fill_null(missing)})

    @override
    @property
    def values(self) -> list[float | None]:
        return [None] * self._length

    def ids(self, encoded: ir.Table) -> ir.Table:
        """Return rows with the id 0 where the vector is missing, else 1 for all of its numbers."""
        ids = super().ids(encoded)
        return ids.mutate(id=(~ids.id[0].isnan()).cast("int32"))

    def spread(self, tally: ir.Table) -> ir.Table:
        """Return the tally with the counts of id 1 for each of the vector's rows."""
        each = tally.filter(tally.id == 1).drop("id").cross_join(self.known().select("id"))
        return tally.filter(tally.id == UNKNOWN).union(each.select(tally.columns))

    @property
    def _length(self) -> int:
        assert self.field.length
        return self.field.length


_CODERS: dict[type[FieldForm], type[Coder]] = {
    OneId: VocabularyCoder,
    IdList: ListCoder,
    Bucket: BucketCoder,
    Number: MomentsCoder,
    Vector: VectorCoder,
}


def column(field: Field) -> str:
    """Return the name of the field's column in every intermediate table."""
    return f"field_{field.name}"


def coder_of(field: Field) -> type[Coder]:
    """Return the class that encodes a field: that of its form, or of the form that it extends."""
    form = field.form
    if coder := form.coder() or next((_CODERS[base] for base in type(form).__mro__ if base in _CODERS), None):
        return coder
    raise InputError(f"field {field.name!r}: kind {field.kind!r} has no coder; return one from its form's `coder`")


def encode(session: Session, name: str, table: ir.Table, coders: Sequence[Coder]) -> ir.Table:
    """Return a table with the columns of the coders' fields encoded as in the feature files.

    Args:
        name: the prefix for names of intermediate tables.
        table: the raw rows.
        coders: the coders of the fields.
    """
    for number, coder in enumerate(coders):
        if number and number % _TOGETHER == 0:
            table = session.store(f"{name}_{number // _TOGETHER % 2}", table)
        table = coder.encode(table)
    return table


def _single(values: ir.Value, description: str) -> ir.Value:
    """Return the values, or raise InputError if they are lists."""
    if values.type().is_nested():
        raise InputError(f"{description}; only multi and vector fields hold lists: declare it one of them")
    return values


def _finite(values: ir.Value) -> ir.Value:
    """Replace floats that are not finite by null."""
    if values.type().is_floating():
        values = ibis.ifelse(values.isnan() | values.isinf(), ibis.null(values.type()), values)
    return values


def _beyond(numbers: ir.FloatingValue) -> ir.BooleanValue:
    """Return whether a number is NaN or beyond the range of float32."""
    return numbers.isnan() | (numbers.abs() >= double(BEYOND_FLOAT32))


def _parts(lists: ir.Table) -> ir.Table:
    """Return one row for each value in each list `raw_value`, with its place, as columns `part` and `at`."""
    parts = lists.mutate(part=lists.raw_value).unnest("part", offset="at")
    present = parts.part.notnull()
    return parts.filter(present & ~parts.part.isnan() if parts.part.type().is_floating() else present)


def _quantiles(session: Session, evidence: ir.Table, buckets: int) -> tuple[float, ...]:
    """Return the distinct k/buckets quantiles, k = 1 … buckets−1.

    The quantile of k is the smallest value that has at least k/buckets of the weight at or below it.
    """
    total = session.scalars(evidence.aggregate(total=evidence.weight.sum().cast("int64")))["total"]
    if not total:
        return ()
    values = evidence.group_by("value").aggregate(weight=evidence.weight.sum())
    values = session.with_sums(values)
    values = values.mutate(before=values.upto - values.weight)
    passed = [ibis.least(rows * buckets // total, buckets - 1) for rows in (values.before, values.upto)]
    edges = session.rows(values.filter(passed[0] < passed[1]).select("value"))
    return tuple(sorted(row["value"] + 0.0 for row in edges))  # never -0.0, which equals 0.0


def _moments(session: Session, evidence: ir.Table) -> tuple[float, float]:
    """Return mean and population standard deviation (1 if it would be 0), or (0, 1) without values.

    A sum of floats depends on the order of its terms, and so on the number of threads. Therefore values are rounded to
    2⁻³⁰ of their range and summed as integers.
    """
    bounds = session.scalars(evidence.aggregate(low=evidence.value.min(), high=evidence.value.max()))
    low, high = bounds["low"] or 0.0, bounds["high"] or 0.0
    step = (high - low) / _STEPS
    if not step:  # no values, equal ones, or ones that differ by less than a float can hold
        return low, 1.0
    grid = ((evidence.value - low) / step).round().cast("int64")
    weight = evidence.weight.cast("decimal(15,0)")
    sums = session.scalars(
        evidence.aggregate(
            n=evidence.weight.sum().cast("float64"),
            first=(grid.cast("decimal(10,0)") * weight).sum(),
            second=((grid * grid).cast("decimal(19,0)") * weight).sum(),
        )
    )
    mean = float(sums["first"]) / sums["n"]  # engines round large decimals differently
    variance = float(sums["second"]) / sums["n"] - mean * mean
    return low + mean * step, max(variance, 0.0) ** 0.5 * step or 1.0
