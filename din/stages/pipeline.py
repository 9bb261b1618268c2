"""Read the stages of dvc.yaml, for commands, reports and schedulers.

This does not import DVC, which takes seconds, so it can run at every parse of a DAG file. It does not support
templating: `foreach`, `matrix`, `vars` and `${…}` are refused.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from posixpath import join, normpath
from typing import Any

from din.base import documents
from din.base.errors import InputError, shown
from din.base.workspace import AT_THE_ROOT, Workspace
from din.params.reading import plain

_TEMPLATING = ("foreach", "do", "matrix", "vars")
_Entries = list[str | dict[str, Any]]


@dataclass(frozen=True)
class _Body:
    """A stage as dvc.yaml holds it. Options of outs are left for DVC to check."""

    __pydantic_config__ = documents.STRICT

    cmd: str | list[str]
    wdir: str = "."
    deps: list[str] = field(default_factory=list)
    params: _Entries = field(default_factory=list)
    outs: _Entries = field(default_factory=list)
    metrics: _Entries = field(default_factory=list)
    plots: _Entries = field(default_factory=list)
    desc: str = ""
    meta: dict[str, Any] = field(default_factory=dict)
    always_changed: bool = False
    frozen: bool = False


@dataclass(frozen=True)
class Stage:
    """One stage of dvc.yaml; all paths start at the root of the repository.

    Attributes:
        command: one line for each command.
        deps: its dependencies, without parameter files.
        outs: its outputs, with metrics and plots.
        params: the keys of params.yaml that it reads.
        parameter_files: params.yaml if it reads a key of it, and the other parameter files that it names.
        upstream: the stages that it waits for, in the file's order. One of its deps or parameter files is, is inside,
            or contains one of their outs. This is DVC's rule (`dvc.repo.graph.build_graph`).
        meta: settings that DVC ignores, such as `airflow`.
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
    upstream: tuple[str, ...] = ()


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

    Raises:
        InputError: the text is not YAML, DVC doesn't know a key of a stage, or a value has the wrong type.
    """
    document = plain(text, "dvc.yaml")
    if not isinstance(document, dict):
        raise InputError(f"dvc.yaml: expected a mapping, got {shown(document)}")
    stages = document.get("stages")
    if not stages or not isinstance(stages, dict):
        raise InputError(f"dvc.yaml: no stages; expected names with stages under the key 'stages', got {shown(stages)}")
    parsed = [_stage(name, body) for name, body in stages.items()]
    return {stage.name: replace(stage, upstream=_upstream(stage, parsed)) for stage in parsed}


def overlap(path: str, other: str) -> bool:
    """Return whether two paths are equal, or one is inside the other."""
    return path == other or path.startswith(f"{other}/") or other.startswith(f"{path}/")


def _upstream(stage: Stage, stages: Sequence[Stage]) -> tuple[str, ...]:
    read = (*stage.deps, *stage.parameter_files)
    return tuple(
        producer.name for producer in stages if any(overlap(dep, out) for dep in read for out in producer.outs)
    )


def _stage(name: object, value: Any) -> Stage:
    if not isinstance(name, str) or not re.fullmatch(r"[\w-]+", name):
        raise InputError(f"stage {name!r}: a name holds letters, digits, - and _ only")
    for key, part in value.items() if isinstance(value, dict) else ():
        if key in _TEMPLATING or (key != "meta" and "${" in json.dumps(part, default=str)):
            raise InputError(
                f"stage {name!r}: key {key!r}: {shown(part)} is templating, which isn't rendered; write the stages out"
            )
    body = documents.check(_Body, value, f"dvc.yaml: stage {name!r}")
    lines = [body.cmd] if isinstance(body.cmd, str) else body.cmd
    if not lines or not all(lines):
        raise InputError(f"stage {name!r}: key 'cmd': expected a command or a list of commands, got {body.cmd!r}")
    outs = [path for entry in (*body.outs, *body.metrics, *body.plots) for path in _names(entry)]
    files = dict.fromkeys(
        file for entry in body.params for file in (["params.yaml"] if isinstance(entry, str) else _names(entry))
    )
    return Stage(
        name=name,
        desc=body.desc,
        command="\n".join(lines),
        deps=_from_root(body, body.deps),
        outs=_from_root(body, outs),
        params=tuple(key for key in body.params if isinstance(key, str)),
        parameter_files=_from_root(body, files),
        always_changed=body.always_changed,
        meta=body.meta,
    )


def _names(entry: str | dict[str, Any]) -> list[str]:
    """Return the paths of `- path`, or of `- path: {options}`."""
    return [entry] if isinstance(entry, str) else list(entry)


def _from_root(body: _Body, paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(path if "://" in path else normpath(join(body.wdir, path)) for path in paths)
