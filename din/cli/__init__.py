"""The command `din`: parse arguments, call a stage or command, and print; a module for each group of commands.

Packages beside `din` add their commands by entry points in the group `din_ctr.commands`.

Each command imports what it needs itself, so that `--help` and completion are fast and no stage loads the packages of
another.
"""

from importlib.metadata import entry_points
from typing import Annotated

import typer

from din.base.commandline import examples, print_version
from din.base.commandline import run as run_app
from din.cli import champion, parameters, registry, stages

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=examples(
        "dvc repro && din promote     # run what changed, then promote the bundle",
        "din status                   # what ran, what is stale, who is the champion",
        "din doctor                   # what this machine lacks",
        "din --install-completion     # let your shell complete commands and options",
    ),
    help="Click-through-rate models that retrain themselves, behind gates that keep bad ones out of production.\n\n"
    "`dvc repro` runs the stages in the order of dvc.yaml, including `python -m validation raw|features|predictions`. "
    "Each stage can also be run alone. All read params.yaml. Exit codes: 0 = done, 1 = a bug, or a resource that can't "
    "be reached now, 2 = bad input, 3 = a gate is closed.",
)
_PANELS = ("Start", "Stages", champion.CHAMPION, "Parameters")


def _place(group: typer.Typer) -> int:
    """Return the place of a group of commands in the help: that of the panel of its first command."""
    panel = group.registered_commands[0].rich_help_panel
    return _PANELS.index(panel) if panel in _PANELS else len(_PANELS)


_beside = [entry.load() for entry in entry_points(group="din_ctr.commands")]
for group in sorted((stages.app, champion.app, *_beside), key=_place):
    app.add_typer(group)
app.add_typer(parameters.app, name="params", rich_help_panel="Parameters")
app.add_typer(registry.app, name="registry", rich_help_panel=champion.CHAMPION)
Version = Annotated[
    bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and exit.")
]


@app.callback()
def options(version: Version = False) -> None:
    """Take the options that need no command."""


def main() -> None:
    """Run the command line."""
    run_app(app, "din")
