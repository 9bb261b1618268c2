"""Join the answers of a server with the clicks on them.

asked (a row per request) ──► impressions (one per candidate) ──┐
clicks ── of a request, or the last impression ─────────────────┴─► clicked ──► events, and histories
"""

import json
import sys
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from duckdb.func import SPECIAL

from din import kinds
from din.base.errors import InputError, Unavailable, listed, shown
from din.data import files, readers, values
from din.data.readers import Dialect
from din.data.rows import Check, Rows, Store, quoted
from din.schema import EVENT_COLUMNS, ITEM_ID, LABEL, SEQUENCE, TIMESTAMP, USER_ID
from din_loop import served_log
from din_loop.served_answers import reading
from din_loop.served_options import Served

REQUEST_ID = "request_id"
PLACE = "place"
_WHOLE = ("NULL", "BIGINT", "UBIGINT")  # how DuckDB calls whole numbers of JSON, and a name without values
_REQUESTS = 64
"""The requests that are parsed at once. `din serve` answers requests of 16 MB, if nobody changes that."""
_MOST_STRAY = 0.01
"""The largest share of impressions that are left out because their id is no whole number."""
_EARLY = 60
"""Seconds by which a click may be before its answer, since clocks differ a little."""
_KEYS = (REQUEST_ID, USER_ID, ITEM_ID, TIMESTAMP)
_BEHAVIOURS = pa.schema(
    {"user_id": pa.string(), "answered_at": pa.timestamp("us"), "number": pa.int64(), "context": pa.string()}
)


class Join:
    """The tables of the join, in the engine of a store: `asked`, `impressions`, `clicks` and `clicked`.

    Call in this order: `read_requests`, `read_clicks`, `attribute_clicks`, `last_complete_day`; then `events` and
    `histories` return rows.
    """

    def __init__(self, store: Store, params: Served) -> None:
        self._store = store
        self._con = store.con
        self._con.create_function("as_text", _as_text, ["JSON"], "VARCHAR", null_handling=SPECIAL)
        self._params = params
        self._window = f"to_microseconds({round(params.window_hours * 3.6e9)})"
        self._name = ""
        self._hashed = False

    def read_requests(self, paths: Sequence[str]) -> None:
        """Read the log of the server: `asked` has a row for each request, `impressions` one for each candidate."""
        logged = quoted(str(self._store.file("logged")))
        self._con.register("log", pa.RecordBatchReader.from_batches(served_log.SCHEMA, _batches(paths)))
        with reading(f"fetch.options.path: {self._params.path}"):
            self._con.execute(
                f"""COPY (
                    SELECT * EXCLUDE (request) REPLACE (nullif(user_id, '') AS user_id),
                        request::JSON->'context' AS context
                    FROM log
                ) TO {logged} (PRESERVE_ORDER false);
                CREATE TABLE asked AS SELECT * FROM {logged}
                QUALIFY row_number() OVER (PARTITION BY request_id ORDER BY answered_at, version) = 1;
                CREATE TABLE impressions AS
                WITH shown AS (
                    SELECT request_id, answered_at, user_id, unnest(items) AS item_id,
                        unnest(probabilities) AS probability, generate_subscripts(items, 1) AS number
                    FROM asked
                ), placed AS (
                    SELECT *, row_number() OVER (PARTITION BY request_id ORDER BY probability DESC, number) AS place
                    FROM shown
                )
                SELECT request_id, answered_at, user_id, item_id, place FROM placed
                WHERE user_id IS NOT NULL AND item_id <> '' AND place <= {self._params.shown or 2**31}
                QUALIFY row_number() OVER (PARTITION BY request_id, item_id ORDER BY place) = 1"""
            )
        read = self._count(logged)
        hashed, plain = self._ask("bool_or(hashed), bool_or(NOT hashed)", "asked")
        if hashed and plain:
            raise InputError(
                f"fetch.options.path: {self._params.path}: some files have users' ids and others their hashes, so one "
                "person would be two; keep one kind"
            )
        self._hashed = hashed
        if not self._count("impressions"):
            raise InputError(
                f"fetch.options.path: {self._params.path}: {read:,} requests, none with a user_id and a candidate; a "
                "log to learn from needs both"
            )
        if twice := read - self._count("asked"):
            note(f"{twice:,} requests were in the log twice; each counts once")
        if nobody := self._count("asked WHERE user_id IS NULL"):
            note(f"{nobody:,} requests without a user_id are left out")

    def read_clicks(self, parts: Sequence[files.File], dialect: Dialect) -> None:
        """Read the table of clicks, and check that each time can be read."""
        rows = readers.read(parts, self._chosen, dialect, self._store, "clicks")
        self._name = rows.name
        key_columns = self._key_columns(rows.names)
        forms = values.forms(rows, {})
        is_text = files.format_of(parts[0].path) == "CSV"
        keys: dict[str, str] = dict.fromkeys(_KEYS, "NULL::VARCHAR")
        for key, name in key_columns.items():
            kind = rows.types[name]
            value = values.cast(rows[name], kind, values.identifier(kind, forms[name], is_text))
            keys[key] = f"nullif(CAST({value} AS VARCHAR), '')"
        time = _time(keys[TIMESTAMP])
        unread = Check(
            f"{keys[TIMESTAMP]} IS NOT NULL AND {time} IS NULL",
            key_columns.get(TIMESTAMP, TIMESTAMP),
            keys[TIMESTAMP],
            "seconds since 1970, or text such as 2026-01-31T12:00:00Z",
            "correct the row",
        )
        rows.require([unread])
        columns = list(keys.values())
        for name in self._params.feedback:
            kind = rows.types[name]
            columns.append(values.cast(rows[name], kind, values.side(kind, forms[name], is_text)))
        names = [*_KEYS, *(f"f{number}" for number in range(len(self._params.feedback))), "clicked_at"]
        self._con.execute(
            f"CREATE TABLE clicks AS SELECT * FROM (SELECT {', '.join([*columns, time])} FROM ({rows.query})) "
            f"AS read({', '.join(names)})"
        )

    def _key_columns(self, names: Sequence[str]) -> dict[str, str]:
        """Map our names of a click's key columns to the file's, for the columns that the file has."""
        columns = {key: self._params.clicks_columns.get(key, key) for key in _KEYS}
        return {key: name for key, name in columns.items() if name in names}

    def _chosen(self, names: Sequence[str], file: str) -> list[str]:
        """Return the columns to read from a file of clicks."""
        key_columns = self._key_columns(names)
        by_time = {USER_ID, TIMESTAMP} <= set(key_columns)
        if ITEM_ID not in key_columns or not (REQUEST_ID in key_columns or by_time):
            raise InputError(
                f"{file}: columns {listed(names)}; expected item_id and request_id, or item_id, user_id and "
                "timestamp: map them in fetch.options.clicks_columns"
            )
        if self._hashed and REQUEST_ID not in key_columns:
            raise InputError(
                f"{file}: the log holds hashes of users, so no user_id finds a click; give their request_id"
            )
        if missing := [name for name in self._params.feedback if name not in names]:
            raise InputError(f"fetch.options.feedback: {file} has no column {missing[0]!r}, only {listed(names)}")
        return list(dict.fromkeys([*key_columns.values(), *self._params.feedback]))

    def attribute_clicks(self) -> None:
        """Find the impression of each click: `clicked` has a row for each impression, with its first click."""
        numbers = range(len(self._params.feedback))
        feedback, order = ("".join(f", {table}f{number}" for number in numbers) for table in ("c.", ""))
        self._con.execute(
            f"""CREATE TABLE attributed AS
            SELECT i.request_id, i.item_id, c.clicked_at, c.clicked_at - i.answered_at AS late{feedback} FROM clicks c
            JOIN impressions i ON c.request_id = i.request_id AND c.item_id = i.item_id
            UNION ALL
            SELECT i.request_id, i.item_id, c.clicked_at, c.clicked_at - i.answered_at AS late{feedback}
            FROM (SELECT * FROM clicks WHERE request_id IS NULL) c ASOF JOIN (
                SELECT user_id, item_id, answered_at, min(request_id) AS request_id FROM impressions GROUP BY ALL
            ) i ON c.user_id = i.user_id AND c.item_id = i.item_id AND c.clicked_at >= i.answered_at;
            CREATE TABLE clicked AS SELECT * FROM attributed WHERE late IS NULL OR late <= {self._window}
            QUALIFY row_number() OVER (PARTITION BY request_id, item_id ORDER BY clicked_at{order}) = 1"""
        )
        clicks = self._count("clicks")
        late = self._count(f"attributed WHERE late > {self._window}")
        counted = self._count("clicked")
        if clicks and not counted:
            ((first, last),) = self._con.execute("SELECT min(answered_at), max(answered_at) FROM asked").fetchall()
            example = self._con.execute(f"SELECT {', '.join(_KEYS)} FROM clicks LIMIT 1").fetchall()[0]
            raise InputError(
                f"{self._name}: none of {clicks:,} clicks belongs to an answer; the log is of {first} to {last}, the "
                f"first click is {dict(zip(_KEYS, example, strict=True))}: check the columns, and the unit of the time"
            )
        attributed = self._count("attributed")
        note(
            f"{clicks:,} clicks: {counted:,} count, {attributed - late - counted:,} are repeated, {late:,} came after "
            f"the window of {self._params.window_hours:g} h, {clicks - attributed:,} belong to no answer"
        )
        half, most = self._ask("quantile_cont(epoch(late), 0.5), quantile_cont(epoch(late), 0.99)", "attributed")
        if half is not None:
            if half >= 0:
                note(f"half of the clicks came within {_span(half)} of the answer, 99 % within {_span(most)}")
            if half < -_EARLY:
                note(f"half of the clicks are {_span(-half)} or more before their answers: compare the clocks")

    def last_complete_day(self, until: date | None) -> date:
        """Return the last complete day: its window had passed at the newest answer with a click.

        Without clicks, the newest answer decides. The times of clicks don't, because a client's clock may be wrong. But
        an answer that is much later than its click, compared with others, is of a server whose clock is wrong.

        Raises:
            InputError: no day is complete.
            Unavailable: `until` is a later day.
        """
        offset = timedelta(hours=self._params.table.utc_offset_hours)
        ((first, newest),) = self._con.execute(
            """SELECT min(answered_at), coalesce(
                max(answered_at) FILTER (WHERE request_id IN (
                    SELECT request_id FROM clicked WHERE late IS NULL OR late > (
                        SELECT least(quantile_cont(epoch(late), 0.5), 0) * INTERVAL 1 SECOND - INTERVAL 1 DAY
                        FROM attributed
                    )
                )), max(answered_at)
            ) FROM asked"""
        ).fetchall()
        passed = newest - timedelta(hours=self._params.window_hours)
        last = (passed + offset).date() - timedelta(days=1)
        window = f"the window is {self._params.window_hours:g} h"
        reason = f"the newest answer with a click is of {newest:%Y-%m-%d %H:%M}, and {window}"
        oldest = (first + offset).date()
        awaited = oldest if last < oldest else until
        if awaited and awaited > last:
            complete = datetime.combine(awaited, time.min) + timedelta(days=1, hours=self._params.window_hours) - offset
            advice = f"run it again once there are clicks on answers of {complete:%Y-%m-%d %H:%M} or later"
            if last < oldest:
                raise InputError(
                    f"{self._name}: no day of the log is complete: {reason}; {advice}, or try the loop today with "
                    "`din rehearse`"
                )
            raise Unavailable(f"data.until={until}: the day is not complete: {reason}; {advice}")
        if open_days := self._count(f"asked WHERE NOT {self._until(last)}"):
            note(f"{open_days:,} answers after {last} are left out: {reason}")
        return last

    def events(self, last: date) -> Rows:
        """Return the events until a day, with what the requests and the clicks say about them."""
        params = self._params
        for key in params.int_ids:
            self._keep_whole(key, last)
        ids = self._ids
        asked = f"asked WHERE {self._until(last)}"
        structure = self._ask("json_group_structure(context)", asked)[0]
        if structure is None:
            raise InputError(f"data.until={last}: no answer is that old; set a later day")
        forms = json.loads(structure)
        forms = forms if isinstance(forms, dict) else {}
        long = self._ask(", ".join(["NULL", *map(_is_long, forms)]), asked)[1:]
        contexts = {
            name: _context(name, form, "JSON" if is_long else None)
            for (name, form), is_long in zip(forms.items(), long, strict=True)
        }
        feedback = {name: f"f{number}" for number, name in enumerate(params.feedback)}
        if forms.get(PLACE, "NULL") not in _WHOLE:
            raise InputError(
                f"fetch.options: {PLACE!r} in requests' contexts is no whole number; expected the place of an item, "
                "which this source finds itself: give the context another name"
            )
        contexts.pop(PLACE, None)  # a client sends one if the model reads it
        names = [*EVENT_COLUMNS, "date", PLACE, *contexts, *feedback]
        if twice := [name for name in names if names.count(name) > 1]:
            raise InputError(
                f"fetch.options: {twice[0]!r} is the name of two columns; expected names in requests' contexts and in "
                f"feedback that are none of {listed(names[:8])}, nor each other's: rename one"
            )
        columns = {
            USER_ID: ids[USER_ID],
            ITEM_ID: ids[ITEM_ID],
            TIMESTAMP: "answered_at",
            SEQUENCE: "row_number() OVER (ORDER BY answered_at, request_id, place) - 1",
            LABEL: "CAST(clicked_in IS NOT NULL AS BIGINT)",
            PLACE: PLACE,
            **contexts,
            **feedback,
        }
        chosen = ", ".join(f"{sql} AS c{number}" for number, sql in enumerate(columns.values()))
        path = quoted(str(self._store.file("events")))
        self._con.execute(
            f"""COPY (
                SELECT {chosen} FROM (
                    SELECT i.*, asked.context, clicked.request_id AS clicked_in, clicked.* EXCLUDE (request_id, item_id)
                    FROM impressions i JOIN asked USING (request_id)
                    LEFT JOIN clicked ON clicked.request_id = i.request_id AND clicked.item_id = i.item_id
                    WHERE {self._until(last, "i.")}
                )
            ) TO {path} (PRESERVE_ORDER false)"""
        )
        ((count,),) = self._con.execute(f"SELECT count(*) FROM read_parquet({path})").fetchall()
        name = f"{params.path}/*.parquet"
        return Rows(self._con, f"SELECT c3 AS row, * FROM read_parquet({path})", tuple(columns), ((name, count),))

    def histories(self, paths: Sequence[str], last: date) -> Rows:
        """Return the behaviours that the first request of each user held, with the columns of `feedback`.

        A behaviour that is not older than its request is left out; one without a time is kept.
        """
        firsts = self._con.execute(
            f"""SELECT arg_min(request_id, (answered_at, request_id)) FROM asked
            WHERE user_id IS NOT NULL AND {self._until(last)} GROUP BY user_id"""
        ).fetchall()
        held = pa.RecordBatchReader.from_batches(_BEHAVIOURS, _histories(paths, {name for (name,) in firsts}))
        self._con.register("held", held)
        self._con.execute("CREATE TABLE behaviours AS SELECT * REPLACE (context::JSON AS context) FROM held")
        structure = json.loads(self._ask("json_group_structure(context)", "behaviours")[0] or "{}")
        feedback = {name: _context(name, structure[name]) for name in self._params.feedback if name in structure}
        seconds = _seconds(f"as_text({_value(TIMESTAMP)})")
        offset = f"to_hours({self._params.table.utc_offset_hours})"
        columns = {
            USER_ID: self._ids[USER_ID],
            ITEM_ID: self._ids[ITEM_ID],
            TIMESTAMP: f"{seconds} + {offset}",
            SEQUENCE: "number",
            **feedback,
        }
        chosen = ", ".join(f"{sql} AS c{number}" for number, sql in enumerate(columns.values()))
        path = quoted(str(self._store.file("histories")))
        self._con.execute(
            f"""COPY (
                SELECT row_number() OVER (ORDER BY user_id, number) - 1 AS row, {chosen}
                FROM (SELECT *, as_text({_value(ITEM_ID)}) AS item_id FROM behaviours)
                WHERE item_id <> '' AND {self._ids[ITEM_ID]} IS NOT NULL AND {self._ids[USER_ID]} IS NOT NULL
                    AND coalesce({seconds} < answered_at, true)
            ) TO {path}"""
        )
        ((count,),) = self._con.execute(f"SELECT count(*) FROM read_parquet({path})").fetchall()
        name = f"{self._params.path}/*.parquet"
        return Rows(self._con, f"SELECT * FROM read_parquet({path})", tuple(columns), ((name, count),))

    @property
    def _ids(self) -> dict[str, str]:
        """SQL for the ids of users and items, in their types."""
        int_ids = self._params.int_ids
        return {key: f"TRY_CAST({key} AS BIGINT)" if key in int_ids else key for key in (USER_ID, ITEM_ID)}

    def _keep_whole(self, key: str, last: date) -> None:
        """Leave out the few impressions whose id is not a whole number, which the server answers as unknown.

        Raises:
            InputError: they are many.
        """
        whole = f"CAST(TRY_CAST({key} AS BIGINT) AS VARCHAR) IS NOT DISTINCT FROM {key}"  # 007 is not 7
        impressions = f"impressions WHERE {self._until(last)}"
        wrong = f"{impressions} AND NOT {whole}"
        example = self._con.execute(f"SELECT {key}, request_id FROM {wrong} LIMIT 1").fetchone()
        if not example:
            return
        count = self._count(wrong)
        problem = f"{key} {shown(example[0])} of request {example[1]} is not a whole number"
        if count > _MOST_STRAY * self._count(impressions):
            raise InputError(
                f"fetch.options.int_ids: {problem}, like {count:,} impressions; expected few: leave it out of int_ids"
            )
        note(f"{count:,} impressions are left out, e.g. {problem}")
        self._con.execute(f"DELETE FROM {wrong}")

    def _until(self, last: date, table: str = "") -> str:
        """Return the SQL condition of the answers until a day."""
        return f"(CAST({table}answered_at + to_hours({self._params.table.utc_offset_hours}) AS DATE) <= '{last}')"

    def _ask(self, expression: str, table: str) -> tuple[Any, ...]:
        return self._con.execute(f"SELECT {expression} FROM {table}").fetchall()[0]

    def _count(self, rows: str) -> int:
        return self._ask("count(*)", rows)[0]


def _batches(paths: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the log in batches whose JSON fits into the memory of the engine."""
    for path in paths:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_REQUESTS, columns=served_log.SCHEMA.names):
                yield batch.cast(served_log.SCHEMA)


def _histories(paths: Sequence[str], firsts: set[str]) -> Iterator[pa.RecordBatch]:
    """Yield the behaviours that some requests hold, each as an object in JSON."""
    for batch in _batches(paths):
        rows = []
        for row in batch.filter(pc.is_in(batch["request_id"], pa.array(firsts, pa.string()))).to_pylist():
            if row["request_id"] not in firsts:  # the log holds it twice
                continue
            firsts.remove(row["request_id"])
            history = json.loads(row["request"]).get("history")
            for number, entry in enumerate(history if isinstance(history, list) else []):
                context = entry if isinstance(entry, dict) else {ITEM_ID: entry}
                rows.append(
                    {key: row[key] for key in ("user_id", "answered_at")}
                    | {"number": number, "context": json.dumps(context)}
                )
        yield pa.RecordBatch.from_pylist(rows, _BEHAVIOURS)


def note(text: str) -> None:
    """Tell a person who fetches what became of the rows."""
    print(f"fetch: {text}", file=sys.stderr)


def _span(seconds: float) -> str:
    """Return a time of at least 0 in words."""
    for unit, length in (("h", 3600), ("minutes", 60)):
        if seconds >= length:
            return f"{seconds / length:.2g} {unit}"
    return "a second" if seconds <= 1 else f"{seconds:.2g} seconds"


def _time(text: str) -> str:
    """Return SQL for the UTC time of a click from its text: seconds since 1970, or a time."""
    return f"coalesce({_seconds(text)}, TRY_CAST({text} AS TIMESTAMPTZ) AT TIME ZONE 'UTC')"


def _seconds(text: str) -> str:
    """Return SQL for a time from text, in seconds since 1970."""
    return f"make_timestamp(TRY_CAST(round(TRY_CAST({text} AS DOUBLE) * 1e6) AS BIGINT))"


def _value(name: str) -> str:
    """Return SQL for a value of a request's context, as JSON."""
    pointer = "/" + name.replace("~", "~0").replace("/", "~1")
    return f"json_extract(context, {quoted(pointer)})"


def _is_long(name: str) -> str:
    """Return SQL for whether values of a context are whole numbers, some of more than 64 bits: ids, not quantities."""
    text = f"CAST({_value(name)} AS VARCHAR)"
    long = f"list_filter(regexp_extract_all({text}, '-?[0-9]+'), lambda x: TRY_CAST(x AS BIGINT) IS NULL)"
    return rf"bool_and(regexp_full_match({text}, '[-0-9,\[\]nul]*')) AND bool_or(len({long}) > 0)"


def _context(name: str, form: Any, kind: str | None = None) -> str:
    """Return SQL for a value of a request's context, in the type of all of its values, unless `kind` names another."""
    listed = isinstance(form, list)
    kind = kind or str(form[0] if listed else form)
    kind = "BIGINT" if kind in ("UBIGINT", "HUGEINT") else kind
    value = _value(name)
    if kind == "JSON":  # values of several types
        return f"list_transform(CAST({value} AS JSON[]), lambda x: as_text(x))" if listed else f"as_text({value})"
    kind = kind if kind in ("BIGINT", "DOUBLE", "BOOLEAN") else "VARCHAR"
    return f"from_json({value}, '{json.dumps([kind] if listed else kind)}')"


def _as_text(value: str | None) -> str | None:
    """Return a value in JSON as text, as the server reads it; lists and objects stay JSON."""
    plain = None if value is None else json.loads(value)
    return value if isinstance(plain, list | dict) else kinds.text(plain)
