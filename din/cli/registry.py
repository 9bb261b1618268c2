"""The commands of `din registry`."""

from pathlib import Path
from typing import Annotated

import typer

from din.cli.options import By, Model, Promotion, Reason, Uri, default_registry, place, user
from din.cli.run import HERE, answering, params_here
from din.commandline import AsJson, examples, print_result

AnyModel = Annotated[str | None, typer.Option("--model", help="Model name; default: all models of the registry.")]

app = typer.Typer(
    no_args_is_help=True,
    help="The append-only log of champions.",
    epilog=examples("din registry list", "din registry rollback 2 --reason 'complaints since record 3'"),
)


@app.command(
    "list",
    epilog=examples(
        "din registry list",
        "din registry list --json",
        "din registry list --registry s3://bucket/registry",
    ),
)
def list_records(uri: Uri = None, model: AnyModel = None, as_json: AsJson = False) -> None:
    """Print all records; the last record of each model is its champion."""
    with answering():
        from din.registry import commands

        commands.show_list(uri or default_registry(), model, as_json)


@app.command(
    "show",
    epilog=examples(
        "din registry show               # the champion",
        "din registry show --number 3",
    ),
)
def show(
    uri: Uri = None,
    model: Model = None,
    number: Annotated[int | None, typer.Option(help="The record's number; default: the champion's.")] = None,
) -> None:
    """Print a record with the metrics of its bundle, as JSON."""
    with answering():
        from din.registry import commands

        commands.show(*place(uri, model), number)


@app.command(
    "diff",
    epilog=examples(
        "din registry diff 2 3",
        "din registry diff 4f1c 9a02 --json",
    ),
)
def diff(
    first: Promotion,
    second: Annotated[str, typer.Argument(help="Another one.")],
    uri: Uri = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Print what differs between two promotions: parameters, data, code, packages, machines, gates and metrics."""
    with answering():
        from din.registry.diff import show_diff

        show_diff(*place(uri, model), first, second, as_json)


@app.command("rollback", epilog=examples("din registry rollback 2 --reason 'complaints since record 3'"))
def rollback(
    to: Promotion,
    reason: Reason,
    champion: Annotated[
        int | None, typer.Option(min=1, help="Roll back only if the champion is this record; again, it does nothing.")
    ] = None,
    by: By = "",
    uri: Uri = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Make an earlier champion the champion again, by appending a record."""
    with answering():
        from din.registry import commands

        at, name = place(uri, model)
        print_result(lambda: commands.rollback(at, name, to, by or user(), reason, champion), as_json)


@app.command(
    "verify",
    epilog=examples(
        "din registry verify",
        "din registry verify --registry s3://bucket/registry --json",
    ),
)
def verify(uri: Uri = None, model: AnyModel = None, as_json: AsJson = False) -> None:
    """Check the chain of records, hash everything they name, and exit 3 if something is missing or was changed."""
    with answering():
        from din.registry import commands

        commands.verify(uri or default_registry(), model, as_json)


@app.command(
    "gc",
    epilog=examples(
        "din registry gc                 # only print",
        "din registry gc --days 30 --yes",
    ),
)
def gc(
    uri: Uri = None,
    model: Model = None,
    days: Annotated[float, typer.Option(help="Keep objects modified within this number of days.")] = 7,
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it, only print what would be removed.")] = False,
    bundle: Annotated[
        list[str] | None,
        typer.Option(help="A version that was never promoted. Name all of them if the log of promotions is empty."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Remove objects that killed promotions left behind and no record names."""
    with answering():
        from din.registry import commands

        commands.gc(*place(uri, model), days, yes, bundle or (), as_json)


@app.command("keep", epilog=examples("din registry keep runs/nightly-2026-01-31 reports"))
def keep(
    key: Annotated[str, typer.Argument(help="runs/<run id> or stages/<name>, in the namespace of params.yaml.")],
    folder: Annotated[Path, typer.Argument(help="The folder whose files are stored.")],
    as_json: AsJson = False,
) -> None:
    """Store the files of a folder below a key of this job's namespace, for other workers to take."""
    with answering():
        from din.registry import run_files

        print_result(lambda: run_files.keep(run_files.objects_of(HERE, params_here()), key, folder), as_json)


@app.command("take", epilog=examples("din registry take runs/nightly-2026-01-31 reports-of-that-run"))
def take(
    key: Annotated[str, typer.Argument(help="runs/<run id> or stages/<name>, in the namespace of params.yaml.")],
    folder: Annotated[Path, typer.Argument(help="The folder to copy the files to.")],
    as_json: AsJson = False,
) -> None:
    """Copy the files that were kept below a key into a folder."""
    with answering():
        from din.registry import run_files

        print_result(lambda: run_files.take(run_files.objects_of(HERE, params_here()), key, folder), as_json)
