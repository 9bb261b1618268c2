"""Work in a run's checkout, with the code of its commit: `python -m dags.worker`, which `dags.pinned_run` starts there.

Its argument is a request, {"run", "action", "arguments"}, as JSON. An action is a method of `Worker`. Its result goes
into a file, and so does an error. Whatever it prints is for the log.
"""

import io
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from datetime import date
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from threading import Thread
from typing import Any

from filelock import FileLock
from ruamel.yaml import YAML

from dags.checkout import WorkerSettings, set_params
from dags.forks import Forks
from dags.outs import Outs, execute
from dags.pinned_run import ANSWER, PinnedRun, TaskOutcome, end_after
from din.base import documents
from din.base.artifacts import write_bytes, write_json
from din.base.errors import GateClosed, InputError, Unavailable, needing_space, shown
from din.base.printing import say
from din.base.process import Done
from din.base.workspace import Workspace
from din.contracts.verdicts import GateReport
from din.params.reading import load, plain, read_text
from din.release.registry.champions import pin
from din.release.registry.objects import Objects
from din.release.registry.records import run_key
from din.release.registry.registry import Registry
from din.stages.pipeline import overlap, stages_of

FETCH = "fetch"
"""The stage that starts from the outs of an earlier run, because it keeps the days that did not change."""


class Worker:
    """The stages and the record of a run, in its checkout.

    Args:
        run: the run; `open` pins what it lacks.
        workspace: the checkout.

    Raises:
        InputError: a parameter is unknown or wrong, or dvc.yaml can't be read. Every action raises it if it lacks what
            an earlier one leaves.
        Unavailable: git, DVC's remote or the registry failed.
    """

    def __init__(self, run: PinnedRun, workspace: Workspace) -> None:
        self.asked = run
        self.workspace = workspace
        pinned = {"data.until": run.until, "train.champion": run.champion}
        values = run.params | {key: value for key, value in pinned.items() if value}
        set_params(WorkerSettings.from_env(), self.workspace, values)
        self.params = load(self.workspace.params)
        self.registry = self.workspace.located(self.params.promote.registry)
        self.objects = Objects(self.registry, self.params.model_name)
        self.stages = stages_of(self.workspace)
        self.forks: Forks | None = None

    @cached_property
    def outs(self) -> Outs:
        """DVC, which only some actions need."""
        return Outs(self.workspace.root, self.forks)

    @property
    def _fetching(self) -> FileLock:
        """The lock of this worker's memory of `fetch`."""
        return FileLock(self.workspace.fetched / "worker.lock")

    def open(self) -> PinnedRun:
        """Pin last day, source and champion, or return the run that is open under this id already as it was pinned."""
        asked = self.asked
        key = self.key("run.json")
        if self.objects.exists(key):
            return _same(documents.parse(PinnedRun, self.objects.read(key), self.objects.at(key)), asked)
        from din.data.fetch import describe

        with self._fetching:
            seen = describe(self.workspace, self.params)
        day = self.params.data.until or date.fromisoformat(seen.last_day)
        run = replace(asked, until=str(day), source=str(seen.fingerprint))
        if self.params.train.start != "scratch" and "train.champion" not in asked.params:
            run = replace(run, champion=pin(Registry.of(self.workspace, self.params), self.params.train, day))
        if not self.objects.create(key, json.dumps(asdict(run), indent=2).encode()):  # another call was faster
            return self.open()
        return run

    def run_stages(self, names: Sequence[str] | None = None, reason: str | None = None) -> TaskOutcome:
        """Run stages of dvc.yaml, or take their outs from an equal run, until one fails.

        The same call again continues, on any worker: DVC finds what has ended.

        Args:
            names: the stages, by default all.
            reason: with a reason, also promote, or undo harm, where that is due.
        """
        if unknown := {*(names or ())} - self.stages.keys():
            listed = ", ".join(self.stages)
            raise InputError(f"stage {', '.join(sorted(unknown))!r} is not in dvc.yaml; expected one of: {listed}")
        if names is None:
            self.forks = Forks(self.workspace.root)
        self.add_known_entries()
        outcome = TaskOutcome("", 0, None, "")
        for stage in names or self.stages:
            outcome = self._stage(stage)
            if outcome.exit_code != 0:
                break
        due = outcome.exit_code == 0 or (outcome.stage == "gate" and outcome.exit_code == 3 and self.undoes_harm())
        return outcome if reason is None or not due else self.promote(reason)

    def promote(self, reason: str, override: bool = False) -> TaskOutcome:
        """Make the run's bundle the champion by `din promote`, which hashes everything again."""
        self.add_known_entries()
        reports = {out for stage in self.stages.values() for out in stage.outs if out.endswith(".json")}
        self.pull(sorted(reports.union(self.inputs("gate"))))
        self._copy_judgement()
        return self.run("promote", lambda: self._din("promote", "--reason", reason, *["--override"] * override))

    def undoes_harm(self) -> bool:
        """Return whether the run's gate found that the champion's last step harmed, and `din promote` may undo it."""
        return self.judgement().harm_to_undo is not None

    def close(self) -> None:
        """Keep dvc.lock and params.yaml in the run's record."""
        self.add_known_entries()
        self.keep({path.name: path for path in (self.workspace.lock, self.workspace.params)})

    def _stage(self, stage: str) -> TaskOutcome:
        """Run a stage; push its outs, and keep its entry of dvc.lock for equal runs, here and on other workers."""
        self.pull(self.inputs(stage))
        if stage in self.lock_entries():  # DVC finds it done, or runs it again if its outs are lost
            self.outs.pull([stage], needed=False)
        elif stage == FETCH:
            self.pull_start()
        with self._fetching if stage == FETCH else nullcontext():
            outcome = self.run(stage, lambda: self.outs.reproduce(stage))
        if outcome.exit_code == 0:
            entry = _dvc_lock({stage: self.lock_entries()[stage]})
            self.outs.push(stage)
            for folder in self.entry_folders:
                self.objects.put(f"{folder}/{stage}.yaml", entry)
            if stage == FETCH:  # for this worker's next run
                write_bytes(self._start, entry)
        return outcome

    def _din(self, *words: str) -> Done:
        command = ["din", *words]
        return self.forks.run(command) if self.forks else execute(command, self.workspace.root, os.environ)

    def run(self, name: str, command: Callable[[], Done]) -> TaskOutcome:
        """Run a stage or `promote`; keep its outcome, log and reports in the run's record even if it fails."""
        outcome_file = self.workspace.outcome(name)
        outcome_file.unlink(missing_ok=True)
        done = command()
        outcome = json.loads(outcome_file.read_text()) if outcome_file.exists() else {}
        if done.code:  # a stage that fails or is killed writes no page itself
            self._din("report")
        outs = self.stages[name].outs if name in self.stages else ()
        named = [outcome.get("report"), *sorted(out for out in outs if out.endswith(".json"))]
        reports = [path for path in named if path and (self.workspace.root / path).exists()]
        report = reports[0] if reports else None
        code = 0 if done.code == 0 else outcome.get("exit_code") or None
        output = done.output
        if outcome and code is None:
            killed = f"{name} was killed, perhaps because memory ran out. The same command continues the run."
            say(killed)
            output += f"{killed}\n"
        ended = {"run_id": self.asked.run_id, "stage": name, "exit_code": code, "report": report, "ran": bool(outcome)}
        files = {path: self.workspace.root / path for path in reports}
        if self.workspace.report.exists():
            files[self.workspace.relative(self.workspace.report)] = self.workspace.report
        self.keep({f"outcome/{name}.json": json.dumps(ended, indent=2), f"log/{name}.txt": output} | files)
        refused = name == "gate" and code == GateClosed.exit_code and self.workspace.gate.exists()
        why = refusal(documents.read(GateReport, self.workspace.gate), output) if refused else None
        return TaskOutcome(name, code, report, output.strip(), why)

    def key(self, name: str) -> str:
        """Return the key of a file in the run's record."""
        return f"{run_key(self.asked.run_id)}/{name}"

    @property
    def entry_folders(self) -> tuple[str, str]:
        """The folders of dvc.lock's entries: of equal runs, and of this run, which `gc` keeps with the run's record."""
        return run_key(self.asked.lock_key, "stages"), self.key("stages")

    def keep(self, files: Mapping[str, str | Path]) -> None:
        """Keep texts and copies of files in the run's record."""
        for name, content in files.items():
            self.objects.put(self.key(name), content.encode() if isinstance(content, str) else content)

    def judgement(self) -> GateReport:
        """Return the report of the run's gate, and copy it here, whichever worker wrote it."""
        return documents.read(GateReport, self._copy_judgement())

    def _copy_judgement(self) -> Path:
        path = self.workspace.gate
        name = self.workspace.relative(path)
        if not self.objects.exists(self.key(name)):
            raise InputError(f"{name} is needed and not in the record of run {self.asked.run_id}; run its stage first")
        write_bytes(path, self.objects.read(self.key(name)))
        return path

    def inputs(self, name: str) -> list[str]:
        """Return the outs of other stages that a stage reads."""
        stage = self.stages[name]
        outs = [out for other in stage.upstream for out in self.stages[other].outs]
        return [out for out in outs if any(overlap(dep, out) for dep in stage.deps)]

    def lock_entries(self) -> dict[str, Any]:
        """Return the entries of dvc.lock by stage."""
        return _entries(self.workspace.lock)

    def add_known_entries(self) -> None:
        """Add the entries of equal runs, and of this one, to dvc.lock."""
        ended = self.lock_entries()
        for folder in self.entry_folders:
            for key in sorted(self.objects.keys(folder)):
                ended |= plain(self.objects.read(key).decode(), self.objects.at(key))["stages"]
        write_bytes(self.workspace.lock, _dvc_lock(ended))

    def pull(self, wanted: Sequence[str]) -> None:
        """Pull outs of ended stages as dvc.lock records them; one that is here, but altered, is replaced."""
        ended = self.lock_entries()
        for name, stage in self.stages.items():
            if name not in ended and (missing := {*wanted} & {*stage.outs}):
                raise InputError(f"{', '.join(sorted(missing))} is needed and comes from stage {name}; run that first")
        if wanted:  # DVC would pull everything
            self.outs.pull(wanted)

    def pull_start(self) -> None:
        """Pull the outs that `fetch` left in this worker's last run, so that it has to add only what is new.

        The entry of that run is removed from dvc.lock again, since the stage has not run here.
        """
        ended = self.lock_entries()
        if entry := _entries(self._start):
            write_bytes(self.workspace.lock, _dvc_lock({**ended, **entry}))
            try:
                self.outs.pull([FETCH], needed=False)
            finally:
                write_bytes(self.workspace.lock, _dvc_lock(ended))

    @property
    def _start(self) -> Path:
        """The entry of dvc.lock that the last run of `fetch` on this worker left for the same source."""
        source = json.dumps(asdict(self.params.fetch), sort_keys=True, default=str)
        return self.workspace.fetched / f"start-{sha256(source.encode()).hexdigest()[:16]}.yaml"


def refusal(report: GateReport, output: str) -> str | None:
    """Return the last words of a gate that is not open, or None if a person has to look; see `TaskOutcome.refusal`."""
    waits = report.harm is not None or not all(gate.evaluated for gate in report.gates)
    return None if waits and not report.harm_to_undo else output.rpartition("\ngate: ")[2].strip()


def _same(kept: PinnedRun, asked: PinnedRun) -> PinnedRun:
    """Return the run that is open under an id, whose branch may have moved since.

    Raises:
        InputError: the open run is not the one asked for.
    """
    if kept.run_id != asked.run_id:
        raise InputError(f"run_id {asked.run_id!r}: run {kept.run_id!r} has a folder of this name; use another run_id")
    differ = []
    if asked.commit != kept.commit and asked.revision not in (None, kept.revision):
        differ.append(f"commit {kept.commit}, not {asked.commit}")
    if asked.until not in ("", kept.until):
        differ.append(f"last day {kept.until}, not {asked.until}")
    if asked.params != kept.params:
        differ.append(f"parameters {shown(kept.params)}, not {shown(asked.params)}")
    if differ:
        advice = "ask for the same, or use another run_id"
        raise InputError(f"run {kept.run_id!r} was opened with {'; '.join(differ)}: {advice}")
    return kept


def _entries(lock: Path) -> dict[str, Any]:
    """Return the entries of a dvc.lock by stage; none if there is no such file."""
    return plain(read_text(lock, documents.REPRO), lock)["stages"] if lock.exists() else {}


def _dvc_lock(entries: Mapping[str, Any]) -> bytes:
    """Return the text of a dvc.lock."""
    text = io.BytesIO()
    YAML(typ="safe").dump({"schema": "2.0", "stages": dict(entries)}, text)
    return text.getvalue()


def main() -> int:
    """Act, leave the result or the error where `dags.pinned_run` looks for it, and return the exit code."""
    request = json.loads(sys.argv[1])
    if "caller" in request:  # an earlier release of `dags.pinned_run` names none
        Thread(target=end_after, args=[request["caller"]], daemon=True).start()
    workspace = Workspace(Path.cwd())
    code = 0
    try:
        with needing_space(workspace.root):
            worker = Worker(PinnedRun(**request["run"]), workspace)
            answer = {"result": getattr(worker, request["action"])(**request["arguments"])}
            if worker.forks:
                worker.forks.close()
    except (InputError, Unavailable, GateClosed) as error:
        answer = {"error": str(error)}
        code = error.exit_code
    write_json(workspace.state / ANSWER, answer)
    return code


if __name__ == "__main__":
    sys.exit(main())
