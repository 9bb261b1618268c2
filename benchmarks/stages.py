"""The stages of dvc.yaml in this process, by the names that they have there."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout
from pathlib import Path

from din.featurize.build import featurize
from din.gates.gate import gate
from din.params import Params
from din.serve.export import export
from din.serve.parity import check_parity
from din.sources.fetch import fetch
from din.train.evaluate import evaluate
from din.train.refit import refit
from din.train.run import train
from din.workspace import Workspace
from validation import features, predictions, raw
from validation.run import validate

Stage = Callable[[Workspace, Params], object]
"""A stage; it raises InputError or GateClosed where its command exits with 2 or 3."""


def validate_raw(workspace: Workspace, params: Params) -> None:
    """Judge the raw log."""
    validate(workspace, "raw", raw.PHASES, params)


def validate_features(workspace: Workspace, params: Params) -> None:
    """Judge the features."""
    validate(workspace, "features", features.PHASES, params)


def validate_predictions(workspace: Workspace, params: Params) -> None:
    """Judge the predictions."""
    validate(workspace, "predictions", predictions.PHASES, params)


FEATURES: Mapping[str, Stage] = {
    "fetch": fetch,
    "validate_raw": validate_raw,
    "featurize": featurize,
    "validate_features": validate_features,
}
MODEL: Mapping[str, Stage] = {
    "train": train,
    "evaluate": evaluate,
    "validate_predictions": validate_predictions,
    "refit": refit,
}
STAGES: Mapping[str, Stage] = {**FEATURES, **MODEL, "export": export, "check_parity": check_parity, "gate": gate}


def run(stages: Iterable[Stage], workspace: Workspace, params: Params, output: Path) -> None:
    """Run stages, and append what they print to a file.

    Raises:
        InputError: a stage can't use its input.
        GateClosed: a suite or a gate is closed.
    """
    with output.open("a", encoding="utf-8") as file, redirect_stdout(file):
        for stage in stages:
            stage(workspace, params)
