"""Check that the times, rows and users of prior histories fit the log.

A behaviour without a time is allowed and counts as older than every event. This takes one join of history and events.
"""

from collections.abc import Iterator

from din.schema import ITEM_ID, TIMESTAMP, USER_ID
from validation.checks import Check, statistic
from validation.log import Log

_REPEATED = 0.3  # the share of the history's rows
_SOME_REPEATED = 0.02
_WITHIN = 0.5
_UNKNOWN_ITEMS = 0.95  # histories may hold items that left the catalogue long ago


def prior_history(log: Log) -> Iterator[Check]:
    """Expect behaviours to be older than the log, to belong to its users, and not to be impressions of the log."""
    if "history" not in log.tables:
        return
    # A few rows may lie long before the log; far_days judges them.
    first, last = log.one(f"SELECT quantile_disc({TIMESTAMP}, 0.01), max({TIMESTAMP}) FROM events")
    late, within, timed = log.one(
        f"SELECT count(*) FILTER ({TIMESTAMP} > last), count(*) FILTER ({TIMESTAMP} >= first), count({TIMESTAMP}) "
        f"FROM history, (SELECT '{first}'::TIMESTAMP AS first, '{last}'::TIMESTAMP AS last)"
    )
    after = f"SELECT * FROM history WHERE {TIMESTAMP} > (SELECT max({TIMESTAMP}) FROM events)"
    yield statistic(
        "history_after_log",
        late,
        maximum=0,
        column=TIMESTAMP,
        advice=f"behaviours dated after the last event, {last}: a prior history precedes the impressions; check the "
        "unit and time zone of fetch.table.history",
        sample=log.sample(f"{after} ORDER BY {TIMESTAMP} DESC, {USER_ID}, {ITEM_ID}", late),
    )
    yield statistic(
        "history_within_log",
        (within - late) / max(timed, 1),
        maximum=_WITHIN,
        column=TIMESTAMP,
        severity="warning",
        advice=f"most behaviours are dated after the first event, {first}: does each have its own time, not the time "
        "of the export? A behaviour must never be dated before it happened",
    )
    repeated = (
        f"FROM history AS h SEMI JOIN events AS e ON h.{USER_ID} = e.{USER_ID} AND h.{ITEM_ID} = e.{ITEM_ID} "
        f"AND h.{TIMESTAMP} = e.{TIMESTAMP}"
    )
    (count,) = log.one(f"SELECT count(*) {repeated}")
    sample = log.sample(f"SELECT * {repeated} ORDER BY {TIMESTAMP}, {USER_ID}, {ITEM_ID}", count)
    advice = (
        "the history repeats impressions of the log at the same time: later impressions would see each of them twice, "
        "and one dated a moment earlier would reveal its own label. Leave the log's rows out of fetch.table.history"
    )
    share = count / max(timed, 1)
    yield statistic(
        "history_repeats_log_rate",
        share,
        maximum=_REPEATED,
        column=TIMESTAMP,
        advice=advice,
        sample=sample,
    )
    yield statistic(
        "history_repeats_log",
        share,
        maximum=_SOME_REPEATED,
        column=TIMESTAMP,
        severity="warning",
        advice=advice,
        sample=sample,
    )
    known = f"SELECT {ITEM_ID} FROM events" + (f" UNION SELECT {ITEM_ID} FROM items" if "items" in log.tables else "")
    strangers = f"FROM history ANTI JOIN ({known}) USING ({ITEM_ID})"
    counted = f"SELECT {ITEM_ID}, count(*) AS behaviours {strangers}"
    (unknown,) = log.one(f"SELECT (SELECT count(*) {strangers}) / greatest(count(*), 1) FROM history")
    yield statistic(
        "history_unknown_items",
        unknown,
        maximum=_UNKNOWN_ITEMS,
        column=ITEM_ID,
        advice=f"neither the events nor the item table have these behaviours' {ITEM_ID}: do the ids have another form "
        "or meaning?",
        sample=log.sample(f"{counted} GROUP BY {ITEM_ID} ORDER BY behaviours DESC, {ITEM_ID}", unknown),
    )
    (matched,) = log.one(
        f"SELECT count(*) FROM (SELECT DISTINCT {USER_ID} FROM events) SEMI JOIN history USING ({USER_ID})"
    )
    yield statistic(
        "users_with_history",
        matched,
        minimum=1,
        column=USER_ID,
        advice=f"no {USER_ID} of the events occurs in the history: do the ids have another form or meaning?",
        sample=[]
        if matched
        else log.rows(
            f"SELECT min(e.{USER_ID}) AS of_events, min(h.{USER_ID}) AS of_history FROM events AS e, history AS h"
        ),
    )
