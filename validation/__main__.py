"""The command `python -m validation`; its subcommand `gate` does not load Great Expectations."""

from pathlib import Path
from typing import Annotated

import typer

from din.base.commandline import examples, run
from din.params.reading import load
from din.stages.here import HERE, running

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Validate the pipeline's inputs and outputs with Great Expectations.\n\n"
    "Each suite writes reports/validation/<suite>.json. Exit codes: 0 = open, 1 = a bug, or worth another try, "
    "2 = bad input, 3 = closed (a critical expectation failed or could not be evaluated). Warnings are shown and don't "
    "block. Thresholds are in params.yaml; docs/validation.md explains the suites.",
    epilog=examples("dvc repro validate_raw          # with the stages before it", "python -m validation raw"),
)


@app.command(epilog=examples("python -m validation raw", "dvc repro validate_raw"))
def raw() -> None:
    """Validate the raw log, data/raw/."""
    with running("validate_raw", HERE.validation("raw")):
        from validation.raw import PHASES
        from validation.run import validate

        validate(HERE, "raw", PHASES, load(HERE.params))


@app.command(epilog=examples("python -m validation features", "dvc repro validate_features"))
def features() -> None:
    """Validate the feature shards, data/features/, e.g. for id ranges, splits and leakage."""
    with running("validate_features", HERE.validation("features")):
        from validation.features import PHASES
        from validation.run import validate

        validate(HERE, "features", PHASES, load(HERE.params))


@app.command(epilog=examples("python -m validation predictions", "dvc repro validate_predictions"))
def predictions() -> None:
    """Validate that the predictions, reports/predictions/, are complete, calibrated and better than a constant."""
    with running("validate_predictions", HERE.validation("predictions")):
        from validation.predictions import PHASES
        from validation.run import validate

        validate(HERE, "predictions", PHASES, load(HERE.params))


@app.command(
    epilog=examples("python -m validation gate", 'python -m validation gate --markdown "$GITHUB_STEP_SUMMARY"')
)
def gate(
    markdown: Annotated[
        Path | None, typer.Option(help="Append the summary to this file as Markdown, for a CI job's summary page.")
    ] = None,
) -> None:
    """Check, for CI, that all three reports exist, are open, and judged the data of this workspace."""
    with running("validation_gate"):
        from validation.ci_gate import gate

        gate(HERE, load(HERE.params), markdown)


if __name__ == "__main__":
    run(app, "python -m validation")
