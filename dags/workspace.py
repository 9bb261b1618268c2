"""Run the pipeline in a workspace of its own, on any worker: `python -m dags --help`.

Every task is "commit + parameters + stage". Workers share only the repository, a DVC remote and the registry. Before a
stage, its inputs are pulled by the lock entries of earlier stages. After it, its outs are pushed, and its own entry is
kept in the registry. Entries belong to a commit with its parameters, day and source, not to a run. A rerun therefore
finds them too, and DVC, which compares hashes, runs nothing twice. DVC's remote run-cache is not used: see
docs/adr/0007-locks-travel.md.

A task makes a checkout of the commit, where `dags.worker` does the rest in a process of its own. So the registry is
read and written by the code of the run's commit.
"""

import json
import logging
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import date
from typing import Any
from uuid import uuid4

from dags.checkout import Settings, check_out, discard, workspace
from dags.run import Outcome, Run
from din.errors import GateClosed, InputError, Unavailable, shown
from din.process import checkout_environment
from din.workspace import Workspace

__all__ = ["Outcome", "Run", "ask", "close_run", "open_run", "promote", "run_all", "run_stage"]

NOT_GIVEN = {
    "data.until": "give it as `until`",
    "plugins": "whoever may trigger a run must not choose the code that it runs; commit it, and name the commit",
}
"""Keys of params.yaml that a run's own parameters may not set, and what to do instead."""
_TAIL = 40
"""The lines of output that the error about a killed worker shows."""

log = logging.getLogger("dags")


def open_run(
    run_id: str, until: str | None = None, params: Mapping[str, Any] | None = None, commit: str | None = None
) -> Run:
    """Pin commit, last day, source and champion of a new run, or return a run that is open already as it was pinned.

    Args:
        run_id: e.g. a date or the scheduler's id.
        until: the last day of the log, YYYY-MM-DD, by default the newest day of the source.
        params: maps dotted keys to values that replace those in params.yaml of the commit.
        commit: by default HEAD of the repository.

    Raises:
        InputError: a parameter, commit or day is unknown, the source can't be read, or another run has the id.
        Unavailable: git or the registry failed.
    """
    settings = Settings.from_env()
    given = json.loads(json.dumps(dict(params or {}), default=str))
    for key, value in given.items():
        if advice := NOT_GIVEN.get(key) or NOT_GIVEN.get(key.partition(".")[0]):
            raise InputError(f"{key}={shown(value)} is set as a parameter; {advice}")
    asked = Run(run_id, settings.commit(commit), _day(until) if until else "", given, "", revision=commit)
    return Run(**ask(asked, "open"))


def run_stage(run: Run, stage: str) -> Outcome:
    """Run one stage of dvc.yaml, or take its outs from an equal run, and keep its outcome and report; see `ask`."""
    return Outcome(**ask(run, "run_stages", names=[stage]))


def run_all(run: Run, reason: str) -> Outcome:
    """Run every stage and promote, in one task on one worker, and return the last outcome, whether it failed or not.

    If the gate is closed and has found harm that `promote.on_harm: rollback` undoes, promote all the same.

    The stages share one process for their imports, and what they wrote is pushed once. So this takes less CPU than a
    task for each stage. The same call again goes on: DVC finds what has ended.
    """
    return Outcome(**ask(run, "run_stages", reason=reason))


def promote(run: Run, reason: str) -> Outcome:
    """Make the run's bundle the champion, if its gate is open or a person approved it; see `ask`."""
    return Outcome(**ask(run, "promote", reason=reason))


def close_run(run: Run) -> None:
    """Keep dvc.lock and params.yaml in the run's record and remove the workspace, unless that fails; see `ask`."""
    ask(run, "close")


def ask(run: Run, action: str, **arguments: Any) -> Any:
    """Let `dags.worker` act in the run's workspace, log what it prints, and return its result, as JSON has it.

    The process inherits the lock of the workspace. If this process is killed, the other finishes its work and holds the
    lock until then, so a retry waits for it. On an interrupt, its whole process group is killed.

    Args:
        run: the run.
        action: a method of `dags.worker.Worker`.
        arguments: its arguments.

    Raises:
        InputError, GateClosed, Unavailable: the action raised it; git, DVC's remote or the registry failed. After bad
            input, a workspace that was new is removed.
    """
    settings = Settings.from_env()
    mark = f"result-{uuid4()}"
    asked = {"settings": asdict(settings), "run": asdict(run), "action": action, "arguments": arguments, "mark": mark}
    with workspace(settings, run.run_id) as (place, lock):
        is_new = not place.root.exists()
        check_out(settings, run.commit, place)
        process = _start(place, run, lock)
        assert process.stdin and process.stdout
        answer: dict[str, Any] = {}
        tail: deque[str] = deque(maxlen=_TAIL)
        try:
            with suppress(BrokenPipeError):  # it ended at once, which its exit code and output explain
                process.stdin.write(json.dumps(asked, default=str))
                process.stdin.close()
            for line in process.stdout:
                if line.startswith(mark):
                    answer = json.loads(line.removeprefix(mark))
                else:
                    log.info(line.rstrip())
                    tail.append(line)
            code = process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        if (is_new and code == InputError.exit_code) or (action == "close" and code == 0):
            discard(place.root)
        if code == 0:
            return answer["result"]
        unexplained = f"{action} of run {run.run_id} exited {code}:\n{''.join(tail)}"
        kinds = {kind.exit_code: kind for kind in (InputError, GateClosed)}
        raise kinds.get(code, Unavailable)(answer.get("error") or unexplained)


def _start(place: Workspace, run: Run, lock: int) -> "subprocess.Popen[str]":
    pin = {"DIN_SOURCE_FINGERPRINT": run.source} if run.source else {}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "dags.worker"],
        cwd=place.root,
        env=checkout_environment(place.root, DIN_RUN_ID=run.run_id, **pin),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        pass_fds=[lock],
    )


def _day(until: str) -> str:
    try:
        return date.fromisoformat(until).isoformat()
    except ValueError:
        raise InputError(f"until is {until!r}; expected a day as YYYY-MM-DD") from None
