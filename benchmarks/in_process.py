"""Run the stages of dvc.yaml, by their names there, and `promote`, in this process."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

from benchmarks.defects.learning import Plant, planted
from din.base.artifacts import read_json
from din.base.errors import GateClosed, InputError
from din.base.workspace import Workspace
from din.bundle.export import export
from din.bundle.parity import check_parity
from din.data.fetch import fetch
from din.featurize.build import featurize
from din.params.reading import Params
from din.release.gates.gate import gate
from din.release.promote import promote
from din.train.evaluate import evaluate
from din.train.refit import refit
from din.train.run import train
from validation import features, predictions, raw
from validation.run import validate

Stage = Callable[[Workspace, Params], object]
"""A stage. It raises InputError or GateClosed where its command exits with 2 or 3."""
FEATURES: Mapping[str, Stage] = {
    "fetch": fetch,
    "validate_raw": lambda here, params: validate(here, "raw", raw.PHASES, params),
    "featurize": featurize,
    "validate_features": lambda here, params: validate(here, "features", features.PHASES, params),
}
MODEL: Mapping[str, Stage] = {
    "train": train,
    "evaluate": evaluate,
    "validate_predictions": lambda here, params: validate(here, "predictions", predictions.PHASES, params),
    "refit": refit,
}
STAGES: Mapping[str, Stage] = {**FEATURES, **MODEL, "export": export, "check_parity": check_parity, "gate": gate}
STEPS: Mapping[str, Stage] = {**STAGES, "promote": lambda here, params: promote(here, params, by="benchmarks")}


class RefusedRun(NamedTuple):
    """The step that refused a run, with the names of its closed gates or failed expectations, or else its error."""

    step: str
    why: list[str]


def run(names: Iterable[str], workspace: Workspace, params: Params, output: Path) -> None:
    """Run some of `STEPS`, and append their output to a file.

    Raises:
        InputError: a step can't use its input.
        GateClosed: a suite or a gate is closed.
    """
    with output.open("a", encoding="utf-8") as file, redirect_stdout(file):
        for name in names:
            STEPS[name](workspace, params)


def refusal(
    names: Iterable[str], workspace: Workspace, params: Params, output: Path, plant: Plant | None = None
) -> RefusedRun | None:
    """Run some of `STEPS` until one refuses, and return its refusal, or None. `refit` runs with the fault `plant`."""
    for name in names:
        try:
            with planted(plant if name == "refit" else None):
                run([name], workspace, params, output)
        except (InputError, GateClosed) as error:
            return RefusedRun(name, _reasons(error))
    return None


def _reasons(error: InputError | GateClosed) -> list[str]:
    report = read_json(error.report) if isinstance(error, GateClosed) and error.report else {}
    gates = [gate["name"] for gate in report.get("gates", ()) if gate["verdict"] != "open"]
    expected = [expectation for expectation in report.get("expectations", ()) if expectation["severity"] == "critical"]
    failed = [expectation["name"] for expectation in expected if not expectation["success"]]
    return [*dict.fromkeys([*gates, *failed])] or [str(error)]
