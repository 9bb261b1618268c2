"""The commands of `din params`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from din.cli.run import HERE, answering
from din.commandline import AsJson, examples

app = typer.Typer(
    no_args_is_help=True,
    help="The parameter file.",
    epilog=examples("din params apply docs/examples/simulate.yaml"),
)


@app.command(
    "apply",
    epilog=examples(
        "din params apply docs/examples/simulate.yaml",
        "din params apply --dry-run mine.yaml      # only print the changes",
    ),
)
def apply(
    overlays: Annotated[list[Path], typer.Argument(help="YAML files with only the keys that differ.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the changes without writing them.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write overlays, e.g. from docs/examples, into params.yaml, keep its comments, and print the changes."""
    with answering():
        write_overlays(HERE.params, overlays, dry_run, as_json)


def write_overlays(path: Path, overlays: list[Path], dry_run: bool, as_json: bool = False) -> None:
    """Apply overlays to a parameter file in turn, and print each change.

    Raises:
        InputError: the file, an overlay, or their combination is not valid. Nothing is written.
    """
    from din.artifacts import write_bytes
    from din.params import load
    from din.params.overlays import edit, read_overlay

    load(path)
    text = path.read_text(encoding="utf-8")
    lines = []
    changes = []
    for overlay in overlays:
        edited = edit(text, read_overlay(overlay), overlay)
        text = edited.text
        lines += map(str, edited.changes) if edited.changes else [f"{overlay}: {path} has these values already"]
        changes += [{"overlay": str(overlay), **asdict(change)} for change in edited.changes]
    if not dry_run:
        write_bytes(path, text.encode())
    print(json.dumps(changes, indent=2) if as_json else "\n".join(lines))
