"""Run the pipeline in a workspace of its own, on any worker: `python -m dags --help`.

Every task is "commit + parameters + stage". Workers share only the repository, a DVC remote and the registry. Before a
stage, its inputs are pulled by the lock entries of earlier stages. After it, its outs are pushed, and its own entry is
kept in the registry. Entries belong to a commit with its parameters, day and source, not to a run. A rerun therefore
finds them too, and DVC, which compares hashes, runs nothing twice. DVC's remote run-cache is not used: see
docs/adr/0007-locks-travel.md.

A task makes a checkout of the commit, where `dags.worker` does the rest in a process of its own. So the registry is
read and written by the code of the run's commit.
"""

import hashlib
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from dags.checkout import WorkerSettings, check_out, discard, workspace
from din.base import documents
from din.base.errors import GateClosed, InputError, Unavailable, needing_space, shown
from din.base.process import checkout_environment, stream

ANSWER = "answer.json"
"""The file in `Workspace.state` in which `dags.worker` leaves the result of an action, or its error."""
_NOT_GIVEN = {
    "data.until": "give it as `until`",
    "notify": "whoever may trigger a run must not choose the command that it runs; commit it, and name the commit",
    "plugins": "whoever may trigger a run must not choose the code that it runs; commit it, and name the commit",
}
"""Keys of params.yaml that a run's own parameters may not set, and what to do instead."""


@dataclass(frozen=True)
class PinnedRun:
    """The identity of a run.

    Attributes:
        run_id: names the run's record in the registry, `runs/<run_id>/`.
        commit: the full id.
        until: the last day of the log, YYYY-MM-DD. Empty until the run is opened, if nobody named one.
        params: maps dotted keys to values that replace those in params.yaml of the commit.
        source: the fingerprint of the source's log up to `until` when the run was opened.
        champion: the pin of the champion that the run continues (`din pin`). Empty if it starts from scratch.
        revision: the name under which the commit was asked for, e.g. a branch.
    """

    __pydantic_config__ = documents.STRICT

    run_id: str
    commit: str
    until: str
    params: dict[str, Any]
    source: str
    champion: str = ""  # missing in older records, like `revision`
    revision: str | None = None

    @property
    def lock_key(self) -> str:
        """The name below which runs of equal identity share their lock entries."""
        asked = json.dumps([self.commit, self.until, self.params, self.source, self.champion], sort_keys=True)
        return hashlib.sha256(asked.encode()).hexdigest()


@dataclass(frozen=True)
class TaskOutcome:
    """The outcome of a stage or of `promote`.

    Attributes:
        stage: its name.
        exit_code: 0 done, 1 retry or bug, 2 bad input, 3 gate closed; None if it was killed.
        report: the path of its report in the workspace and in the run's record, or None.
        table: its output: the gate table or the error.
        refusal: why the gate refused the candidate, if that is all that happened and nobody has to look: each gate was
            evaluated, and no harm of the champion waits for a person.
    """

    stage: str
    exit_code: int | None
    report: str | None
    table: str
    refusal: str | None = None


def open_run(
    run_id: str, until: str | None = None, params: Mapping[str, Any] | None = None, commit: str | None = None
) -> PinnedRun:
    """Pin commit, last day, source and champion of a new run, or return a run that is open already as it was pinned.

    Args:
        run_id: e.g. a date or the scheduler's id.
        until: the last day of the log, YYYY-MM-DD, by default `data.until` or else the newest day of the source.
        params: maps dotted keys to values that replace those in params.yaml of the commit.
        commit: by default HEAD of the repository.

    Raises:
        InputError: a parameter, commit or day is unknown, the source can't be read, or another run has the id.
        Unavailable: git or the registry failed.
    """
    overrides = dotted(json.loads(json.dumps(dict(params or {}), default=str)))
    for key, value in overrides.items():
        if advice := not_for_a_run(key):
            raise InputError(f"{key}={shown(value)} is set as a parameter; {advice}")
    asked = PinnedRun(run_id, WorkerSettings.from_env().commit(commit), until or "", overrides, "", revision=commit)
    return PinnedRun(**ask(asked, "open"))


def not_for_a_run(key: str) -> str | None:
    """Return what to do instead of setting a key of params.yaml for a run, or None if a run may set it."""
    return _NOT_GIVEN.get(key) or _NOT_GIVEN.get(key.partition(".")[0])


def dotted(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return parameters by dotted key, whether they are given so or as nested blocks."""
    from din.params.blocks import leaves
    from din.params.reading import Params

    keys = leaves(Params)
    flat: dict[str, Any] = {}
    for key, value in values.items():
        is_block = any(name.startswith(f"{above}{key}.") for name in keys)
        flat |= dotted(value, f"{above}{key}.") if is_block and isinstance(value, dict) else {f"{above}{key}": value}
    return flat


def run_stages(run: PinnedRun, stages: list[str] | None = None, reason: str | None = None) -> TaskOutcome:
    """Run stages of dvc.yaml, by default all, until one fails; see `dags.worker.Worker.run_stages` and `ask`."""
    return TaskOutcome(**ask(run, "run_stages", names=stages, reason=reason))


def promote(run: PinnedRun, reason: str, override: bool = False, user: str | None = None) -> TaskOutcome:
    """Make the run's bundle the champion, if its gate is open or is overridden; see `din.release.promote` and `ask`.

    Args:
        user: who triggered the run, as the scheduler says, for the record.
    """
    return TaskOutcome(**ask(run, "promote", user, reason=reason, override=override))


def ask(run: PinnedRun, action: str, user: str | None = None, **arguments: Any) -> Any:
    """Let `dags.worker` act in the run's workspace, log what it prints, and return its result, as JSON has it.

    The process inherits the lock of the workspace, so a retry waits until it has ended. It ends with its whole process
    group on an interrupt, and also if this process is killed. After `close`, the workspace is removed.

    Args:
        run: the run.
        action: a method of `dags.worker.Worker`.
        user: who triggered the run, for the record of a promotion.
        arguments: its arguments.

    Raises:
        InputError, GateClosed, Unavailable: the action raised it; git, DVC's remote or the registry failed. After bad
            input, a workspace that was new is removed.
    """
    settings = WorkerSettings.from_env()
    pin = {"DIN_SOURCE_FINGERPRINT": run.source} if run.source else {}
    who = {"DIN_AIRFLOW_USER": user} if user else {}
    with needing_space(settings.home), workspace(settings, run.run_id) as (place, lock), alive() as pipe:
        is_new = not place.root.exists()
        check_out(settings, run.commit, place)
        file = place.state / ANSWER
        file.unlink(missing_ok=True)
        variables = {"DIN_RUN_ID": run.run_id, "DIN_REPOSITORY": settings.repository, "DIN_HOME": str(settings.home)}
        env = checkout_environment(place.root, **variables, **pin, **who)
        request = json.dumps({"run": asdict(run), "action": action, "arguments": arguments, "caller": pipe})
        done = stream([sys.executable, "-P", "-m", "dags.worker", request], place.root, env, pass_fds=[lock, pipe])
        answer = json.loads(file.read_text()) if file.exists() else {}
        if (is_new and done.code == InputError.exit_code) or (action == "close" and done.code == 0):
            discard(place.root)
    if done.code == 0:
        return answer["result"]
    unexplained = f"{action} of run {run.run_id} exited {done.code}:\n{done.output}"
    kinds = {kind.exit_code: kind for kind in (InputError, GateClosed)}
    raise kinds.get(done.code, Unavailable)(answer.get("error") or unexplained)


@contextmanager
def alive() -> Iterator[int]:
    """Yield the end of a pipe that another process can read, and that closes when this one ends, even by a kill."""
    read, write = os.pipe()
    with os.fdopen(read), os.fdopen(write, "w"):
        yield read


def end_after(pipe: int) -> None:
    """Kill this process group, with the stage in it, when the pipe of `alive` closes."""
    os.read(pipe, 1)
    os.killpg(0, signal.SIGKILL)
