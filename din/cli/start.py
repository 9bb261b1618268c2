"""The command that begins a repository: `din init`."""

import sys
from typing import Annotated

import typer

from din.cli.run import HERE, answering
from din.commandline import AsJson, commands, print_result, printing_json
from din.errors import InputError

app = typer.Typer()
command = commands(app, "Start")


@command(
    "din init --events clicks.csv",
    "din init --events clicks.csv --items products.csv --label gekauft --yes",
    "din init --events clicks.csv --yes --json    # each parameter with its reason",
    "din init --update        # after an upgrade of this package",
)
def init(
    events: Annotated[str | None, typer.Option(help="The log: a path or glob; CSV, Parquet or JSON-lines.")] = None,
    items: Annotated[str | None, typer.Option(help="The item table, if there is one.")] = None,
    users: Annotated[str | None, typer.Option(help="The user table, if there is one.")] = None,
    user: Annotated[str | None, typer.Option(help="The column of the user, if the guess is wrong.")] = None,
    item: Annotated[str | None, typer.Option(help="The column of the item, if the guess is wrong.")] = None,
    time: Annotated[str | None, typer.Option(help="The column of the time, if the guess is wrong.")] = None,
    unit: Annotated[
        str | None,
        typer.Option(help="The unit of the time, if the guess is wrong: s, ms, us, ns, iso or a form."),
    ] = None,
    label: Annotated[str | None, typer.Option(help="The column of the click, or a rule such as rating >= 4.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    update: Annotated[bool, typer.Option("--update", help="Merge the installed release into this repository.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a repository that trains a model of a log: look at the log, guess the parameters, and write the files."""
    with answering("train"):
        from din.init.command import init, init_update
        from din.init.guess import Asked
        from din.init.update import guess_of

        if update == (events is not None):
            raise InputError("give either --events with the path of the log, or --update")
        if events is None:
            print_result(lambda: init_update(HERE.root), as_json)
            return
        roles = {"user": user, "item": item, "time": time, "unit": unit, "label": label}
        given = {role: name for role, name in roles.items() if name is not None}
        answer = None if yes or not sys.stdin.isatty() else typer.prompt
        with printing_json(guess_of(HERE.root), as_json):
            init(HERE, Asked(events, items, users), given, answer)
