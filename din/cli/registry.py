"""The commands of `din registry`."""

from typing import Annotated

import typer

from din.base.commandline import AsJson, commands, examples, print_result
from din.base.errors import InputError
from din.cli.options import By, Model, Promotion, Reason, Uri, default_registry, not_empty, place
from din.cli.run import answering, tell

AnyModel = Annotated[
    str | None,
    typer.Option("--model", callback=not_empty, help="Model name; default: all models of the registry."),
]

app = typer.Typer(
    no_args_is_help=True,
    help="The append-only log of champions.",
    epilog=examples("din registry show", "din registry rollback 2 --reason 'complaints since record 3'"),
)
command = commands(app)


@command(
    "din registry show              # all records; --json for scripts",
    "din registry show 3            # one, with the metrics of its bundle",
    "din registry show 3 --against 2",
    "din registry show --registry s3://bucket/registry",
)
def show(
    promotion: Annotated[
        str | None, typer.Argument(help="A record's number, or (the start of) a version; default: a table of all.")
    ] = None,
    against: Annotated[str | None, typer.Option(help="An earlier promotion: print what differs from it.")] = None,
    uri: Uri = None,
    model: AnyModel = None,
    as_json: AsJson = False,
) -> None:
    """Print all records (each model's last one is its champion), one record as JSON, or what differs between two.

    With --against: parameters, data, code, packages, machines, gates and metrics.
    """
    with answering():
        from din.release.registry import commands as registry
        from din.release.registry.diff import show_diff

        if promotion is None and against is None:
            registry.show_list(uri or default_registry(), model, as_json)
        elif promotion is None:
            raise InputError("--against needs a promotion to compare with, such as `din registry show 3 --against 2`")
        elif against is None:
            registry.show(*place(uri, model), promotion)
        else:
            show_diff(*place(uri, model), against, promotion, as_json)


@command("din registry rollback 2 --reason 'complaints since record 3'")
def rollback(
    to: Promotion,
    reason: Reason,
    champion: Annotated[int | None, typer.Option(min=1, help="Roll back only if the champion is this record.")] = None,
    by: By = "",
    uri: Uri = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Make an earlier champion the champion again, by appending a record."""
    with answering():
        from din.cli.identity import identity
        from din.release.events import recorded
        from din.release.registry import commands as registry
        from din.release.registry.registry import Registry

        at, name = place(uri, model)
        who = identity()
        record = print_result(lambda: registry.rollback(at, name, to, by or who.name, reason, champion, who), as_json)
        tell(lambda: recorded(Registry(at, name), record))


@command("din registry verify", "din registry verify --registry s3://bucket/registry --json")
def verify(uri: Uri = None, model: AnyModel = None, as_json: AsJson = False) -> None:
    """Check the chain of records, hash everything they name, and exit 3 if something is missing or was changed."""
    with answering():
        from din.release.registry import commands as registry

        registry.verify(uri or default_registry(), model, as_json)


@command("din registry gc                 # only print", "din registry gc --days 30 --yes")
def gc(
    uri: Uri = None,
    model: Model = None,
    days: Annotated[
        float, typer.Option(min=0, max=36500, help="Keep objects modified within this number of days.")
    ] = 7,
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it, only print what would be removed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove objects that killed promotions left behind and no record names."""
    with answering():
        from din.release.registry import commands as registry

        registry.gc(*place(uri, model), days, yes, as_json)
