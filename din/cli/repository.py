"""The commands about a repository and its machine: `din init`, `params apply`, `tune`, `status` and `doctor`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from din.base.commandline import AsJson, commands, examples, print_result
from din.base.errors import InputError
from din.base.workspace import require
from din.cli.run import HERE, answering, params_here

app = typer.Typer()
beginning = commands(app, "Start")
looking = commands(app, "This workspace and machine")
params = typer.Typer(
    no_args_is_help=True,
    help="The parameter file.",
    epilog=examples("din params apply docs/examples/simulate.yaml"),
)


@beginning(
    "din init logs/shop",
    "din init --events clicks.csv --items products.csv --label gekauft",
    "din init --update        # after an upgrade of this package",
)
def init(
    log: Annotated[str | None, typer.Argument(help="A folder, zip or file of the log; each file is looked at.")] = None,
    *,
    events: Annotated[str | None, typer.Option(help="The log: a path or glob; CSV, Parquet or JSON-lines.")] = None,
    items: Annotated[str | None, typer.Option(help="The item table, if there is one.")] = None,
    users: Annotated[str | None, typer.Option(help="The user table, if there is one.")] = None,
    history: Annotated[
        str | None, typer.Option(help="Behaviours from before the log: one per row, or a list per user.")
    ] = None,
    user: Annotated[str | None, typer.Option(help="The column of the user, if the guess is wrong.")] = None,
    item: Annotated[str | None, typer.Option(help="The column of the item, if the guess is wrong.")] = None,
    time: Annotated[str | None, typer.Option(help="The column of the time, if the guess is wrong.")] = None,
    unit: Annotated[
        str | None,
        typer.Option(help="The unit of the time, if the guess is wrong: s, ms, us, ns, iso or a form."),
    ] = None,
    label: Annotated[str | None, typer.Option(help="The column of the click, or a rule such as rating >= 4.")] = None,
    encoding: Annotated[str | None, typer.Option(help="The encoding of text files, such as cp1251.")] = None,
    update: Annotated[bool, typer.Option("--update", help="Merge the installed release into this repository.")] = False,
) -> None:
    """Make a repository that trains a model of a log: look at the log, guess the parameters, and write the files."""
    with answering("train"):
        from din_start.init import command

        if [log is not None, events is not None, update].count(True) != 1:
            raise InputError("give one of these: the folder or file of the log, --events with its path, --update")
        if update:
            command.update(HERE.root)
            return
        tables = {"events": events, "items": items, "users": users, "history": history}
        roles = {"user": user, "item": item, "time": time, "unit": unit, "label": label, "encoding": encoding}
        command.init(HERE, log, _named(tables), _named(roles))


def _named(options: dict[str, str | None]) -> dict[str, str]:
    """Return the options that were given."""
    return {name: value for name, value in options.items() if value is not None}


@commands(params)(
    "din params apply docs/examples/simulate.yaml",
    "din params apply --dry-run mine.yaml      # only print the changes",
)
def apply(
    overlays: Annotated[list[Path], typer.Argument(help="YAML files with only the keys that differ.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the changes without writing them.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write overlays, e.g. from docs/examples, into params.yaml, keep its comments, and print the changes.

    If the file, an overlay, or their combination is not valid, nothing is written.
    """
    with answering():
        from din.base.artifacts import write_bytes
        from din.params import load
        from din.params.overlays import edit, read_overlay

        load(HERE.params)
        text = HERE.params.read_text(encoding="utf-8")
        lines = []
        changes = []
        for overlay in overlays:
            edited = edit(text, read_overlay(overlay), overlay)
            text = edited.text
            lines += map(str, edited.changes or [f"{overlay}: {HERE.params} has these values already"])
            changes += [{"overlay": str(overlay), **asdict(change)} for change in edited.changes]
        if not dry_run:
            write_bytes(HERE.params, text.encode())
        print(json.dumps(changes, indent=2, default=str) if as_json else "\n".join(lines))  # days are text


@commands(app, "Parameters")(
    "din tune                      # about 20 minutes; run it again to continue",
    "din tune --trials 50 --jobs 4",
    "din tune --keep train.model.ages",
)
def tune(
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Minutes, roughly; default: 20, or with --trials no limit.")
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials in all, with those of earlier calls; default: no limit.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, max=256, help="Processes that train; default: one a core, or one on a GPU.")
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option(help="A key that keeps today's value, e.g. train.model.ages; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Search better hyperparameters on validation rows, and write tuned.yaml and reports/tuning.html.

    It needs data/features/ of an earlier `dvc repro`, changes no other file, and keeps its trainings if it is killed.
    """
    with answering("tune"):
        from din_tune.command import tune

        limit = 20.0 if minutes is None and trials is None else minutes
        print_result(lambda: tune(HERE, params_here(), limit, trials, jobs, keep or ()), as_json)


@looking("din status", "din status --json | python -m json.tool")
def status(as_json: AsJson = False) -> None:
    """Print how each stage ended, what is stale, which bundle is champion and since when, and who waits for approval.

    The exit code is 0 only if all of that is known.
    """
    with answering("train"):
        from din_start.status import print_status, status

        require(HERE.params, HERE.pipeline)
        found = status(HERE)
        print_status(found, as_json)
    raise typer.Exit(found.exit_code)


@looking("din doctor", "din doctor --json > findings.json")
def doctor(as_json: AsJson = False) -> None:
    """Look for what this machine lacks, say how to fix it, and exit 1 if something would fail.

    It tries the compiler, and whether the registry's store refuses to overwrite an object.
    """
    with answering():
        from din_start.doctor import examine, print_results

        findings = examine(HERE)
        print_results(findings, as_json)
    if any(finding.state == "failed" for finding in findings):
        raise typer.Exit(1)
