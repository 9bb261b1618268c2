"""Turn one field's raw values into ids or floats: learn from training evidence, then encode any table.

    id, categorical   value -> id, by descending count, ties by value; unseen, rare (id only) or missing -> 0
    multi             list -> ids of its known values, each once, in the list's order; none -> [0]
    numeric, buckets  value -> 1 + number of edges <= value; edges are the exact k/buckets quantiles, without duplicates
    numeric           value -> (value − mean) / std as float32, missing -> NaN

No result is approximate or depends on the number of threads.
"""

# Ibis knows a column's type at run time only, so its operators and methods look missing to a type checker.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportOperatorIssue=false

from dataclasses import dataclass
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np

from din.featurize.engine import Session
from din.featurize.raw import column
from din.schema import UNKNOWN, Field, Kind

_STEPS = 2**30  # steps of the integer grid on which moments are summed


@dataclass(frozen=True)
class Coder:
    """The encoding of a field, learned from training rows: `vocabulary` (value, id), `edges`, or `mean` and `std`."""

    field: Field
    vocabulary: ir.Table | None = None
    edges: tuple[float, ...] = ()
    mean: float = 0.0
    std: float = 1.0

    def encode(self, table: ir.Table) -> ir.Table:
        """Return the table with the field's column as int32 ids, lists of int32 ids, or float32 values."""
        name = column(self.field)
        values = table[name]
        if self.field.standardised:
            scaled = ((values - self.mean) / self.std).fill_null(float("nan"))
            return table.mutate(**{name: scaled.cast("float32")})
        if self.field.kind is Kind.NUMERIC:
            above = [(values >= edge).cast("int32") for edge in self.edges]
            bucket = ibis.ifelse(values.isnull(), UNKNOWN, sum(above, ibis.literal(1)))  # without edges, bucket 1
            return table.mutate(**{name: bucket.cast("int32")})
        unknown: Any = ibis.literal(UNKNOWN, "int32")
        codes = self._codes(table, name)
        if self.field.kind is Kind.MULTI:
            unknown = ibis.literal([UNKNOWN], "array<int32>")
        joined = table.left_join(codes, table[name] == codes.raw_value).drop("raw_value")
        return joined.mutate(**{name: joined.code.fill_null(unknown)}).drop("code")

    def _codes(self, table: ir.Table, name: str) -> ir.Table:
        """Return raw_value and code; for `multi`, one row per distinct list, which are far fewer than the rows."""
        assert self.vocabulary is not None
        if self.field.kind is not Kind.MULTI:
            return self.vocabulary.select(raw_value="value", code="id")
        parts = _parts(table.select(raw_value=table[name]).distinct())
        parts = parts.join(self.vocabulary, parts.part == self.vocabulary.value)
        once = parts.group_by("raw_value", "id").aggregate(at=parts["at"].min())
        return once.group_by("raw_value").aggregate(code=once.id.collect(order_by=once["at"]))

    @property
    def rows(self) -> int:
        """The number of rows of the embedding table, including row 0."""
        if self.vocabulary is not None:
            return 1 + int(self.vocabulary.count().to_pyarrow().as_py())
        return 2 if self.field.standardised else len(self.edges) + 2

    def to_json(self) -> dict[str, Any]:
        """Return the field's record in the manifest."""
        record = self.field.to_json() | {"rows": self.rows}
        if self.field.standardised:
            return record | {"mean": self.mean, "std": self.std}
        return record | {"edges": list(self.edges)} if self.field.kind is Kind.NUMERIC else record


def learn(session: Session, field: Field, evidence: ir.Table, min_count: int) -> Coder:
    """Return a field's coder.

    Args:
        session: the engine.
        field: the field.
        evidence: value (raw) and weight (int64: how often training saw it); weights of repeated values are added.
        min_count: a value of an `id` field with fewer occurrences stays unknown.
    """
    evidence = evidence.filter(evidence.value.notnull())
    if field.buckets:
        return Coder(field, edges=_quantiles(session, evidence, field.buckets))
    if field.kind is Kind.NUMERIC:
        mean, std = _moments(session, evidence)
        return Coder(field, mean=mean, std=std)
    counts = evidence.group_by("value").aggregate(weight=evidence.weight.sum())
    if field.kind is Kind.MULTI:
        parts = _parts(counts.rename(raw_value="value"))
        once = parts.group_by("raw_value", "part").aggregate(weight=parts.weight.max())
        counts = once.group_by(value="part").aggregate(weight=once.weight.sum())
    counts = session.store("counts", counts)
    enough = counts.filter(counts.weight >= (min_count if field.kind is Kind.ID else 1))
    ids = 1 + ibis.row_number().over(order_by=[enough.weight.desc(), enough.value])
    return Coder(field, session.store(f"ids_{field.name}", enough.select("value", id=ids.cast("int32"))))


def _parts(lists: ir.Table) -> ir.Table:
    """Return part and at (its place), one row for each value of each list `raw_value` that is not missing."""
    parts = lists.mutate(part=lists.raw_value).unnest("part", offset="at")
    known = parts.part.notnull()
    return parts.filter(known & ~parts.part.isnan() if parts.part.type().is_floating() else known)


def _quantiles(session: Session, evidence: ir.Table, buckets: int) -> tuple[float, ...]:
    """Return the distinct k/buckets quantiles, k = 1 … buckets−1.

    The quantile of k is the smallest value that has at least k/buckets of the weight at or below it.
    """
    total = session.scalars(evidence.aggregate(total=evidence.weight.sum().cast("int64")))["total"] or 0
    targets = np.array([-(-total * k // buckets) for k in range(1, buckets)])
    edges = []
    passed = 0
    for batch in evidence.order_by("value").to_pyarrow_batches():
        values, weights = (batch[name].to_numpy(zero_copy_only=False) for name in ("value", "weight"))
        reached = passed + np.cumsum(weights)
        here = targets[(targets > passed) & (targets <= reached[-1])]
        edges += values[np.searchsorted(reached, here)].tolist()
        passed = reached[-1]
    return tuple(sorted(set(edges)))


def _moments(session: Session, evidence: ir.Table) -> tuple[float, float]:
    """Return mean and population standard deviation (1 if it would be 0), or (0, 1) without values.

    A sum of floats depends on the order of its terms, and so on the number of threads. Therefore values are rounded to
    2⁻³⁰ of their range and summed as integers.
    """
    bounds = session.scalars(evidence.aggregate(low=evidence.value.min(), high=evidence.value.max()))
    low, high = bounds["low"], bounds["high"]
    if low is None or low == high:
        return (low or 0.0), 1.0
    step = (high - low) / _STEPS
    grid = ((evidence.value - low) / step).round().cast("int64")
    weight = evidence.weight.cast("decimal(15,0)")
    sums = session.scalars(
        evidence.aggregate(
            n=evidence.weight.sum().cast("float64"),
            first=(grid.cast("decimal(10,0)") * weight).sum().cast("float64"),
            second=((grid * grid).cast("decimal(19,0)") * weight).sum().cast("float64"),
        )
    )
    mean = sums["first"] / sums["n"]
    variance = sums["second"] / sums["n"] - mean * mean
    return low + mean * step, (max(variance, 0.0) ** 0.5 or 1.0) * step
