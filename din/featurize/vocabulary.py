"""Count the values of every field in training: evidence to learn ids, and `count` and `impressions` (n_j of Eq. 6).

`impressions` counts an impression once, even if several of its candidate and history items share the id. This takes no
join of impressions with their histories. The training impressions that see a behaviour are an interval of the user's
ranks, and a candidate is an interval of length one. The union of the intervals of a (user, id) is a running maximum.
Each item or behaviour field costs one sort of (training impressions + visible behaviours).
"""

# Ibis knows a column's type at run time only, so its operators and methods look missing to a type checker.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportOperatorIssue=false

from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from din.featurize.coding import Coder, column
from din.featurize.engine import Session
from din.field_forms import UNKNOWN
from din.schema import Field, Group


@dataclass(frozen=True)
class Training:
    """The rows that training may see.

    Attributes:
        candidates: the training impressions: user, item, rank (within the user), context columns.
        visible: the behaviours in at least one training history: user, item, low, high (the ranks that see it),
            behaviour columns.
    """

    candidates: ir.Table
    visible: ir.Table

    def evidence(self, field: Field, carrier: ir.Table | None) -> ir.Table:
        """Return value and weight (the number of occurrences) for `coding.learn`.

        Numeric item fields count candidates only.

        Args:
            field: the field.
            carrier: for user and item fields, the entities with the field's raw column, keyed by `user` or `item`.
        """
        if carrier is None:
            rows = self.candidates if field.group is Group.CONTEXT else self.visible
            return rows.select(value=rows[column(field)], weight=ibis.literal(1, "int64"))
        key = str(field.group)
        owners = self.candidates.select(key)
        if field.group is Group.ITEM and field.form.has_vocabulary:
            owners = owners.union(self.visible.select(key))
        weighted = owners.group_by(key).aggregate(weight=ibis._.count())
        return weighted.join(carrier, key).select("weight", value=column(field))

    def tally(self, coder: Coder, carrier: ir.Table | None) -> ir.Table:
        """Return id, count and impressions of the ids that occur.

        Args:
            coder: the field's coder.
            carrier: as for `evidence`, with encoded columns.
        """
        field = coder.field
        name = column(field)
        if field.group in (Group.USER, Group.CONTEXT):
            rows = self.candidates.join(carrier, "user") if carrier is not None else coder.encode(self.candidates)
            ids = coder.ids(rows.select(name))
            return ids.group_by("id").aggregate(count=ibis._.count(), impressions=ibis._.count())
        if carrier is not None:
            shown = self.candidates.select("user", "item", low="rank", high=(self.candidates["rank"] + 1).cast("int32"))
            seen = self.visible.select("user", "item", "low", "high")
            rows = shown.union(seen).join(carrier.select("item", name), "item")
        else:
            rows = coder.encode(self.visible)
        spans = coder.ids(rows.select("user", "low", "high", name))
        before = ibis.window(group_by=["user", "id"], order_by=["low", "high"], preceding=(None, 1))
        covered = spans.high.max().over(before).fill_null(0)
        new = ibis.greatest(spans.high - ibis.greatest(spans.low, covered), 0)
        spans = spans.select("id", new=new)
        return spans.group_by("id").aggregate(count=ibis._.count(), impressions=spans.new.sum())


def table(session: Session, coder: Coder, tally: ir.Table) -> ir.Table:
    """Return the rows of the vocabulary file by id: value, id, count, impressions; row 0 is unknown.

    A bucket's value is its lower edge (the first's is −inf); rows of a standardised field and of a vector are null.
    """
    known = coder.known()
    unknown = ibis.memtable({"id": [UNKNOWN]}, schema={"id": "int32"})
    unknown = unknown.select(value=ibis.null(known.value.type()), id="id")
    rows = unknown.union(known.select("value", "id")).left_join(session.store("tally", coder.spread(tally)), "id")
    return rows.select(
        "value", "id", count=rows["count"].fill_null(0), impressions=rows.impressions.fill_null(0).cast("int64")
    ).order_by("id")
