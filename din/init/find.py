"""Find out what the files of a folder or zip, or beside a file, are: a publisher's log, or tables of a user's own.

a publisher's reader knows all files that it needs           -> its source
the largest table with users, items, times and a label       -> events; if none has a label, each row is a click
ids of items or users, as in the events, that don't repeat   -> items, users
users and times, and items or lists of them, without a label -> history
"""

import os
import re
from collections.abc import Mapping
from contextlib import suppress

import fsspec
import pyarrow.compute as pc

from din.errors import InputError, listed, shown
from din.init import label, roles, sides
from din.init.choice import Choice
from din.init.look import Look, look
from din.init.render import FILES, SCHEMA
from din.params.fetch import DATE, OPTIONS
from din.schema import ITEM_ID, TIMESTAMP, USER_ID
from din.sources.amazon_reviews import AmazonReviews
from din.sources.download import Download
from din.sources.files import FORMATS, File, unreadable
from din.sources.kuairand import KuaiRandPure
from din.sources.movielens import Files100k, MovieLensRelease
from din.sources.publisher import Publisher
from din.sources.rules import Rule
from din.sources.taobao_ads import TaobaoAds
from din.workspace import Workspace

_PUBLISHERS: dict[str, type[Publisher]] = {
    "movielens-100k": Files100k,
    "movielens": MovieLensRelease,
    "amazon-reviews": AmazonReviews,
    "kuairand-pure": KuaiRandPure,
    "taobao-ads": TaobaoAds,
}
_OURS = {*FILES, SCHEMA}  # that an earlier `din init` wrote
_KNOWN = 0.5  # least share of the events' ids that a table of items or users holds
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_NUMBER = re.compile(r"[0-9a-f]{8,}|\d+")  # hexadecimal ones name the parts that a cluster writes


def publisher(workspace: Workspace, place: str) -> dict[str, Choice]:
    """Return the source, and its options, that reads a folder, a zip, or the folder of a file; empty if none does.

    Raises:
        InputError: the publisher's files lie among those of the repository.
    """
    for path in dict.fromkeys((place, _beside(workspace, place))):
        for source, reader in _PUBLISHERS.items():
            with suppress(InputError):
                files = reader(workspace, OPTIONS[source](path=path), None).found().values()
                break
        else:
            continue
        known = [file.name for table in files for file in table]
        if path != place and place.rpartition("/")[2] not in [name.rpartition("/")[2] for name in known]:
            return {}
        names = listed(known)
        if path in (".", "*"):
            raise InputError(f"{names}: fetch.source: {source} reads them; move them to a folder, and name it instead")
        return {
            "fetch.source": Choice(source, f"its reader knows {names}"),
            "fetch.options": Choice({"path": path}, "you named it" if path == place else "the folder of your file"),
        }
    return {}


def tables(workspace: Workspace, place: str, given: Mapping[str, str]) -> dict[str, Choice]:
    """Return the paths of the events, and of items, users and history if they lie beside them.

    Args:
        workspace: where relative paths start.
        place: a folder, a zip or a glob; or the file of the events.
        given: what a person said of the columns of the events, see `roles.guess`.

    Raises:
        InputError: no file holds users, items and times.
    """
    if DATE in place or "," in place:
        return {"events": Choice(place, "you named it")}
    folder = _beside(workspace, place)
    named = Download.at(workspace, place).files[0].name if folder != place else None
    sizes = _sizes(workspace, "*" if folder == "*" else f"{folder.rstrip('/')}/*", named) or _sizes(workspace, place)
    if not sizes:
        raise InputError(
            f"{place}: no file of a log is there; check the path. A log ends in {listed(FORMATS)}, or in .gz"
        )
    looks: dict[str, Look] = {}
    found: dict[str, dict[str, Choice]] = {}
    problems: dict[str, str] = {}
    for paths in sizes:
        try:
            looks[paths] = look(workspace, paths, "events")
            if named in (None, paths):
                found[paths] = roles.guess(looks[paths], given)
        except InputError as error:
            problems[paths] = str(error)
    if named in problems:
        raise InputError(problems[named])
    if not found:
        every = "\n".join(f"  {problem}" for problem in problems.values())
        raise InputError(f"{place}: no file holds users, items and times; name it with --events. The files:\n{every}")
    labelled = {paths: _has_label(looks[paths], one["label"], one["time"]) for paths, one in found.items()}
    events = max(found, key=lambda paths: (labelled[paths], sizes[paths]))
    roles_of = found[events]
    columns = {USER_ID: roles_of["user"].value, ITEM_ID: roles_of["item"].value, TIMESTAMP: roles_of["time"].value}
    chosen: dict[str, Choice] = {}
    for paths in sorted(looks.keys() - {events}, key=lambda paths: -sizes[paths]):
        if is_what := _table(looks[paths], looks[events], columns, roles_of["unit"].value):
            table, why = is_what
            chosen.setdefault(table, Choice(paths, why))
    unused = sizes.keys() - {events, *(one.value for one in chosen.values())}
    why = "you named it" if named else "the largest with users, items, times and a label"
    if not named and not labelled[events]:
        why = "the largest with users, items and times"
    why += f"; not used: {listed(sorted(unused))}" if unused else ""
    return {"events": Choice(events, why), **chosen}


def _beside(workspace: Workspace, place: str) -> str:
    """Return the folder of a file, `*` if it is the workspace's; a folder, zip or glob as it is."""
    with unreadable(shown(place)):
        system, path = fsspec.core.url_to_fs(workspace.located(place))
        is_file = system.isfile(path) and not place.lower().endswith(".zip")
    return place.rpartition("/")[0] or "*" if is_file else place


def _sizes(workspace: Workspace, place: str, alone: str | None = None) -> dict[str, int]:
    """Return the bytes of the tables at a place, by their paths.

    Files whose names differ in a day or a number are one table, but the file `alone` is one of its own.
    """
    try:
        files = Download.at(workspace, place).files
    except InputError:
        return {}
    files = [file for file in files if file.name == alone or (file.suffix in FORMATS and file.name not in _OURS)]
    common = os.path.commonprefix([file.name for file in files])  # noqa: RUF071  # it is cut at a slash
    folder = len(common.rpartition("/")[0])
    tables: dict[str, list[File]] = {}
    for file in files:
        pattern = file.name[:folder] + _NUMBER.sub("*", _DAY.sub(DATE, file.name[folder:]))
        if place.lower().endswith(".zip"):
            pattern = f"zip://{file.path}::{place}"
        tables.setdefault(file.name if file.name == alone else pattern, []).append(file)
    return {
        paths if len(group) > 1 or paths.startswith("zip:") else group[0].name: sum(
            file.system.size(file.path) for file in group
        )
        for paths, group in tables.items()
    }


def _has_label(seen: Look, rule: Choice, time: Choice) -> bool:
    """Return whether a column tells clicks from other rows."""
    return Rule.parse("--label", rule.value, [*seen.columns], "").column != time.value


def _table(seen: Look, events: Look, columns: Mapping[str, str], unit: str) -> tuple[str, str] | None:
    """Return what a table beside the events is, and why: history, items or users; or None."""
    if seen.columns.keys() == events.columns.keys():
        return None
    with suppress(InputError):
        if history := sides.history_of(seen, "", events, columns, unit):
            item = seen.columns[history[ITEM_ID].value]
            time = history[TIMESTAMP]
            if len(item.parts) or not _has_label(seen, label.guess(seen, time.value), time):
                return "history", "it has users, items and times of the events, but no label"
    for table, ours in (("items", ITEM_ID), ("users", USER_ID)):
        with suppress(InputError):
            ids = seen.columns[sides.key_of(seen, "", ours, columns[ours])]
            known = ids.different.cast("string")
            share = pc.mean(
                pc.is_in(events.columns[columns[ours]].different.cast("string"), known).cast("int8")
            ).as_py()
            if ids.distinct == len(ids.values) and share >= _KNOWN:
                return table, f"its {ids.name} doesn't repeat, and is that of the events"
    return None
