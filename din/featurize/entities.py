"""Number users and items in the order of their raw ids, and add shard, split and side fields.

Every id in the log or its tables gets a code, counted from 1. Code 0 is the unknown id, without raw id or side fields.
The vocabularies decide later which codes have an embedding row. Memory and time grow with the number of distinct users
and items.
"""

import ibis
import ibis.expr.types as ir

from din.featurize.engine import Session, threshold
from din.featurize.raw import Raw
from din.params.featurize import Featurize
from din.schema import ITEM_ID, USER_ID, Group


def users(session: Session, raw: Raw, params: Featurize, shards: int) -> ir.Table:
    """Return one row per user: user (code), value (raw id), shard, held_out (index of SPLITS), `field_*`."""
    table = _coded(raw, USER_ID, "user", raw.users)
    key = table.value.cast("string")
    # leave_last_out tests every user, and temporal splits by day, so only by_user draws test users
    test = threshold(params.test_fraction) if raw.protocol == "by_user" else 0
    valid = threshold(params.valid_fraction)
    drawn = session.draw(f"{params.seed}/split/" + key)
    held_out = ibis.cases((drawn < test, 2), (drawn < test + valid, 1), else_=0)
    shard = session.draw_below(f"{params.seed}/shard/" + key, shards)
    table = table.mutate(shard=shard.cast("int32"), held_out=held_out.cast("int8"))
    if any(field.name == USER_ID for field in raw.of(Group.USER)):
        table = table.mutate(field_user_id=table.value)
    return session.store("users", table)


def items(session: Session, raw: Raw) -> ir.Table:
    """Return one row per item: item (code), value (raw id), `field_*`."""
    table = _coded(raw, ITEM_ID, "item", raw.items)
    return session.store("items", table.mutate(field_item_id=table.value))


def _coded(raw: Raw, key: str, code: str, side: ir.Table | None) -> ir.Table:
    sources = [table.select(value=table[key]) for table in (raw.events, raw.history, side) if table is not None]
    unknown = ibis.memtable({"n": [0]}).select(value=ibis.null(sources[0].value.type()))
    values = ibis.union(*sources, unknown, distinct=True)
    by_value = ibis.asc(values.value, nulls_first=True)
    coded = values.mutate(**{code: ibis.row_number().over(order_by=by_value).cast("int32")})
    return coded if side is None else coded.left_join(side, coded.value == side[key]).drop(key)
