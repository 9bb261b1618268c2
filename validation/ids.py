"""Detect ids in several forms: '007', ' 7', '7.0', 'item_7' and '7' are five ids to a computer, and one to a person.

Two ids are forms of one id if they are equal without case, blanks, leading zeros, a trailing '.0', and a prefix before
a number. They are counted within the events, by day, and between the events and each other table. A prefix is compared
with bare numbers only, because 'film_7' and 'show_7' may well be two items. Integers have one form, so only text is
judged. This takes one GROUP BY of the events by day and id; forms are computed on distinct ids.
"""

from collections.abc import Iterator

from din.schema import ITEM_ID, USER_ID
from validation.checks import Check, statistic
from validation.log import SIDE_IDS, Log
from validation.strange import Judged, by_day

_MANY = 0.05  # the share of all rows
_MANY_OF_A_DAY = 0.05
_MOST_OF_A_DAY = 0.3
_LEAST_ROWS = 30

_PREFIX = r"^([A-Za-z]{2,}[^A-Za-z0-9]?|[A-Za-z][^A-Za-z0-9])([0-9]+(\.0+)?)$"
# Pairs of a pattern and its replacement, applied in this order.
_FORMS = ((_PREFIX, r"\2"), (r"^([0-9]+)\.0+$", r"\1"), (r"^0+([0-9])", r"\1"))


def forms(log: Log) -> Iterator[Check]:
    """Expect no two forms of one id among the events, nor between the events and another table."""
    kinds = log.columns("events")
    for key in (USER_ID, ITEM_ID):
        if kinds[key] != "VARCHAR":
            continue
        log.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE named AS SELECT id, {_bare('id')} AS bare, n FROM "
            f"(SELECT {key} AS id, count(*) AS n FROM events WHERE {key} IS NOT NULL GROUP BY {key})"
        )
        # The most frequent id of each bare form counts as the usual one.
        log.connection.execute(
            "CREATE OR REPLACE TEMP TABLE odd AS SELECT * FROM ("
            "SELECT *, first_value(id) OVER (PARTITION BY bare ORDER BY n DESC, id) AS usual FROM named"
            f") WHERE id <> usual AND {_comparable('id', 'usual')}"
        )
        yield from _within_events(log, key)
        for table, keys in SIDE_IDS.items():
            if key in keys and table in log.tables:
                yield from _between(log, key, table)


def _within_events(log: Log, key: str) -> Iterator[Check]:
    ids, rows = log.one("SELECT count(*), coalesce(sum(n), 0) FROM odd")
    (total,) = log.one("SELECT sum(n) FROM named")
    sample = log.sample(f"SELECT id AS {key}, usual AS beside, n AS rows FROM odd ORDER BY n DESC, id", ids)
    advice = f"one {key} in two forms, which count as two: write each id in one form (zeros, blanks, prefix, case, .0)"
    yield statistic(
        f"{key}_form_rate", rows / max(total or 0, 1), maximum=_MANY, column=key, advice=advice, sample=sample
    )
    yield statistic(f"{key}_forms", ids, maximum=0, column=key, severity="warning", advice=advice, sample=sample)
    by_date = (
        f"SELECT date, count(*) AS rows, count(usual) AS odd FROM events LEFT JOIN odd ON {key} = id GROUP BY date"
    )
    found = log.arrays(f"{by_date} ORDER BY date")
    share = found["odd"] / found["rows"]
    yield from by_day(
        log,
        f"{key}_form",
        [
            Judged(
                judged=found["rows"] >= _LEAST_ROWS,
                strange=share >= _MANY_OF_A_DAY,
                extreme=share >= _MOST_OF_A_DAY,
                evidence=lambda row: {"in_another_form": round(float(share[row]), 3)} | _example(log, key, row),
            )
        ],
        column=key,
        advice=advice,
    )


def _example(log: Log, key: str, row: int) -> dict[str, object]:
    day = log.calendar.days[row]
    return log.rows(
        f"SELECT id AS {key}, usual AS beside FROM odd SEMI JOIN (SELECT {key} AS id FROM events WHERE date = '{day}') "
        "USING (id) ORDER BY n DESC, id LIMIT 1"
    )[0]


def _between(log: Log, key: str, table: str) -> Iterator[Check]:
    # Find the ids of the events that the table holds only in another form.
    log.connection.execute(
        f"CREATE OR REPLACE TEMP TABLE other AS SELECT named.id AS {key}, min(t.id) AS in_table, n AS rows "
        f"FROM named JOIN (SELECT DISTINCT {key} AS id, {_bare(key)} AS bare FROM {table}) AS t USING (bare) "
        f"WHERE {_comparable('named.id', 't.id')} "
        f"GROUP BY ALL HAVING NOT bool_or(named.id = t.id)"
    )
    ids, rows = log.one("SELECT count(*), coalesce(sum(rows), 0) FROM other")
    (total,) = log.one("SELECT sum(n) FROM named")
    sample = log.sample(f"SELECT * FROM other ORDER BY rows DESC, {key}", ids)
    advice = f"events and {table} write the same {key} in two forms, so they never match: write it in one form"
    name = f"{key}_form_in_{table}"
    yield statistic(f"{name}_rate", rows / max(total or 0, 1), maximum=_MANY, column=key, advice=advice, sample=sample)
    yield statistic(name, ids, maximum=0, column=key, severity="warning", advice=advice, sample=sample)


def _bare(column: str) -> str:
    """Return SQL for an id without the parts that change only its form; ids of mixed case keep their case."""
    trimmed = f"trim({column})"
    bare = f"CASE WHEN {trimmed} = upper({trimmed}) THEN lower({trimmed}) ELSE {trimmed} END"
    for pattern, kept in _FORMS:
        bare = f"regexp_replace({bare}, '{pattern}', '{kept}')"
    return bare


def _comparable(one: str, other: str) -> str:
    """Return SQL for whether two ids with one bare form are one id; they are not if both have different prefixes."""
    prefixed = " AND ".join(f"regexp_matches(trim({column}), '{_PREFIX}')" for column in (one, other))
    return f"(NOT ({prefixed}) OR lower(trim({one})) = lower(trim({other})))"
