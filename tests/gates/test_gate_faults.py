"""Each planted fault closes its gate and no other, with a reason that names the cause."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from din.params import Params
from din.registry.registry import Registry
from din.verdicts import Verdict
from din.workspace import Workspace
from tests.factories.documents_of import DIGEST
from tests.factories.run import (
    NEED_SCORES,
    Run,
    crown,
    edit,
    find,
    going_on,
    judge,
    probabilities,
    score,
    set_gate,
    shut,
)


@dataclass(frozen=True)
class Fault:
    """A fault of a finished run.

    Attributes:
        closes: the gates that are not open with it.
        plant: changes the run.
        says: words of the first gate's reason.
        verdict: the verdict of each of these gates.
        champion: the noise of the champion that the run is compared with, or None for a first run.
        limits: what differs in the block `gate`.
    """

    closes: tuple[str, ...]
    plant: Callable[[Run], object]
    says: str
    verdict: Verdict = "closed"
    champion: float | None = None
    limits: dict[str, Any] = field(default_factory=dict)


def with_rows(run: Run, noise: float, **columns: Callable[[np.ndarray], np.ndarray]) -> None:
    """Replace columns of the test rows, each made of their items, and finish a model with this noise."""
    run.rows |= {name: make(run.rows["item"]) for name, make in columns.items()}
    run.become(noise)


def on_newcomers(run: Run, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change the predictions of one slice, a tenth of all rows: impressions without history."""
    p = probabilities(run.noise, run.rows["item"])
    run.finish(np.where(run.rows["history_length"] == 0, change(p), p))


def ship(run: Run, **columns: np.ndarray) -> None:
    """Let the shipped model have learned the rows of a lesson, and replace predictions of these rows."""
    run.days = [{"day": "2024-10-13", "rows": 1200, "auc": 0.7, "gauc": 0.7, "log_loss": 0.6, "loss": 0.6}]
    run.crossfit = {"folds": 2, "after": "2024-10-12T00:00:00+00:00", "rows": 1200}
    run.finish()
    path = run.here.crossfit / "predictions.parquet"
    rows = pq.read_table(path)
    for name, values in columns.items():
        rows = rows.set_column(rows.schema.get_field_index(name), name, pa.array(values))
    pq.write_table(rows, path)
    run.bundle()


def sharpened(run: Run, share: float) -> np.ndarray:
    """Return the judged model's predictions, moved towards the labels by a share of their variance."""
    judged = probabilities(run.noise, run.rows["item"])
    return judged + np.where(run.rows["label"] == 1, share, -share) * judged * (1 - judged)


def broken(run: Run, how: Callable[[np.ndarray], np.ndarray]) -> None:
    """Ship a model that is worse on its own rows than models that have learned a part of them."""
    taught = sharpened(run, 0.05)
    ship(run, taught=taught, shipped=how(taught))


def squeezed(run: Run) -> None:
    """Squeeze the predictions, which changes neither their order nor their mean."""
    p = probabilities(run.noise, run.rows["item"])
    run.finish(p.mean() + (p - p.mean()) * 0.4)


def too_low(run: Run) -> None:
    """Ship a model that tells clicks apart, but whose mean prediction is far below the CTR."""
    ship(run, shipped=np.where(run.rows["label"] == 1, 0.55, 0.05))


def harmed(run: Run) -> None:
    """Let a lesson harm a good model."""
    run.noise = 0.1
    worse = probabilities(1.0, run.rows["item"])
    ship(run, prediction=worse, taught=worse, shipped=worse)


def doubtful(run: Run) -> None:
    """Let a lesson change a model so little that nobody can tell whether it harms."""
    run.noise = 0.3
    other = probabilities(0.31, run.rows["item"])
    ship(run, prediction=other, taught=other, shipped=other)


def shorten(path: Path) -> None:
    """Leave out the first row of a file of predictions."""
    pq.write_table(pq.read_table(path).slice(1), path)


def roll_back(run: Run) -> None:
    """Promote the run, and bring the champion before back."""
    registry = Registry.of(run.here, run.params)
    run.become(0.2)
    crown(registry, run)
    registry.rollback(1, by="ann", reason="wrong prices")


def let_the_gain_leap(run: Run) -> None:
    """Let the model know the labels, and a suite's report name the strongest field."""
    run.become(0.0)
    edit(run.here.validation("features"), name_the_strongest)


def name_the_strongest(report: dict[str, Any]) -> None:
    (leak,) = (entry for entry in report["expectations"] if entry["name"] == "label_leak")
    leak.update(column="play_time", observed=0.83, threshold={"max": 0.9})


def with_facts(run: Run, **facts: Any) -> None:
    run.facts |= facts
    run.become(0.1)


def grow(run: Run) -> None:
    """Let the bundle have several times the champion's size."""
    size = sum(path.stat().st_size for path in run.here.bundle.rglob("*") if path.is_file())
    run.facts["packages"] = {"padding": "x" * 4 * size}
    run.bundle()


OTHER_WINDOW = {"data": {"window_days": 9, "history_days": None}, "featurize": {}, "train": {}}
OTHER_TIME = "2024-10-04T00:00:00+00:00"
JUDGED_ANOTHER = "the report judged another "
REFIT = "not exported after this refit: "
WORSE = "predicts them worse than models that learned a part or nothing of them"
NEWCOMERS = "history_length=0 "
FAULTS = {
    "a suite's verdict": Fault(
        ("validation_raw",),
        lambda run: edit(run.here.validation("raw"), lambda r: r.update(verdict="closed")),
        "the report is 'closed' although nothing in it failed",
    ),
    "a failed expectation, called a warning": Fault(
        ("validation_features",),
        lambda run: edit(
            run.here.validation("features"), lambda r: r["expectations"][0].update(success=False, severity="warning")
        ),
        "the report lacks behaviours_sorted",
    ),
    "features that changed after they were judged": Fault(
        ("validation_features",), lambda run: (run.here.features / "rows.txt").write_text("changed"), JUDGED_ANOTHER
    ),
    "predictions that came later": Fault(
        ("validation_predictions",),
        lambda run: (run.here.predictions / "valid.parquet").write_text("later"),
        JUDGED_ANOTHER,
    ),
    "another AUC in the evaluation and in the bundle": Fault(
        ("evaluation",),
        lambda run: (edit(run.here.evaluation, lambda e: e["test"].update(auc=e["test"]["auc"] + 1e-3)), run.bundle()),
        "evaluation.json does not follow from",
    ),
    "parity's verdict": Fault(
        ("parity",), lambda run: edit(run.here.parity, lambda p: p.update(verdict="closed")), "the paths disagree"
    ),
    "parity of another bundle": Fault(
        ("parity",),
        lambda run: edit(run.here.parity, lambda p: p.update(bundle=DIGEST)),
        f"the report is about bundle {DIGEST[:12]}",
    ),
    "popularity as good as the model": Fault(
        ("auc_over_popularity",),
        lambda run: with_rows(run, 1.0, popularity=lambda item: probabilities(0, item)),
        "none of it above 0.0000",
    ),
    "LR as good as the model": Fault(
        ("auc_over_lr",),
        lambda run: with_rows(run, 1.0, lr=lambda item: probabilities(0, item)),
        "none of it above 0.0000",
    ),
    "an AUC below the floor": Fault(("min_auc",), Run.bundle, "none of it above 0.9500", limits={"min_auc": 0.95}),
    "a GAUC below the floor": Fault(("min_gauc",), Run.bundle, "none of it above 0.9500", limits={"min_gauc": 0.95}),
    "predictions that are too high": Fault(
        ("calibration",), Run.bundle, "none of it within 0.7000 to 0.8000", limits={"calibration": (0.7, 0.8)}
    ),
    "a bundle over the budget": Fault(
        ("bundle_mb",), Run.bundle, "larger than gate.max_bundle_mb", limits={"max_bundle_mb": 1e-5}
    ),
    "an AUC too good to be true": Fault(
        ("implausible_gain",), Run.bundle, "AUC 0.7", "borderline", limits={"max_auc": 0.7}
    ),
    "a bundle of another window": Fault(
        ("made_from",), lambda run: with_facts(run, params=OTHER_WINDOW), "data.window_days"
    ),
    "a reversed slice": Fault(("slice_auc",), lambda run: on_newcomers(run, lambda p: 1 - p), NEWCOMERS),
    "a slice that is too low": Fault(
        ("slice_calibration",), lambda run: on_newcomers(run, lambda p: 0.4 * p), NEWCOMERS
    ),
    "another shipped model in the report": Fault(
        ("refit",), lambda run: edit(run.here.refit, lambda r: r.update(shipped=DIGEST)), REFIT
    ),
    "another time until which the shipped model learned": Fault(
        ("refit",), lambda run: edit(run.here.refit, lambda r: r.update(seen_until=OTHER_TIME)), "seen_until was"
    ),
    "another time until which the judged model learned": Fault(
        ("refit",), lambda run: edit(run.here.refit, lambda r: r.update(judged_until=OTHER_TIME)), "judged_until was"
    ),
    "another shipped model": Fault(
        ("refit",), lambda run: (run.here.shipped / "weights.safetensors").write_text("x"), "the shipped model here was"
    ),
    "cross-fitted predictions of fewer rows": Fault(
        ("refit",), lambda run: shorten(run.here.crossfit / "predictions.parquet"), "the cross-fitted predictions was"
    ),
    "a shipped score that is no number": Fault(
        ("shipped",), lambda run: ship(run, shipped=np.full(1200, np.nan)), "can't be evaluated"
    ),
    "a shipped model that collapsed": Fault(("shipped",), lambda run: broken(run, lambda p: p * 0 + 0.02), WORSE),
    "a shipped model that overshot": Fault(
        ("shipped",), lambda run: broken(run, lambda p: 1 / (1 + np.exp(-20 * np.log(p / (1 - p))))), WORSE
    ),
    "a shipped model that is too low": Fault(("shipped",), too_low, "is miscalibrated"),
    "a lesson that harms": Fault(("lesson_delta_auc",), harmed, "is certain"),
    "a lesson that may harm": Fault(
        ("lesson_delta_auc",), doubtful, "a loss of 0.0001 is possible", "borderline", limits={"margin": 0.0001}
    ),
    "a worse candidate": Fault(
        ("champion_delta_auc", "champion_delta_gauc"),
        lambda run: run.become(1.5),
        "so a loss of more than 0.0300 is certain",
        champion=0.2,
        limits={"slice_margin": 1.0},
    ),
    "a loss on one slice": Fault(
        ("slice_delta",),
        lambda run: on_newcomers(run, lambda p: 1 - p),
        NEWCOMERS,
        champion=0.2,
        limits={"margin": 0.2},
    ),
    "squeezed predictions": Fault(("prediction_drift",), squeezed, "differently from the champion's", champion=0.2),
    "a log that ends before the champion's": Fault(
        ("data_until",), lambda run: with_facts(run, until="2024-10-12"), "gate.allow_older: true", champion=0.2
    ),
    "a bundle that was rolled back": Fault(("not_rolled_back",), roll_back, "wrong prices", champion=1.0),
    "a bundle four times as large": Fault(("bundle_ratio",), grow, "raise gate.max_bundle_ratio", champion=0.2),
    "a leap over the champion": Fault(
        ("implausible_gain",),
        let_the_gain_leap,
        "'play_time', its AUC at least 0.83",
        "borderline",
        champion=2.0,
        limits={"max_gain": 0.05},
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_closes_its_gates_alone(name: str, run: Run, quick: Params, registry: Registry) -> None:
    """The reason of the gate says what to look at."""
    fault = FAULTS[name]
    if fault.champion is not None:
        run.become(fault.champion)
        crown(registry, run)
    fault.plant(run)
    report = judge(run.here, set_gate(quick, **fault.limits))
    assert shut(report) == list(fault.closes)
    assert {find(report, gate)["verdict"] for gate in fault.closes} == {fault.verdict}
    assert fault.says in find(report, fault.closes[0])["reason"]


@pytest.mark.parametrize("how", ["edited", "raises", "gives too few", "gives NaN"])
def test_a_champion_that_cannot_score_closes_what_needs_its_scores(
    how: str, run: Run, quick: Params, registry: Registry
) -> None:
    """If its bundle was edited or scoring fails, each gate that needs its scores closes as not evaluated."""
    crown(registry, run)
    if how == "edited":
        (model,) = (run.here.root / "registry").glob("*/bundles/*/model.json")
        model.write_text('{"noise": 9}')
    run.become(0.1)

    def score_badly(workspace: Workspace, bundle: Path, rows: pa.Table) -> np.ndarray:
        if how == "raises":
            raise RuntimeError("needs a field 'age' that is gone")
        return np.full(3, 0.5) if how == "gives too few" else np.full(len(rows), np.nan)

    report = judge(run.here, quick, score if how == "edited" else score_badly)
    assert set(shut(report)) == NEED_SCORES | ({"bundle_ratio"} if how == "edited" else set())
    assert {one["name"] for one in report["gates"] if not one["evaluated"]} >= NEED_SCORES
    says = {"edited": "model.json", "raises": "that is gone", "gives too few": "gave (3,)", "gives NaN": "not a number"}
    assert says[how] in find(report, "champion_delta_auc")["reason"]


def test_a_lesson_may_sharpen_the_predictions(run: Run, quick: Params) -> None:
    """A model that has learned all rows knows them better than models that have learned a part."""
    ship(run, taught=sharpened(run, 0.03), shipped=sharpened(run, 0.05))
    found = find(judge(run.here, quick), "shipped")
    assert (found["verdict"], found["reason"]) == ("open", None) and found["observed"] > 0


def test_a_candidate_that_goes_on_needs_no_proof_of_its_lesson(run: Run, quick: Params) -> None:
    """The comparison with the champion is this proof, since the lesson began with a champion."""
    names = {one["name"] for one in judge(run.here, going_on(run, quick, "a" * 64, "a" * 64))["gates"]}
    assert "lesson_delta_auc" not in names
