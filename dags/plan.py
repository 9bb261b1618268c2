"""Turn dvc.yaml into StagePlans, which hold what a scheduler needs to know, and DVC's own edges.

This imports neither Airflow nor DVC, which takes seconds, so it can run at every parse of a DAG file. It does not
support templating: `foreach`, `matrix`, `vars` and `${…}` are refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from posixpath import join, normpath
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

AIRFLOW_KEYS = {
    "retries": ("a whole number, 0 or more", lambda value: _is_int(value) and value >= 0),
    "pool": ("a pool's name", lambda value: isinstance(value, str) and value != ""),
    "timeout_minutes": ("a whole number above 0", lambda value: _is_int(value) and value > 0),
    "queue": ("a queue's name", lambda value: isinstance(value, str) and value != ""),
}
STAGE_KEYS = ("cmd", "wdir", "deps", "params", "outs", "metrics", "plots", "desc", "meta", "always_changed", "frozen")
_TEMPLATING = ("foreach", "do", "matrix", "vars")


class PlanError(ValueError):
    """dvc.yaml can't be planned; the message names the stage and the key, and says what was expected."""


@dataclass(frozen=True)
class StagePlan:
    """One stage; None in the last four means the scheduler's default."""

    name: str
    desc: str
    command: str
    deps: tuple[str, ...]  # paths from the root of the repository, including parameter files
    outs: tuple[str, ...]  # includes metrics and plots
    upstream: tuple[str, ...]  # names of the stages it waits for, in the file's order
    retries: int | None
    pool: str | None
    timeout_minutes: int | None
    queue: str | None


def load(path: Path) -> tuple[StagePlan, ...]:
    """Return the stages of a dvc.yaml, in the file's order.

    Raises:
        PlanError: the file is unreadable or malformed; see `parse`.
    """
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{path}: can't be read ({error})") from None


def parse(text: str) -> tuple[StagePlan, ...]:
    """Return the stages of dvc.yaml's text, in its order.

    A stage waits for another if one of its deps is, lies inside, or contains one of the other's outs. This is DVC's
    rule (`dvc.repo.graph.build_graph`). Options of outs, which a plan does not need, are left for DVC to check.

    Raises:
        PlanError: the text is not YAML; DVC or `meta.airflow` doesn't know a key of a stage; a value has the wrong
            type; two stages share an out; stages wait for each other.
    """
    try:
        document = YAML(typ="safe").load(text)
    except YAMLError as error:
        raise PlanError(f"dvc.yaml: not valid YAML: {error}") from None
    stages = _mapping(document, "dvc.yaml").get("stages")
    if not stages:
        raise PlanError("dvc.yaml: no stages; expected a mapping of names to stages under the key 'stages'")
    bodies = {str(name): _body(name, body) for name, body in _mapping(stages, "dvc.yaml: stages").items()}
    outs = {name: tuple(_paths(name, body, "outs", "metrics", "plots")) for name, body in bodies.items()}
    deps = {name: (*_paths(name, body, "deps"), *_parameter_files(name, body)) for name, body in bodies.items()}
    _refuse_shared_outs(outs)
    upstream = {
        name: tuple(other for other in bodies if any(overlap(dep, out) for dep in deps[name] for out in outs[other]))
        for name in bodies
    }
    _refuse_cycles(upstream)
    return tuple(
        StagePlan(
            name=name,
            desc=_text(name, body, "desc"),
            command=_command(name, body),
            deps=deps[name],
            outs=outs[name],
            upstream=upstream[name],
            **_airflow(name, body),
        )
        for name, body in bodies.items()
    )


def _body(name: object, body: object) -> dict[str, Any]:
    if not isinstance(name, str) or not re.fullmatch(r"[\w-]+", name):
        raise PlanError(f"stage {name!r}: a name holds letters, digits, - and _ only")
    body = _mapping(body, f"stage {name!r}")
    for key in body:
        if key in _TEMPLATING:
            raise PlanError(f"stage {name!r}: key {key!r} is templating, which isn't rendered; write the stages out")
        if key not in STAGE_KEYS:
            raise PlanError(f"stage {name!r}: key {key!r} is unknown; expected: {', '.join(STAGE_KEYS)}")
    return body


def _mapping(value: object, where: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise PlanError(f"{where}: expected a mapping, got {value!r}")
    return value


def _text(name: str, body: dict[str, Any], key: str, default: str = "") -> str:
    value = body.get(key, default)
    if not isinstance(value, str):
        raise PlanError(f"stage {name!r}: key {key!r}: expected text, got {value!r}")
    return _plain(name, key, value)


def _plain(name: str, key: str, value: str) -> str:
    if "${" in value:
        raise PlanError(f"stage {name!r}: key {key!r}: {value!r} is templating, which isn't rendered; write it out")
    return value


def _command(name: str, body: dict[str, Any]) -> str:
    command = body.get("cmd")
    lines: list[Any] = command if isinstance(command, list) else [command]
    if not lines or not all(isinstance(line, str) and line for line in lines):
        raise PlanError(f"stage {name!r}: key 'cmd': expected a command or a list of commands, got {command!r}")
    return "\n".join(_plain(name, "cmd", line) for line in lines)


def _entries(name: str, body: dict[str, Any], key: str) -> list[Any]:
    value = body.get(key, [])
    if not isinstance(value, list):
        raise PlanError(f"stage {name!r}: key {key!r}: expected a list, got {value!r}")
    return value


def _paths(name: str, body: dict[str, Any], *keys: str) -> Iterator[str]:
    """Yield the paths of `- path` and `- path: {options}`, relative to the repository's root."""
    for key in keys:
        for entry in _entries(name, body, key):
            paths = entry if isinstance(entry, dict) and key != "deps" else [entry]
            for path in paths:
                if not isinstance(path, str) or not path:
                    raise PlanError(f"stage {name!r}: key {key!r}: expected a path, got {path!r}")
                yield _from_root(name, body, _plain(name, key, path))


def _parameter_files(name: str, body: dict[str, Any]) -> Iterator[str]:
    """Yield the files of `params`: `- key` is in params.yaml, and `- file: [keys]` in that file."""
    files: dict[str, None] = {}
    for entry in _entries(name, body, "params"):
        files |= dict.fromkeys(entry if isinstance(entry, dict) else ["params.yaml"])
    yield from (_from_root(name, body, file) for file in files)


def _from_root(name: str, body: dict[str, Any], path: str) -> str:
    return path if "://" in path else normpath(join(_text(name, body, "wdir", "."), path))


def overlap(one: str, other: str) -> bool:
    """Return whether one path is the other or lies inside it."""
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def _refuse_shared_outs(outs: dict[str, tuple[str, ...]]) -> None:
    owned = [(out, name) for name, paths in outs.items() for out in paths]
    for i, (out, name) in enumerate(owned):
        for other, owner in owned[:i]:
            if overlap(out, other):
                raise PlanError(f"stage {name!r}: out {out!r} overlaps out {other!r} of stage {owner!r}")


def _refuse_cycles(upstream: dict[str, tuple[str, ...]]) -> None:
    try:
        TopologicalSorter(upstream).prepare()
    except CycleError as error:
        raise PlanError(f"dvc.yaml: stages wait for each other: {' → '.join(error.args[1])}") from None


def _airflow(name: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return all settings of `meta.airflow`, with None for missing ones; other keys of `meta` are ignored."""
    meta = _mapping(body.get("meta") or {}, f"stage {name!r}: key 'meta'")
    settings = _mapping(meta.get("airflow") or {}, f"stage {name!r}: key 'meta.airflow'")
    for key, value in settings.items():
        if key not in AIRFLOW_KEYS:
            raise PlanError(f"stage {name!r}: key 'meta.airflow.{key}' is unknown; expected: {', '.join(AIRFLOW_KEYS)}")
        expected, is_valid = AIRFLOW_KEYS[key]
        if not is_valid(value):
            raise PlanError(f"stage {name!r}: key 'meta.airflow.{key}': expected {expected}, got {value!r}")
    return {key: settings.get(key) for key in AIRFLOW_KEYS}


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
