"""Order each user's rows, and mark the behaviours that each row may see: a history is an interval of positions.

    user's rows by (timestamp, prior history before events, sequence)    b = behaviour, i = impression
    row        b     b,i    b     i     b,i
    position   0     1      2     3     3        behaviours before the row: a behaviour's own index
    end        –     1      –     3     3        an impression sees behaviours [max(0, end − max_history), end)
    rank       0     0      1     1     2        impressions before the row
    low        0     1      1     2     3        a behaviour is seen by the user's impressions [low, high)

Under each protocol, a user's training impressions come before the others, so their ranks are 0 … their number − 1.

With the order `strict`, a history ends before the first row of the same timestamp; with `sequence`, before the row
itself; with `daily`, before the first row of the same day. Each shard is sorted once.
"""

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir

from din.featurize.calendar import Calendar
from din.featurize.coders import column
from din.featurize.engine import Session, flag
from din.featurize.raw import Raw
from din.schema import BEHAVIOUR, DAY_US, ITEM_ID, LABEL, SEQUENCE, TIMESTAMP, USER_ID, WEIGHT, Group

ORDER = ("timestamp", "is_event", "sequence")  # within a user; unique
NO_SPLIT = -1  # other values of `split` are indices of SPLITS
TRAIN = 0
NEVER = 2**30 - 1  # a rank beyond all others, even if sampled negatives double them


def scatter(session: Session, raw: Raw, users: ir.Table, items: ir.Table) -> ir.Table:
    """Return events and prior history as one log with its shards.

    Its columns are user and item (codes), timestamp, is_event, sequence, label, behaviour, held_out, `weight` if the
    events have one, and the `field_*` columns of contexts and behaviours.
    """
    names = [column(field) for field in raw.of(Group.CONTEXT, Group.BEHAVIOUR)]
    if raw.weighted:
        names.append(WEIGHT)
    rows = raw.events.mutate(is_event=flag(True))
    if raw.history is not None:
        prior = raw.history.mutate(is_event=flag(False), label=flag(False))
        prior = prior.mutate(behaviour=flag(True))
        absent = [name for name in names if name not in prior.columns]
        prior = prior.mutate(**{name: ibis.null(rows[name].type()) for name in absent})
        kinds = {name: _with_fractions(rows[name].type(), prior[name].type()) for name in names}
        prior = prior.mutate(**{name: prior[name].cast(kind) for name, kind in kinds.items()})
        rows = rows.mutate(**{name: rows[name].cast(kind) for name, kind in kinds.items()})
        rows = rows.union(prior.select(rows.columns))
    people = users.select("user", "shard", "held_out", user_key="value")
    goods = items.select("item", item_key="value")
    rows = rows.join(people, rows[USER_ID] == people.user_key).join(goods, rows[ITEM_ID] == goods.item_key)
    keys = ("user", "item", TIMESTAMP, "is_event", SEQUENCE, LABEL, BEHAVIOUR, "held_out", "shard")
    return session.scatter("log", rows.select(*keys, *names))


def _with_fractions(events: dt.DataType, history: dt.DataType) -> dt.DataType:
    """Return the type of the events' column, or that of the history's if only this one can hold fractions."""
    event_kind, history_kind = (kind.value_type if isinstance(kind, dt.Array) else kind for kind in (events, history))
    return history if event_kind.is_integer() and history_kind.is_floating() else events


def positions(rows: ir.Table, order: str) -> ir.Table:
    """Add position, end, rank, low, and trained (the number of the user's training impressions).

    Args:
        rows: rows from the log of `scatter`, all rows of each user, with split (NO_SPLIT or an index of SPLITS).
        order: strict | sequence | daily.
    """
    rows = rows.mutate(moment=rows[TIMESTAMP] // DAY_US if order == "daily" else rows[TIMESTAMP])
    behaviour = rows[BEHAVIOUR] == 1
    shown = rows.split != NO_SPLIT
    before = ibis.window(group_by="user", order_by=ORDER, preceding=(None, 1))
    earlier = ibis.window(group_by="user", order_by="moment", range=(None, -1))
    so_far = ibis.window(group_by="user", order_by="moment", range=(None, 0))

    def count(where: ir.BooleanValue, window: ibis.expr.builders.WindowBuilder) -> ir.IntegerValue:
        return rows.user.count(where=where).over(window).cast("int32")

    position = count(behaviour, before)
    rank = count(shown, before)
    return rows.mutate(
        position=position,
        end=position if order == "sequence" else count(behaviour, earlier),
        rank=rank,
        low=rank + shown.cast("int32") if order == "sequence" else count(shown, so_far),
        trained=count(rows.split == TRAIN, ibis.window(group_by="user")),
    ).drop("moment")


def behaviours(rows: ir.Table, max_history: int) -> ir.Table:
    """Return the behaviours with `high`, the rank of the first impression whose history is past them.

    Args:
        rows: the rows of `positions`.
        max_history: the longest history.

    The history of an impression is past position p if its end exceeds p + max_history. The impressions before that are
    the ones before the behaviour at p + max_history, and that behaviour's `low` counts them. `high` is therefore that
    `low`. If there is no such behaviour, no history is past p, and `high` is `NEVER`.
    """
    rows = rows.filter(rows[BEHAVIOUR] == 1)
    later = rows.low.lead(max_history).over(group_by="user", order_by="position")
    return rows.mutate(high=later.fill_null(NEVER).cast("int32"))


def first_seen(behaviours: ir.Table, rows: ir.Table, calendar: Calendar) -> ir.Table:
    """Add `day`, the number of the day on which an impression sees a behaviour first; null if none does.

    Args:
        behaviours: the rows of `behaviours`.
        rows: the rows of `positions`.
        calendar: numbers the days: 0 for training, n for the nth held-out day. Other impressions do not count.

    A behaviour that training does not see is first seen by the impression of rank `low`, if that is before `high`.
    """
    trained = behaviours.low < ibis.least(behaviours.high, behaviours.trained)
    if not calendar.held_out:
        return behaviours.mutate(day=ibis.ifelse(trained, 0, ibis.null("int32")).cast("int32"))
    shown = rows.filter(rows.split > TRAIN)
    shown = shown.select("user", low="rank", later=calendar.number(shown[TIMESTAMP]))
    joined = behaviours.left_join(shown, ["user", "low"]).drop("user_right", "low_right")
    trained = joined.low < ibis.least(joined.high, joined.trained)
    later = ibis.ifelse(joined.low < joined.high, joined.later, ibis.null("int32"))
    return joined.mutate(day=ibis.ifelse(trained, 0, later).cast("int32")).drop("later")
