"""Decide what each file of a folder or zip is: part of a publisher's log, or a table of a user's own.

a publisher's reader knows all files that it needs           -> its source
the largest table with users, items, times and a label       -> events; if none has a label, each row is a click
ids of items or users, as in the events, that don't repeat   -> items, users; a table of summed answers only if
                                                                there is no other
users, earlier times, and items or lists of them, no label   -> history
"""

import calendar
import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from zipfile import ZipFile

import fsspec

from din import plugins
from din.base.errors import InputError, Unavailable, listed, shown
from din.base.workspace import Workspace
from din.data import SOURCES, times, values
from din.data.files import FORMATS, File, check_members, unreadable
from din.data.rows import Rows
from din.data.source import Source
from din.params.fetch import ALL_ROWS, DATE
from din.schema import ITEM_ID, TIMESTAMP, USER_ID
from din_logs.download import Download
from din_start.init import fields, label, roles, sides, words
from din_start.init.choice import Choice
from din_start.init.look import Column, Look, is_output, look
from din_start.init.render import FILES, PARAMS, SCHEMA

_OURS = {*FILES, PARAMS, SCHEMA}  # that an earlier `din init` wrote
_HIDDEN = re.compile(r"(^|/)(\.(?!\.?/)|__MACOSX/)")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"  # in the names that clusters give to parts
_MONTH = rf"(?i:(?<![a-z])({'|'.join(filter(None, [*calendar.month_name, *calendar.month_abbr]))})(?![a-z]))"
_VARYING = re.compile(rf"{_UUID}|[0-9a-f]{{8,}}|\d+|{_MONTH}")


def publisher(workspace: Workspace, place: str) -> dict[str, Choice]:
    """Return the source, and its options, that reads a folder, a zip, or the folder of a file; empty if none does.

    Raises:
        InputError: the publisher's files lie among those of the repository.
    """
    plugins.load([], workspace.root)
    for path in dict.fromkeys((place, _beside(workspace, place))):
        for source in SOURCES:
            if files := _recognised(workspace, source, path):
                return _of_source(source, place, path, [file.name for file in files])
    return {}


def _recognised(workspace: Workspace, source: str, path: str) -> Sequence[File]:
    """Return the files at a path that are the log of a source."""
    maker = SOURCES[source]
    if not isinstance(maker.thing, type) or not issubclass(maker.thing, Source):
        return ()
    try:
        options = maker.parse({"path": path}, "")["options"]
    except InputError:  # it reads no files
        return ()
    return maker.thing.recognised(workspace, options)


def _of_source(source: str, place: str, path: str, names: Sequence[str]) -> dict[str, Choice]:
    """Return a source of files `names` at a path, unless `place` is another file among them."""
    if path != place and place.rpartition("/")[2] not in [name.rpartition("/")[2] for name in names]:
        return {}
    if path in (".", "*"):
        raise InputError(
            f"{listed(names)}: fetch.source: {source} reads them; move them to a folder, and name it instead"
        )
    return {
        "fetch.source": Choice(source, f"its reader knows {listed(names)}"),
        "fetch.options": Choice({"path": path}, "you named it" if path == place else "the folder of your file"),
    }


def tables(workspace: Workspace, place: str, overrides: Mapping[str, str]) -> dict[str, Look]:
    """Return the events, and items, users and history if they lie beside them.

    Args:
        workspace: where relative paths start.
        place: a folder, a zip or a glob; or the file of the events.
        overrides: what a person said of the events, see `roles.guess`.

    Raises:
        InputError: no file holds users, items and times.
    """
    encoding = overrides.get("encoding")
    if DATE in place or "," in place:
        return {"events": look(workspace, place, "--events", encoding)}
    sizes, named, others = _tables_at(workspace, place)
    looks: dict[str, Look] = {}
    logs: dict[str, dict[str, Choice]] = {}
    problems: dict[str, str] = {}
    for paths in sizes:
        with _noting(paths, problems):
            looks[paths] = look(workspace, paths, "events", encoding)
            if named in (None, paths):
                logs[paths] = roles.guess(looks[paths], overrides)
    if named in problems:
        raise InputError(f"{named}: {problems[named]}")
    if not logs:
        raise InputError(_no_log(place, problems, max(problems, key=lambda paths: (paths in looks, sizes[paths]))))
    labelled = [paths for paths, guessed in logs.items() if guessed["label"].value != ALL_ROWS]
    events = max(labelled or logs, key=lambda paths: (not _is_held_out(paths), sizes[paths]))
    beside = sorted(looks.keys() - {events}, key=lambda paths: (_sums_up(looks[paths]), -sizes[paths]))
    if not labelled:
        _require_joined(looks[events], [looks[paths] for paths in beside])
    unread = {paths: problem for paths, problem in problems.items() if paths not in looks}
    chosen, unused = _beside_events(looks[events], logs[events], [looks[paths] for paths in beside])
    rivals = [paths for paths in logs if paths == events or (paths in unused and not _is_held_out(paths))]
    if not labelled and len(rivals) > 1:
        raise InputError(
            f"{place}: {listed(rivals)} have users, items and times, and none has a label; name one, or several with a "
            "comma between them, with --events"
        )
    why = "the largest with users, items, times and a label" if labelled else "the largest with users, items and times"
    if named:
        why = "you named it"
    lines = [f"not used: {paths}: {reason}" for paths, reason in (unused | unread | others).items()]
    why += "".join(f"\n{line if line.isprintable() else repr(line)[1:-1]}" for line in lines)
    return {"events": replace(looks[events], reason=why), **chosen}


def _no_log(place: str, problems: Mapping[str, str], likeliest: str) -> str:
    """Return why no file is a log: the problem of the likeliest one in full, and what the others lack."""
    text = f"{place}: no file holds users, items and times. {likeliest}: {problems[likeliest]}"
    others = [f"  {paths}: {problem.split(';')[0]}" for paths, problem in problems.items() if paths != likeliest]
    return "\n".join([text, *(["The other files:", *others] if others else [])])


@contextmanager
def _noting(paths: str, problems: dict[str, str]) -> Iterator[None]:
    """Note why a table can't be looked at, whatever the cause, so that an odd file beside the log ends nothing.

    Raises:
        Unavailable: it can't be read now.
    """
    try:
        yield
    except Unavailable:
        raise
    except InputError as error:
        problems[paths] = str(error).removeprefix(f"{paths}: ")
    except Exception as error:
        cause = f"{type(error).__name__}: {error}".splitlines()[0]
        problems[paths] = f"can't be looked at ({shown(cause, quotes=False)})"


def _require_joined(events: Look, others: Iterable[Look]) -> None:
    """Check that no other table says which of the events were clicked.

    Raises:
        InputError: one has ids that only one event each has. The message says how to join both.
    """
    for other in others:
        names = [name for name in other.columns if words.means(name, "id") and name in events.columns]
        keys = [name for name in names if events.columns[name].is_once]
        if not words.means(Path(other.paths).stem, "click", "reaction") or not keys:
            continue
        if sides.known(other.columns[keys[0]].ids, events.columns[keys[0]].ids):
            raise InputError(
                f"{other.paths} says by {keys[0]} which rows of {events.paths} were clicked; join them, e.g. with "
                f"{_join(events.paths, other, keys[0])}, and name it. If each row of {events.paths} is a click, "
                "name only that with --events"
            )


def _join(events: str, clicks: Look, key: str) -> str:
    """Return a command for a shell that writes the events with a column of clicks to log.parquet.

    Rows of `clicks` that say themselves that they are none are left out.
    """
    shown, table, of_both = map(_quoted, (events, clicks.paths, key))
    clicked = f"SELECT {of_both} FROM {table}"
    if rule := label.clicks_among(clicks):
        column = _quoted(rule.column)
        clicked += (
            f" WHERE {column} {rule.comparison} '{rule.value}'" if rule.comparison else f" WHERE {column}::BOOLEAN"
        )
    sql = f"SELECT *, coalesce({of_both} IN ({clicked}), false) AS click FROM {shown}"
    program = f'import duckdb; duckdb.sql({json.dumps(sql)}).write_parquet("log.parquet")'
    return f"python -c {shlex.quote(program)}"


def _quoted(name: str) -> str:
    """Return a name as SQL quotes it."""
    return '"' + name.replace('"', '""') + '"'


def _tables_at(workspace: Workspace, place: str) -> tuple[dict[str, int], str | None, dict[str, str]]:
    """Return the bytes of the tables at or beside a place, by the globs of their files, and the one that it names.

    The files that are no tables come last, each with the reason.

    Raises:
        InputError: there is none.
    """
    folder = _beside(workspace, place)
    named = None
    where = place
    if folder != place:
        named = _exact(Download.at(workspace, _exact(place)).files[0].name)
        where = "*" if folder == "*" else f"{_exact(folder.rstrip('/'))}/*"
    files = _visible(workspace, where)
    if sizes := _sizes(workspace, where, named):
        unlike = listed(file.name for file in files if file.suffix not in FORMATS)
        odd = [file.name for file in files if file.suffix in FORMATS and not file.system.isfile(file.path)]
        others = {unlike: "not named like a table, such as .csv; convert what belongs to the log"} if unlike else {}
        return sizes, named, others | dict.fromkeys(odd, "a pipe, a device or a broken link")
    problem = f"{place}: no file of a log is there; check the path. A log ends in {listed(FORMATS)}, or in .gz"
    if files:
        zips = [file.name for file in files if file.path.lower().endswith(".zip")]
        advice = f"name {zips[0]} to read it" if zips else "convert or rename it, or move it if a stage writes there"
        problem += f". Found {listed(file.name for file in files[:3])}: {advice}"
    raise InputError(problem)


def _visible(workspace: Workspace, place: str) -> list[File]:
    """Return the files at a place without hidden ones and those that an earlier `din init` wrote."""
    try:
        files = Download.at(workspace, place).files
    except InputError:
        return []
    return [file for file in files if file.name not in _OURS and not _HIDDEN.search(file.name)]


def _beside(workspace: Workspace, place: str) -> str:
    """Return the folder of a file, `*` if it is the workspace's; a folder, zip or glob as it is.

    Raises:
        InputError: the zip is damaged, or a member can't be read.
    """
    with unreadable(shown(place)):
        system, path = fsspec.core.url_to_fs(workspace.located(place))
        if not system.isfile(path):
            return place
        if place.lower().endswith(".zip"):
            with system.open(path) as file, ZipFile(file) as archive:
                check_members(archive, place)
            return place
    folder, slash, _ = place.rpartition("/")
    return folder or slash or "*"


def _sizes(workspace: Workspace, place: str, alone: str | None = None) -> dict[str, int]:
    """Return the bytes of the tables at a place, by the globs of their files.

    Hidden files are none, and neither is what the pipeline writes. Files whose names differ in a day, a month or a
    number are one table, but the file `alone` is one of its own.

    Raises:
        InputError: files of a zip differ only in their day.
    """
    try:
        files = Download.at(workspace, place).files
    except InputError:
        return {}
    is_zip = place.lower().endswith(".zip")
    named = {_exact(file.name): file for file in files}
    common = os.path.commonprefix([*named])  # noqa: RUF071  # it is cut at a slash
    folder = len(common.rpartition("/")[0])
    tables: dict[str, list[str]] = {}
    for name, file in named.items():
        pattern = name[:folder] + _VARYING.sub("*", _DAY.sub(DATE, name[folder:]))
        if name == alone:
            tables[name] = [name]
        elif (
            file.suffix in FORMATS
            and name not in _OURS
            and not _HIDDEN.search(name[folder:])
            and file.system.isfile(file.path)
            and (is_zip or not is_output(workspace, file))
        ):
            tables.setdefault(pattern, []).append(name)
    sizes: dict[str, int] = {}
    for pattern, names in tables.items():
        if is_zip and len(names) > 1 and DATE in pattern:
            raise InputError(
                f"{place}: {len(names)} files differ only in their day; unpack the zip, and name the folder"
            )
        glob = str(Path("/", pattern))
        matched = [name for name, file in named.items() if name != alone and Path("/", file.name).match(glob)]
        several = pattern if len(matched) <= len(names) else ",".join(names)  # items.csv is no part of 1.csv, 2.csv
        for name in names:
            file = named[name]
            paths = f"zip://{_exact(file.path)}::{place}" if is_zip else several if len(names) > 1 else name
            sizes[paths] = sizes.get(paths, 0) + file.system.size(file.path)
    return sizes


def _exact(name: str) -> str:
    """Return a glob that matches a name with brackets."""
    return name.replace("[", "[[]")


def _beside_events(
    events: Look, choices: Mapping[str, Choice], others: Iterable[Look]
) -> tuple[dict[str, Look], dict[str, str]]:
    """Return the items, users and history among other tables, and by its paths why another table is none of them."""
    chosen: dict[str, Look] = {}
    unused: dict[str, str] = {}
    for other in others:
        with _noting(other.paths, unused):
            table, why = _table(other, events, choices)
            if table in chosen and _sums_up(other):
                why = f"most of its columns sum up answers, including later ones, unlike {chosen[table].paths}"
            elif table in chosen:
                why = f"{chosen[table].paths} is a larger table of {table}; name the right one with --{table}"
            elif table:
                chosen[table] = replace(other, reason=why)
                continue
            unused[other.paths] = why
    return chosen, unused


def _table(seen: Look, events: Look, choices: Mapping[str, Choice]) -> tuple[str | None, str]:
    """Return what a table beside the events is: history, items, users or None; and why."""
    if _kinds(seen) == _kinds(events):
        return None, "it has the same columns as the events; to read both, name both with --events, with a comma"
    if objects := [name for name, column in seen.columns.items() if column.holds_objects]:
        return None, f"{listed(objects)} holds objects; write one value per row, or leave the column out"
    if _is_held_out(seen.paths):
        return None, "by its name it holds rows to predict; name it with an option if it describes items or users"
    columns = {USER_ID: choices["user"].value, ITEM_ID: choices["item"].value, TIMESTAMP: choices["time"].value}
    unit = choices["unit"].value
    fitting = _fitting(seen, events, columns)
    named = [table for table in fitting if words.means(Path(seen.paths).stem, table.removesuffix("s"))]
    if len(named) == 1:
        return named[0], fitting[named[0]].why
    with suppress(InputError):
        history = sides.history_of(seen, "", events, columns, unit)
        item = seen.columns[history[ITEM_ID].value]
        time = history[TIMESTAMP]
        if (len(item.parts) and seen.headed) or label.guess(seen, time.value).value == ALL_ROWS:
            middle = _time(seen.columns[time.value], unit, "median")
            begin = _time(events.columns[columns[TIMESTAMP]], unit, "min")
            if middle >= begin:
                return None, (
                    f"half of its first rows are from after the events begin ({begin} UTC); a history is mostly older"
                )
            return "history", "it has users, items and times, most of them from before the events, but no label"
    if not fitting:
        return None, _unlike(seen, events, columns)
    best = max(fitting, key=lambda table: fitting[table].share)
    return best, fitting[best].why


class _Fit(NamedTuple):
    """How well a table's ids are those of the events' items or users: the share of either that the other knows."""

    share: float
    why: str


def _fitting(seen: Look, events: Look, columns: Mapping[str, str]) -> dict[str, _Fit]:
    """Return how well a table describes items, users or both: each of their ids has one row."""
    fitting: dict[str, _Fit] = {}
    for table, ours in (("items", ITEM_ID), ("users", USER_ID)):
        with suppress(InputError):
            theirs = events.columns[columns[ours]]
            ids = seen.columns[sides.key_of(seen, "", ours, theirs)]
            share = sides.known(theirs.ids, ids.ids)
            if ids.distinct == len(ids.values) and share >= sides.KNOWN:
                why = f"every {ids.name} appears once, and {share:.0%} of the events' {theirs.name}s are in it"
                fitting[table] = _Fit(min(share, sides.known(ids.ids, theirs.ids)), why)
    return fitting


def _is_held_out(paths: str) -> bool:
    """Return whether files hold the rows, or a form for the answers, of a competition by their name."""
    return words.means(Path(paths).stem, "held_out")


def _unlike(seen: Look, events: Look, columns: Mapping[str, str]) -> str:
    """Return why a table describes neither items nor users: it has few of the events' ids, or several rows each."""
    plain = [column for column in seen.columns.values() if column.kind != "nested"]
    held = {
        (noun, column.name): sides.known(events.columns[columns[ours]].ids, column.ids)
        for noun, ours in (("items", ITEM_ID), ("users", USER_ID))
        for column in plain
    }
    noun, name = max(held, key=lambda key: held[key], default=("", ""))
    share = held.get((noun, name), 0.0)
    if share == 0:
        return "no column holds ids of the events' users or items"
    if share < sides.KNOWN:
        return f"only {share:.0%} of the events' {noun} are in its column {name}; expected {sides.KNOWN:.0%} or more"
    return f"{name} holds {share:.0%} of the events' {noun}, but a table of {noun} has one row for each, and no label"


def _sums_up(seen: Look) -> bool:
    """Return whether most columns of a table are numbers of answers, which training would see before they are given."""
    answers = [column for column in seen.columns.values() if column.kind == "number" and fields.is_answer(column.name)]
    return len(answers) > len(seen.columns) / 2


def _kinds(seen: Look) -> dict[str, str]:
    """Return the names of the columns, with the kinds of their values where the names are only numbers."""
    return {name: "" if seen.headed else column.kind for name, column in seen.columns.items()}


def _time(column: Column, unit: str, aggregate: str) -> datetime:
    """Return the `min` or the `median` of the times in a column, in UTC."""
    rows = Rows.of("", {"": column.values})
    time, _ = times.to_utc(rows, "", unit, values.forms(rows, {})[""])
    (moment,) = rows.ask(f"{aggregate}({time})")
    return moment
