"""Compare the rows, users, items and CTR of each day with the days before it.

A day is compared with its trailing days (validation/trailing.py), so that weeks and growth raise no alarm. The noise of
a figure depends on the size of the day. It is the noise between users, because rows of one user are alike. Days whose
reference has few users are not judged. Only the newest days of a temporal split, which validate and test, can close the
gate.
"""

from collections.abc import Iterator

import numpy as np

from din.schema import ITEM_ID, LABEL
from validation import constants
from validation.expectations import Expected
from validation.log import Log
from validation.strange import Figure, by_day
from validation.totals import ctr_deviation, ctr_evidence, totals
from validation.trailing import deviation


def volumes(log: Log) -> Iterator[Expected]:
    """Expect about as many rows, users and items on each day as on the days before."""
    users, items = log.by_user, totals(log, ITEM_ID)
    of_rows = 1 / np.sqrt(users.independent)
    counted = (("rows", users.rows, of_rows), ("users", users.ids, users.ids**-0.5), ("items", items.ids, of_rows))
    for name, count, chance in counted:
        usual_chance = log.calendar.usual(chance)  # a day's own noise would excuse a day that is too small
        found = deviation(log.calendar, np.log(count), usual_chance, constants.VOLUME_FLOOR)
        figure = Figure(
            judged=log.trusted,
            strange=found.beyond(constants.VOLUME, constants.SCORE),
            extreme=found.beyond(constants.EXTREME_VOLUME, constants.EXTREME_SCORE),
            values={name: count, "usual": np.exp(found.usual), "times": np.exp(found.difference)},
        )
        yield from by_day(
            log,
            name,
            [figure],
            advice=f"these days have far more or fewer {name} than the days before: is each day complete, was every "
            "file delivered once, and are all clocks right? A few users on the last days alone may have clocks that "
            "are days ahead. Correct the rows, or end the log before a day that is not complete (data.until)",
        )


def click_rate(log: Log) -> Iterator[Expected]:
    """Expect about the CTR of the days before on each day."""
    yield from by_day(
        log,
        "ctr",
        [ctr_of_days(log)] if log.labels_vary else [],
        about=LABEL,
        advice="these days have another CTR than the days before: are clicks still to arrive, is the label's rule "
        "wrong (fetch.table.label), are labels flipped or filled in, or are rows without a click lost?",
    )


def ctr_of_days(log: Log) -> Figure:
    """Return the CTR of all rows of each day as a figure."""
    users = log.by_user
    found = ctr_deviation(log.calendar, users)
    growth = users.ids / log.calendar.usual(users.ids)
    return Figure(
        judged=log.trusted,
        strange=found.beyond(constants.ODDS, constants.SCORE),
        extreme=found.beyond(constants.EXTREME_ODDS, constants.EXTREME_SCORE),
        values={"ctr": users.clicks / users.rows},
        more=lambda row: ctr_evidence(log.calendar, users, row, growth[row]),
    )
