"""The commands that dvc.yaml runs, and what a runner asks before it runs them.

`din.code` reads this file: a stage depends on the code that its own command imports.
"""

import contextlib
import json
import sys
from dataclasses import asdict

import typer

from din.cli.run import HERE, answering, check_root, params_here, reporting, running
from din.commandline import AsJson, examples, printing_json

STAGES = "Stages"

app = typer.Typer()


@app.command(rich_help_panel=STAGES, epilog=examples("din code"))
def code() -> None:
    """Hash the code and the package versions that each stage depends on into reports/code/."""
    check_root(HERE.params, HERE.pipeline)
    with running("code", HERE):
        from din.code import write_code

        write_code(HERE, params_here())


@app.command(
    rich_help_panel=STAGES,
    epilog=examples(
        "din source",
        "din source | python -m json.tool",
    ),
)
def source() -> None:
    """Print the source's fingerprint up to data.until (default: its newest day), and its first and last day."""
    with answering("train"):
        from din.sources.fetch import look

        print(json.dumps(asdict(look(HERE, params_here()))))


@app.command(rich_help_panel=STAGES, epilog=examples("din machine"))
def machine() -> None:
    """Print how `train` would compute here: processor, device, operations, threads and versions, as JSON."""
    with answering("train"):
        from din.train.compute import computing
        from din.train.machine import describe

        with contextlib.redirect_stdout(sys.stderr), computing(params_here().train.compute) as compute:
            found = describe(compute)
        print(json.dumps(found.model_dump(), indent=2))


@app.command(
    rich_help_panel=STAGES,
    epilog=examples(
        "din fetch",
        "din fetch --json         # the report, for machines",
        "dvc repro fetch          # the same, if code or parameters changed",
    ),
)
def fetch(as_json: AsJson = False) -> None:
    """Read the source's log into data/raw/ (daily partitions)."""
    with printing_json(HERE.fetch, as_json), running("fetch", HERE):
        from din.sources.fetch import fetch

        fetch(HERE, params_here())


@app.command(
    rich_help_panel=STAGES,
    epilog=examples(
        "din featurize",
        "dvc repro featurize      # with the stages before it",
    ),
)
def featurize(as_json: AsJson = False) -> None:
    """Build point-in-time histories, vocabularies and splits in data/features/."""
    from din.artifacts import MANIFEST

    with printing_json(HERE.features / MANIFEST, as_json), running("featurize", HERE):
        from din.featurize.build import featurize

        featurize(HERE, params_here())


@app.command(
    rich_help_panel=STAGES,
    epilog=examples(
        "din train                # the same command resumes a killed training",
        "dvc exp run -S train.learning.seed=2",
        "dvc repro train          # with the stages before it",
        "din train --json         # the summary, for machines",
    ),
)
def train(as_json: AsJson = False) -> None:
    """Train the model named in params.yaml into models/din/, or resume a killed training."""
    with printing_json(HERE.training, as_json), running("train", HERE, HERE.training):
        from din.train.run import train

        train(HERE, params_here())


@app.command(
    rich_help_panel=STAGES,
    epilog=examples(
        "din evaluate",
        "din evaluate --json > metrics.json",
    ),
)
def evaluate(as_json: AsJson = False) -> None:
    """Write metrics, floors and predictions into reports/."""
    with printing_json(HERE.evaluation, as_json), running("evaluate", HERE, HERE.evaluation):
        from din.train.evaluate import evaluate

        evaluate(HERE, params_here())


@app.command(
    rich_help_panel=STAGES,
    epilog=examples(
        "din refit",
        "dvc repro refit          # with the stages before it",
    ),
)
def refit(as_json: AsJson = False) -> None:
    """Let the judged model learn the test days too, into models/shipped/."""
    with printing_json(HERE.refit, as_json), running("refit", HERE, HERE.refit):
        from din.train.refit import refit

        refit(HERE, params_here())


@app.command(
    rich_help_panel=STAGES,
    epilog=examples(
        "din export",
        "din export --json        # the bundle's manifest",
    ),
)
def export(as_json: AsJson = False) -> None:
    """Export the model to ONNX as an immutable bundle in models/bundle/."""
    from din.artifacts import MANIFEST

    with printing_json(HERE.bundle / MANIFEST, as_json), running("export", HERE):
        from din.serve.export import export

        export(HERE, params_here())


@app.command(
    rich_help_panel=STAGES,
    epilog=examples(
        "din check-parity",
        "din check-parity --json | python -m json.tool",
    ),
)
def check_parity(as_json: AsJson = False) -> None:
    """Check that PyTorch, onnxruntime and the scorer on raw ids compute the same probabilities."""
    with printing_json(HERE.parity, as_json), running("check_parity", HERE, HERE.parity):
        from din.serve.parity import check_parity

        check_parity(HERE, params_here())


@app.command(
    rich_help_panel=STAGES,
    epilog=examples(
        "din gate",
        "din gate --json > gate.json",
    ),
)
def gate(as_json: AsJson = False) -> None:
    """Judge every condition for promotion, write reports/gate.json, and exit 3 unless all gates are open."""
    check_root(HERE.params, HERE.pipeline)
    with printing_json(HERE.gate, as_json), reporting("gate", HERE.gate):
        from din.gates.gate import gate

        gate(HERE, params_here())
