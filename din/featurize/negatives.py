"""Sample negatives for a log of clicks, or keep only a share of the negatives in training.

`sample` draws one uniform negative per positive, for logs that hold clicks only (the paper's Amazon protocol). It draws
from all items that were ever clicked, except those that the user has anywhere in the log or the prior history. md5 of
(seed, user, sequence, attempt) picks the item, and the first attempt that fits is used. Each round doubles the attempts
per row, so a user who has nearly all items takes more memory, not many rounds.

`keep` removes the other training negatives from the impressions, but not from the behaviours. md5 of (seed, user,
sequence) decides which rows are kept.
"""

import ibis
import ibis.expr.types as ir

from din.base.errors import InputError
from din.featurize.engine import Session, threshold
from din.featurize.timeline import NO_SPLIT, TRAIN
from din.schema import LABEL, SEQUENCE


def pool(session: Session, log: ir.Table) -> ir.Table:
    """Return the items to draw from: item (code) and nth (0, 1, …, in the order of raw ids)."""
    clicked = log.filter(log[LABEL] == 1).select("item").distinct()
    nth = ibis.row_number().over(order_by=clicked.item)
    return session.store("pool", clicked.mutate(nth=nth))


def sample(session: Session, rows: ir.Table, pool: ir.Table, users: ir.Table, seed: int) -> ir.Table:
    """Draw a negative for each impression (split >= 0) and return sequence and item.

    Args:
        rows: all rows of each user.
        pool: the items to draw from.
        seed: the seed of all draws.

    Raises:
        InputError: a user has every item of the pool.
    """
    pairs = session.store("pairs", rows.select("user", "item").distinct())
    size = session.size(pool)
    positives = rows.filter(rows.split >= 0).select("user", SEQUENCE)
    waiting = session.store("waiting_0", positives.join(users.select("user", key="value"), "user"))
    _check_choice(session, waiting, pairs, pool, size)
    rounds: list[ir.Table] = []
    first = 0
    width = 1
    while session.size(waiting):
        tries = waiting.mutate(attempt=ibis.range(first, first + width).unnest())
        text = [tries[name].cast("string") for name in ("key", SEQUENCE, "attempt")]
        nth = session.draw_below(f"{seed}/negative/" + text[0] + "/" + text[1] + "/" + text[2], size)
        drawn = tries.mutate(nth=nth).join(pool, "nth").anti_join(pairs, ["user", "item"])
        accepted = drawn.group_by(SEQUENCE).aggregate(item=drawn.item.argmin(drawn.attempt))
        rounds.append(session.store(f"taken_{len(rounds)}", accepted))
        waiting = session.store(f"waiting_{len(rounds)}", waiting.anti_join(rounds[-1], SEQUENCE))
        first += width
        width *= 2
    if not rounds:
        return rows.select(SEQUENCE, "item").limit(0)
    return ibis.union(*rounds) if len(rounds) > 1 else rounds[0]


def keep(session: Session, rows: ir.Table, users: ir.Table, share: float, seed: int) -> ir.Table:
    """Keep a share of the training impressions without a click. The split of the others becomes NO_SPLIT.

    Args:
        rows: rows with their split.
        share: the share to keep.
        seed: the seed of all draws.
    """
    rows = rows.join(users.select("user", key="value"), "user")
    text = f"{seed}/keep/" + rows.key.cast("string") + "/" + rows[SEQUENCE].cast("string")
    dropped = in_training(rows) & (session.draw(text) >= threshold(share))
    return rows.mutate(split=ibis.ifelse(dropped, NO_SPLIT, rows.split).cast("int8")).drop("key")


def in_training(rows: ir.Table) -> ir.BooleanValue:
    """Return whether a row is a training impression without a click."""
    return (rows.split == TRAIN) & (rows[LABEL] == 0)


def _check_choice(session: Session, waiting: ir.Table, pairs: ir.Table, pool: ir.Table, size: int) -> None:
    mine = pairs.join(pool, "item").group_by("user").aggregate(items=ibis._.count())
    stuck = waiting.join(mine.filter(mine["items"] == size), "user").order_by("user").limit(1)
    users = session.rows(stuck)
    if users:
        raise InputError(
            f"negatives: user {users[0]['key']!r} has all {size} clicked items, so no negative is left to sample; "
            "leave that user out, add more items, or set featurize.protocol to temporal or by_user"
        )
