"""The stages of dvc.yaml, as our own programs see them: commands, reports and schedulers read the file here.

This imports neither DVC nor pydantic, which take seconds, so it can run at every parse of a DAG file. It does not
support templating: `foreach`, `matrix`, `vars` and `${…}` are refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from posixpath import join, normpath
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from din.errors import InputError
from din.workspace import AT_THE_ROOT, Workspace

KEYS = ("cmd", "wdir", "deps", "params", "outs", "metrics", "plots", "desc", "meta", "always_changed", "frozen")
_TEMPLATING = ("foreach", "do", "matrix", "vars")


@dataclass(frozen=True)
class Stage:
    """One stage of dvc.yaml; all paths start at the root of the repository.

    Attributes:
        command: one line for each command.
        deps: without parameter files.
        outs: with metrics and plots.
        params: the keys that it reads of params.yaml.
        parameter_files: params.yaml if it reads a key of it, and other files that it names.
        meta: what DVC leaves to others, such as `airflow`.
    """

    name: str
    desc: str
    command: str
    deps: tuple[str, ...]
    outs: tuple[str, ...]
    params: tuple[str, ...]
    parameter_files: tuple[str, ...]
    always_changed: bool
    meta: dict[str, Any]


def stages_of(workspace: Workspace) -> dict[str, Stage]:
    """Return the stages of a workspace by name, in the order of its dvc.yaml.

    Raises:
        InputError: the file can't be read, or it is malformed; see `parse`.
    """
    return read(workspace.pipeline)


def read(path: Path) -> dict[str, Stage]:
    """Return the stages of a dvc.yaml by name, in the file's order.

    Raises:
        InputError: the file can't be read, or it is malformed; see `parse`.
    """
    try:
        return parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: not found; {AT_THE_ROOT}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't be read ({error})") from None


def parse(text: str) -> dict[str, Stage]:
    """Return the stages of dvc.yaml's text by name, in its order.

    Options of outs are left for DVC to check.

    Raises:
        InputError: the text is not YAML, DVC doesn't know a key of a stage, or a value has the wrong type.
    """
    try:
        document = YAML(typ="safe").load(text)
    except YAMLError as error:
        raise InputError(f"dvc.yaml: not valid YAML: {error}") from None
    stages = mapping(document, "dvc.yaml").get("stages")
    if not stages:
        raise InputError("dvc.yaml: no stages; expected a mapping of names to stages under the key 'stages'")
    return {name: _stage(name, body) for name, body in mapping(stages, "dvc.yaml: stages").items()}


def mapping(value: object, where: str) -> dict[Any, Any]:
    """Return a mapping as it is.

    Raises:
        InputError: the value is none; `where` names its place.
    """
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected a mapping, got {value!r}")
    return value


def _stage(name: object, value: object) -> Stage:
    if not isinstance(name, str) or not re.fullmatch(r"[\w-]+", name):
        raise InputError(f"stage {name!r}: a name holds letters, digits, - and _ only")
    body = mapping(value, f"stage {name!r}")
    for key in body:
        if key in _TEMPLATING:
            raise InputError(f"stage {name!r}: key {key!r} is templating, which isn't rendered; write the stages out")
        if key not in KEYS:
            raise InputError(f"stage {name!r}: key {key!r} is unknown; expected: {', '.join(KEYS)}")
    params = _entries(name, body, "params")
    return Stage(
        name=name,
        desc=_text(name, body, "desc"),
        command=_command(name, body),
        deps=tuple(_paths(name, body, "deps")),
        outs=tuple(_paths(name, body, "outs", "metrics", "plots")),
        params=tuple(key for key in params if isinstance(key, str)),
        parameter_files=tuple(_parameter_files(name, body, params)),
        always_changed=bool(body.get("always_changed")),
        meta=mapping(body.get("meta") or {}, f"stage {name!r}: key 'meta'"),
    )


def _text(name: str, body: dict[str, Any], key: str, default: str = "") -> str:
    value = body.get(key, default)
    if not isinstance(value, str):
        raise InputError(f"stage {name!r}: key {key!r}: expected text, got {value!r}")
    return _plain(name, key, value)


def _plain(name: str, key: str, value: str) -> str:
    if "${" in value:
        raise InputError(f"stage {name!r}: key {key!r}: {value!r} is templating, which isn't rendered; write it out")
    return value


def _command(name: str, body: dict[str, Any]) -> str:
    command = body.get("cmd")
    lines: list[Any] = command if isinstance(command, list) else [command]
    if not lines or not all(isinstance(line, str) and line for line in lines):
        raise InputError(f"stage {name!r}: key 'cmd': expected a command or a list of commands, got {command!r}")
    return "\n".join(_plain(name, "cmd", line) for line in lines)


def _entries(name: str, body: dict[str, Any], key: str) -> list[Any]:
    value = body.get(key, [])
    if not isinstance(value, list):
        raise InputError(f"stage {name!r}: key {key!r}: expected a list, got {value!r}")
    return value


def _paths(name: str, body: dict[str, Any], *keys: str) -> Iterator[str]:
    """Yield the paths of `- path` and `- path: {options}`."""
    for key in keys:
        for entry in _entries(name, body, key):
            paths = entry if isinstance(entry, dict) and key != "deps" else [entry]
            for path in paths:
                if not isinstance(path, str) or not path:
                    raise InputError(f"stage {name!r}: key {key!r}: expected a path, got {path!r}")
                yield _from_root(name, body, _plain(name, key, path))


def _parameter_files(name: str, body: dict[str, Any], params: list[Any]) -> Iterator[str]:
    """Yield the files of `params`: `- key` is in params.yaml, and `- file: [keys]` in that file."""
    files: dict[str, None] = {}
    for entry in params:
        files |= dict.fromkeys(entry if isinstance(entry, dict) else ["params.yaml"])
    yield from (_from_root(name, body, file) for file in files)


def _from_root(name: str, body: dict[str, Any], path: str) -> str:
    return path if "://" in path else normpath(join(_text(name, body, "wdir", "."), path))
