"""The commands about a repository and its machine: `din init`, `status` and `doctor`."""

from pathlib import Path
from typing import Annotated

import typer

from din.base.commandline import AsJson, commands, examples
from din.base.errors import InputError
from din.base.workspace import require
from din.cli.run import HERE, answering, params_here

app = typer.Typer()
plugin = typer.Typer(no_args_is_help=True, help="Plugins.", epilog=examples("din plugin check plugins/transformer.py"))
beginning = commands(app, "Start")
looking = commands(app, "This workspace and machine")


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
    split: Annotated[
        str | None, typer.Option(help="What is held out: temporal, by_user or leave_last_out, if the guess is wrong.")
    ] = None,
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
        roles = {"user": user, "item": item, "time": time, "unit": unit, "label": label}
        command.init(HERE, log, _named(tables), _named({**roles, "split": split, "encoding": encoding}))


def _named(options: dict[str, str | None]) -> dict[str, str]:
    """Return the options that were given."""
    return {name: value for name, value in options.items() if value is not None}


@looking("din status", "din status --json | python -m json.tool")
def status(as_json: AsJson = False) -> None:
    """Print how each stage ended, what is stale, and which bundle is champion and since when.

    The exit code is 0 only if all of that is known.
    """
    with answering("train"):
        from din_start.status import print_status, status

        require(HERE.params, HERE.pipeline)
        state = status(HERE)
        print_status(state, as_json)
    raise typer.Exit(state.exit_code)


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


@commands(plugin)("din plugin check plugins/transformer.py")
def check(
    files: Annotated[list[Path], typer.Argument(help="The Python files; options come from the params.yaml here.")],
) -> None:
    """Try all that plugins register on a tiny log, in seconds: models, kinds, sources, gates and advice.

    The exit code is 2 if a plugin fails, and 3 if PyTorch and the exported graph give different scores.
    """
    with answering("train"):
        from din_start.plugin_check import check

        params = params_here() if HERE.params.exists() else None
        for file in files:
            for line in check(file, params, HERE.root):
                print(line, flush=True)


app.add_typer(plugin, name="plugin", rich_help_panel="Start")
