"""Guess where the files of a log are, how they are written, and which columns hold time, user and item."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from din.base.errors import InputError
from din.base.names import ModelName
from din.base.workspace import Workspace
from din.data import files
from din.params.fetch import DATE, Csv
from din_start.init import words
from din_start.init.choice import Choice
from din_start.init.look import Look

_WRITTEN = {
    "delimiter": "gives all lines the same number of cells",
    "names": "the first line is a row, not a header",
    "encoding": "the bytes of a table are not UTF-8",
    "decimal": "numbers are written like 12,50",
    "quote": "quotes are part of the text: some begin a cell, but don't end it",
}


def name_of(workspace: Workspace, paths: str) -> str:
    """Return the name of a log in lower case: the last part of its path that says more than `clicks` or `data`."""
    place = workspace.located(paths.split(",")[0])
    path = place if "://" in place else str(Path(place).resolve())
    *folders, file = re.split(r"[/\\]", path.replace(DATE, ""))
    for part in (file.split(".")[0], *reversed(folders)):
        says = any(not word.isdigit() and not words.means(word, "log") for word in words.words(part))
        name = "-".join(re.findall("[a-z0-9]+", words.plain(part)))[:128]
        if name and says:
            return str(ModelName(name))
    return "clicks"


def of_files(workspace: Workspace, tables: Mapping[str, Look], place: str) -> dict[str, Choice]:
    """Return the parameters that say where the files are and how they are written, and the name of their place."""
    events = tables["events"]
    name = name_of(workspace, place)
    count = f"{len(events.files)} {'file' if len(events.files) == 1 else 'files'}"
    parameters = {
        "fetch.source": Choice("table", "a log in files of its own"),
        "fetch.table.events": Choice(events.paths, f"{count}: {events.reason}"),
        "promote.model_name": Choice(name, "the name of the log, for its champions"),
    }
    if events.explode:
        parameters["fetch.table.explode"] = events.explode
    needs_quotes = any(side.needs_quotes for side in tables.values())
    quote = '"' if needs_quotes else min((side.dialect.quote for side in tables.values()), key=bool)
    written = replace(events.dialect, encoding=_encoding_of(tables), quote=quote)
    for key, why in _WRITTEN.items():
        value = getattr(written, key)
        if value != getattr(Csv, key):
            parameters[f"fetch.table.csv.{key}"] = Choice(value, why)
    return parameters


def _encoding_of(tables: Mapping[str, Look]) -> str:
    """Return the encoding that reads all tables.

    Raises:
        InputError: there is none.
    """
    texts = [side for side in tables.values() if files.format_of(side.files[0].path) == "CSV"]
    if all(side.dialect.encoding != "utf-16" for side in texts):
        texts = [side for side in texts if not side.is_ascii]  # any other encoding reads ASCII as well
    encodings = {side.paths: side.dialect.encoding for side in texts}
    if len({*encodings.values()}) > 1:
        each = ", ".join(f"{paths} is {encoding}" for paths, encoding in encodings.items())
        raise InputError(f"{each}; expected one encoding for all tables: convert all to UTF-8, e.g. with iconv")
    return next(iter(encodings.values()), tables["events"].dialect.encoding)


def of_roles(choices: Mapping[str, Choice], columns: Mapping[str, str]) -> dict[str, Choice]:
    """Return the parameters that say which columns hold time, user, item and label.

    Args:
        choices: what was chosen for each role.
        columns: their name by our name.
    """
    whys = (f"{choices[role].value} is the {role}: {choices[role].reason}" for role in ("user", "item", "time"))
    renamed = {ours: theirs for ours, theirs in columns.items() if ours != theirs}
    return {
        "fetch.table.columns": Choice(renamed, "\n".join(whys)),
        "fetch.table.label": choices["label"],
        "fetch.table.timestamp_unit": choices["unit"],
    }
