"""The command line of `dags.workspace`; it prints JSON, and logs to standard error."""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dags.workspace import Run, close_run, open_run, promote, run_all, run_stage
from din.errors import InputError, Unavailable
from din.params.reading import plain


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, see --help, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m dags.workspace",
        description="Run the pipeline in a workspace of its own, stage by stage, on any worker. `open` prints a run as "
        "JSON; the others read it. Settings: DIN_REPOSITORY, DIN_HOME, DIN_DVC_REMOTE, DIN_REGISTRY (docs/workers.md). "
        "Exit codes: 0 = done, 1 = a bug, or worth another try, 2 = bad input, 3 = a gate is closed.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    opening = commands.add_parser("open", help="pin commit, last day and source of a run")
    opening.add_argument("run_id", help="names the run's record in the registry")
    opening.add_argument("--until", help="last day of the log, YYYY-MM-DD; default: its newest day")
    opening.add_argument("--commit", help="a branch, tag or id; default: HEAD of the repository")
    opening.add_argument(
        "--param", action="append", default=[], metavar="KEY=VALUE", help="such as train.learning.epochs=3"
    )
    staging = commands.add_parser("stage", help="run one stage of dvc.yaml")
    staging.add_argument("stage", help="its name")
    everything = commands.add_parser("all", help="run every stage, and promote")
    promoting = commands.add_parser("promote", help="make the run's bundle the champion, if its gate is open")
    for command in (everything, promoting):
        command.add_argument("--reason", required=True, help="the reason, for the registry's log")
    closing = commands.add_parser("close", help="keep dvc.lock and params.yaml, and remove the workspace")
    for command in (staging, everything, promoting, closing):
        command.add_argument("--run", default="-", metavar="FILE", help="the run's JSON; default: standard input")
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
        match given.command:
            case "stage":
                outcome = run_stage(run, given.stage)
            case "promote":
                outcome = promote(run, given.reason)
            case _:
                *_, outcome = run_all(run, given.reason)
    except (InputError, Unavailable) as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(json.dumps(asdict(outcome)))
    return 1 if outcome.exit_code is None else outcome.exit_code


def _param(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator:
        raise InputError(f"--param {text!r}; expected KEY=VALUE, such as train.learning.epochs=3")
    return key, plain(value, f"--param {key}")


def _read_run(file: str) -> Run:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
        return Run(**json.loads(text))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"--run {file}: {error}; expected the output of `python -m dags.workspace open`") from None
