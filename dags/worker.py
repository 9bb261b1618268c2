"""Run stages in a run's workspace on this worker: fetch inputs made elsewhere, run, and store the results."""

import hashlib
import io
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ruamel.yaml import YAML

from dags import plan
from dags.checkout import Settings, check_out, copy_files, set_params
from dags.console import Console
from din import documents
from din.artifacts import atomic_path, read_json, write_json
from din.errors import GateClosed, InputError, Unavailable
from din.process import Done, checkout_environment, din_errors
from din.workspace import Workspace

log = logging.getLogger("dags")

LOST = "Is your cache up to date?"  # printed by `dvc pull` if the remote answers but lacks the files


@dataclass(frozen=True)
class Run:
    """The identity of a run, in plain JSON, so that it can travel between tasks.

    Attributes:
        run_id: names the run's record in the registry, `runs/<run_id>/`.
        commit: the full id.
        until: the last day of the log, YYYY-MM-DD.
        params: maps dotted keys to values that replace those in params.yaml of the commit.
        source: the fingerprint of the source's log up to `until` when the run was opened.
        champion: the pin of the champion that the run goes on from (`din pin`). Empty if it starts from scratch.
    """

    __pydantic_config__ = documents.STRICT

    run_id: str
    commit: str
    until: str
    params: dict[str, Any]
    source: str
    champion: str = ""  # missing in older records

    @property
    def lock_key(self) -> str:
        """The key below which runs of equal identity share their lock entries."""
        asked = json.dumps([self.commit, self.until, self.params, self.source, self.champion], sort_keys=True)
        return f"stages/{hashlib.sha256(asked.encode()).hexdigest()}"


@dataclass(frozen=True)
class Outcome:
    """The outcome of a stage or of `promote`.

    Attributes:
        stage: its name.
        exit_code: 0 done, 1 retry or bug, 2 bad input, 3 gate closed; None if it was killed before it left an outcome.
        report: the path of its report in the workspace and in the run's record, or None.
        table: its output: the gate table or the error.
    """

    stage: str
    exit_code: int | None
    report: str | None
    table: str


class Worker:
    """A run's folder on this worker, and the commands that work in it; a context manager, which ends their process."""

    def __init__(self, settings: Settings, run: Run, workspace: Workspace, lock: int) -> None:
        self.settings = settings
        self.asked = run
        self.workspace = workspace
        pin = {"DIN_SOURCE_FINGERPRINT": run.source} if run.source else {}
        env = checkout_environment(workspace.root, DIN_RUN_ID=run.run_id, **pin)
        self.console = Console(workspace.root, env, [lock])

    def __enter__(self) -> Self:
        """Return the worker."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process of the commands, which holds the run's lock."""
        self.console.close()

    def prepare(self) -> None:
        """Check out the commit, write the parameters and read the stages.

        Raises:
            InputError: a parameter is unknown, or dvc.yaml can't be planned.
            Unavailable: git failed.
        """
        run = self.asked
        if "data.until" in run.params:
            raise InputError(f"data.until={run.params['data.until']!r} is set as a parameter; give it as `until`")
        check_out(self.settings, run.commit, self.workspace)
        pinned = {"data.until": run.until, "train.champion": run.champion}
        set_params(self.settings, self.workspace, run.params | {key: value for key, value in pinned.items() if value})
        try:
            self.stages = {stage.name: stage for stage in plan.load(self.workspace.pipeline)}
        except InputError as error:
            raise InputError(f"commit {run.commit}: {error}") from None

    def champion(self, until: str) -> str:
        """Return the pin of a run over the days until a day, or nothing if its parameters need none; see `Run`."""
        train = YAML(typ="safe").load(self.workspace.params)["train"]
        if train["start"] == "scratch" or "train.champion" in self.asked.params:
            return ""
        return self.din("pin", "--until", until, "--dry-run").strip()

    def inputs(self, name: str) -> list[str]:
        """Return the outs of other stages that a stage reads."""
        stage = self.stages[name]
        outs = [out for other in stage.upstream for out in self.stages[other].outs]
        return [out for out in outs if any(plan.overlap(dep, out) for dep in stage.deps)]

    def din(self, *arguments: str) -> str:
        """Run a short `din` command and return its output.

        Raises:
            InputError: the input is bad, e.g. params.yaml or the source.
            GateClosed: the command refuses for good, e.g. an answer to a request that has expired.
            Unavailable: the command failed in another way, e.g. because the registry doesn't answer.
        """
        with din_errors():
            return self.console.query(["din", *arguments])

    def dvc(self, *arguments: str) -> None:
        """Run a short `dvc` command."""
        self.console.query(["dvc", *arguments])

    def remember(self) -> None:
        """Keep the memory of `din fetch` for this worker's next runs."""
        copy_files(self.workspace.fetched, self.settings.home / "fetch")

    def take(self, key: str) -> Path:
        """Fetch the files kept below a key of the registry, and return their folder."""
        folder = self.workspace.taken
        shutil.rmtree(folder, ignore_errors=True)
        self.din("registry", "take", key, str(folder))
        return folder

    def take_report(self, path: Path) -> None:
        """Copy a report from the run's record, whichever worker wrote it.

        Raises:
            InputError: the record lacks it, so its stage has not ended.
        """
        name = self.workspace.relative(path)
        kept = self.take(f"runs/{self.asked.run_id}") / name
        if not kept.exists():
            raise InputError(f"{name} is needed and not in the record of run {self.asked.run_id}; run its stage first")
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(kept, path)

    def judgement(self) -> dict[str, Any]:
        """Return the report of the run's gate.

        Raises:
            InputError: the stage `gate` has not ended.
        """
        self.take_report(self.workspace.gate)
        return read_json(self.workspace.gate)

    def keep(self, key: str, files: Mapping[str, str | Path]) -> None:
        """Keep texts and copies of files below a key of the registry."""
        folder = self.workspace.kept
        shutil.rmtree(folder, ignore_errors=True)
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str):
                path.write_text(content)
            else:
                shutil.copyfile(content, path)
        self.din("registry", "keep", key, str(folder))

    def take_locks(self) -> dict[str, Any]:
        """Add the entries of equal runs to dvc.lock, and return all its entries."""
        ended = self.locked()
        for kept in sorted(self.take(self.asked.lock_key).glob("*.yaml")):
            ended |= YAML(typ="safe").load(kept)["stages"]
        self._write_lock(ended)
        return ended

    def locked(self) -> dict[str, Any]:
        """Return the entries of dvc.lock by stage."""
        path = self.workspace.lock
        return YAML(typ="safe").load(path)["stages"] if path.exists() else {}

    def _write_lock(self, entries: Mapping[str, Any]) -> None:
        _write_yaml(self.workspace.lock, _lock(entries))

    def keep_locks(self, stages: Sequence[str]) -> None:
        """Keep the entries of dvc.lock of stages whose outs are pushed, for equal runs, here and on other workers."""
        ended = self.locked()
        kept = {}
        for stage in stages:
            entry = io.StringIO()
            YAML(typ="safe").dump(_lock({stage: ended[stage]}), entry)
            kept[f"{stage}.yaml"] = entry.getvalue()
        self.keep(self.asked.lock_key, kept)

    def keep_start(self, stage: str) -> None:
        """Keep a stage's entry of dvc.lock for this worker's next run, which may start from the same outs."""
        self.workspace.fetched.mkdir(parents=True, exist_ok=True)
        _write_yaml(self._start, {stage: self.locked()[stage]})
        self.remember()

    def pull_start(self, stage: str, ended: Mapping[str, Any]) -> None:
        """Pull the outs that this worker's last run of a stage left, so that it has to add only what is new.

        The entry of that run is removed from dvc.lock again, since the stage has not run here.
        """
        if stage in ended or not self._start.exists():
            return
        entry = YAML(typ="safe").load(self._start)
        try:
            self._write_lock({**ended, **entry})
            self.pull_own(stage, entry)
        finally:
            self._write_lock(ended)

    @property
    def _start(self) -> Path:
        """The entry of dvc.lock that the last run of `fetch` on this worker left for the same source."""
        source = YAML(typ="safe").load(self.workspace.params)["fetch"]
        name = hashlib.sha256(json.dumps(source, sort_keys=True).encode()).hexdigest()[:16]
        return self.workspace.fetched / f"start-{name}.yaml"

    def pull(self, wanted: Sequence[str], ended: Mapping[str, Any]) -> None:
        """Pull outs of ended stages as dvc.lock records them, unless they lie here and nobody touched them since.

        Raises:
            InputError: the stage of an out has not ended.
            Unavailable: the remote lacks an out or can't be reached.
        """
        for name, stage in self.stages.items():
            if name not in ended and (missing := {*wanted} & {*stage.outs}):
                raise InputError(f"{', '.join(sorted(missing))} is needed and comes from stage {name}; run that first")
        held = self._held()
        absent = [out for out in wanted if held.get(out) != self._note(out, ended)]
        if absent:
            self.dvc("pull", "--force", *absent)
            self._hold(absent, ended)

    def _held(self) -> dict[str, Any]:
        """Return the notes on outs that were complete here."""
        return read_json(self.workspace.held) if self.workspace.held.exists() else {}

    def _hold(self, outs: Sequence[str], ended: Mapping[str, Any]) -> None:
        """Note that outs lie here as dvc.lock records them."""
        write_json(self.workspace.held, self._held() | {out: self._note(out, ended) for out in outs})

    def _note(self, out: str, ended: Mapping[str, Any]) -> dict[str, Any]:
        """Return what dvc.lock records of an out's stage, and the stamp of the out as it lies here."""
        (maker,) = (name for name, stage in self.stages.items() if out in stage.outs)
        return {"recorded": ended[maker].get("outs"), "stamp": _stamp(self.workspace.root / out)}

    def pull_own(self, stage: str, ended: Mapping[str, Any]) -> None:
        """Pull the outs of an equal run's stage, so that DVC finds it done; if they are lost, the stage runs again.

        They are pulled even if they lie here, because DVC runs a stage again if its cache lacks them.
        """
        if stage not in ended:
            return
        try:
            self.dvc("pull", "--force", stage)
        except Unavailable as error:
            if LOST not in str(error):
                raise
            log.warning("the outs of %s are gone from %s; it runs again", stage, self.settings.remote)

    def run(self, name: str, command: Sequence[str]) -> Outcome:
        """Run a stage's command, and keep its outcome, log and reports in the run's record even if it fails."""
        outcome_file = self.workspace.outcome(name)
        outcome_file.unlink(missing_ok=True)
        done = self.console.run(command, log.info)
        if done.code == 0 and name in self.stages:
            self._hold(self.stages[name].outs, self.locked())
        self.remember()
        outcome = json.loads(outcome_file.read_text()) if outcome_file.exists() else {}
        report = outcome.get("report")
        outs = self.stages[name].outs if name in self.stages else ()
        if done.code:
            self._write_page()
        page = self.workspace.relative(self.workspace.report)
        reports = {report, page, *(out for out in outs if out.endswith(".json"))} - {None}
        reports = {path for path in reports if (self.workspace.root / path).exists()}
        report = report if report in reports else next(iter(sorted(reports - {page})), None)
        code = 0 if done.code == 0 else outcome.get("exit_code") or None
        result = Outcome(name, code, report, _message(done))
        record = {"run_id": self.asked.run_id, "stage": name, "exit_code": code, "report": report, "ran": bool(outcome)}
        kept = {f"outcome/{name}.json": json.dumps(record, indent=2), f"log/{name}.txt": done.output}
        self.keep(f"runs/{self.asked.run_id}", kept | {path: self.workspace.root / path for path in reports})
        return result

    def _write_page(self) -> None:
        """Write the run report about a stage that failed or was killed. A failure is only logged."""
        try:
            self.din("report")
        except (InputError, GateClosed, Unavailable) as error:
            log.warning("no run report was written: %s", error)


def _message(done: Done) -> str:
    """Return the output of the stage itself, without DVC's lines before and after it."""
    _, _, own = done.output.partition("\n> ")
    own, _, _ = own.partition("\n")[2].partition("\nUpdating lock file")
    return (own or done.output).strip()


def _stamp(path: Path) -> str:
    """Return a hash of the names, sizes, times and inodes of a file, or of the files in a folder."""
    files = [(str(file), file.stat()) for file in sorted([path, *path.rglob("*")]) if file.is_file()]
    seen = [(name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for name, stat in files]
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()


def _lock(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of dvc.lock with some stages."""
    return {"schema": "2.0", "stages": dict(entries)}


def _write_yaml(path: Path, value: Any) -> None:
    with atomic_path(path) as temporary:
        YAML(typ="safe").dump(value, temporary)
