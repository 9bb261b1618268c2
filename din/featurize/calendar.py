"""The days of a log that are used, and the role of each.

    … history_from … │ first …            valid …      test …    last
       only history  │ training           validation   test              under `temporal`
                     │ all splits                                        under the other protocols

The last day is `data.until`, or the last day of the log. The window is the days from `first` to `last`: only their
events are impressions. Earlier rows are history, and rows before `history_from` are not read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import ibis
import ibis.expr.types as ir

from din.base.errors import InputError
from din.params.data import Data
from din.params.featurize import Featurize
from din.schema import DAY_US, EPOCH, SplitName


@dataclass(frozen=True)
class Calendar:
    """The days that are used, in UTC.

    Attributes:
        history_from: the first day whose behaviours are read. None: all are.
        first: the first day of the window.
        held_out: the days of validation and test, in order; none unless the protocol is temporal.
        test_days: how many of them are test days.
    """

    history_from: date | None
    first: date
    held_out: tuple[date, ...]
    test_days: int

    def split_of(self, day: date) -> SplitName:
        """Return the split of a held-out day."""
        return "test" if day in self.held_out[-self.test_days :] else "valid"

    def number(self, timestamp: ir.Value) -> ir.Value:
        """Return 0 for times in training, and n for times on the nth held-out day."""
        if not self.held_out:
            return ibis.literal(0, "int32")
        before = (self.held_out[0] - EPOCH.date()).days - 1
        return ibis.greatest(timestamp // DAY_US - before, 0).cast("int32")


def start_us(day: date) -> int:
    """Return the first microsecond of a day since 1970."""
    return (day - EPOCH.date()).days * DAY_US


def calendar(
    days: Sequence[str], until: str | None, protocol: str, data: Data, params: Featurize, where: object
) -> Calendar:
    """Return the calendar of a log.

    Args:
        days: the days that have events, in order.
        until: the last day to use, or None.
        protocol: the split.
        data: the bounds of the window and of the histories.
        params: the numbers of held-out days.
        where: the name of the events in errors.

    Raises:
        InputError: the window has no events, or no day to train on.
    """
    if not days:
        raise InputError(f"{where}: no events; run `dvc repro fetch`")
    last = date.fromisoformat(until or days[-1])
    first = date.fromisoformat(days[0])
    window = ""
    if data.window_days is not None:
        first = last - timedelta(days=data.window_days - 1)
        window = f" in the window of data.window_days={data.window_days}"
    used = [day for day in days if day >= first.isoformat()]
    if not used:
        raise InputError(
            f"{where}: no events{window} ending on {last}, the last are of {days[-1]}; lengthen the window, or set an "
            "earlier data.until"
        )
    history_from = None if data.history_days is None else first - timedelta(days=data.history_days)
    if protocol != "temporal":
        return Calendar(history_from, first, (), 0)
    count = params.valid_days + params.test_days
    held_out = tuple(last - timedelta(days=ago) for ago in reversed(range(count)))
    if used[0] >= held_out[0].isoformat():
        raise InputError(
            f"{where}: {len(used)} day(s) of events{window}, {used[0]} to {used[-1]}; a temporal split with "
            f"featurize.valid_days={params.valid_days} and test_days={params.test_days} ending on {last} trains on the "
            f"days before {held_out[0]}: fetch a longer log or lengthen the window, lower the two, or set "
            "featurize.protocol=by_user"
        )
    return Calendar(history_from, first, held_out, params.test_days)
