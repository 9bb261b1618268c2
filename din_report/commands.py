"""The command `din report`."""

from pathlib import Path
from typing import Annotated

import typer

from din.base.commandline import AsJson, commands
from din.base.errors import InputError
from din.base.workspace import require
from din.cli.champion import CHAMPION
from din.cli.options import Model, Uri, place
from din.cli.run import HERE, answering

app = typer.Typer()
command = commands(app, CHAMPION)


@command(
    "din report",
    "din report --json        # verdict and advice for machines",
    'din report --markdown "$GITHUB_STEP_SUMMARY"',
    "din report --all         # one page about all runs in the registry",
)
def report(
    all_runs: Annotated[bool, typer.Option("--all", help="Write reports/runs.html about all runs instead.")] = False,
    registry: Uri = None,
    model: Model = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Append verdict and gates to this file as Markdown, for a CI job's summary.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write reports/report.html about the run here, promoted, refused or broken, and print verdict and advice.

    With --all, write reports/runs.html about all runs: records of the registry, what schedulers kept, and candidates
    that were refused here.
    """
    with answering("train"):
        if all_runs and markdown:
            raise InputError("--markdown describes the run here; leave out --all")
        if all_runs:
            from din_report.runs import print_runs, write_runs

            print_runs(HERE, write_runs(HERE, *place(registry, model)), as_json)
            return
        if registry or model:
            raise InputError("--registry and --model only work with --all")
        from din_report.write import append_markdown, print_report, write_report

        require(HERE.params, HERE.pipeline)
        run, advice = write_report(HERE)
        print_report(run, advice, as_json)
        if markdown:
            append_markdown(run, markdown)
