# Great Expectations marks none of its public classes as exported:
# pyright: reportPrivateImportUsage=false
"""The suite on `data/raw/`: is this a log that a model can learn clicks from?

It judges first the files (hashes, footers, column types). Then it judges every row of every table in DuckDB, with one
scan of the events for the row rules and the figures, and one DISTINCT each for sequence numbers and duplicates. Then it
compares the tables with each other. Last comes the meaning of the rows: each day against the days before, copied days,
and users who behave like robots. Rows are never loaded into pandas, and DuckDB's hash tables spill to disk.
"""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any, NamedTuple

import pandas as pd
from great_expectations import expectations as gxe

from din.errors import listed
from din.params import Params
from din.schema import BEHAVIOUR, ITEM_ID, LABEL, SEQUENCE, TIMESTAMP, USER_ID
from din.workspace import Workspace
from validation.checks import SAMPLE, Check, Severity, files_match_manifest, graded, none_of, schemas, statistic
from validation.copies import copies
from validation.coverage import by_coverage
from validation.dates import far_days
from validation.days import by_figures
from validation.history import prior_history
from validation.log import SIDE_IDS, Log, opened, quoted, read_manifest
from validation.totals import rows_by_hour, totals
from validation.users import concentration, robots
from validation.values import declared_values, vectors

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
_FEW_IDS = 2
_YEARS = (1990, 2100)  # no log of clicks is older, and a wrong unit gives 1970 or the year 50000


class Rule(NamedTuple):
    """A rule for rows, broken where the SQL predicate `broken` holds."""

    name: str
    column: str
    broken: str
    advice: str


def files(workspace: Workspace, params: Params) -> Iterator[Check]:
    """Yield the checks of the files: complete, unchanged, readable, and with the contract's types."""
    root = workspace.raw
    yield files_match_manifest(root, read_manifest(root), "fetch")
    events = sorted(root.glob("events/*/*.parquet"))
    sides = [root / f"{name}.parquet" for name in SIDE_IDS]
    found, readable = schemas([*events, *(path for path in sides if path.exists())])
    yield readable
    yield statistic("event_files", len(events), minimum=1, advice=f"no Parquet file in {root}/events/date=…; run fetch")
    types = {path: dict(zip(schema.names, map(str, schema.types), strict=True)) for path, schema in found.items()}
    frame = pd.DataFrame(
        [{"file": str(p)} | {c: types[p].get(c, "missing") for c in _TYPES} for p in events if p in types]
    )
    for column, allowed in _TYPES.items() if len(frame) else ():
        yield Check(
            name=f"{column}_type",
            column=column,
            expectation=gxe.ExpectColumnValuesToBeInSet,
            arguments={"column": column, "value_set": allowed},
            threshold={"in": allowed},
            frame=frame,
            advice=f"every event file needs the column {column!r}, of that type: see fetch.table.columns, then fetch",
        )
    ids = [{"file": str(p), c: types[p].get(c, "missing")} for p in events for c in (USER_ID, ITEM_ID) if p in types]
    ids += [
        {"file": str(path), column: types[path].get(column, "missing")}
        for name, columns in SIDE_IDS.items()
        if (path := root / f"{name}.parquet") in types
        for column in columns
    ]
    first = {c: next((row[c] for row in ids if c in row), None) for c in (USER_ID, ITEM_ID)}
    yield none_of(
        "ids_of_one_type",
        [row for row in ids if any(row[c] != first[c] for c in row.keys() & first.keys())],
        advice=f"ids of different types never match; in the first event file they are {first}: store them alike in all "
        "files",
    )


def rows(workspace: Workspace, params: Params) -> Iterator[Check]:
    """Yield the checks of the rows: the contract's rules, plausible figures, and unique rows."""
    limits = params.validate_raw
    with opened(workspace, params) as log:
        rules = _event_rules(log.until and log.until.isoformat())
        weight = params.featurize.weight
        if weight is not None:
            yield _weight_column(log, weight)
            rules += _weight_rules(log, weight)
        yield from _rules(log, "events", rules)
        yield from _figures(log, params)
        yield from _uniqueness(log, limits.max_duplicate_rate)
        for name in log.tables:
            advice = f"every row of {workspace.raw / name}.parquet needs one"
            yield from _rules(log, name, [_present(key, advice) for key in SIDE_IDS[name]])
            if name != "history":
                yield from _one_row_each(log, name)


def tables(workspace: Workspace, params: Params) -> Iterator[Check]:
    """Yield the checks of the log's days, and those that compare tables: ids, times, and declared values."""
    limits = params.validate_raw
    with opened(workspace, params) as log:
        yield from far_days(log)
        if limits.missing_days != "off":
            yield from _days(log, _if_daily(log, limits.missing_days))
        if "items" in log.tables:
            yield from _coverage(log, "items", limits.max_unknown_items)
        if "users" in log.tables:
            yield from _coverage(log, "users", limits.max_unknown_users)
        yield from prior_history(log)
        yield from declared_values(log)
        yield from vectors(log)


def meaning(workspace: Workspace, params: Params) -> Iterator[Check]:
    """Yield the checks that each day is like the days before and not a copy, and that users behave like people."""
    limits = params.validate_raw
    with opened(workspace, params) as log:
        yield from copies(log, limits.max_duplicate_rate)
        yield from robots(log)
        yield from concentration(log, limits.max_user_share, limits.strange_days != "off")
        users = totals(log, USER_ID)
        hours = rows_by_hour(log)
        if limits.partial_days != "off":
            yield from by_coverage(log, users, hours, _if_daily(log, limits.partial_days))
        if limits.strange_days != "off":
            yield from by_figures(log, users, hours)


PHASES = (files, rows, tables, meaning)


def _if_daily(log: Log, wanted: Severity) -> Severity:
    """Return the severity of a fault that only a source with whole days for every day can have."""
    return wanted if log.daily else "warning"


def _event_rules(until: str | None) -> list[Rule]:
    present = "every event needs one: correct the source, or leave the row out"
    wrong_time = "the timestamp's unit or zone is wrong: see fetch.table.timestamp_unit; times are UTC"
    rules = [
        *(_present(column, present) for column in (USER_ID, ITEM_ID)),
        *(Rule(f"{c}_not_null", c, f"{c} IS NULL", present) for c in (TIMESTAMP, SEQUENCE)),
        *(
            Rule(f"{c}_0_or_1", c, f"{c} IS NULL OR {c} NOT IN (0, 1)", f"a {c} is 0 or 1: see fetch.table.{c}")
            for c in (LABEL, BEHAVIOUR)
        ),
        Rule(
            "timestamp_plausible", TIMESTAMP, f"year({TIMESTAMP}) NOT BETWEEN {_YEARS[0]} AND {_YEARS[1]}", wrong_time
        ),
        Rule("timestamp_within_day", TIMESTAMP, f"strftime({TIMESTAMP}, '%Y-%m-%d') <> date", wrong_time),
    ]
    if until:
        day = date.fromisoformat(until)  # parsed, so that only a day of the manifest reaches SQL
        late = "events after data.until are not to be used: delete data/raw and fetch"
        rules.append(Rule("not_after_until", TIMESTAMP, f"strftime({TIMESTAMP}, '%Y-%m-%d') > '{day}'", late))
    return rules


def _present(column: str, advice: str) -> Rule:
    return Rule(f"{column}_not_null", column, f"{column} IS NULL OR {column}::VARCHAR = ''", advice)


def _finite(log: Log, table: str) -> list[Rule]:
    advice = "a number is finite or null: write a missing one as null, correct an infinite one"
    return [
        Rule(f"{name}_finite", name, f"NOT isfinite({quoted(name)})", advice)
        for name, kind in log.columns(table).items()
        if kind in ("FLOAT", "DOUBLE")
    ]


def _rules(log: Log, table: str, rules: list[Rule]) -> Iterator[Check]:
    """Count the rows that break each rule in one scan, and look for examples of broken rules."""
    rules = [*rules, *_finite(log, table)]
    counts = ", ".join(f"count(*) FILTER (WHERE {rule.broken})" for rule in rules)
    found = log.one(f"SELECT {counts} FROM {table}") if rules else ()
    for rule, count in zip(rules, found, strict=True):
        yield statistic(
            rule.name if table == "events" else f"{table}_{rule.name}",
            count,
            maximum=0,
            column=rule.column,
            advice=rule.advice,
            sample=log.sample(f"SELECT * FROM {table} WHERE {rule.broken}", count),
        )


def _weight_column(log: Log, name: str) -> Check:
    """Expect that the column of weights exists and holds numbers."""
    columns = log.columns("events")
    found = columns.get(name, "missing")
    return none_of(
        "weight_column",
        [] if found in _NUMBERS else [{"column": name, "type": found}],
        column=name,
        advice=f"featurize.weight names {name!r}, but the events hold no numbers under that name; they have "
        f"{listed(columns)}. Under fetch.source table, list the column in fetch.table.keep",
    )


def _weight_rules(log: Log, name: str) -> list[Rule]:
    if log.columns("events").get(name) not in _NUMBERS:
        return []
    own = quoted(name)
    broken = f"{own} IS NULL OR NOT isfinite({own}::DOUBLE) OR {own} < 0"
    advice = "a weight is a finite number of at least 0, in every event: correct the source, or write 1"
    return [Rule("weight_usable", name, broken, advice)]


def _figures(log: Log, params: Params) -> Iterator[Check]:
    limits = params.validate_raw
    count, ctr, behaviours = log.one(f"SELECT count(*), avg({LABEL}), count_if({BEHAVIOUR} = 1) FROM events")
    yield statistic(
        "rows", count, minimum=limits.min_rows, advice="is the log complete? If so, lower validate_raw.min_rows"
    )
    for column, what in ((USER_ID, "users"), (ITEM_ID, "items")):
        (distinct,) = log.one(f"SELECT count(DISTINCT {column}) FROM events")
        yield statistic(
            f"distinct_{what}",
            distinct,
            minimum=_FEW_IDS,
            column=column,
            advice=f"all events belong to one {what}, so nothing can be ranked: is {column} the right column?",
        )
    if log.protocol != "leave_last_out":
        yield statistic(
            "ctr",
            ctr,
            minimum=limits.min_ctr,
            maximum=limits.max_ctr,
            column=LABEL,
            advice="is the label rule right (fetch.table.label)? A log of clicks alone needs protocol leave_last_out",
        )
    if "history" not in log.tables:
        yield statistic(
            "behaviours",
            behaviours,
            minimum=1,
            column=BEHAVIOUR,
            severity="warning",
            advice="no row enters a history, so every history is empty: see fetch.table.columns.behaviour",
        )


def _uniqueness(log: Log, max_duplicate_rate: float) -> Iterator[Check]:
    count, repeated = log.one(f"SELECT count(*), count({SEQUENCE}) - count(DISTINCT {SEQUENCE}) FROM events")
    yield statistic(
        "sequence_unique",
        repeated,
        maximum=0,
        column=SEQUENCE,
        advice="sequence numbers break ties, so each is used once: leave the column out to number rows at fetch",
        sample=_repeated(log, "events", SEQUENCE, repeated),
    )
    keys = f"{USER_ID}, {ITEM_ID}, {TIMESTAMP}"
    (distinct,) = log.one(f"SELECT count(*) FROM (SELECT DISTINCT {keys} FROM events)")
    yield statistic(
        "duplicate_rate",
        (count - distinct) / count if count else None,
        maximum=max_duplicate_rate,
        column=keys,
        advice="the same user, item and time again: was a file read twice? Else raise validate_raw.max_duplicate_rate",
        sample=_repeated(log, "events", keys, count - distinct),
    )


def _days(log: Log, severity: Severity) -> Iterator[Check]:
    days = log.calendar.days.astype(object)
    if not len(days):
        return
    between = (days[0] + timedelta(n) for n in range((days[-1] - days[0]).days))
    missing = sorted(set(between) - set(days))
    yield statistic(
        "missing_days",
        len(missing),
        maximum=0,
        severity=severity,
        advice="days without a row inside the log's range: add them, or set validate_raw.missing_days to warning or "
        "off",
        sample=[{"date": str(day)} for day in missing[:SAMPLE]],
    )
    if log.until:
        yield statistic(
            "days_behind_until",
            max(0, (log.until - days[-1]).days),
            maximum=0,
            severity=severity,
            advice=f"the log ends before data.until={log.until}: add the newest days, or set an earlier data.until",
            sample=[{"newest": str(days[-1])}],
        )


def _one_row_each(log: Log, name: str) -> Iterator[Check]:
    (key,) = SIDE_IDS[name]
    count, distinct = log.one(f"SELECT count({key}), count(DISTINCT {key}) FROM {name}")
    yield statistic(
        f"{name}_unique",
        count - distinct,
        maximum=0,
        column=key,
        advice=f"keep one row for each {key}; with two, side fields are ambiguous",
        sample=_repeated(log, name, key, count - distinct),
    )


def _coverage(log: Log, name: str, max_unknown: float) -> Iterator[Check]:
    (key,) = SIDE_IDS[name]
    strangers = f"FROM events ANTI JOIN {name} USING ({key})"
    (share,) = log.one(f"SELECT (SELECT count(*) {strangers}) / greatest(count(*), 1) FROM events")
    sample = log.sample(
        f"SELECT {key}, count(*) AS events {strangers} GROUP BY {key} ORDER BY events DESC, {key}", share
    )
    advice = (
        f"events whose {key} is not in the table of {name}; their side fields are unknown: complete that table. If "
        f"hardly any match, the ids have another form or meaning; the table holds {_examples(log, name, key)}"
    )
    limits = (f"unknown_{name}_rate", max_unknown), (f"unknown_{name}", 0)
    yield from graded(*limits, share, column=key, advice=advice, sample=sample)


def _repeated(log: Log, table: str, keys: str, count: int) -> list[dict[str, Any]]:
    again = f"SELECT {keys}, count(*) AS times FROM {table} GROUP BY {keys} HAVING times > 1 ORDER BY {keys}"
    return log.sample(again, count)


def _examples(log: Log, table: str, key: str) -> str:
    ids = [repr(row[key]) for row in log.rows(f"SELECT DISTINCT {key} FROM {table} ORDER BY {key} LIMIT 3")]
    return ", ".join(ids)[:200]
