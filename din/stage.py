"""What every stage command shares: one at a time per workspace, an outcome file, an exit code, no traceback for users.

    with stage.running("evaluate", workspace, workspace.evaluation):
        from din.train.evaluate import evaluate

        evaluate(workspace, load(workspace.params))

`dvc repro` returns 255 whatever its stage returned, so the outcome file tells runners what happened. Killing dvc leaves
its stage running; the lock keeps the next repro's stage from writing beside it.
"""

import fcntl
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from din import documents
from din.artifacts import write_json
from din.errors import GateClosed, InputError, Unavailable
from din.workspace import Workspace


@contextmanager
def running(name: str, workspace: Workspace, report: Path | None = None, leader: bool = True) -> Iterator[None]:
    """Run a stage's body under the workspace lock and write `.din/outcome/<name>.json`.

    Import the stage's function inside the body, so that a package that is not installed leaves an outcome too. A stage
    that fails removes the reports of later stages: they are about a run that no longer is. DVC restores them from its
    cache once their stages are up to date again.

    Args:
        name: the stage's name in dvc.yaml.
        workspace: where it runs.
        report: the report that the stage leaves, for runners to keep; a GateClosed may name another.
        leader: False for the further processes of a stage that runs in several: its first one holds the lock, and they
            write an outcome only when they end it by an error.

    Raises:
        SystemExit: the body raised. The exit code is 2 for InputError and for a package that is not installed, 1 for
            Unavailable, 3 for GateClosed; any other exception is a bug: 1.
    """
    code = 0
    with workspace_lock(workspace) if leader else nullcontext():
        outcome = workspace.outcome(name)
        later = reports_after(name, workspace) if leader else []
        if leader:
            outcome.unlink(missing_ok=True)
        if later:
            workspace.gate.unlink(missing_ok=True)  # `gate` writes the next one; a killed stage must not leave this one
        try:
            with packages("train"):
                yield
        except (InputError, Unavailable, GateClosed) as error:
            code = error.exit_code
            report = getattr(error, "report", None) or report
            print(f"{name}: {error}", file=sys.stderr)
        except Exception:
            code = 1
            traceback.print_exc()
            print(f"{name}: this is a bug in the pipeline, not in your data; please report it", file=sys.stderr)
        for path in later if code else ():
            path.unlink(missing_ok=True)
        if leader or code:
            about = workspace.relative(report) if report else None
            write_json(outcome, {"run_id": run_id(), "stage": name, "exit_code": code, "report": about})
    if code:
        raise SystemExit(code)


def stages_of(workspace: Workspace) -> dict[str, Any]:
    """Return the stages of dvc.yaml by name, in its order.

    Raises:
        InputError: it can't be read, or has none.
    """
    try:
        return YAML(typ="safe").load(documents.read_bytes(workspace.pipeline))["stages"]
    except (YAMLError, KeyError, TypeError):
        raise InputError(f"{workspace.pipeline}: expected YAML with a mapping `stages`") from None


def reports_after(stage: str, workspace: Workspace) -> list[Path]:
    """Return the reports that the stages after one write, by the order of dvc.yaml; none where it is not a stage."""
    try:
        stages = stages_of(workspace)
    except InputError:  # run without DVC, or DVC can't run at all
        return []
    names = list(stages)
    if stage not in names:
        return []
    later = (stages[name] for name in names[names.index(stage) + 1 :])
    outs = (out for one in later for out in (*one.get("outs", ()), *one.get("metrics", ())))
    return [workspace.root / out for out in outs if isinstance(out, str) and out.endswith((".json", ".verdict"))]


@contextmanager
def packages(extra: str) -> Iterator[None]:
    """Turn the lack of an optional package into an InputError that names the extra to install."""
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
def workspace_lock(workspace: Workspace) -> Iterator[None]:
    """Hold the workspace's lock; wait for another holder and print its pid. The lock dies with its process."""
    workspace.state.mkdir(exist_ok=True)
    with workspace.stage_lock.open("a+") as lock:
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
