"""The commands that dvc.yaml runs.

`din.stages.code` reads this file: a stage depends on the code that its own command imports.
"""

import contextlib
import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from din.base.commandline import commands
from din.base.errors import GateClosed
from din.cli.run import HERE, answering, check_root, params_here, reporting, running, tell

app = typer.Typer()
command = commands(app, "Stages")


@command("din code")
def code() -> None:
    """Hash the code and the package versions that each stage depends on into reports/code/."""
    check_root(HERE.params, HERE.pipeline)
    with running("code"):
        from din.stages.code import write_code

        write_code(HERE, params_here())


@command(
    "din fetch",
    "din fetch --dry-run      # which log would be read: its fingerprint and days",
    "dvc repro fetch          # the same, if code or parameters changed",
)
def fetch(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print its fingerprint and days as JSON.")] = False,
) -> None:
    """Read the source's log into data/raw/ (daily partitions)."""
    if dry_run:
        with answering("train"):
            from din.data.fetch import describe

            print(json.dumps(asdict(describe(HERE, params_here()))))
        return
    with running("fetch"):
        from din.data.fetch import fetch

        fetch(HERE, params_here())


@command("din featurize", "dvc repro featurize      # with the stages before it")
def featurize() -> None:
    """Build point-in-time histories, vocabularies and splits in data/features/."""
    with running("featurize"):
        from din.featurize.build import featurize

        featurize(HERE, params_here())


@command(
    "din train                # the same command resumes a killed training",
    "din train --dry-run      # how this machine would compute",
    "dvc exp run -S train.learning.seed=2",
    "dvc repro train          # with the stages before it",
)
def train(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print processor, device, operations, threads and versions as JSON.")
    ] = False,
) -> None:
    """Train the model named in params.yaml into models/din/, or resume a killed training."""
    if dry_run:
        with answering("train"):
            from din.train.compute import computing
            from din.train.machine import describe

            with contextlib.redirect_stdout(sys.stderr), computing(params_here().train.compute) as compute:
                description = describe(compute)
            print(json.dumps(description.model_dump(), indent=2))
        return
    with running("train", HERE.training):
        from din.train.run import train

        train(HERE, params_here())


@command("din evaluate", "dvc repro evaluate       # with the stages before it")
def evaluate() -> None:
    """Write metrics, floors and predictions into reports/."""
    with running("evaluate", HERE.evaluation):
        from din.train.evaluate import evaluate

        evaluate(HERE, params_here())


@command("din refit", "dvc repro refit          # with the stages before it")
def refit() -> None:
    """Let the judged model learn the test days too, into models/shipped/."""
    with running("refit", HERE.refit):
        from din.train.refit import refit

        refit(HERE, params_here())


@command("din export", "dvc repro export         # with the stages before it")
def export() -> None:
    """Export the model to ONNX as an immutable bundle in models/bundle/."""
    with running("export"):
        from din.bundle.export import export

        export(HERE, params_here())


@command("din check-parity", "dvc repro check_parity   # with the stages before it")
def check_parity() -> None:
    """Check that PyTorch, onnxruntime and the scorer on raw ids compute the same probabilities."""
    with running("check_parity", HERE.parity):
        from din.bundle.parity import check_parity

        check_parity(HERE, params_here())


@command("din gate", "dvc repro gate           # with the stages before it")
def gate() -> None:
    """Judge every condition for promotion, write reports/gate.json, and exit 3 unless all gates are open."""
    check_root(HERE.params, HERE.pipeline)
    with reporting("gate", HERE.gate):
        from din.base import documents
        from din.contracts.verdicts import GateReport
        from din.release.events import refused
        from din.release.gates.gate import gate
        from din.release.registry.registry import Registry

        params = params_here()
        try:
            gate(HERE, params)
        except GateClosed:
            tell(lambda: refused(Registry.of(HERE, params), documents.read(GateReport, HERE.gate)))
            raise
