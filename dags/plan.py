"""Turn the stages of dvc.yaml into StagePlans, which hold what a scheduler needs to know, and DVC's own edges.

This imports neither Airflow nor DVC, which takes seconds, so it can run at every parse of a DAG file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt

from din import documents, pipeline
from din.pipeline import Stage

Text = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True)
class AirflowSettings:
    """`meta.airflow` of a stage; None means the scheduler's default."""

    __pydantic_config__ = documents.STRICT

    retries: NonNegativeInt | None = None
    pool: Text | None = None
    timeout_minutes: PositiveInt | None = None
    queue: Text | None = None


@dataclass(frozen=True)
class StagePlan:
    """One stage."""

    name: str
    desc: str
    command: str
    deps: tuple[str, ...]  # paths from the root of the repository, including parameter files
    outs: tuple[str, ...]  # includes metrics and plots
    upstream: tuple[str, ...]  # names of the stages it waits for, in the file's order
    airflow: AirflowSettings


def load(path: Path) -> tuple[StagePlan, ...]:
    """Return the stages of a dvc.yaml, in the file's order.

    Raises:
        InputError: the file is unreadable or malformed; see `din.pipeline.parse`. `meta.airflow` holds an unknown key
            or a wrong value.
    """
    return _plans(pipeline.read(path))


def parse(text: str) -> tuple[StagePlan, ...]:
    """Return the stages of dvc.yaml's text, in its order; see `load`."""
    return _plans(pipeline.parse(text))


def _plans(stages: Mapping[str, Stage]) -> tuple[StagePlan, ...]:
    """Return the plans of stages.

    A stage waits for another if one of its deps is, lies inside, or contains one of the other's outs. This is DVC's
    rule (`dvc.repo.graph.build_graph`). DVC also refuses stages that share an out or wait for each other.
    """
    deps = {name: (*stage.deps, *stage.parameter_files) for name, stage in stages.items()}
    return tuple(
        StagePlan(
            name=name,
            desc=stage.desc,
            command=stage.command,
            deps=deps[name],
            outs=stage.outs,
            upstream=tuple(
                other for other in stages if any(overlap(dep, out) for dep in deps[name] for out in stages[other].outs)
            ),
            airflow=documents.check(
                AirflowSettings, stage.meta.get("airflow") or {}, f"dvc.yaml: stage {name!r}: meta.airflow"
            ),
        )
        for name, stage in stages.items()
    )


def overlap(one: str, other: str) -> bool:
    """Return whether one path is the other or lies inside it."""
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")
