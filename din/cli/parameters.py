"""The command about the parameter file: `din params apply`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from din.base.commandline import AsJson, commands, examples
from din.cli.run import HERE, answering

app = typer.Typer(
    no_args_is_help=True,
    help="The parameter file.",
    epilog=examples("din params apply docs/examples/simulate.yaml"),
)


@commands(app)(
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
        from din.model import MODELS
        from din.params.overlays import edit, read_overlay
        from din.params.reading import check_model, load

        load(HERE.params)
        text = HERE.params.read_text(encoding="utf-8")
        lines = []
        changes = []
        for overlay in overlays:
            edited = edit(text, read_overlay(overlay), overlay)
            check_model(edited.params.train, MODELS.reads, overlay)
            text = edited.text
            lines += map(str, edited.changes or [f"{overlay}: {HERE.params} has these values already"])
            changes += [{"overlay": str(overlay), **asdict(change)} for change in edited.changes]
        if not dry_run:
            write_bytes(HERE.params, text.encode())
        print(json.dumps(changes, indent=2, default=str) if as_json else "\n".join(lines))  # days are text
