"""A run of the pipeline in a workspace of its own, on any worker: `python -m dags.workspace --help`.

Every task is "commit + parameters + stage". Workers share the repository, a DVC remote and the registry, nothing else:
before a stage its inputs are pulled by the lock entries of the stages before it, after it its outs are pushed and its
own entry is kept beside the registry. Entries belong to what was asked (commit, parameters, day, source), not to the
run that asked, so a rerun finds them too, and DVC, which compares hashes, runs nothing twice. Costs about five short
commands a stage. It gives up DVC's remote run-cache: see docs/adr/0006-locks-travel.md.
"""

import argparse
import hashlib
import json
import logging
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from dags.checkout import Settings, check_out, set_params, sweep, workspace
from dags.process import Done, RunError, Unavailable, environment, query, stream

BUNDLE = "models/bundle"


@dataclass(frozen=True)
class Run:
    """What a run is; plain JSON, so that it can travel between tasks.

    Attributes:
        run_id: names the run's record in the registry, `runs/<run_id>/`.
        commit: full id.
        until: last day of the log, YYYY-MM-DD.
        params: dotted key to value, over params.yaml of the commit.
        source: fingerprint of the source's log up to `until` when the run opened.
    """

    run_id: str
    commit: str
    until: str
    params: dict[str, Any]
    source: str

    @property
    def lock_key(self) -> str:
        """Where the lock entries of all runs that ask for the same are kept."""
        asked = json.dumps([self.commit, self.until, self.params, self.source], sort_keys=True)
        return f"stages/{hashlib.sha256(asked.encode()).hexdigest()}"


@dataclass(frozen=True)
class Outcome:
    """How a stage (or `promote`) ended.

    Attributes:
        stage: its name.
        exit_code: 0 done, 1 bug, 2 bad input, 3 gate closed; None where it was killed or never came to say.
        report: its report, a path in the workspace and in the run's record; None where it leaves none.
        table: what it printed: the gate table, or what was wrong.
    """

    stage: str
    exit_code: int | None
    report: str | None
    table: str


def open_run(
    run_id: str, until: str | None = None, params: Mapping[str, Any] | None = None, commit: str | None = None
) -> Run:
    """Pin commit, last day and source of a new run; a run that is open already comes back as it was pinned.

    Args:
        run_id: such as a date or the scheduler's id.
        until: last day of the log, YYYY-MM-DD; default: the newest that the source has.
        params: dotted key to value, over params.yaml of the commit.
        commit: default: HEAD of the repository.

    Raises:
        RunError: an unknown parameter, commit or day, a source that can't be read, or an id that is another run's.
        Unavailable: git or the registry failed.
    """
    settings = Settings.from_env()
    sweep(settings)
    day = _day(until) if until else ""
    asked = Run(run_id, settings.commit(commit), day, json.loads(json.dumps(dict(params or {}), default=str)), "")
    with workspace(settings, run_id) as (root, lock):
        here = _Workspace(settings, asked, root, lock)
        try:
            here.prepare()
            kept = here.take(f"runs/{run_id}") / "run.json"
            if kept.exists():
                return _same(Run(**json.loads(kept.read_text())), replace(asked, commit=asked.commit if commit else ""))
            seen = json.loads(here.din("source"))
            run = replace(asked, until=day or seen["last_day"], source=seen["fingerprint"])
            here.keep(f"runs/{run_id}", {"run.json": json.dumps(asdict(run), indent=2)})
        except RunError:
            shutil.rmtree(root, ignore_errors=True)
            raise
    return run


def run_stage(run: Run, stage: str) -> Outcome:
    """Run one stage of dvc.yaml; what an equal run has done already is taken from there. Outcome and report are kept.

    Raises:
        RunError: no such stage, or a stage before it has not ended.
        Unavailable: git, DVC's remote or the registry failed.
    """
    with _open(run) as here:
        if stage not in here.stages:
            raise RunError(f"stage {stage!r} is not in dvc.yaml; expected one of: {', '.join(here.stages)}")
        ended = here.take_locks()
        here.pull(here.inputs(stage), ended)
        here.pull([stage] if stage in ended else [], ended)
        outcome = here.run(stage, ["dvc", "repro", "--single-item", stage])
        if outcome.exit_code == 0:
            here.push(stage)
            here.keep_lock(stage)
    return outcome


def promote(run: Run, reason: str, allow_older: bool = False) -> Outcome:
    """Make the run's bundle the champion, if its gate is open: `din promote`.

    Raises:
        RunError: a stage that it needs has not ended.
        Unavailable: git, DVC's remote or the registry failed.
    """
    with _open(run) as here:
        outs = [out for spec in here.stages.values() for out in _paths(spec, "outs", "metrics")]
        here.pull([out for out in outs if out == BUNDLE or out.endswith(".json")], here.take_locks())
        command = ["din", "promote", "--reason", reason, *(["--allow-older"] if allow_older else [])]
        return here.run("promote", command)


def close_run(run: Run) -> None:
    """Keep dvc.lock and params.yaml in the run's record and remove the workspace; reports are kept already.

    Raises:
        Unavailable: git or the registry failed; the workspace is still there.
    """
    with _open(run) as here:
        here.take_locks()
        kept = [path for path in (here.root / "dvc.lock", here.root / "params.yaml") if path.exists()]
        here.keep(f"runs/{run.run_id}", {path.name: path for path in kept})
        shutil.rmtree(here.root)


class _Workspace:
    """A run's folder on this worker, and the commands that work in it."""

    def __init__(self, settings: Settings, run: Run, root: Path, lock: int) -> None:
        self.settings, self.asked, self.root, self.lock = settings, run, root, lock
        pin = {"DIN_SOURCE": run.source} if run.source else {}
        self.env = environment(DIN_RUN_ID=run.run_id, PYTHONPATH=str(root), **pin)

    def prepare(self) -> None:
        """Check out the commit and write the parameters."""
        run = self.asked
        if "data.until" in run.params:
            raise RunError(f"data.until={run.params['data.until']!r} among the parameters; give it as `until`")
        check_out(self.settings, run.commit, self.root)
        set_params(self.settings, self.root, run.params | ({"data.until": run.until} if run.until else {}))
        self.stages: dict[str, Any] = YAML(typ="safe").load(self.root / "dvc.yaml")["stages"]

    def inputs(self, stage: str) -> list[str]:
        """Deps of a stage that other stages write."""
        written = {out for spec in self.stages.values() for out in _paths(spec, "outs", "metrics")}
        return [dep for dep in _paths(self.stages[stage], "deps") if dep in written]

    def din(self, *arguments: str) -> str:
        """What a short `din` command prints."""
        return query(["din", *arguments], self.root, self.env)

    def take(self, key: str) -> Path:
        """A folder with the files kept below a key of the registry."""
        folder = self.root / ".din" / "taken"
        shutil.rmtree(folder, ignore_errors=True)
        self.din("registry", "take", key, str(folder))
        return folder

    def keep(self, key: str, files: Mapping[str, str | Path]) -> None:
        """Keep texts and copies of files below a key of the registry."""
        folder = self.root / ".din" / "kept"
        shutil.rmtree(folder, ignore_errors=True)
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content) if isinstance(content, str) else shutil.copyfile(content, path)
        self.din("registry", "keep", key, str(folder))

    def take_locks(self) -> dict[str, Any]:
        """Bring dvc.lock up to date with what equal runs have done; its entries."""
        path, yaml = self.root / "dvc.lock", YAML(typ="safe")
        lock = yaml.load(path) if path.exists() else {"schema": "2.0", "stages": {}}
        for kept in sorted(self.take(self.asked.lock_key).glob("*.yaml")):
            lock["stages"] |= yaml.load(kept)["stages"]
        _write_yaml(path, lock)
        return lock["stages"]

    def keep_lock(self, stage: str) -> None:
        """Keep a stage's entry of dvc.lock for equal runs, here and on other workers."""
        lock = YAML(typ="safe").load(self.root / "dvc.lock")
        entry = self.root / ".din" / "entry.yaml"
        _write_yaml(entry, lock | {"stages": {stage: lock["stages"][stage]}})
        self.keep(self.asked.lock_key, {f"{stage}.yaml": entry})

    def pull(self, wanted: Sequence[str], ended: Mapping[str, Any]) -> None:
        """Bring outs of stages that ended to what dvc.lock says.

        Raises:
            RunError: the stage that writes one has not ended.
            Unavailable: the remote lacks one, or can't be reached.
        """
        for name, spec in self.stages.items():
            if name not in ended and (missing := {*wanted} & {*_paths(spec, "outs", "metrics")}):
                raise RunError(f"{', '.join(sorted(missing))} is needed and comes from stage {name}; run that first")
        if wanted:
            query(["dvc", "pull", "--force", *wanted], self.root, self.env)

    def push(self, stage: str) -> None:
        """Bring a stage's outs to the remote."""
        query(["dvc", "push", stage], self.root, self.env)

    def run(self, name: str, command: Sequence[str]) -> Outcome:
        """Run a stage's command and keep its outcome, log and reports in the run's record, however it ended."""
        said = self.root / ".din" / "outcome" / f"{name}.json"
        said.unlink(missing_ok=True)
        done = stream(command, self.root, self.env, self.lock)
        outcome = json.loads(said.read_text()) if said.exists() else {}
        report = outcome.get("report")
        reports = {out for out in _paths(self.stages.get(name, {}), "outs", "metrics") if out.endswith(".json")}
        reports = {path for path in {*reports, *([report] if report else [])} if (self.root / path).exists()}
        report = report if report in reports else next(iter(sorted(reports)), None)
        code = 0 if done.code == 0 else outcome.get("exit_code") or None
        result = Outcome(name, code, report, _message(done))
        record = {"run_id": self.asked.run_id, "stage": name, "exit_code": code, "report": report, "ran": bool(outcome)}
        kept = {f"outcome/{name}.json": json.dumps(record, indent=2), f"log/{name}.txt": done.output}
        self.keep(f"runs/{self.asked.run_id}", kept | {path: self.root / path for path in reports})
        return result


@contextmanager
def _open(run: Run) -> Iterator[_Workspace]:
    """The run's workspace on this worker, made where it is missing; one task at a time."""
    settings = Settings.from_env()
    with workspace(settings, run.run_id) as (root, lock):
        here = _Workspace(settings, run, root, lock)
        here.prepare()
        yield here


def _paths(spec: Mapping[str, Any], *kinds: str) -> list[str]:
    """Paths of a stage's deps, outs or metrics, whose options may come as a mapping."""
    entries = [entry for kind in kinds for entry in spec.get(kind, [])]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def _same(kept: Run, asked: Run) -> Run:
    """The run that is open under this id.

    Raises:
        RunError: it is another one.
    """
    for name in ("commit", "until", "params"):
        if (wanted := getattr(asked, name)) != getattr(kept, name) and (wanted or name == "params"):
            raise RunError(
                f"run {kept.run_id!r} was opened with {name} {getattr(kept, name)!r}, not {wanted!r}; "
                "ask for the same, or use another run_id"
            )
    return kept


def _day(until: str) -> str:
    try:
        return date.fromisoformat(until).isoformat()
    except ValueError:
        raise RunError(f"until is {until!r}; expected a day as YYYY-MM-DD") from None


def _message(done: Done) -> str:
    """What the stage itself printed, without DVC's lines around it."""
    _, _, own = done.output.partition("\n> ")
    own, _, _ = own.partition("\n")[2].partition("\nUpdating lock file")
    return (own or done.output).strip()


def _write_yaml(path: Path, value: Any) -> None:
    new = path.with_name(f".new-{path.name}")
    YAML(typ="safe").dump(value, new)
    new.replace(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; see --help. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m dags.workspace",
        description="Run the pipeline in a workspace of its own, stage by stage, on any worker. `open` prints a run as "
        "JSON; the others read it. Settings: DIN_REPOSITORY, DIN_HOME, DIN_DVC_REMOTE, DIN_REGISTRY (docs/workers.md). "
        "Exit codes: 0 done, 1 try again or bug, 2 bad input, 3 a gate is closed.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    opening = commands.add_parser("open", help="pin commit, last day and source of a run")
    opening.add_argument("run_id", help="names the run's record in the registry")
    opening.add_argument("--until", help="last day of the log, YYYY-MM-DD; default: the newest there is")
    opening.add_argument("--commit", help="a branch, tag or id; default: HEAD of the repository")
    opening.add_argument("--param", action="append", default=[], metavar="KEY=VALUE", help="such as train.epochs=3")
    staging = commands.add_parser("stage", help="run one stage of dvc.yaml")
    staging.add_argument("stage", help="its name")
    promoting = commands.add_parser("promote", help="make the run's bundle the champion, if its gate is open")
    promoting.add_argument("--reason", required=True, help="why, for the registry's log")
    promoting.add_argument("--allow-older", action="store_true", help="waive the gate data_until")
    closing = commands.add_parser("close", help="keep dvc.lock and params.yaml, and remove the workspace")
    for command in (staging, promoting, closing):
        command.add_argument("--run", default="-", metavar="FILE", help="the run's JSON; - or nothing: standard input")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        if given.command == "open":
            run = open_run(given.run_id, given.until, dict(map(_param, given.param)), given.commit)
            print(json.dumps(asdict(run)))
            return 0
        run = _read_run(given.run)
        if given.command == "close":
            close_run(run)
            return 0
        if given.command == "stage":
            outcome = run_stage(run, given.stage)
        else:
            outcome = promote(run, given.reason, given.allow_older)
    except (RunError, Unavailable) as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(json.dumps(asdict(outcome)))
    return 1 if outcome.exit_code is None else outcome.exit_code


def _param(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator:
        raise RunError(f"--param {text!r}; expected KEY=VALUE, such as train.epochs=3")
    return key, YAML(typ="safe").load(value)


def _read_run(file: str) -> Run:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
        return Run(**json.loads(text))
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"--run {file}: {error}; expected what `python -m dags.workspace open` printed") from None


if __name__ == "__main__":
    sys.exit(main())
