"""Count the values of every field: evidence to learn ids, and `count` and `impressions` (n_j of Eq. 6).

Each row of the log counts once: an impression on its own day, and any other behaviour on the day on which an impression
sees it first. Training is day 0, and the nth held-out day is day n. Edges, moments, and the ids of training with their
figures come from day 0 alone. An id that becomes known on day n has the count of days 0 to n, and the impressions of
that day.

An impression's own click does not count again. Otherwise an item with one impression would be known if that was
clicked, and unknown if not: the vocabulary would leak the label.

`impressions` counts an impression once, even if several of its candidate and history items share the id. This takes no
join of impressions with their histories. The impressions that see a behaviour are an interval of the user's ranks, and
a candidate is an interval of length one. The union of the intervals of a (user, id) is a running maximum. Each item or
behaviour field costs one sort of (training impressions + visible behaviours), and one of the rows of its late ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import ibis
import ibis.expr.types as ir

from din.featurize.coders import Coder, VocabularyCoder, column
from din.featurize.engine import Contents, Session
from din.kinds import UNKNOWN
from din.schema import Field, Group


@dataclass(frozen=True)
class CountedRows:
    """The rows that count.

    Attributes:
        candidates: the impressions of training and of the held-out days: user, item, rank (within the user), day,
            context columns.
        visible: the behaviours that one of them sees: user, item, low, high (the ranks that see it), trained (the
            number of the user's training impressions), shown (whether it is one of `candidates` too), day, behaviour
            columns.
    """

    candidates: ir.Table
    visible: ir.Table

    def of(self, field: Field, carrier: ir.Table | None) -> ir.Table:
        """Return the evidence for `Coder.learn`: value, day and weight (the number of occurrences), if not missing.

        A field without a vocabulary has evidence of training (day 0) alone. Numeric item fields count candidates only.

        Args:
            carrier: for user and item fields, the entities with the field's raw column, keyed by `user` or `item`.
        """
        if carrier is None:
            rows = self.candidates if field.group is Group.CONTEXT else self.visible
            evidence = rows.select("day", value=rows[column(field)], weight=ibis.literal(1, "int64"))
        else:
            key = str(field.group)
            owners = self.candidates.select(key, "day")
            if field.group is Group.ITEM and field.form.has_vocabulary:
                others = self.visible.filter(~self.visible.shown)
                owners = owners.union(others.select(key, "day"))
            weighted = owners.group_by(key, "day").aggregate(weight=ibis._.count())
            evidence = weighted.join(carrier, key).select("day", "weight", value=column(field))
        present = evidence.filter(evidence.value.notnull())
        return present if field.form.has_vocabulary else present.filter(present.day == 0)

    def tally(self, coder: Coder, carrier: ir.Table | None) -> ir.Table:
        """Return id, count and impressions of the ids that occur.

        Args:
            coder: the field's coder.
            carrier: as for `of`, with encoded columns.
        """
        counted = self._of_training(coder, carrier)
        if isinstance(coder, VocabularyCoder) and coder.late:
            return counted.union(self._of_late_ids(coder, carrier).select(counted.columns))
        return counted

    def _of_training(self, coder: Coder, carrier: ir.Table | None) -> ir.Table:
        candidates = self.candidates.filter(self.candidates.day == 0)
        visible = self.visible.filter(self.visible.day == 0)
        visible = visible.mutate(high=ibis.least(visible.high, visible.trained))
        name = column(coder.field)
        if coder.field.group in (Group.USER, Group.CONTEXT):
            rows = coder.encode(candidates) if carrier is None else candidates.join(carrier, "user")
            ids = coder.ids(coder.in_training(rows.select(name)))
            return ids.group_by("id").aggregate(count=ibis._.count(), impressions=ibis._.count())
        if carrier is None:
            rows = coder.encode(visible).mutate(weight=ibis.literal(1, "int64"))
        else:
            rows = _spans(candidates, visible).join(carrier.select("item", name), "item")
        spans = coder.ids(coder.in_training(rows.select("user", "low", "high", "weight", name)))
        return _united(spans).group_by("id").aggregate(count=ibis._.weight.sum(), impressions=ibis._.new.sum())

    def _of_late_ids(self, coder: VocabularyCoder, carrier: ir.Table | None) -> ir.Table:
        """Return id, count and impressions of the ids that become known on held-out days."""
        late = coder.vocabulary.filter(coder.vocabulary.day > 0).select("id", "day", "count")
        candidates = self.candidates.filter(self.candidates.day > 0)
        name = column(coder.field)
        if coder.field.group in (Group.USER, Group.CONTEXT):
            rows = coder.encode(candidates) if carrier is None else candidates.join(carrier, "user")
            ids = coder.ids(rows.select(name, on="day"))
            occurrences = late.join(ids, [late.id == ids.id, late.day == ids.on])
            return occurrences.group_by("id").aggregate(count=occurrences["count"].max(), impressions=ibis._.count())
        if carrier is None:
            rows = coder.encode(self.visible)
        else:
            rows = _spans(candidates, self.visible).join(carrier.select("item", name), "item")
        spans = coder.ids(rows.select("user", "low", "high", name)).join(late.select("id", "day"), "id")
        reach = candidates.group_by("user", "day").aggregate(first=ibis._["rank"].min(), last=ibis._["rank"].max())
        spans = spans.join(reach, ["user", "day"])
        spans = spans.mutate(low=ibis.greatest(spans.low, spans.first), high=ibis.least(spans.high, spans.last + 1))
        united = _united(spans.filter(spans.low < spans.high))
        sums = united.group_by("id").aggregate(impressions=united.new.sum())
        return late.join(sums, "id").select("id", "count", "impressions")


def _spans(candidates: ir.Table, visible: ir.Table) -> ir.Table:
    """Return the ranks [low, high) of the impressions that have an item as candidate or in their history.

    `weight` is 0 for the behaviours that count as candidates already, and 1 for the others.
    """
    high = (candidates["rank"] + 1).cast("int32")
    shown = candidates.select("user", "item", low="rank", high=high, weight=ibis.literal(1, "int64"))
    seen = visible.select("user", "item", "low", "high", weight=(~visible.shown).cast("int64"))
    return shown.union(seen)


def _united(spans: ir.Table) -> ir.Table:
    """Add `new`, the number of ranks that no earlier span of the same user and id covers."""
    before = ibis.window(group_by=["user", "id"], order_by=["low", "high"], preceding=(None, 1))
    covered = spans.high.max().over(before).fill_null(0)
    new = ibis.greatest(spans.high - ibis.greatest(spans.low, covered), 0)
    return spans.mutate(new=new)


def write(session: Session, coder: Coder, tally: ir.Table, held_out: Sequence[date], path: Path) -> None:
    """Write the vocabulary file by id: value, id, count, impressions, known_since; row 0 is unknown.

    A bucket's value is its lower edge (the first's is −inf); rows of a standardised field and of a vector are null.
    """
    entries = coder.known()
    days = [(entries.day == number, ibis.literal(day)) for number, day in enumerate(held_out, 1)]
    since = ibis.cases(*days) if days else ibis.null("date")
    unknown = ibis.memtable({"id": [UNKNOWN]}, schema={"id": "int32"})
    unknown = unknown.select(value=ibis.null(entries.value.type()), id="id", known_since=ibis.null("date"))
    rows = unknown.union(entries.select("value", "id", known_since=since.cast("date")))
    rows = rows.left_join(session.store("tally", coder.spread(tally)), "id")
    rows = rows.mutate(
        count=rows["count"].fill_null(0).cast("int64"),
        impressions=rows.impressions.fill_null(0).cast("int64"),
    )
    names = ("value", "id", "count", "impressions", "known_since")
    session.write(Contents(rows, ["id"], {name: name for name in names}), path)
