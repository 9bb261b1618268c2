"""The state of a workspace at a glance: the command `din status`.

The outcomes of stages come from `.din/outcome/`, which records the last command that really ran here. DVC may have
taken newer results from its cache. To find stale stages, DVC hashes changed files, which takes seconds on a large log.
"""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from din.base import documents
from din.base.errors import InputError, Unavailable
from din.base.printing import print_table
from din.base.process import environment, query
from din.base.workspace import Workspace
from din.params.reading import load
from din.release.registry.records import Record
from din.release.registry.registry import Registry
from din.stages.pipeline import stages_of
from din.stages.stage import StageOutcome

UNENDED = "running or killed"
ENDINGS = {0: "done", 1: "failed", 2: "bad input", 3: "closed"}


@dataclass(frozen=True)
class StageStatus:
    """The outcome of a stage's last command here, and whether the stage would run again.

    Attributes:
        ended: one of `ENDINGS`, `UNENDED`, or None if it never ran here.
        at: the time of its end, or of its start as long as it has none.
        run: the run that it belonged to.
        stale: whether something changed since, None if DVC can't tell; `dvc status` names what.
    """

    name: str
    ended: str | None
    at: str | None
    seconds: float | None
    run: str | None
    stale: bool | None


@dataclass(frozen=True)
class Status:
    """The state of a workspace.

    Attributes:
        stages: in the order of dvc.yaml.
        champion: the newest record of the registry; None if there is none, or the registry can't be read.
        registry_read: whether the registry could be read.
        problems: one line for each part whose state is unknown.
        exit_code: the exit code of the last problem met, or 0.
    """

    stages: list[StageStatus]
    champion: Record | None
    registry_read: bool
    problems: list[str]
    exit_code: int = 0


def status(workspace: Workspace) -> Status:
    """Return the state of a workspace.

    Raises:
        InputError: there is no readable dvc.yaml.
    """
    stages = stages_of(workspace)
    try:
        params = load(workspace.params)
    except InputError as error:  # DVC reads this file too, without a bound on its size
        problem = f"stale stages and champion: {error}"
        return Status([_stage(workspace, name, None) for name in stages], None, False, [problem], error.exit_code)
    problems: list[str] = []
    exit_code = 0
    changed = None
    champion = None
    read = True
    try:
        changed = _changed(workspace)
    except (Unavailable, ValueError) as error:
        problems.append(f"dvc status: {error}")
        exit_code = Unavailable.exit_code
    try:
        champion = Registry.of(workspace, params).champion()
    except (InputError, Unavailable) as error:
        problems.append(f"registry: {error}")
        exit_code = error.exit_code
        read = False
    statuses = [_stage(workspace, name, changed) for name in stages]
    return Status(statuses, champion, read, problems, exit_code)


def _changed(workspace: Workspace) -> set[str]:
    """Return the stages that DVC would run because something changed, without those that always run.

    Raises:
        Unavailable: DVC failed.
        ValueError: its answer is not JSON.
    """
    answer = json.loads(query(["dvc", "status", "--json"], workspace.root, environment()))
    return {name for name, changes in answer.items() if changes != ["always changed"]}


def _stage(workspace: Workspace, name: str, changed: set[str] | None) -> StageStatus:
    stale = None if changed is None else name in changed
    path = workspace.outcome(name)
    try:
        outcome = documents.read(StageOutcome, path)
    except InputError:  # it never ran here
        return StageStatus(name, None, None, None, None, stale)
    at = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    ended = UNENDED if outcome.exit_code is None else ENDINGS.get(outcome.exit_code, "failed")
    return StageStatus(name, ended, at, outcome.seconds, outcome.run_id, stale)


def print_status(state: Status, as_json: bool = False) -> None:
    """Print a state as tables and lines, or as JSON."""
    if as_json:
        print(json.dumps(asdict(state), indent=2))
        return
    rows = [
        (
            stage.name,
            stage.ended,
            stage.at and stage.at[:16].replace("T", " "),
            None if stage.seconds is None else f"{stage.seconds:.1f}",
            stage.run,
            {None: "unknown", True: "yes", False: ""}[stage.stale],
        )
        for stage in state.stages
    ]
    print_table("stages", ("stage", "ended", "at (UTC)", "seconds", "run", "stale"), rows)
    if any(stage.stale for stage in state.stages):
        print("what changed: `dvc status`")
    champion = state.champion
    if champion:
        print(f"champion: record {champion.number}, {champion.version}")
        despite = f", overriding {champion.override.in_words}" if champion.override else ""
        print(f"    since {champion.at}, by {champion.author}{despite}: {champion.reason}")
    else:
        print("champion: none" if state.registry_read else "champion: unknown")
    for problem in state.problems:
        print(f"unknown: {problem}")
