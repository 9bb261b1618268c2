"""The three protocols, which decide which rows are impressions, and in which split.

temporal        days at the end of the log: … train | valid_days | test_days
by_user         whole users, by md5 of (seed, user)
leave_last_out  of a user's n clicked rows, the 2nd … (n-1)th train and the nth tests. The training rows of a share
                of the users (by md5) validate instead. Rows without a click are not impressions, since negatives are
                sampled.

Only events of the window (`din.featurize.calendar`) are impressions. Earlier clicks count for `leave_last_out`.
"""

import ibis
import ibis.expr.types as ir

from din.base.errors import InputError
from din.featurize.calendar import Calendar, start_us
from din.featurize.raw import Raw
from din.featurize.timeline import NO_SPLIT, ORDER
from din.schema import LABEL, SPLITS, TIMESTAMP

_TEST = SPLITS.index("test")


def assign(rows: ir.Table, protocol: str, calendar: Calendar) -> ir.Table:
    """Add `split` (int8: NO_SPLIT or an index of SPLITS) to rows, all rows of each user, and drop held_out."""
    is_event = rows.is_event == 1
    if protocol == "temporal":
        valid = start_us(calendar.held_out[0])
        test = start_us(calendar.held_out[-calendar.test_days])
        split = ibis.cases((rows[TIMESTAMP] >= test, 2), (rows[TIMESTAMP] >= valid, 1), else_=0)
    elif protocol == "by_user":
        split = rows.held_out
    else:
        clicked = is_event & (rows[LABEL] == 1)
        nth = rows.user.count(where=clicked).over(ibis.window(group_by="user", order_by=ORDER, preceding=(None, 0)))
        clicks = rows.user.count(where=clicked).over(group_by="user")
        split = ibis.cases((~clicked | (nth == 1), NO_SPLIT), (nth == clicks, _TEST), else_=rows.held_out)
    shown = is_event & (rows[TIMESTAMP] >= start_us(calendar.first))
    return rows.mutate(split=ibis.ifelse(shown, split, NO_SPLIT).cast("int8")).drop("held_out")


def check(sizes: dict[str, int], raw: Raw) -> None:
    """Check that training and test split have rows.

    Raises:
        InputError: one is empty. The message names it, the sizes, and the parameters that decide them.
    """
    knobs = {
        "temporal": "featurize.valid_days and test_days, and data.until",
        "by_user": "featurize.valid_fraction and test_fraction, and data.window_days",
        "leave_last_out": "featurize.valid_fraction and data.window_days; only users with two clicks test, with three "
        "train. If the log holds impressions, split it by days: featurize.protocol: temporal",
    }
    counts = ", ".join(f"{split}: {rows:,} rows" for split, rows in sizes.items())
    for split in ("train", "test"):
        if sizes[split] == 0:
            raise InputError(
                f"{raw.root / 'events'}: the {split} split of protocol {raw.protocol} is empty ({counts}); "
                f"look at {knobs[raw.protocol]}"
            )
