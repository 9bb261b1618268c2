"""The suite on `data/raw/`: is this a log that a model can learn clicks from?

The suite judges in this order:

1. the files: hashes, footers, column types;
2. every row of every table, where one scan of a table counts the breaches of all its row rules;
3. the tables against each other;
4. the meaning of the rows: each day against the days before, copied days, and users who behave like robots.

Rows stay in DuckDB, whose hash tables spill to disk. They are never loaded into pandas.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from din.base.errors import listed
from din.schema import BEHAVIOUR, ITEM_ID, LABEL, SEQUENCE, TIMESTAMP, USER_ID
from validation import detector_limits
from validation.composition import composition
from validation.copies import copies
from validation.days import click_rate, far_days, volumes
from validation.declared_columns import declared_values, vectors
from validation.expectations import Expected, Sample, columns_of, figure, files_match_manifest, none_of, total
from validation.history import history_of_own_users, ids_of_history, times_of_history
from validation.hours import covered_hours, moved_hours
from validation.log import BY_DAY, SIDE_IDS, Log
from validation.row_rules import RowRule, finite, judge_rows
from validation.run import Phases
from validation.suite_data import quoted
from validation.users import largest_of_days, largest_user, robots

_IDS = ("int64", "string")
_TYPES = {
    USER_ID: _IDS,
    ITEM_ID: _IDS,
    TIMESTAMP: ("timestamp[us]",),
    SEQUENCE: ("int64",),
    LABEL: ("int8",),
    BEHAVIOUR: ("int8",),
}
_NUMBERS = ("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE")


def files(log: Log) -> Iterator[Expected]:
    """Expect complete, unchanged and readable files with the column types of the contract.

    * `files_match_manifest`: a file below `data/raw` was edited, added or removed after `fetch`.
    * `files_readable`, `event_files`: a Parquet file is truncated; there is no event file.
    * `columns`: an event file lacks a column of the contract, or has another type for it; a side table lacks its ids.
    * `ids_of_one_type`: ids are integers in one file and text in another.
    """
    yield files_match_manifest(log, log.root, log.manifest.files, "fetch")
    events = sorted(log.root.glob("events/*/*.parquet"))
    advice = f"no Parquet file in {log.root}/events/date=…; run fetch"
    yield figure(log, "event_files", len(events), advice=advice)
    sides = {log.root / f"{name}.parquet": dict.fromkeys(SIDE_IDS[name], _IDS) for name in log.sides}
    expected = dict.fromkeys(events, _TYPES) | sides
    advice = "a file lacks a column of the contract, or has another type for it: see fetch.table.columns, then fetch"
    columns, judged = columns_of(log, expected, advice)
    yield from judged
    ids = [
        {"file": str(path), "column": column, "type": types[column]}
        for path, types in columns.items()
        for column in (USER_ID, ITEM_ID)
        if column in expected[path] and column in types
    ]
    first = {row["column"]: row["type"] for row in reversed(ids)}
    yield none_of(
        log,
        "ids_of_one_type",
        "files",
        pd.Index(map(str, expected), name="file"),
        [row for row in ids if row["type"] != first[row["column"]]],
        advice=f"ids of different types never match; in the first event file they are {first}: store them alike in all "
        "files",
    )


def events(log: Log) -> Iterator[Expected]:
    """Expect that no event breaks a rule.

    * `<column>_not_null`: an id (empty text included), a timestamp or a sequence number is missing.
    * `label_0_or_1`, `behaviour_0_or_1`: a value other than 0 and 1.
    * `timestamp_plausible`: a year before 1990 or after 2100: the unit is wrong.
    * `timestamp_within_day`: an event is in another day's partition: the time zone is wrong.
    * `not_after_until`: an event is after `data.until`.
    * `<column>_finite`: a number is NaN or infinite (a missing number is null).
    * `weight_column`, `weight_usable`: the events lack the column of `featurize.weight`; a weight is missing, negative
      or not finite.
    """
    rules = _event_rules(log)
    weight = log.params.featurize.weight
    if weight is not None:
        kinds = log.columns("events")
        kind = kinds.get(weight, "missing")
        yield figure(
            log,
            "weight_column",
            int(kind not in _NUMBERS),
            about=weight,
            sample=[{"column": weight, "type": kind}],
            advice=f"featurize.weight names {weight!r}, but the events hold no numbers under that name; they have "
            f"{listed(kinds)}. Under fetch.source table, list the column in fetch.table.keep",
        )
        if kind in _NUMBERS:
            column = quoted(weight)
            broken = f"{column} IS NULL OR NOT isfinite({column}::DOUBLE) OR {column} < 0"
            advice = "a weight is a finite number of at least 0, in every event: correct the source, or write 1"
            rules.append(RowRule("weight_usable", weight, broken, advice))
    yield from judge_rows(log, [*rules, *finite(log, "events")], ["events"], "days", "date")


def side_tables(log: Log) -> Iterator[Expected]:
    """Expect an id in each row of the side tables, and one row for each item and user.

    * `<table>_<column>_not_null`, `<table>_<column>_finite`: an id is missing, or a number is NaN or infinite.
    * `items_unique`, `users_unique`: two rows for one id.
    """
    for name in log.sides:
        advice = f"every row of {log.root / name}.parquet needs one"
        present = [_present(key, advice, f"{name}_") for key in SIDE_IDS[name]]
        yield from judge_rows(log, [*present, *finite(log, name, f"{name}_")], [name], "log")
        if name != "history":
            (key,) = SIDE_IDS[name]
            (repeated,) = log.one(f"SELECT count({key}) - count(DISTINCT {key}) FROM {name}")
            yield figure(
                log,
                f"{name}_unique",
                repeated,
                about=key,
                advice=f"keep one row for each {key}; with two, side fields are ambiguous",
                sample=_repeated(log, name, key),
            )


def _event_rules(log: Log) -> list[RowRule]:
    present = "every event needs one: correct the source, or leave the row out"
    wrong_time = "the timestamp's unit or zone is wrong: see fetch.table.timestamp_unit; times are UTC"
    first, last = detector_limits.YEARS
    rules = [
        *(_present(column, present) for column in (USER_ID, ITEM_ID)),
        *(RowRule(f"{c}_not_null", c, f"{c} IS NULL", present) for c in (TIMESTAMP, SEQUENCE)),
        *(
            RowRule(f"{c}_0_or_1", c, f"{c} IS NULL OR {c} NOT IN (0, 1)", f"a {c} is 0 or 1: see fetch.table.{c}")
            for c in (LABEL, BEHAVIOUR)
        ),
        RowRule("timestamp_plausible", TIMESTAMP, f"year({TIMESTAMP}) NOT BETWEEN {first} AND {last}", wrong_time),
        RowRule("timestamp_within_day", TIMESTAMP, f"strftime({TIMESTAMP}, '%Y-%m-%d') <> date", wrong_time),
    ]
    if log.until:
        late = "events after data.until are not to be used: delete data/raw and fetch"
        rules.append(RowRule("not_after_until", TIMESTAMP, f"strftime({TIMESTAMP}, '%Y-%m-%d') > '{log.until}'", late))
    return rules


def _present(column: str, advice: str, prefix: str = "") -> RowRule:
    return RowRule(f"{prefix}{column}_not_null", column, f"{column} IS NULL OR {column}::VARCHAR = ''", advice)


def figures(log: Log) -> Iterator[Expected]:
    """Expect plausible numbers of rows, users, items and behaviours, and a plausible CTR.

    * `rows`: too few rows (`min_rows`).
    * `distinct_users`, `distinct_items`: all rows are of one user, or of one item.
    * `ctr`: nearly all rows are clicks, or nearly none; not judged under `leave_last_out`.
    * `behaviours`: a **warning**: no row enters a history.
    """
    yield total(log, "rows", "days", log.days, advice="is the log complete? If so, lower validate_raw.min_rows")
    ctr, behaviours = log.one(f"SELECT avg({LABEL}), count_if({BEHAVIOUR} = 1) FROM events")
    for column, what in ((USER_ID, "user"), (ITEM_ID, "item")):
        (distinct,) = log.one(f"SELECT count(DISTINCT {column}) FROM {BY_DAY[column]}")
        yield figure(
            log,
            f"distinct_{what}s",
            distinct,
            about=column,
            advice=f"all events belong to one {what}, so nothing can be ranked: is {column} the right column?",
        )
    if log.protocol != "leave_last_out":
        yield figure(
            log,
            "ctr",
            ctr,
            about=LABEL,
            advice="is the label rule right (fetch.table.label)? A log of clicks alone needs protocol leave_last_out",
        )
    if "history" not in log.sides:
        yield figure(
            log,
            "behaviours",
            behaviours,
            about=BEHAVIOUR,
            advice="no row enters a history, so every history is empty: see fetch.table.behaviour",
        )


def uniqueness(log: Log) -> Iterator[Expected]:
    """Expect unique sequence numbers, and few events with the same user, item and time as another.

    * `sequence_unique`: a sequence number is used twice.
    * `duplicate_rate`: too many rows repeat an earlier row's user, item and time (`max_duplicate_rate`).
      `fetch.table.drop_duplicates` drops them.
    """
    (repeated,) = log.one(f"SELECT count({SEQUENCE}) - count(DISTINCT {SEQUENCE}) FROM events")
    yield figure(
        log,
        "sequence_unique",
        repeated,
        about=SEQUENCE,
        advice="sequence numbers break ties, so each is used once: leave the column out to number rows at fetch",
        sample=_repeated(log, "events", SEQUENCE),
    )
    keys = f"{USER_ID}, {ITEM_ID}, {TIMESTAMP}"
    count = log.pairs["rows"].sum()
    yield figure(
        log,
        "duplicate_rate",
        log.pairs["duplicates"].sum() / count if count else None,
        about=keys,
        advice="the same user, item and time again: was a file read twice? If the source delivers events twice, set "
        "fetch.table.drop_duplicates to true; else raise validate_raw.max_duplicate_rate",
        sample=_repeated(log, "events", keys),
    )


def missing_days(log: Log) -> Iterator[Expected]:
    """Expect events on every day, up to the last one that may be used: `missing_days`, `days_behind_until`.

    A failure is a **warning**, unless the source promises every day (`fetch.table.daily`).
    """
    days = log.calendar.days.astype("datetime64[D]")
    if log.params.validate_raw.missing_days == "off" or not len(days):
        return
    blocks = log.threshold("missing_days").severity == "critical"
    lost = "lost for good, set validate_raw.missing_days to warning; if " if blocks else "lost, or if "
    calendar = np.arange(days[0], days[-1] + 1)
    yield none_of(
        log,
        "missing_days",
        "days",
        pd.Index(calendar.astype(str), name="date"),
        [{"date": str(day)} for day in np.setdiff1d(calendar, days)],
        advice=f"days without a row inside the log's range: add them. If they are {lost}nothing happened on them, set "
        "validate_raw.missing_days to off",
    )
    if log.until:
        yield figure(
            log,
            "days_behind_until",
            max(0, (log.until - days[-1].item()).days),
            advice=f"the log ends before data.until={log.until}: add the newest days, or set an earlier data.until",
            sample=[{"newest": str(days[-1])}],
        )


def known_ids(log: Log) -> Iterator[Expected]:
    """Expect the side tables to have the ids of most events: `unknown_items_rate`, `unknown_users_rate`.

    The limit for items is `max_unknown_items`. `unknown_items` and `unknown_users` **warn** from the first event on.
    """
    for name in ("items", "users"):
        if name not in log.sides:
            continue
        (key,) = SIDE_IDS[name]
        unknown = f"FROM {BY_DAY[key]} ANTI JOIN {name} USING ({key})"
        (share,) = log.one(f"SELECT coalesce((SELECT sum(n) {unknown}), 0) / greatest(sum(n), 1) FROM {BY_DAY[key]}")
        held = log.rows(f"SELECT DISTINCT {key} FROM {name} ORDER BY {key} LIMIT 3")
        advice = (
            f"events whose {key} is not in the table of {name}; their side fields are unknown: complete that "
            "table. If hardly any match, the ids have another form or meaning; the table holds "
            + ", ".join(repr(row[key]) for row in held)[:200]
        )
        sample = log.sample(f"SELECT {key}, sum(n)::BIGINT AS events {unknown} GROUP BY {key} ORDER BY 2 DESC, {key}")
        for figured in (f"unknown_{name}_rate", f"unknown_{name}"):
            yield figure(log, figured, share, about=key, advice=advice, sample=sample)


def _repeated(log: Log, table: str, keys: str) -> Sample:
    return log.sample(f"SELECT {keys}, count(*) AS times FROM {table} GROUP BY {keys} HAVING times > 1 ORDER BY {keys}")


def unlike_earlier_days(log: Log) -> Iterator[Expected]:
    """Expect each day to be like the days before it.

    * `largest_user_share_newest_days`: one user has too large a share of a day.
    * `largest_item_share_newest_days`: one item has a fifth of a day, and five times as many rows as any item before: a
      default for unknown items.
    * `rows_newest_days`, `users_newest_days`, `items_newest_days`: a fifth of the usual number or less, or five times
      or more.
    * `hours_newest_days`: rows are in other hours than usual, or are shifted by hours.
    * `ctr_newest_days`: half of the usual odds of a click or less, or double or more.
    * `missing_values_newest_days`: a column lacks far more of its values than usual, or a side table lacks the ids.
    * `scale_newest_days`: a part of a context's or a behaviour's numbers is of another scale, such as × 100.
    * `new_values_newest_days`: most rows hold a new value in a column, ids included. The sample shows a new value
      beside an earlier one, e.g. `0501` and `501`.
    * `lost_values_newest_days`: values that had a tenth of the rows are gone. The sample says whether another value
      replaces them.
    * `ctr_of_values_newest_days`: the rows of one value have half of their usual odds of a click or less, or double or
      more.
    * `labels_follow_values_newest_days`: labels no longer follow the values of a column, because labels are flipped or
      random, or values permuted or filled in.
    """
    if log.params.validate_raw.strange_days != "off":
        for detector in (largest_of_days, volumes, moved_hours, click_rate, composition):
            yield from detector(log)


PHASES = Phases(
    Log,
    {
        "files": (files,),
        "rows": (events, figures, uniqueness, side_tables),
        "tables": (
            far_days,
            missing_days,
            known_ids,
            times_of_history,
            ids_of_history,
            history_of_own_users,
            declared_values,
            vectors,
        ),
        "meaning": (copies, robots, largest_user, covered_hours, unlike_earlier_days),
    },
)
