"""Put the earlier log before the log of the server: `fetch.options.before`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from din.base.errors import InputError
from din.data import values
from din.data.rawlog import RawLog
from din.data.rows import Rows, Store
from din.schema import SEQUENCE, TIMESTAMP, USER_ID
from din_loop.served_join import note
from din_loop.served_options import Served


def with_ids_of(before: RawLog, params: Served) -> Served:
    """Return the options with whole numbers for the ids that are whole numbers in the earlier log."""
    ids: tuple[Literal["user_id", "item_id"], ...] = ("user_id", "item_id")
    return replace(params, int_ids=tuple(key for key in ids if before.events.types[key] == "BIGINT"))


def continued(before: RawLog, log: RawLog, store: Store) -> RawLog:
    """Return the log with the earlier log's rows before it.

    A user of the earlier log has the history of that log, and the others have the one of their first request.

    Raises:
        InputError: the earlier log lacks negatives, and the server's log doesn't.
    """
    if before.sampled < 1:
        raise InputError(
            f"fetch.options.before: the log holds {before.sampled:g} of its impressions without a click, and a "
            "server's log holds all: one offset can't correct both; learn from the server's log alone"
        )
    (first,) = log.events.ask(f"min({log.events[TIMESTAMP]})")
    earlier = _local(before.events, store, "events")
    earlier = earlier.where(f"{earlier[TIMESTAMP]} < '{first}'")
    note(f"{earlier.count:,} rows of the earlier log come before the first answer, of {first:%Y-%m-%d %H:%M}")
    (start,) = earlier.ask(f"coalesce(max({earlier[SEQUENCE]}) + 1, 0)")
    columns = {name: log.events[name] for name in log.events.names}
    numbered = log.events.select(columns | {SEQUENCE: f"{log.events[SEQUENCE]} + {start}"})
    past = [_local(before.history, store, "history")] if before.history else []
    if log.history:
        known = f"SELECT {earlier[USER_ID]} FROM ({earlier.query})"
        past.append(log.history.where(f"{log.history[USER_ID]} NOT IN ({known})"))
    return replace(
        log,
        events=_united([earlier, numbered]),
        items=log.items or before.items,
        users=log.users or before.users,
        history=_united(past) if past and any(rows.count for rows in past) else None,
        fields=before.fields,
        order=before.order,
    )


def _local(rows: Rows, store: Store, table: str) -> Rows:
    """Return rows of another engine in this one."""
    return replace(rows.stored(store.file(f"before-{table}")), con=store.con)


def _united(parts: Sequence[Rows]) -> Rows:
    """Return the rows of all parts, in order. A column that a part lacks is empty there; of two types, it is text."""
    queries = []
    names = tuple(dict.fromkeys(name for rows in parts for name in rows.names))
    kinds = {name: {rows.types[name] for rows in parts if _has(rows, name)} for name in names}
    for number, rows in enumerate(parts):
        columns = []
        for at, name in enumerate(names):
            column = rows[name] if _has(rows, name) else "NULL"
            if len(kinds[name]) > 1 and any(kind.startswith(("VARCHAR", "BOOLEAN")) for kind in kinds[name]):
                column = values.text(column, rows.types.get(name, values.MISSING))
            columns.append(f"{column} AS c{at}")
        queries.append(f"SELECT {number} AS part, row AS number, {', '.join(columns)} FROM ({rows.query})")
    number = "row_number() OVER (ORDER BY part, number) - 1"
    query = f"SELECT {number} AS row, * EXCLUDE (part, number) FROM ({' UNION ALL '.join(queries)})"
    files = (("the log", sum(rows.count for rows in parts)),)
    return Rows(parts[-1].con, query, names, files)


def _has(rows: Rows, name: str) -> bool:
    """Return whether rows have a column with values."""
    return rows.types.get(name, values.MISSING) != values.MISSING
