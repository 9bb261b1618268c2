"""Compare the composition of each day with the days before: the values of each column, and how they predict clicks.

A day's total rows and CTR can look normal although part of the day is wrong. The fault then shows in the values of some
column:

    tab      rows usual, found      CTR usual, found
    home          500      510         0.20     0.21
    search        200        0                         lost: fewer rows, and a smaller share of the day
    feed          300      180         0.10     0.17   another CTR: rows without a click are missing
    (null)          0       80                         missing
    shop            0       90                         new

The suite judges the columns of the events, the fields of items and users, and derived columns: new and known users, the
user's rows on the day, the hour, and the length of the prior history. Numbers are split into tenths; of other columns,
the most frequent values are judged. A column of the source that the model does not read can't close the gate.

A value is new if it was on no earlier day, or, for the newest days, on no day before the first of them. A column whose
values always change, e.g. session ids or campaigns, had new or lost values before and raises no alarm. A *growing*
share is not judged, because a sales promotion has that effect. A new version of an app may take over the rows of older
versions, so shares are computed among values of earlier days, leaving out values that began recently.

Shapes: D days, K values. Each column takes two GROUP BYs of the events, or of their counts by day and user or item.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from din.schema import BEHAVIOUR, EVENT_COLUMNS, ITEM_ID, LABEL, TIMESTAMP, USER_ID, Field
from validation import detector_limits
from validation.days import ctr_deviation, ctr_evidence, ctr_of_days
from validation.expectations import Expected
from validation.log import BY_DAY, SIDE_IDS, TOTALS, Log, Totals
from validation.strange import DailyFigure, by_day
from validation.suite_data import quoted
from validation.trailing import deviation

_ADVICE = {
    "missing_values": "these days lack values that the days before had, or ids that the side table holds: was a column "
    "renamed, a join lost, or an old table used? The model would be judged without them; correct the source, or remove "
    "the column from featurize.fields",
    "new_values": "these days hold values that no earlier day had, so the model knows none of them: has the id space, "
    "the spelling (zeros, blanks, prefix, .0) or the version of the source changed?",
    "lost_values": "rows with these values are missing on these days, or hold another value: was a part of the events "
    "lost, e.g. one source, app or region, or was the column filled in, swapped, or written in another unit?",
    "scale": "these days hold numbers far beyond those of all days before the newest ones: was a part of the column "
    "written in another unit, e.g. cents or milliseconds, or without its decimal point? Correct the column",
    "ctr_of_values": "rows with these values have another CTR than on the days before: are clicks, or rows without a "
    "click, of this part of the log lost or still to arrive, did robots add them, or was the column filled in or "
    "permuted?",
    "labels_follow_values": "these days' labels do not follow the CTR that the column's values have on other days: are "
    "labels flipped, filled in or joined to the wrong rows, was the column filled in or permuted, or do ids mean "
    "something else?",
}


@dataclass(frozen=True, kw_only=True)
class Covariate:
    """A column of the log, or one derived from it, whose values are compared between days.

    Attributes:
        judged: the names of its expectations, keys of `_ADVICE`.
        value: an SQL expression for the value, over `source`.
        source: the events, or one of `BY_DAY` joined with the table that holds the value.
        owner: the column that identifies groups of dependent rows, by default the user.
        read: whether the column can close the gate; False if the model does not read it.
    """

    name: str
    judged: tuple[str, ...]
    value: str
    source: str = "events"
    owner: str = USER_ID
    read: bool = True

    @property
    def rows(self) -> str:
        """SQL that selects the `date`, `value` and `owner` of rows, and of how many rows `n` and clicks `c`."""
        counts = f"1 AS n, {LABEL} AS c" if self.source == "events" else "n, c"
        return f"SELECT date, ({self.value})::VARCHAR AS value, {self.owner} AS owner, {counts} FROM {self.source}"


def composition(log: Log) -> Iterator[Expected]:
    """Expect the values of each column, and their CTR, to be like those of the days before."""
    by_test: defaultdict[str, list[DailyFigure]] = defaultdict(list)
    for column in _columns(log):
        log.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE by_value AS "
            f"SELECT date, value, sum(n)::BIGINT AS n, sum(c)::BIGINT AS c FROM ({column.rows}) GROUP BY ALL"
        )
        cells = _cells(log, column) if {"lost_values", "ctr_of_values"} & {*column.judged} else None
        for name in column.judged:
            figure = _TESTS[name](log, column, cells)
            if figure is not None:
                by_test[name].append(figure)
    for name, figures in by_test.items():
        yield from by_day(log, name, figures, advice=_ADVICE[name])


def _columns(log: Log) -> Iterator[Covariate]:
    of_fields = ("missing_values", "lost_values", "ctr_of_values", "labels_follow_values")
    for key in (USER_ID, ITEM_ID):
        judged = ("new_values", "labels_follow_values")
        yield Covariate(name=key, judged=judged, value=key, source=BY_DAY[key], owner=key)
    if log.one(f"SELECT count_if({BEHAVIOUR} <> {LABEL}) FROM events")[0]:
        yield Covariate(name=BEHAVIOUR, judged=("lost_values",), value=BEHAVIOUR)
    for name, kind in log.columns("events").items():
        if name not in (*EVENT_COLUMNS, "date"):
            numeric = _is_numeric(log.fields.get(name), kind)
            judged = ("scale", *of_fields) if numeric else ("new_values", *of_fields)
            yield Covariate(
                name=name, judged=judged, value=_value(log, "events", name, numeric), read=name in log.fields
            )
    column_names = set(log.columns("events"))
    for table in ("users", "items"):
        if table not in log.sides:
            continue
        (key,) = SIDE_IDS[table]
        joined = f"{BY_DAY[key]} LEFT JOIN (SELECT {key}, true AS found FROM {table}) USING ({key})"
        name = f"{key} in the table of {table}"
        yield Covariate(name=name, judged=("missing_values",), value="found", source=joined, owner=key)
        for name, kind in log.columns(table).items():
            if name != key:
                read = name in log.fields
                yield Covariate(
                    name=f"{name} in the table of {table}" if name in column_names else name,
                    judged=of_fields if read else of_fields[:1],
                    value="of_side",
                    source=f"{BY_DAY[key]} JOIN (SELECT {key}, "
                    f"{_value(log, table, name, _is_numeric(log.fields.get(name), kind))} AS of_side FROM {table}) "
                    f"USING ({key})",
                    owner=key,
                    read=read,
                )
        column_names |= set(log.columns(table))
    users = BY_DAY[USER_ID]
    if "history" in log.sides:
        sizes = f"LEFT JOIN (SELECT {USER_ID}, count(*) AS size FROM history GROUP BY {USER_ID}) USING ({USER_ID})"
        size = "coalesce(2**floor(log2(size)), 0)::INTEGER"
        yield Covariate(name="length of the prior history", judged=of_fields[1:], value=size, source=f"{users} {sizes}")
    begun = f"JOIN (SELECT {USER_ID}, min(date) AS begun FROM {users} GROUP BY {USER_ID}) USING ({USER_ID})"
    for name, value, source in (
        ("rows of the user on the day", "2**floor(log2(n))::INTEGER", users),
        ("new or known user", "CASE WHEN begun < date THEN 'known' ELSE 'new' END", f"{users} {begun}"),
        ("hour of the day", f"'from ' || hour({TIMESTAMP}) // 3 * 3", "events"),
    ):
        yield Covariate(name=name, judged=("ctr_of_values",), value=value, source=source)


def _is_numeric(field: Field | None, kind: str) -> bool:
    return kind in ("FLOAT", "DOUBLE") if field is None else field.form.scalar and not field.form.has_vocabulary


def _value(log: Log, table: str, name: str, numeric: bool) -> str:
    """Return SQL for a column's value, or for the tenth that a number falls into.

    The edges of the tenths come from the days before the newest. Empty text and an empty list are missing values.
    """
    if not numeric:
        return f"nullif(nullif({quoted(name)}::VARCHAR, ''), '[]')"
    number = f"TRY_CAST({quoted(name)} AS DOUBLE)"
    older = f"WHERE date < '{log.first_newest}'" if table == "events" else ""
    steps = [step / detector_limits.TENTHS for step in range(1, detector_limits.TENTHS)]
    (quantiles,) = log.one(f"SELECT quantile_disc({number}, {steps}) FROM {table} {older}")
    edges = sorted(set(quantiles or ()))
    tenths = " ".join(f"WHEN {number} < {edge!r}::DOUBLE THEN 'below {edge:.5g}'" for edge in edges)
    return f"CASE WHEN {number} IS NULL THEN NULL {tenths} ELSE 'from {edges[-1]:.5g}' END" if edges else "NULL"


@dataclass(frozen=True)
class Cells:
    """The K most frequent values of a column, and their totals by owner [D, K].

    `shared` [D, K] is the sum over owners of (rows with the value) · (rows with any of the K values).
    """

    values: list[str]
    totals: Totals
    shared: np.ndarray

    @property
    def of_day(self) -> np.ndarray:
        """The rows of each day with any of the values, [D, 1]."""
        return self.totals.rows.sum(axis=1, keepdims=True)


def _cells(log: Log, column: Covariate) -> Cells:
    owner_rows = "sum(n) OVER (PARTITION BY date, owner)" if "lost_values" in column.judged else "0"
    columns = log.arrays(
        f"""
        WITH top AS (
            SELECT value, sum(n) AS of_value FROM by_value WHERE value IS NOT NULL AND date < '{log.first_newest}'
            GROUP BY value ORDER BY of_value DESC, value LIMIT {detector_limits.VALUES}
        ), cell AS (
            SELECT date, value, of_value, owner, sum(n)::BIGINT AS n, sum(c)::BIGINT AS c
            FROM ({column.rows}) JOIN top USING (value) GROUP BY ALL
        )
        SELECT date::DATE AS day, value, of_value, {TOTALS}, sum(n * own) AS shared
        FROM (SELECT *, {owner_rows} AS own FROM cell) GROUP BY ALL ORDER BY of_value DESC, value
        """
    )
    values = list(dict.fromkeys(columns["value"].tolist()))
    at = np.array([values.index(value) for value in columns["value"].tolist()], int)
    day = np.searchsorted(log.calendar.days, columns["day"].astype("datetime64[D]"))

    def table(name: str) -> np.ndarray:
        filled = np.zeros((len(log.calendar.days), len(values)))
        filled[day, at] = columns[name].astype(float)
        return filled

    return Cells(values, Totals(**{field.name: table(field.name) for field in fields(Totals)}), table("shared"))


def _by_date(log: Log, figures: str, table: str = "by_value") -> dict[str, np.ndarray]:
    """Return aggregates, in SQL, of a table by day: [D] each, with 0 for null."""
    columns = log.arrays(
        f"SELECT day, {figures} FROM (SELECT DISTINCT date, date::DATE AS day FROM {BY_DAY[ITEM_ID]}) "
        f"LEFT JOIN {table} USING (date) GROUP BY day ORDER BY day"
    )
    return {name: np.nan_to_num(values.astype(float)) for name, values in columns.items() if name != "day"}


def _missing(log: Log, column: Covariate, cells: Cells | None) -> DailyFigure:
    counted = _by_date(log, "sum(n) AS rows, sum(n) FILTER (value IS NULL) AS missing")
    share = counted["missing"] / np.maximum(counted["rows"], 1)
    independent = log.by_user.independent
    likely = (log.calendar.usual(share) * independent + 0.5) / (independent + 1)
    noise = np.sqrt(likely * (1 - likely) / independent)
    deviations = deviation(log.calendar, share, noise, detector_limits.MISSING_FLOOR)
    more = deviations.difference > 0
    extreme = deviations.beyond(detector_limits.EXTREME_MISSING, detector_limits.EXTREME_SCORE)
    return DailyFigure(
        judged=log.trusted,
        strange=more & deviations.beyond(detector_limits.MISSING, detector_limits.SCORE),
        extreme=column.read & more & extreme,
        values={"missing": share, "usual": deviations.usual},
        column=column.name,
    )


def _scaled(log: Log, column: Covariate, cells: Cells | None) -> DailyFigure | None:
    """Judge the share of numbers whose size is `SCALE` times beyond nearly all of the older days' numbers.

    The range leaves out `RARE` of the older numbers at each end. With too few numbers for that, nothing is judged.
    """
    numbers = f"(SELECT date, abs(TRY_CAST({quoted(column.name)} AS DOUBLE)) AS number FROM events)"
    (count, ends) = log.one(
        f"SELECT count(*), quantile_cont(number, [{detector_limits.RARE}, {1 - detector_limits.RARE}]) FROM {numbers} "
        f"WHERE date < '{log.first_newest}' AND number > 0"
    )
    if count * detector_limits.RARE < 1:
        return None
    low, high = ends
    least, most = low / detector_limits.SCALE, high * detector_limits.SCALE
    far = f"number > {most!r}::DOUBLE OR number > 0 AND number < {least!r}::DOUBLE"
    counted = _by_date(log, f"count(number) AS rows, count_if({far}) AS far", numbers)
    share = counted["far"] / np.maximum(counted["rows"], 1)
    independent = log.by_user.independent
    usual = np.nan_to_num(log.calendar.highest(log.calendar.of_reference(share), 1.0))
    noise = np.sqrt((usual + 1 / np.maximum(independent, 1)) / np.maximum(independent, 1))
    more = share >= detector_limits.TIMES_BUSIEST * usual + detector_limits.SCORE * noise
    return DailyFigure(
        judged=log.trusted,
        strange=more & (share >= detector_limits.FAR),
        extreme=more & column.read & (share >= detector_limits.EXTREME_FAR),
        values={"beyond": share},
        column=column.name,
        more=lambda row: {"usually_from": round(low, 4), "to": round(high, 4)},
    )


def _new(log: Log, column: Covariate, cells: Cells | None) -> DailyFigure:
    first = f"least(date, '{log.first_newest}')"
    since = "(FROM by_value LEFT JOIN (SELECT value, min(date) AS since FROM by_value GROUP BY value) USING (value))"
    counted = _by_date(log, f"sum(n) AS rows, sum(n) FILTER (since >= {first}) AS new", since)
    rows = counted["rows"]
    newest = log.calendar.newest
    before = np.cumsum(rows) - rows
    before = np.minimum(before, before[newest] if newest < len(rows) else np.inf)
    enough = before >= detector_limits.KNOWN_DAYS * log.calendar.usual(rows)
    share = counted["new"] / np.maximum(rows, 1)
    highest = log.calendar.highest(log.calendar.of_reference(np.where(enough, share, np.nan)), 1.0)

    def more(row: int) -> dict[str, object]:
        day = log.calendar.days[row]
        value = log.one(f"SELECT max(({column.value})::VARCHAR) FROM events WHERE date = '{day}'")[0]
        before = log.one(f"SELECT max(({column.value})::VARCHAR) FROM events WHERE date < '{day}'")[0]
        return {"such_as": value, "before_such_as": before}

    with np.errstate(invalid="ignore"):
        return DailyFigure(
            judged=log.trusted & enough & ~np.isnan(highest),
            strange=(share >= detector_limits.NEW) & (highest <= detector_limits.NEW / 2),
            extreme=column.read & (share >= detector_limits.EXTREME_NEW) & (highest <= detector_limits.EXTREME_NEW / 2),
            values={"new": share, "usual": highest},
            column=column.name,
            more=more,
        )


def _lost(log: Log, column: Covariate, cells: Cells | None) -> DailyFigure | None:
    if cells is None or not cells.values:
        return None
    rows = cells.totals.rows
    usual = log.calendar.usual
    of_day = rows / np.maximum(cells.of_day, 1)
    # A value that appeared recently, like a new version of an app, may keep taking over rows of other values.
    begins = (usual(of_day) < detector_limits.SHARE) & (
        log.calendar.of_reference(of_day)[:, 0] >= detector_limits.SHARE
    )
    total = np.maximum((rows * ~begins).sum(axis=1, keepdims=True), 1)
    squared = np.maximum(cells.shared.sum(axis=1, keepdims=True), 1)
    independent = total**2 / squared
    share = np.minimum(rows + 0.5, total + 0.5) / (total + 1)
    between = cells.totals.rows_squared - 2 * share * cells.shared + share**2 * squared
    variance = np.maximum(between, total * share * (1 - share)) / total**2
    deviance = np.sqrt(variance * independent) / (share * (1 - share))
    noise = usual(deviance) / np.sqrt(independent)
    deviations = deviation(log.calendar, np.log(share / (1 - share)), noise, detector_limits.SHARE_FLOOR)
    usual_rows, usual_share = usual(rows), usual(rows / total)
    with np.errstate(invalid="ignore"):
        gone = deviations.beyond(detector_limits.LOST, detector_limits.SCORE) & (deviations.difference < 0)
        gone &= (usual_share >= detector_limits.SHARE) & (
            np.log((rows + 0.5) / (usual_rows + 0.5)) <= -detector_limits.LOST
        )
    missed = np.where(gone, usual_share - rows / total, 0).sum(axis=1)
    by_nature = log.calendar.highest(log.calendar.of_reference(missed), 1.0) >= detector_limits.EXTREME_SHARE / 2
    worst = np.where(gone, usual_share, 0).argmax(axis=1)

    def more(row: int) -> dict[str, Any]:
        at = row, worst[row]
        instead = (rows - usual_rows)[row].argmax()
        others = ~gone[row] & (np.arange(len(cells.values)) != instead)
        growth = _growth(rows[row, others].sum(), usual_rows[row, others].sum())
        moved = rows[row, instead] - growth * usual_rows[row, instead] >= usual_rows[row, gone[row]].sum() / 2
        return {
            "value": cells.values[worst[row]],
            "rows": int(rows[at]),
            "usual_rows": round(float(usual_rows[at])),
            "usual_share": round(float(usual_share[at]), 4),
            "looks_as_if": f"its rows hold {cells.values[instead]!r} instead" if moved else "its rows are missing",
        }

    return DailyFigure(
        judged=log.trusted,
        strange=missed >= detector_limits.SHARE,
        extreme=column.read & (missed >= detector_limits.EXTREME_SHARE) & ~by_nature,
        values={"lost": missed},
        column=column.name,
        more=more,
    )


def _clicked(log: Log, column: Covariate, cells: Cells | None) -> DailyFigure | None:
    """Judge the CTR of values. Skip a day whose total CTR is extreme; don't warn on one whose total CTR is strange."""
    if cells is None or not cells.values or not log.labels_vary:
        return None
    ctr = ctr_of_days(log)
    deviations = ctr_deviation(log.calendar, cells.totals)
    frequent = cells.totals.rows >= detector_limits.SHARE * np.maximum(cells.of_day, 1)
    worst = np.nan_to_num(np.where(frequent, np.abs(deviations.score), 0)).argmax(axis=1)
    at = np.arange(len(worst)), worst

    def more(row: int) -> dict[str, Any]:
        worst_totals = cells.totals.of(worst[row])
        rest = cells.of_day[:, 0] - worst_totals.rows
        growth = _growth(rest[row], log.calendar.usual(rest)[row])
        return {"value": cells.values[worst[row]]} | ctr_evidence(log.calendar, worst_totals, row, growth)

    extreme = deviations.beyond(detector_limits.EXTREME_ODDS, detector_limits.EXTREME_CTR_SCORE)
    return DailyFigure(
        judged=ctr.judged & ~ctr.extreme,
        strange=frequent[at] & deviations.beyond(detector_limits.ODDS, detector_limits.CTR_SCORE)[at] & ~ctr.strange,
        extreme=frequent[at] & column.read & extreme[at],
        values={"score": deviations.score[at]},
        column=column.name,
        more=more,
    )


def _growth(rows: float, usual: float) -> float:
    """Return the factor by which rows grew, or 1 if the usual number is too small for a ratio."""
    return rows / usual if usual >= detector_limits.LEAST_REST else 1.0


def _followed(log: Log, column: Covariate, cells: Cells | None) -> DailyFigure | None:
    """Judge how well labels follow the values. Feedback, e.g. a play time, is a witness to the label of its own row."""
    if not log.labels_vary:
        return None
    agreement, rows = _agreement(log)
    deviations = deviation(log.calendar, agreement, 1 / np.sqrt(rows), detector_limits.AGREEMENT_FLOOR)
    with np.errstate(invalid="ignore"):
        judged = log.trusted & (deviations.usual >= detector_limits.LEAST_AGREEMENT) & ~np.isnan(agreement)
        less = judged & (deviations.score <= -detector_limits.AGREEMENT_SCORE)
        witness = deviations.usual >= detector_limits.WITNESS
        left = np.where(witness, detector_limits.WITNESS_LEFT, detector_limits.AGREEMENT_LEFT)
        extreme_left = np.where(witness, detector_limits.EXTREME_WITNESS_LEFT, detector_limits.EXTREME_AGREEMENT_LEFT)
        strange = less & (agreement <= left * deviations.usual)
        extreme = less & column.read & (agreement <= extreme_left * deviations.usual)
    return DailyFigure(
        judged=judged,
        strange=strange,
        extreme=extreme,
        values={"correlation": agreement, "usual": deviations.usual},
        column=column.name,
    )


def _agreement(log: Log) -> tuple[np.ndarray, np.ndarray]:
    """Correlate each day's labels with the CTR that their values have on all other days before the newest.

    Returns:
        The correlation [D] and the rows [D], at least 1. The correlation is NaN if all labels of the day are equal, or
        if most of its rows have values that no other day had.
    """
    older = f"date < '{log.first_newest}'"
    smoothing = detector_limits.SMOOTHING
    scored = f"""(
        WITH known AS (
            SELECT value, sum(n) AS seen, sum(c) AS clicked FROM by_value WHERE {older} GROUP BY value
        ), others AS (
            SELECT date, n, c, coalesce(seen, 0) - CASE WHEN {older} THEN n ELSE 0 END AS seen,
                coalesce(clicked, 0) - CASE WHEN {older} THEN c ELSE 0 END AS clicked
            FROM by_value LEFT JOIN known ON known.value IS NOT DISTINCT FROM by_value.value
        )
        SELECT date, n, c, seen > 0 AS met, (clicked + {smoothing} * ctr) / (seen + {smoothing}) - ctr AS score
        FROM others, (SELECT sum(c) / sum(n) AS ctr FROM by_value WHERE {older})
    )"""
    figures = "sum(n) AS rows, sum(c) AS clicks, sum(n) FILTER (met) AS met, sum(n * score) AS score"
    sums = _by_date(log, f"{figures}, sum(c * score) AS clicked_score, sum(n * score * score) AS score_squared", scored)
    rows = np.maximum(sums["rows"], 1)
    ctr = sums["clicks"] / rows
    score = sums["score"] / rows
    spread = sums["score_squared"] / rows - score**2
    variance = spread * ctr * (1 - ctr)
    covariance = sums["clicked_score"] / rows - ctr * score
    correlation = np.where(
        spread > detector_limits.TINY, covariance / np.sqrt(np.maximum(variance, detector_limits.TINY)), 0.0
    )
    defined = (ctr * (1 - ctr) > 0) & (2 * sums["met"] >= rows)
    return np.where(defined, correlation, np.nan).round(6), rows


_Test = Callable[[Log, Covariate, Cells | None], DailyFigure | None]
_TESTS: dict[str, _Test] = {
    "missing_values": _missing,
    "scale": _scaled,
    "new_values": _new,
    "lost_values": _lost,
    "ctr_of_values": _clicked,
    "labels_follow_values": _followed,
}
