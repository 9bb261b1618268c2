"""The three protocols: they decide which rows are impressions, and in which split.

temporal        days at the end of the log: … train | valid_days | test_days
by_user         whole users, by md5 of (seed, user)
leave_last_out  of a user's n clicked rows, the 2nd … (n-1)th train and the nth tests. The training rows of a share
                of the users (by md5) validate instead. Rows without a click are not impressions, since negatives are
                sampled.
"""

# Ibis knows a column's type at run time only, so its operators and methods look missing to a type checker.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportOperatorIssue=false

from datetime import date, timedelta

import ibis
import ibis.expr.types as ir

from din.errors import InputError
from din.featurize.engine import Session
from din.featurize.raw import Raw
from din.featurize.timeline import NO_SPLIT, ORDER
from din.params import Featurize
from din.schema import LABEL, SPLITS, TIMESTAMP

DAY_US = 86_400_000_000
_EPOCH = date(1970, 1, 1)
_TEST = SPLITS.index("test")


def first_days(session: Session, raw: Raw, params: Featurize) -> tuple[int, int]:
    """Return the days (since 1970, UTC) on which validation and test begin; (0, 0) if the protocol is not temporal.

    Raises:
        InputError: the log has no day before validation.
    """
    if raw.protocol != "temporal":
        return 0, 0
    days = raw.events.select(day=raw.events[TIMESTAMP] // DAY_US).distinct().order_by("day").to_pyarrow()
    found = [_EPOCH + timedelta(days=int(day)) for day in days["day"].to_pylist()]
    last = date.fromisoformat(raw.until) if raw.until else found[-1]
    test = last - timedelta(days=params.test_days - 1)
    valid = test - timedelta(days=params.valid_days)
    if found[0] >= valid:
        raise InputError(
            f"{raw.root / 'events'}: {len(found)} day(s) of events, {found[0]} to {found[-1]}; a temporal split with "
            f"featurize.valid_days={params.valid_days} and test_days={params.test_days} ending on {last} trains on the "
            f"days before {valid}: fetch a longer log, lower the two, or set featurize.protocol=by_user"
        )
    return (valid - _EPOCH).days, (test - _EPOCH).days


def assign(rows: ir.Table, protocol: str, first_days: tuple[int, int]) -> ir.Table:
    """Add `split` (int8: NO_SPLIT or an index of SPLITS) to all rows of some users, and drop held_out."""
    is_event = rows.is_event == 1
    if protocol == "temporal":
        valid, test = (day * DAY_US for day in first_days)
        split = ibis.cases((rows[TIMESTAMP] >= test, 2), (rows[TIMESTAMP] >= valid, 1), else_=0)
    elif protocol == "by_user":
        split = rows.held_out
    else:
        clicked = is_event & (rows[LABEL] == 1)
        nth = rows.user.count(where=clicked).over(ibis.window(group_by="user", order_by=ORDER, preceding=(None, 0)))
        clicks = rows.user.count(where=clicked).over(group_by="user")
        split = ibis.cases((~clicked | (nth == 1), NO_SPLIT), (nth == clicks, _TEST), else_=rows.held_out)
    return rows.mutate(split=ibis.ifelse(is_event, split, NO_SPLIT).cast("int8")).drop("held_out")


def check(sizes: dict[str, int], raw: Raw) -> None:
    """Check that training and test split have rows.

    Raises:
        InputError: one is empty. The message names it, the sizes, and the parameters that decide them.
    """
    knobs = {
        "temporal": "featurize.valid_days and test_days, and data.until",
        "by_user": "featurize.valid_fraction and test_fraction",
        "leave_last_out": "featurize.valid_fraction; only users with two clicks test, with three train",
    }
    for split in ("train", "test"):
        if sizes[split] == 0:
            raise InputError(
                f"{raw.root / 'events'}: the {split} split of protocol {raw.protocol} is empty (rows: {sizes}); "
                f"look at {knobs[raw.protocol]}"
            )
