"""Run the pipeline in a workspace of its own, on any worker: `python -m dags.workspace --help`.

Every task is "commit + parameters + stage". Workers share only the repository, a DVC remote and the registry. Before a
stage, its inputs are pulled by the lock entries of earlier stages. After it, its outs are pushed, and its own entry is
kept in the registry. Entries belong to a commit with its parameters, day and source, not to a run. A rerun therefore
finds them too, and DVC, which compares hashes, runs nothing twice. The short commands around a stage share one process
(docs/adr/0023-one-process-for-short-commands.md). DVC's remote run-cache is not used: see
docs/adr/0007-locks-travel.md.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import date
from typing import Any

from dags.checkout import Settings, discard, workspace
from dags.worker import Outcome, Run, Worker
from din import documents
from din.errors import GateClosed, InputError

__all__ = [
    "Outcome",
    "Run",
    "answer",
    "close_run",
    "harm",
    "open_run",
    "promote",
    "request",
    "roll_back",
    "run_all",
    "run_stage",
]

FETCH = "fetch"
"""The stage that starts from the outs of an earlier run, because it keeps the days that did not change."""


@dataclass(frozen=True)
class Opened(Run):
    """A run as its record keeps it; `revision` is the name under which the commit was asked for, e.g. a branch."""

    revision: str | None = None  # missing in older records


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
    day = _day(until) if until else ""
    asked = Run(run_id, settings.commit(commit), day, json.loads(json.dumps(dict(params or {}), default=str)), "")
    with workspace(settings, run_id) as (place, lock), Worker(settings, asked, place, lock) as here:
        is_new = not place.root.exists()
        try:
            here.prepare()
            kept = here.take(f"runs/{run_id}") / "run.json"
            if kept.exists():
                return _same(documents.read(Opened, kept, "open the run under another id"), asked, commit)
            seen = json.loads(here.din("source"))
            here.remember()
            last = day or seen["last_day"]
            run = replace(asked, until=last, source=seen["fingerprint"], champion=here.champion(last))
            here.keep(
                f"runs/{run_id}", {"run.json": json.dumps(asdict(Opened(**vars(run), revision=commit)), indent=2)}
            )
        except InputError:
            if is_new:  # an older workspace belongs to the run that is open
                discard(place.root)
            raise
    return run


def run_stage(run: Run, stage: str) -> Outcome:
    """Run one stage of dvc.yaml, or take its outs from an equal run, and keep its outcome and report.

    Raises:
        InputError: there is no such stage, or an earlier stage has not ended.
        Unavailable: git, DVC's remote or the registry failed.
    """
    with _open(run) as here:
        if stage not in here.stages:
            raise InputError(f"stage {stage!r} is not in dvc.yaml; expected one of: {', '.join(here.stages)}")
        outcome = _run_stage(here, stage, here.take_locks())
        if outcome.exit_code == 0:
            here.dvc("push", stage)
            here.keep_locks([stage])
        return outcome


def run_all(run: Run, reason: str) -> Iterator[Outcome]:
    """Run every stage and promote, in one task on one worker, and yield each outcome; stop after one that failed.

    If the gate is closed and has found harm that `promote.on_harm: rollback` undoes, promote all the same.

    The stages share one process for their imports, and what they wrote is pushed once. So this takes less CPU than a
    task for each stage. The same call again goes on: DVC finds what has ended.

    Raises:
        InputError, Unavailable: see `run_stage` and `promote`.
    """
    with _open(run) as here:
        ended = here.take_locks()
        done: list[str] = []
        failed: Outcome | None = None
        try:
            for stage in here.stages:
                outcome = _run_stage(here, stage, ended)
                yield outcome
                if outcome.exit_code != 0:
                    failed = outcome
                    break
                done.append(stage)
                ended = here.locked()
        finally:
            here.dvc("push")
            here.keep_locks(done)
        if failed is None or _undoes_harm(here, failed):
            yield _promote(here, reason)


def _undoes_harm(here: Worker, failed: Outcome) -> bool:
    """Return whether the stage that failed is a gate that found harm which `din promote` undoes."""
    if (failed.stage, failed.exit_code) != ("gate", GateClosed.exit_code):
        return False
    found = _harm(here)
    return found is not None and found["on_harm"] == "rollback"


def _run_stage(here: Worker, stage: str, ended: Mapping[str, Any]) -> Outcome:
    """Run a stage, given the entries of dvc.lock of stages that have ended."""
    here.pull(here.inputs(stage), ended)
    here.pull_own(stage, ended)
    if stage == FETCH:
        here.pull_start(stage, ended)
    outcome = here.run(stage, ["dvc", "repro", "--single-item", stage])
    if stage == FETCH and outcome.exit_code == 0:
        here.keep_start(stage)
    return outcome


def request(run: Run) -> dict[str, Any] | None:
    """Return the newest request for approval of the run's candidate, as `din approvals --json` has it, or None.

    Raises:
        InputError: the stage `gate` has not ended, or a request is damaged.
        Unavailable: git or the registry failed.
    """
    with _open(run) as here:
        requests = json.loads(here.din("approvals", "--json"))
        version = here.judgement()["bundle"]
    return next((one for one in reversed(requests) if one["version"] == version), None)


def answer(run: Run, approved: bool, by: str, reason: str) -> None:
    """Store a person's answer to the request for approval of the run's candidate: `din approve` or `din reject`.

    Raises:
        InputError: the stage `gate` has not ended, or nobody was asked about the candidate.
        GateClosed: the request has expired, or somebody decided otherwise before.
        Unavailable: git or the registry failed.
    """
    with _open(run) as here:
        here.din("approve" if approved else "reject", here.judgement()["bundle"], f"--by={by}", f"--reason={reason}")


def promote(run: Run, reason: str) -> Outcome:
    """Make the run's bundle the champion, if its gate is open or a person approved it: `din promote`.

    Raises:
        InputError: a stage that it needs has not ended.
        Unavailable: git, DVC's remote or the registry failed.
    """
    with _open(run) as here:
        here.take_locks()
        return _promote(here, reason)


def _promote(here: Worker, reason: str) -> Outcome:
    outs = [out for stage in here.stages.values() for out in stage.outs]
    reports = {out for out in outs if out.endswith(".json")}
    here.pull(sorted(reports.union(here.inputs("gate"))), here.locked())  # promote judges all of them again
    here.take_report(here.workspace.gate)
    return here.run("promote", ["din", "promote", "--reason", reason])


def harm(run: Run) -> dict[str, Any] | None:
    """Return the certain harm of the champion's last step that the run's gate found, with `promote.on_harm`, or None.

    Raises:
        InputError: the stage `gate` has not ended.
        Unavailable: git or the registry failed.
    """
    with _open(run) as here:
        return _harm(here)


def _harm(here: Worker) -> dict[str, Any] | None:
    report = here.judgement()
    on_harm = report["about"]["params"]["promote"]["on_harm"]
    return report["harm"] | {"on_harm": on_harm} if "harm" in report else None


def roll_back(run: Run, by: str) -> None:
    """Undo the harm that the run's gate found, once, as a person has decided: `din registry rollback`.

    Raises:
        InputError: the stage `gate` has not ended.
        GateClosed: another champion has followed the harmful one.
        Unavailable: git or the registry failed.
    """
    with _open(run) as here:
        report = here.judgement()
        harm = report["harm"]
        names = (f"--champion={harm['record']}", f"--model={report['about']['model_name']}")
        here.din("registry", "rollback", str(harm["back_to"]), *names, f"--by={by}", f"--reason={harm['reason']}")


def close_run(run: Run) -> None:
    """Keep dvc.lock and params.yaml in the run's record and remove the workspace.

    Raises:
        Unavailable: git or the registry failed. The workspace is not removed.
    """
    with _open(run) as here:
        here.take_locks()
        kept = [path for path in (here.workspace.lock, here.workspace.params) if path.exists()]
        here.keep(f"runs/{run.run_id}", {path.name: path for path in kept})
        discard(here.workspace.root)


@contextmanager
def _open(run: Run) -> Iterator[Worker]:
    """Lock the run's workspace on this worker, make it if it is missing, and yield its worker."""
    settings = Settings.from_env()
    with workspace(settings, run.run_id) as (place, lock), Worker(settings, run, place, lock) as here:
        here.prepare()
        yield here


def _same(opened: Opened, asked: Run, revision: str | None) -> Run:
    """Return the run that is open under this id, whose branch may have moved since.

    Raises:
        InputError: the open run is not the one asked for.
    """
    kept = Run(**{field.name: getattr(opened, field.name) for field in fields(Run)})
    if kept.run_id != asked.run_id:
        raise InputError(f"run {asked.run_id!r} would share its record with run {kept.run_id!r}; use another run_id")
    for name, fits in (
        ("commit", revision in (None, opened.revision) or asked.commit == kept.commit),
        ("until", asked.until in ("", kept.until)),
        ("params", asked.params == kept.params),
    ):
        if not fits:
            raise InputError(
                f"run {kept.run_id!r} was opened with {name} {getattr(kept, name)!r}, not {getattr(asked, name)!r}; "
                "ask for the same, or use another run_id"
            )
    return kept


def _day(until: str) -> str:
    try:
        return date.fromisoformat(until).isoformat()
    except ValueError:
        raise InputError(f"until is {until!r}; expected a day as YYYY-MM-DD") from None


if __name__ == "__main__":
    from dags.commands import main

    sys.exit(main())
