"""The command line `python -m dags`; it prints JSON, and logs to standard error."""

import json
import logging
import sys
from dataclasses import asdict
from typing import Annotated, TextIO

import typer

from dags import pinned_run
from din.base import documents
from din.base.commandline import examples
from din.base.commandline import run as run_app
from din.base.errors import GateClosed, InputError, Unavailable
from din.params.reading import plain

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Run the pipeline in a workspace of its own, stage by stage, on any worker. `open` prints a run as JSON; the "
    "others read it. Settings: DIN_REPOSITORY, DIN_HOME, DIN_DVC_REMOTE, DIN_REGISTRY (docs/workers.md). Exit codes: "
    "0 = done, 1 = a bug, or worth another try, 2 = bad input, 3 = a gate is closed.",
)
TheRun = Annotated[
    typer.FileText,
    typer.Option(
        "--run", default_factory=lambda: sys.stdin, show_default="-", help="The run's JSON; - is standard input."
    ),
]
Reason = Annotated[str, typer.Option(help="The reason, for the registry's log.")]


@app.command(
    "open", epilog=examples("python -m dags open nightly-2026-01-31 --param train.learning.epochs=3 > run.json")
)
def open_run(
    run_id: Annotated[str, typer.Argument(help="Names the run's record in the registry.")],
    until: Annotated[
        str | None, typer.Option(help="Last day, YYYY-MM-DD; default: data.until, or else the newest.")
    ] = None,
    commit: Annotated[
        str | None, typer.Option(help="A branch, tag or full id; default: HEAD of the repository.")
    ] = None,
    param: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Replaces one of params.yaml.")] = None,
) -> None:
    """Pin commit, last day and source of a run."""
    values = {}
    for text in param or ():
        key, separator, value = text.partition("=")
        if not separator:
            raise InputError(f"--param {text!r}; expected KEY=VALUE, such as train.learning.epochs=3")
        values[key] = plain(value, f"--param {key}")
    print(json.dumps(asdict(pinned_run.open_run(run_id, until, values, commit))))


@app.command()
def stage(name: Annotated[str, typer.Argument(help="Its name in dvc.yaml.")], run: TheRun) -> None:
    """Run one stage of dvc.yaml."""
    end(pinned_run.run_stages(read(run), [name]))


@app.command("all")
def run_all(reason: Reason, run: TheRun) -> None:
    """Run every stage, and promote."""
    end(pinned_run.run_stages(read(run), reason=reason))


@app.command()
def promote(
    reason: Reason,
    run: TheRun,
    override: Annotated[
        bool, typer.Option("--override", help="Answer for gates that are not open: `din promote`.")
    ] = False,
) -> None:
    """Make the run's bundle the champion, if its gate is open."""
    end(pinned_run.promote(read(run), reason, override))


@app.command()
def close(run: TheRun) -> None:
    """Keep dvc.lock and params.yaml, and remove the workspace."""
    pinned_run.ask(read(run), "close")


def read(file: TextIO) -> pinned_run.PinnedRun:
    """Read a run.

    Raises:
        InputError: the file is not what `open` prints.
    """
    try:
        return documents.parse(pinned_run.PinnedRun, file.buffer.read(), f"--run {file.name}")
    except InputError as error:
        raise InputError(f"{error}; expected the output of `python -m dags open`") from None


def end(outcome: pinned_run.TaskOutcome) -> None:
    """Print an outcome, and exit with its code."""
    print(json.dumps(asdict(outcome)))
    raise typer.Exit(1 if outcome.exit_code is None else outcome.exit_code)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        run_app(app, "python -m dags")
    except (InputError, Unavailable, GateClosed) as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
