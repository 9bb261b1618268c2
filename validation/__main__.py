"""`python -m validation raw|features|predictions|gate`: parse, call, exit. `gate` loads no Great Expectations."""

from pathlib import Path
from typing import Annotated

import typer

from din import stage
from din.forms import Suite
from din.params import load
from validation import report_path

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Validate what the pipeline reads and writes, with Great Expectations.\n\n"
    "Each suite writes reports/validation/<suite>.json and exits 0 = open, 1 = bug, 2 = bad input, 3 = closed: "
    "a critical expectation failed, or could not be evaluated. Warnings are shown and don't block. "
    "Thresholds are in params.yaml; docs/validation.md lists every expectation.",
)


@app.command()
def raw() -> None:
    """Validate the raw log, data/raw/."""
    _validate("raw", "validation.raw:PHASES")


@app.command()
def features() -> None:
    """Validate the feature shards, data/features/: ranges, splits, leakage."""
    _validate("features", "validation.features:PHASES")


@app.command()
def predictions() -> None:
    """Validate the predictions, reports/predictions/: complete, calibrated, better than a constant."""
    _validate("predictions", "validation.predictions:PHASES")


@app.command()
def gate(
    markdown: Annotated[
        Path | None, typer.Option(help="Append the summary to this file as Markdown, for a CI job's summary page.")
    ] = None,
) -> None:
    """Check that all three reports exist, are open, and judged the data that lies here now. For CI."""
    raise typer.Exit(stage.run("validation_gate", lambda: stage.named("validation.gate:gate")(load(), markdown)))


def _validate(suite: Suite, phases: str) -> None:
    def body() -> None:
        stage.named("validation.run:validate")(suite, stage.named(phases), load())

    raise typer.Exit(stage.run(f"validate_{suite}", body, str(report_path(suite))))


if __name__ == "__main__":
    app()
