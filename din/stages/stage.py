"""Run a stage's command: one at a time per workspace, with an outcome file, an exit code, and errors in one message.

    with stage.running("evaluate", workspace, workspace.evaluation):
        from din.train.evaluate import evaluate

        evaluate(workspace, load(workspace.params))

`dvc repro` returns 255 for every failure of a stage, so the outcome file tells runners what happened. Killing DVC
leaves its stage running, and the lock keeps a stage of the next repro from writing at the same time.
"""

import fcntl
import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from pydantic import Field, NonNegativeInt

from din.base.artifacts import write_json
from din.base.documents import Document
from din.base.errors import GateClosed, InputError, Unavailable, needing_space
from din.base.workspace import Workspace
from din.plugins import PACKAGES

MOST_TOLD = 2000
"""The largest number of characters that an outcome keeps of an error's message."""


class StageOutcome(Document):
    """The outcome of a stage's command. `report` is a path in the workspace, and `seconds` the duration.

    If it failed, `message` is the beginning of its error. As long as it runs, and after a kill, there is no exit code.
    """

    run_id: str
    stage: str
    exit_code: NonNegativeInt | None
    report: str | None
    seconds: float
    message: Annotated[str, Field(max_length=MOST_TOLD)] = ""


@contextmanager
def running(name: str, workspace: Workspace, report: Path | None = None) -> Iterator[None]:
    """Run a stage's body under the workspace lock and write `.din/outcome/<name>.json`.

    Import the stage's function inside the body, so that a missing package leaves an outcome too.

    Args:
        name: the stage's name in dvc.yaml.
        workspace: the workspace to run in.
        report: the report that the stage writes, for runners to keep; a GateClosed may name another.

    Raises:
        SystemExit: the body raised an error. The exit code is 2 for InputError and for a missing package, 1 for
            Unavailable and a full disk, 3 for GateClosed, and 1 for any other exception, which is a bug.
    """
    code = 0
    message = ""
    with workspace_lock(workspace):
        began = time.monotonic()
        outcome = StageOutcome(run_id=run_id(), stage=name, exit_code=None, report=None, seconds=0.0)
        try:
            with packages("train"), needing_space(workspace.root.absolute()):
                workspace.outcome(name).unlink(missing_ok=True)  # also if the disk is full
                write_json(workspace.outcome(name), outcome)
                yield
        except (InputError, Unavailable, GateClosed) as error:
            code = error.exit_code
            report = getattr(error, "report", None) or report
            message = str(error)
            print(f"{name}: {message}", file=sys.stderr)
        except Exception as error:
            code = 1
            message = f"{type(error).__name__}: {error}"
            traceback.print_exc()
            print(f"{name}: this is a bug in the pipeline, not in your data; please report it", file=sys.stderr)
        ended = {
            "exit_code": code,
            "report": workspace.relative(report) if report else None,
            "seconds": round(time.monotonic() - began, 3),
            "message": _printable(message)[:MOST_TOLD],
        }
        try:
            write_json(workspace.outcome(name), outcome.model_copy(update=ended))
        except OSError as error:
            code = code or Unavailable.exit_code
            print(f"{name}: its outcome can't be written: {error}", file=sys.stderr)
    if code:
        raise SystemExit(code)


def _printable(message: str) -> str:
    """Return a message with escapes for text that UTF-8 can't hold, e.g. bytes of a file name in another encoding."""
    return message.encode(errors="backslashreplace").decode()


@contextmanager
def packages(extra: str) -> Iterator[None]:
    """Turn the import error of an optional package into an InputError that names the extra to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in PACKAGES:
            raise
        raise InputError(
            f"the package {error.name!r} is not installed; it comes with the extra `{extra}`: "
            f"pip install 'din-ctr[{extra}]', in a checkout pip install -e '.[{extra}]'"
        ) from None


def run_id() -> str:
    """Return the id of the run that this command belongs to: `DIN_RUN_ID`, set by schedulers, or `local`."""
    return os.environ.get("DIN_RUN_ID") or "local"


@contextmanager
def workspace_lock(workspace: Workspace) -> Iterator[None]:
    """Hold the workspace's lock. If another process holds it, print its pid and wait. It ends with the process."""
    workspace.state.mkdir(exist_ok=True)
    with workspace.stage_lock.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            print(f"waiting for the stage that is already running here (pid {lock.read().strip()})", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        yield
