"""One uniform negative per positive, for logs that hold clicks only (the paper's Amazon protocol).

Drawn from the items that were ever clicked, never one of the user's own items anywhere in the log, prior history
included. The item depends on md5 of (seed, user, sequence, attempt) alone: the first attempt that fits is taken.
Rounds double the attempts per row, so a user who owns nearly everything costs memory for its rows, not rounds.
"""

# Ibis knows a column's type at run time only, so its operators and methods look missing to a type checker.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportOperatorIssue=false

import ibis
import ibis.expr.types as ir

from din.errors import InputError
from din.featurize.engine import Session, draw_below
from din.schema import LABEL, SEQUENCE


def pool(session: Session, log: ir.Table) -> ir.Table:
    """The items to draw from: item (code) and nth (0 …, in the order of raw ids)."""
    clicked = log.filter(log[LABEL] == 1).select("item").distinct()
    nth = ibis.row_number().over(order_by=clicked.item)
    return session.store("pool", clicked.mutate(nth=nth))


def sample(session: Session, rows: ir.Table, pool: ir.Table, users: ir.Table, seed: int) -> ir.Table:
    """A negative for each impression (split >= 0) of whole users' rows: sequence, item.

    Raises:
        InputError: a user owns every item of the pool.
    """
    own = session.store("own", rows.select("user", "item").distinct())
    size = int(pool.count().to_pyarrow().as_py())
    positives = rows.filter(rows.split >= 0).select("user", SEQUENCE)
    waiting = session.store("waiting_0", positives.join(users.select("user", key="value"), "user"))
    _check_choice(waiting, own, pool, size)
    found: list[ir.Table] = []
    first, width = 0, 1
    while waiting.count().to_pyarrow().as_py():
        tries = waiting.mutate(attempt=ibis.range(first, first + width).unnest())
        text = [tries[name].cast("string") for name in ("key", SEQUENCE, "attempt")]
        nth = draw_below(f"{seed}/negative/" + text[0] + "/" + text[1] + "/" + text[2], size)
        drawn = tries.mutate(nth=nth).join(pool, "nth").anti_join(own, ["user", "item"])
        taken = drawn.group_by(SEQUENCE).aggregate(item=drawn.item.argmin(drawn.attempt))
        found.append(session.store(f"taken_{len(found)}", taken))
        waiting = session.store(f"waiting_{len(found)}", waiting.anti_join(found[-1], SEQUENCE))
        first, width = first + width, width * 2
    return ibis.union(*found) if len(found) > 1 else found[0] if found else _none(rows)


def _none(rows: ir.Table) -> ir.Table:
    return rows.select(SEQUENCE, "item").limit(0)


def _check_choice(waiting: ir.Table, own: ir.Table, pool: ir.Table, size: int) -> None:
    mine = own.join(pool, "item").group_by("user").aggregate(items=ibis._.count())
    stuck = waiting.join(mine.filter(mine["items"] == size), "user").order_by("user").limit(1).to_pyarrow().to_pylist()
    if stuck:
        raise InputError(
            f"negatives: user {stuck[0]['key']!r} owns all {size} clicked items, so no negative is left to "
            "sample for it; leave that user out, bring more items, or set featurize.protocol to temporal or by_user"
        )
