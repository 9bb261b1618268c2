"""Turn the stages of dvc.yaml into StagePlans, which hold what a scheduler needs to know, and DVC's own edges.

This imports neither Airflow nor DVC, which takes seconds, so it can run at every parse of a DAG file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from din import pipeline
from din.errors import InputError
from din.pipeline import Stage

AIRFLOW_KEYS = {
    "retries": ("a whole number, 0 or more", lambda value: _is_int(value) and value >= 0),
    "pool": ("a pool's name", lambda value: isinstance(value, str) and value != ""),
    "timeout_minutes": ("a whole number above 0", lambda value: _is_int(value) and value > 0),
    "queue": ("a queue's name", lambda value: isinstance(value, str) and value != ""),
}


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
        InputError: the file is unreadable or malformed; see `din.pipeline.parse` and `_plans`.
    """
    return _plans(pipeline.read(path))


def parse(text: str) -> tuple[StagePlan, ...]:
    """Return the stages of dvc.yaml's text, in its order; see `load`."""
    return _plans(pipeline.parse(text))


def _plans(stages: Mapping[str, Stage]) -> tuple[StagePlan, ...]:
    """Return the plans of stages.

    A stage waits for another if one of its deps is, lies inside, or contains one of the other's outs. This is DVC's
    rule (`dvc.repo.graph.build_graph`).

    Raises:
        InputError: `meta.airflow` holds an unknown key or a wrong value; two stages share an out; stages wait for each
            other.
    """
    _refuse_shared_outs(stages)
    deps = {name: (*stage.deps, *stage.parameter_files) for name, stage in stages.items()}
    outs = {name: stage.outs for name, stage in stages.items()}
    upstream = {
        name: tuple(other for other in stages if any(overlap(dep, out) for dep in deps[name] for out in outs[other]))
        for name in stages
    }
    _refuse_cycles(upstream)
    return tuple(
        StagePlan(
            name=name,
            desc=stage.desc,
            command=stage.command,
            deps=deps[name],
            outs=stage.outs,
            upstream=upstream[name],
            **_airflow(stage),
        )
        for name, stage in stages.items()
    )


def overlap(one: str, other: str) -> bool:
    """Return whether one path is the other or lies inside it."""
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def _refuse_shared_outs(stages: Mapping[str, Stage]) -> None:
    owned = [(out, stage.name) for stage in stages.values() for out in stage.outs]
    for i, (out, name) in enumerate(owned):
        for other, owner in owned[:i]:
            if overlap(out, other):
                raise InputError(f"stage {name!r}: out {out!r} overlaps out {other!r} of stage {owner!r}")


def _refuse_cycles(upstream: dict[str, tuple[str, ...]]) -> None:
    try:
        TopologicalSorter(upstream).prepare()
    except CycleError as error:
        raise InputError(f"dvc.yaml: stages wait for each other: {' → '.join(error.args[1])}") from None


def _airflow(stage: Stage) -> dict[str, Any]:
    """Return all settings of `meta.airflow`, with None for missing ones; other keys of `meta` are ignored."""
    at = f"stage {stage.name!r}: key 'meta.airflow"
    settings = pipeline.mapping(stage.meta.get("airflow") or {}, f"{at}'")
    for key, value in settings.items():
        if key not in AIRFLOW_KEYS:
            raise InputError(f"{at}.{key}' is unknown; expected: {', '.join(AIRFLOW_KEYS)}")
        expected, is_valid = AIRFLOW_KEYS[key]
        if not is_valid(value):
            raise InputError(f"{at}.{key}': expected {expected}, got {value!r}")
    return {key: settings.get(key) for key in AIRFLOW_KEYS}


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
