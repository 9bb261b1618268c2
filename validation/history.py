"""Check that the times, rows and users of prior histories fit the log.

A behaviour without a time is allowed and counts as older than every event. Costs four joins of history and events, and
for each item field, a join of the users' shares of each value.
"""

from collections.abc import Iterator

import numpy as np

from din.schema import ITEM_ID, LABEL, TIMESTAMP, USER_ID, Group
from validation import detector_limits
from validation.expectations import Expected, figure
from validation.log import BY_DAY, Log
from validation.suite_data import quoted


def times_of_history(log: Log) -> Iterator[Expected]:
    """Expect behaviours to be older than the log, and not to be impressions of the log.

    * `history_after_log`: a prior behaviour is dated after the last event (one without a time is allowed).
    * `history_within_log`: a **warning**: most behaviours are dated inside the log, and after their user's first event.
    * `history_repeats_log_rate`: much of the history repeats impressions of the log. `history_repeats_log` **warns** of
      less.
    """
    if "history" not in log.sides:
        return
    # Ignore a few rows dated long before the rest of the log; far_days judges them.
    first, last = log.one(f"SELECT quantile_disc({TIMESTAMP}, 0.01), max({TIMESTAMP}) FROM events")
    late, within, timed = log.one(
        f"SELECT count(*) FILTER ({TIMESTAMP} > '{last}'::TIMESTAMP), "
        f"count(*) FILTER ({TIMESTAMP} >= greatest(own.start, '{first}'::TIMESTAMP)), count({TIMESTAMP}) FROM history "
        f"LEFT JOIN (SELECT {USER_ID}, min({TIMESTAMP}) AS start FROM events GROUP BY ALL) AS own USING ({USER_ID})"
    )
    after = f"SELECT * FROM history WHERE {TIMESTAMP} > (SELECT max({TIMESTAMP}) FROM events)"
    yield figure(
        log,
        "history_after_log",
        late,
        about=TIMESTAMP,
        advice=f"behaviours dated after the last event, {last}: a prior history precedes the impressions; check the "
        "unit and time zone of fetch.table.history",
        sample=log.sample(f"{after} ORDER BY {TIMESTAMP} DESC, {USER_ID}, {ITEM_ID}"),
    )
    yield figure(
        log,
        "history_within_log",
        (within - late) / max(timed, 1),
        about=TIMESTAMP,
        advice=f"most behaviours are dated after the first event of their user and of the log, {first}: does each have "
        "its own time, not the time of the export? A behaviour must never be dated before it happened",
    )
    repeated = f"FROM history SEMI JOIN events USING ({USER_ID}, {ITEM_ID}, {TIMESTAMP})"
    (count,) = log.one(f"SELECT count(*) {repeated}")
    advice = (
        "the history repeats impressions of the log at the same time: later impressions would see each of them "
        "twice, and one dated a moment earlier would reveal its own label. Leave the log's rows out of "
        "fetch.table.history"
    )
    sample = log.sample(f"SELECT * {repeated} ORDER BY {TIMESTAMP}, {USER_ID}, {ITEM_ID}")
    for name in ("history_repeats_log_rate", "history_repeats_log"):
        yield figure(log, name, count / max(timed, 1), about=TIMESTAMP, advice=advice, sample=sample)


def ids_of_history(log: Log) -> Iterator[Expected]:
    """Expect the log to have most items and at least one of the users of the prior history.

    * `history_unknown_items`: nearly all prior behaviours are of items that occur neither in the events nor in the item
      table.
    * `users_with_history`: no user of the events occurs in the history.
    """
    if "history" not in log.sides:
        return
    known_items = f"SELECT {ITEM_ID} FROM {BY_DAY[ITEM_ID]}" + (
        f" UNION SELECT {ITEM_ID} FROM items" if "items" in log.sides else ""
    )
    strangers = f"FROM history ANTI JOIN ({known_items}) USING ({ITEM_ID})"
    (unknown,) = log.one(f"SELECT (SELECT count(*) {strangers}) / greatest(count(*), 1) FROM history")
    counted = f"SELECT {ITEM_ID}, count(*) AS behaviours {strangers} GROUP BY {ITEM_ID}"
    yield figure(
        log,
        "history_unknown_items",
        unknown,
        about=ITEM_ID,
        advice=f"neither the events nor the item table have these behaviours' {ITEM_ID}: do the ids have another form "
        "or meaning?",
        sample=log.sample(f"{counted} ORDER BY behaviours DESC, {ITEM_ID}"),
    )
    (matched,) = log.one(
        f"SELECT count(*) FROM (SELECT DISTINCT {USER_ID} FROM {BY_DAY[USER_ID]}) SEMI JOIN history USING ({USER_ID})"
    )
    of_each = (f"(SELECT min({USER_ID}) FROM {table}) AS of_{table}" for table in ("events", "history"))
    yield figure(
        log,
        "users_with_history",
        matched,
        about=USER_ID,
        advice=f"no {USER_ID} of the events occurs in the history: do the ids have another form or meaning?",
        sample=log.sample(f"SELECT {', '.join(of_each)}"),
    )


def history_of_own_users(log: Log) -> Iterator[Expected]:
    """Expect a user's prior history to predict their clicks about as well as their earlier clicks in the log do.

    `history_tells_clicks` fails if the histories belong to others. Both predict the clicks of the log's second half.
    Nothing is judged if even earlier clicks don't predict them significantly.
    """
    if "history" not in log.sides or not log.labels_vary:
        return
    clicks = f"SELECT {USER_ID}, {ITEM_ID} FROM events WHERE {LABEL} = 1 AND date"
    rows = log.by_user.rows
    middle = log.calendar.days[np.searchsorted(np.cumsum(rows), rows.sum() / 2)]
    fields = [field.name for field in log.fields.values() if field.group is Group.ITEM and field.form.scalar]
    judged = []
    for name in [ITEM_ID, *(name for name in fields if "items" in log.sides and name in log.columns("items"))]:
        lift, error = _lift(log, name, f"{clicks} <= '{middle}'", f"{clicks} > '{middle}'")
        if error and lift >= detector_limits.CERTAIN_SIGMAS * error:
            judged.append((lift / error, lift, name))
    if not judged:
        return
    _, lift, name = max(judged)
    history_lift, error = _lift(log, name, f"SELECT {USER_ID}, {ITEM_ID} FROM history", f"{clicks} > '{middle}'")
    yield figure(
        log,
        "history_tells_clicks",
        (history_lift + detector_limits.TOLD_SIGMAS * error) / lift,
        about=name,
        advice="clicks have the values of the user's own prior history hardly more often than any history would have "
        "them, though the user's earlier clicks have them: do the histories belong to other users? Join them by the "
        "same user_id as the events",
        sample=[
            {"column": name, "more_often_in_history": round(history_lift, 4), "more_often_in_clicks": round(lift, 4)}
        ],
    )


def _lift(log: Log, name: str, past: str, later: str) -> tuple[float, float]:
    """Return the lift of a user's own past, and its standard error.

    The lift is the mean share that the values of later clicks have in the user's own past, minus their mean share in
    all users' pasts.
    """
    table = f"JOIN (SELECT {ITEM_ID}, {quoted(name)} FROM items) USING ({ITEM_ID})" if name != ITEM_ID else ""
    shares = (
        f"SELECT {USER_ID}, value, count(*) / sum(count(*)) OVER (PARTITION BY {USER_ID}) AS share "
        f"FROM (SELECT {USER_ID}, {quoted(name)} AS value FROM ({{}}) {table}) GROUP BY {USER_ID}, value"
    )
    mean, error = log.one(
        f"""
        WITH past AS ({shares.format(past)}), later AS ({shares.format(later)}), usual AS (
            SELECT value, sum(share) / (SELECT count(DISTINCT {USER_ID}) FROM past) AS share FROM past GROUP BY value
        ), lifts AS (
            SELECT sum(later.share * (coalesce(past.share, 0) - coalesce(usual.share, 0))) AS lift
            FROM later SEMI JOIN (SELECT {USER_ID} FROM past) AS known USING ({USER_ID})
            LEFT JOIN past USING ({USER_ID}, value) LEFT JOIN usual USING (value) GROUP BY {USER_ID}
        )
        SELECT avg(lift), stddev_samp(lift) / sqrt(count(*)) FROM lifts
        """
    )
    return mean or 0.0, error or 0.0
