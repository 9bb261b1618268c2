"""What every stage command shares: one at a time per workspace, an outcome file, an exit code, no traceback for users.

`dvc repro` returns 255 whatever its stage returned, so the outcome file tells runners what happened. Killing dvc leaves
its stage running; the lock keeps the next repro's stage from writing beside it.
"""

import fcntl
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from din.artifacts import write_json
from din.errors import GateClosed, InputError, Unavailable

STATE = Path(".din")
PIPELINE = Path("dvc.yaml")
VERDICT = Path("reports/gate.json")


def run(name: str, body: Callable[[], object], report: str | None = None, leader: bool = True) -> int:
    """Run a stage's body under the workspace lock, write `.din/outcome/<name>.json`, and return its exit code.

    A stage that fails removes the reports of later stages: they are about a run that no longer is. DVC restores them
    from its cache once their stages are up to date again.

    Args:
        name: the stage's name in dvc.yaml.
        body: the work, its imports included; raises InputError, Unavailable or GateClosed to end with 2,
            1 or 3. A package that is not installed is bad input too; any other exception is a bug: 1.
        report: the report that an ended stage leaves, for runners to keep; a GateClosed may name another.
        leader: False for the further processes of a stage that runs in several: its first one holds the lock, and they
            write an outcome only when they end it by an error.
    """
    code = 0
    with workspace_lock() if leader else nullcontext():
        outcome = STATE / "outcome" / f"{name}.json"
        later = reports_after(name) if leader else []
        if leader:
            outcome.unlink(missing_ok=True)
        if later:
            VERDICT.unlink(missing_ok=True)  # the gate writes the next one; a killed stage must not leave an older one
        try:
            with packages("train"):
                body()
        except (InputError, Unavailable, GateClosed) as error:
            code, report = error.exit_code, getattr(error, "report", None) or report
            print(f"{name}: {error}", file=sys.stderr)
        except Exception:
            code = 1
            traceback.print_exc()
            print(f"{name}: this is a bug in the pipeline, not in your data; please report it", file=sys.stderr)
        for path in later if code else ():
            path.unlink(missing_ok=True)
        if leader or code:
            write_json(outcome, {"run_id": run_id(), "stage": name, "exit_code": code, "report": report})
    return code


def reports_after(stage: str, pipeline: Path = PIPELINE) -> list[Path]:
    """Return the reports that the stages after one write, by the order of dvc.yaml; none where it is not a stage."""
    try:
        stages = YAML(typ="safe").load(pipeline)["stages"]
    except (OSError, YAMLError):  # run without DVC, or DVC can't run at all
        return []
    names = list(stages)
    if stage not in names:
        return []
    later = (stages[name] for name in names[names.index(stage) + 1 :])
    outs = (out for one in later for out in (*one.get("outs", ()), *one.get("metrics", ())))
    return [Path(out) for out in outs if isinstance(out, str) and Path(out).suffix in (".json", ".verdict")]


def named(target: str) -> Any:
    """What `module:name` names, imported now: a stage's imports belong into its body, else they end without outcome."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


@contextmanager
def packages(extra: str) -> Iterator[None]:
    """Where an optional package is missing, raise an InputError that names the extra which brings it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("din", "validation"):
            raise
        raise InputError(
            f"the package {error.name!r} is not installed; it comes with the extra `{extra}`: "
            f"pip install 'din-ctr[{extra}]', in a checkout pip install -e '.[{extra}]'"
        ) from None


def run_id() -> str:
    """The run this command belongs to: `DIN_RUN_ID`, set by schedulers; `local` otherwise."""
    return os.environ.get("DIN_RUN_ID") or "local"


@contextmanager
def workspace_lock() -> Iterator[None]:
    """Hold `.din/stage.lock`; wait for another holder and say who it is. The lock dies with its process."""
    STATE.mkdir(exist_ok=True)
    with (STATE / "stage.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            print(f"waiting for the stage that runs here already (pid {lock.read().strip()})", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        yield
