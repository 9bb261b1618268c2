"""What training saw of every field: evidence to learn ids from, and per id `count` and `impressions` (n_j of Eq. 6).

`impressions` counts an impression once however many of its candidate and history items share the id. No impression is
joined with its history for that: the training impressions that see a behaviour are an interval of the user's ranks, a
candidate is an interval of one, and the union of a (user, id)'s intervals is a running maximum. Costs one sort of
(training impressions + visible behaviours) for each item or behaviour field.
"""

# Ibis knows a column's type at run time only, so its operators and methods look missing to a type checker.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportOperatorIssue=false

from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from din.featurize.coding import Coder
from din.featurize.engine import Session
from din.featurize.raw import column
from din.schema import UNKNOWN, Field, Group, Kind


@dataclass(frozen=True)
class Training:
    """What the training split may look at.

    candidates: its impressions: user, item, rank (within the user), context columns.
    visible: behaviours in at least one training history: user, item, low, high (ranks that see it), behaviour columns.
    """

    candidates: ir.Table
    visible: ir.Table

    def evidence(self, field: Field, carrier: ir.Table | None) -> ir.Table:
        """value, weight for `coding.learn`: occurrences; numeric item fields: candidates alone.

        Args:
            carrier: for user and item fields the entities with the field's raw column, keyed by `user` or `item`.
        """
        if carrier is None:
            rows = self.candidates if field.group is Group.CONTEXT else self.visible
            return rows.select(value=rows[column(field)], weight=ibis.literal(1, "int64"))
        key = str(field.group)
        owners = self.candidates.select(key)
        if field.group is Group.ITEM and field.kind is not Kind.NUMERIC:
            owners = owners.union(self.visible.select(key))
        weighted = owners.group_by(key).aggregate(weight=ibis._.count())
        return weighted.join(carrier, key).select("weight", value=column(field))

    def tally(self, coder: Coder, carrier: ir.Table | None) -> ir.Table:
        """id, count, impressions of the ids that occur.

        Args:
            carrier: as for `evidence`, with encoded columns.
        """
        field = coder.field
        name = column(field)
        if field.group in (Group.USER, Group.CONTEXT):
            rows = self.candidates.join(carrier, "user") if carrier is not None else coder.encode(self.candidates)
            ids = _ids(rows.select(name), coder)
            return ids.group_by("id").aggregate(count=ibis._.count(), impressions=ibis._.count())
        if carrier is not None:
            shown = self.candidates.select("user", "item", low="rank", high=(self.candidates["rank"] + 1).cast("int32"))
            seen = self.visible.select("user", "item", "low", "high")
            rows = shown.union(seen).join(carrier.select("item", name), "item")
        else:
            rows = coder.encode(self.visible)
        spans = _ids(rows.select("user", "low", "high", name), coder)
        before = ibis.window(group_by=["user", "id"], order_by=["low", "high"], preceding=(None, 1))
        covered = spans.high.max().over(before).fill_null(0)
        new = ibis.greatest(spans.high - ibis.greatest(spans.low, covered), 0)
        spans = spans.select("id", new=new)
        return spans.group_by("id").aggregate(count=ibis._.count(), impressions=spans.new.sum())


def table(session: Session, coder: Coder, tally: ir.Table) -> ir.Table:
    """The vocabulary file: value, id, count, impressions; row 0 is unknown; ordered by id.

    A bucket's value is its lower edge (the first's is −inf); a standardised field has the rows 0 and 1, both null.
    """
    if coder.vocabulary is not None:
        known = coder.vocabulary
    else:
        values = [None] if coder.field.standardised else [float("-inf"), *coder.edges]
        known = ibis.memtable(
            {"value": values, "id": list(range(1, len(values) + 1))}, schema={"value": "float64", "id": "int32"}
        )
    unknown = ibis.memtable({"id": [UNKNOWN]}, schema={"id": "int32"})
    unknown = unknown.select(value=ibis.null(known.value.type()), id="id")
    rows = unknown.union(known.select("value", "id")).left_join(session.store("tally", tally), "id")
    return rows.select(
        "value", "id", count=rows["count"].fill_null(0), impressions=rows.impressions.fill_null(0).cast("int64")
    ).order_by("id")


def _ids(rows: ir.Table, coder: Coder) -> ir.Table:
    """Rows with a column `id` instead of the field's: one row for each id of a list; 1 for a standardised value."""
    name = column(coder.field)
    ids = rows.rename(id=name)
    if coder.field.kind is Kind.MULTI:
        return ids.unnest("id")
    return ids.mutate(id=(~ids.id.isnan()).cast("int32")) if coder.field.standardised else ids
