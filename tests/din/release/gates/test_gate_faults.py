"""Each planted fault closes its gate and no other, with a reason that names the cause."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from din.contracts.verdicts import Verdict
from din.params.reading import Params
from din.release.registry.registry import Registry
from din.schema import DAY_US
from tests.factories.documents_of import DIGEST
from tests.factories.run import (
    NEED_SCORES,
    Run,
    challenge,
    crown,
    edit,
    find,
    going_on,
    judge,
    probabilities,
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

    closes: str
    plant: Callable[[Run], object]
    says: str
    verdict: Verdict = "closed"
    champion: float | None = None
    limits: dict[str, Any] = field(default_factory=dict)


def edited(report: str, **values: Any) -> Callable[[Run], None]:
    return lambda run: edit(getattr(run.here, report), lambda found: found.update(values))


def with_file(folder: str) -> Callable[[Run], object]:
    return lambda run: (getattr(run.here, folder) / "more").write_text("x")


def with_facts(**facts: Any) -> Callable[[Run], object]:
    """Return a plant that ships a better model with other facts."""
    return lambda run: (run.facts.update(facts), run.become(0.1))


def good_baseline(name: str) -> Callable[[Run], object]:
    """Return a plant in which a baseline scores as well as a perfect model, and the candidate worse."""
    return lambda run: (run.rows.update({name: probabilities(0, run.rows["item"])}), run.become(1.0))


def tells_users_apart(share: float, floor: str) -> Callable[[Run], object]:
    """Return a plant whose users differ more than items do. The candidate knows the users, and a share of an item.

    The floor knows the items alone, so it orders a user's rows better, and all rows worse.
    """

    def plant(run: Run) -> None:
        user = np.linspace(-4, 4, 120)[run.rows["user"]]
        item = (run.rows["item"] / 1000 - 0.5) * 4
        run.rows["label"] = (np.random.default_rng(3).random(1200) < 1 / (1 + np.exp(-user - item))).astype(np.int8)
        run.rows[floor] = 1 / (1 + np.exp(-item))
        run.finish(1 / (1 + np.exp(-user - share * item + (1 - share) * np.random.default_rng(4).normal(size=1200))))

    return plant


def on_newcomers(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Run], object]:
    """Return a plant that changes the predictions of one slice, a tenth of all rows: impressions without history."""

    def plant(run: Run) -> None:
        p = probabilities(run.noise, run.rows["item"])
        run.finish(np.where(run.rows["history_length"] == 0, change(p), p))

    return plant


def another_auc(run: Run) -> None:
    edit(run.here.evaluation, lambda found: found["test"].update(auc=found["test"]["auc"] + 1e-3))
    run.bundle()


def squeezed(run: Run) -> None:
    """Squeeze the predictions, which changes neither their order nor their mean."""
    p = probabilities(run.noise, run.rows["item"])
    run.finish(p.mean() + (p - p.mean()) * 0.4)


def ship(run: Run, **columns: np.ndarray) -> None:
    """Replace predictions of the rows of the lesson."""
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


def overshot(run: Run) -> None:
    """Ship a model that ranks its rows as well as models that have learned a part of them, but is far too sure."""
    taught = sharpened(run, 0.05)
    ship(run, taught=taught, shipped=1 / (1 + (1 / taught - 1) ** 20))


def too_low(run: Run) -> None:
    """Ship a model that tells clicks apart, but whose mean prediction is far below the CTR."""
    ship(run, shipped=np.where(run.rows["label"] == 1, 0.55, 0.05))


def harmed(run: Run) -> None:
    run.noise = 0.1
    worse = probabilities(1.0, run.rows["item"])
    ship(run, prediction=worse, taught=worse, shipped=worse)


def doubtful(run: Run) -> None:
    """Let a lesson change a model so little that nobody can tell whether it harms."""
    run.noise = 0.3
    other = probabilities(0.31, run.rows["item"])
    ship(run, prediction=other, taught=other, shipped=other)


def called_a_warning(run: Run) -> None:
    """Let an expectation fail, and the report call it a warning."""
    failed = {"success": False, "severity": "warning"}
    edit(run.here.validation("features"), lambda report: report["expectations"][0].update(failed))


def rolled_back(run: Run) -> None:
    registry = Registry.of(run.here, run.params)
    run.become(0.2)
    crown(registry, run)
    registry.rollback(1, by="ann", reason="wrong prices")


def leap(run: Run) -> None:
    """Let the model know the labels, and a suite's report name the strongest field."""

    def name_the_strongest(report: dict[str, Any]) -> None:
        (leak,) = (entry for entry in report["expectations"] if entry["name"] == "label_leak")
        leak.update(column="play_time", observed=0.83, threshold={"max": 0.9})

    run.become(0.0)
    edit(run.here.validation("features"), name_the_strongest)


def grown(run: Run) -> None:
    size = sum(path.stat().st_size for path in run.here.bundle.rglob("*") if path.is_file())
    run.facts["packages"] = {"padding": "x" * 4 * size}
    run.bundle()


NINE_DAYS = {"data": {"window_days": 9, "history_days": None}, "featurize": {}, "train": {}}
LATER = "2024-10-04T00:00:00+00:00"
NEWCOMERS = "history_length=0 "
HARM = "so a loss of more than 0.0300 is certain"
WORSE = "does not predict them like a model that has"
DISAGREE = "the paths disagree, or not all were compared"
LEAK = "'play_time', its AUC at least 0.83"
FAULTS = {
    "another window": Fault("made_from", with_facts(params=NINE_DAYS), "data.window_days was 9, is None"),
    "a closed suite": Fault(
        "validation_raw",
        lambda run: edit(run.here.validation("raw"), lambda report: report.update(verdict="closed")),
        "the report is 'closed' although nothing in it failed",
    ),
    "a failed expectation, called a warning": Fault(
        "validation_features", called_a_warning, "the report lacks behaviours_sorted"
    ),
    "later predictions": Fault("validation_predictions", with_file("predictions"), "workspace holds ("),
    "another AUC": Fault("evaluation", another_auc, "evaluation.json does not follow from"),
    "paths that disagree": Fault("parity", edited("parity", verdict="closed"), "the paths disagree"),
    "paths that are far apart": Fault("parity", edited("parity", max_abs_probability_diff=2e-5), DISAGREE),
    "a path that was left out": Fault("parity", edited("parity", paths=["torch", "onnx"]), DISAGREE),
    "no case that was compared": Fault("parity", edited("parity", cases=0), DISAGREE),
    "outputs that are all alike": Fault("parity", edited("parity", std=0.0), DISAGREE),
    "parity of another bundle": Fault("parity", edited("parity", bundle=DIGEST), "the report is about bundle abab"),
    "good popularity": Fault(
        "auc_over_popularity gauc_over_popularity", good_baseline("popularity"), "none of it above 0.0000"
    ),
    "a good LR": Fault("auc_over_lr gauc_over_lr", good_baseline("lr"), "none of it above 0.0000"),
    "popularity that orders a user's rows better": Fault(
        "gauc_over_popularity",
        tells_users_apart(0.2, "popularity"),
        "Try each of these alone: ",
        limits={"slice_calibration": (0.5, 2.0)},
    ),
    "an LR that orders a user's rows better": Fault(
        "gauc_over_lr", tells_users_apart(0.2, "lr"), HARM, limits={"slice_calibration": (0.5, 2.0)}
    ),
    "a low AUC": Fault("min_auc", Run.bundle, "none of it above 0.9500", limits={"min_auc": 0.95}),
    "a low GAUC": Fault("min_gauc", Run.bundle, "none of it above 0.9500", limits={"min_gauc": 0.95}),
    "high predictions": Fault(
        "calibration", Run.bundle, "none of it within 0.7000 to 0.8000", limits={"calibration": (0.7, 0.8)}
    ),
    "a large bundle": Fault("bundle_mb", Run.bundle, "larger than gate.max_bundle_mb", limits={"max_bundle_mb": 1e-5}),
    "a high AUC": Fault("implausible_gain", Run.bundle, "AUC 0.7", "borderline", limits={"max_auc": 0.7}),
    "a reversed slice": Fault("slice_auc", on_newcomers(lambda p: 1 - p), NEWCOMERS),
    "a low slice": Fault("slice_calibration", on_newcomers(lambda p: 0.4 * p), NEWCOMERS),
    "another shipped model in the report": Fault("refit", edited("refit", shipped=DIGEST), "the shipped model was"),
    "another time of the shipped model": Fault("refit", edited("refit", seen_until=LATER), "seen_until was"),
    "another time of the judged model": Fault("refit", edited("refit", judged_until=LATER), "judged_until was"),
    "another shipped model": Fault("refit", with_file("shipped"), "the shipped model here was"),
    "other cross-fitted predictions": Fault("refit", with_file("crossfit"), "the cross-fitted predictions was"),
    "no shipped score": Fault("shipped", lambda run: ship(run, shipped=np.full(1200, np.nan)), "can't be evaluated"),
    "a shipped model that forgot": Fault("shipped", lambda run: ship(run, taught=sharpened(run, 0.5)), WORSE),
    "a shipped model that overshot": Fault("shipped", overshot, WORSE),
    "a shipped model that is too low": Fault("shipped", too_low, "is miscalibrated"),
    "a lesson that harms": Fault("lesson_delta_auc", harmed, "is certain"),
    "a lesson that may harm": Fault(
        "lesson_delta_auc", doubtful, "a loss of 0.0001 is possible", "borderline", limits={"margin": 0.0001}
    ),
    "a worse candidate": Fault(
        "champion_delta_auc champion_delta_gauc",
        lambda run: run.become(1.5),
        HARM,
        champion=0.2,
        limits={"slice_margin": 1.0},
    ),
    "a worse slice": Fault(
        "slice_delta", on_newcomers(lambda p: 1 - p), NEWCOMERS, champion=0.2, limits={"margin": 0.2}
    ),
    "squeezed predictions": Fault("prediction_drift", squeezed, "differently from the champion's", champion=0.2),
    "an older log": Fault("data_until", with_facts(until="2024-10-12"), "gate.allow_older: true", champion=0.2),
    "a bundle that was rolled back": Fault("not_rolled_back", rolled_back, "wrong prices", champion=1.0),
    "a grown bundle": Fault("bundle_ratio", grown, "raise gate.max_bundle_ratio", champion=0.2),
    "a leap": Fault("implausible_gain", leap, LEAK, "borderline", champion=2.0, limits={"max_gain": 0.05}),
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
    closed = shut(report)
    assert closed == fault.closes.split()
    assert {find(report, gate)["verdict"] for gate in closed} == {fault.verdict}
    assert fault.says in find(report, closed[0])["reason"]


def test_a_further_metric_may_lose_the_margin_to_lr(run: Run, quick: Params) -> None:
    """A certain loss of GAUC is open below the margin, if AUC is better for certain."""
    tells_users_apart(0.2, "lr")(run)
    found = find(judge(run.here, set_gate(quick, margin=0.3)), "gauc_over_lr")
    assert found["verdict"] == "open" and found["interval"][1] < 0


def test_a_further_metric_needs_no_proof_against_popularity(run: Run, quick: Params) -> None:
    """If a model is as good as popularity, the first metric is undecided, and a further one is open."""
    run.rows["popularity"] = probabilities(run.noise, run.rows["item"])
    run.finish()
    assert shut(judge(run.here, quick)) == [f"{quick.gate.metrics[0]}_over_popularity"]


def test_every_gate_of_a_first_run_has_a_planted_fault(run: Run, quick: Params) -> None:
    """Only `no_earlier_champion` has none."""
    run.finish()
    names = {one["name"] for one in judge(run.here, quick)["gates"]}
    planted = {name for fault in FAULTS.values() if fault.champion is None for name in fault.closes.split()}
    assert names == planted | {"no_earlier_champion"}


def test_a_champion_that_cannot_score_closes_what_needs_its_scores(run: Run, quick: Params, registry: Registry) -> None:
    """Each gate that needs its scores closes as not evaluated. The others judge the candidate as on a first run."""
    challenge(registry, run)
    scores = {"too few": np.full(3, 0.5), "NaN": np.full(1200, np.nan)}
    says = {"an error": "KeyError('an error')", "too few": "gave (3,) probabilities", "NaN": "not a number"}
    for how, words in says.items():
        report = judge(run.here, quick, lambda workspace, bundle, rows, how=how: scores[how])
        assert set(shut(report)) == NEED_SCORES == {one["name"] for one in report["gates"] if not one["evaluated"]}
        assert words in find(report, "champion_delta_auc")["reason"]
        assert {"auc_over_popularity", "auc_over_lr", "slice_auc"} <= {one["name"] for one in report["gates"]}


def test_a_champion_that_was_edited_closes_what_needs_its_bundle(run: Run, quick: Params, registry: Registry) -> None:
    """The reason names the file."""
    challenge(registry, run)
    (model,) = (run.here.root / "registry").glob("*/bundles/*/model.json")
    model.write_text('{"noise": 9}')
    report = judge(run.here, quick)
    assert set(shut(report)) == NEED_SCORES | {"bundle_ratio"}
    assert "model.json" in find(report, "champion_delta_auc")["reason"]


def test_a_lesson_may_sharpen_the_predictions(run: Run, quick: Params) -> None:
    """A model that has learned all rows knows them better than models that have learned a part."""
    ship(run, taught=sharpened(run, 0.03), shipped=sharpened(run, 0.05))
    found = find(judge(run.here, quick), "shipped")
    assert (found["verdict"], found["reason"]) == ("open", None) and found["observed"] > 0


def test_a_shipped_model_whose_last_day_is_small(run: Run, quick: Params) -> None:
    """It is judged on as many days as tell, since a day of a few users would refuse every model."""
    times = run.rows["timestamp"].copy()
    (last,) = np.nonzero(times == times.max())
    times[last[10:]] -= DAY_US
    run.rows["timestamp"] = times
    run.finish()
    found = find(judge(run.here, quick), "shipped")
    assert (found["verdict"], found["reason"]) == ("open", None) and found["observed"] is not None


def test_a_metric_that_is_not_asked_for_closes_nothing(run: Run, quick: Params) -> None:
    """Where each user sees one impression, there is no GAUC, and no limit on it."""
    names = [one["name"] for one in judge(run.here, set_gate(quick, metrics=("auc",)))["gates"]]
    assert "min_auc" in names and "min_gauc" not in names


@pytest.mark.parametrize(("kept", "verdict"), [(0.25, "open"), (0.05, "closed")])
def test_a_shipped_model_may_forget_a_part_of_its_rows(run: Run, quick: Params, kept: float, verdict: str) -> None:
    """It learns more rows than its stand-ins, so even a sound one may certainly know each of them less well."""
    ship(run, taught=sharpened(run, 0.3), shipped=sharpened(run, kept))
    found = find(judge(run.here, quick), "shipped")
    assert found["verdict"] == verdict
    assert found["interval"][1] < 0


def test_a_shipped_model_may_forget_half_of_what_learning_gives(run: Run, quick: Params) -> None:
    """The less its stand-ins gained from the rows, the less it may lose."""
    ship(run, taught=sharpened(run, 0.02), shipped=sharpened(run, 0))
    found = find(judge(run.here, quick), "shipped")
    assert found["threshold"] == pytest.approx(found["observed"] / 2) and found["verdict"] == "closed"


def test_a_candidate_that_continues_a_champion_needs_no_proof_of_its_lesson(run: Run, quick: Params) -> None:
    """The comparison with the champion is this proof, since the lesson began with a champion."""
    names = {one["name"] for one in judge(run.here, going_on(run, quick, "a" * 64, "a" * 64))["gates"]}
    assert "lesson_delta_auc" not in names
