"""The command `din`: parse, call, print. Imports inside each command, so `--help` is fast and a stage loads its own."""

import sys
from collections.abc import Callable
from typing import Any

import typer

from din import stage
from din.params import Params, load

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Click-through-rate models that retrain themselves and never let a bad one reach production.\n\n"
    "The stages below are run by `dvc repro`, in this order; each can be run alone. They read params.yaml and exit "
    "0 = done, 1 = bug, 2 = bad input, 3 = a gate is closed.",
)


def run_stage(name: str, body: Callable[[Params], Any], report: str | None = None) -> None:
    """Run a stage's function on the parameter file, under the lock, and exit with its code."""
    raise typer.Exit(stage.run(name, lambda: body(load()), report))


@app.command()
def fetch() -> None:
    """Read the source's log into data/raw/ (daily partitions)."""
    from din.sources.fetch import fetch

    run_stage("fetch", fetch)


@app.command()
def featurize() -> None:
    """Build point-in-time histories, vocabularies and splits in data/features/."""
    from din.featurize.build import featurize

    run_stage("featurize", featurize)


@app.command()
def train() -> None:
    """Train the model named in params.yaml into models/din/; resumes a killed run."""
    from din.train.run import train

    run_stage("train", train, "reports/training/summary.json")


@app.command()
def evaluate() -> None:
    """Metrics, floors and predictions into reports/."""
    from din.train.evaluate import evaluate

    run_stage("evaluate", evaluate, "reports/evaluation.json")


@app.command()
def export() -> None:
    """Export the model to ONNX as an immutable bundle in models/bundle/."""
    from din.serve.export import export

    run_stage("export", export)


@app.command()
def parity() -> None:
    """Check that PyTorch, onnxruntime and the scorer on raw ids compute the same probabilities."""
    from din.serve.parity import parity

    run_stage("check_parity", parity, "reports/parity.json")


def main() -> None:
    """Entry point."""
    app()


if __name__ == "__main__":
    sys.exit(main())
