"""Single gates: what closes each, and what it excuses."""

import math
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from din.base.artifacts import MANIFEST
from din.base.workspace import Workspace
from din.bundle.contents import Verified
from din.bundle.latency import NOMINAL_MS
from din.release.gates import plausibility
from din.release.gates.gate import gate
from din.release.promote import promote
from tests.factories.documents_of import PROTOCOL
from tests.factories.run import challenge, crown, edit, find, going_on, judge, probabilities, score, set_gate, shut


def test_a_worse_calibrated_champion_excuses(workspace: Workspace, run, quick, registry):
    """If the champion is farther off on the same rows, keeping it would not help; if it is not, the gates close."""
    shifted = 1 - 0.2 * (1 - probabilities(run.noise, run.rows["item"]))
    run.days, run.crossfit = [], None  # the gate `shipped` excuses nobody who has learned the rows
    crown(registry, run)
    run.noise = 0.1
    run.finish(1 - 0.5 * (1 - probabilities(run.noise, run.rows["item"])))
    wide = set_gate(quick, max_prediction_drift=10.0)
    report = judge(workspace, wide, lambda workspace, bundle, rows: shifted)
    assert shut(report) == []
    assert "the champion is farther from 1" in find(report, "calibration")["reason"]
    assert ", 0 excused" not in find(report, "slice_calibration")["reason"]
    assert {"calibration", "slice_calibration"} <= set(shut(judge(workspace, wide)))


def test_clicks_of_few_users_excuse_nothing(workspace: Workspace, run, quick, registry):
    """Without an interval, it is unknown whether the candidate's calibration is closer to 1 than the champion's."""
    crown(registry, run)
    run.rows["label"][run.rows["user"] >= 19] = 0
    run.become(0.1)
    entry = find(judge(workspace, quick, lambda workspace, bundle, rows: np.full(len(rows), 0.99)), "calibration")
    assert entry["verdict"] == "closed" and entry["reason"].startswith("undefined: ")


def test_small_slices_are_not_judged(workspace: Workspace, run, quick):
    """The faulty slice has 120 rows; with a higher minimum it is only counted."""
    p = probabilities(run.noise, run.rows["item"])
    run.finish(np.where(run.rows["history_length"] == 0, 1 - p, p))
    report = judge(workspace, set_gate(quick, min_slice_rows=121))
    assert shut(report) == []
    assert "too small" in find(report, "slice_auc")["reason"]


def test_slice_of_one_class_is_not_judged(workspace: Workspace, run, quick):
    """Without a click among newcomers, there is no AUC and no alarm."""
    newcomers = run.rows["history_length"] == 0
    run.rows["label"][newcomers] = 0
    run.finish(np.where(newcomers, 1e-3, probabilities(run.noise, run.rows["item"])))
    assert shut(judge(workspace, quick)) == []


def test_drift_confirmed_by_labels_opens(workspace: Workspace, run, quick, registry):
    """If the champion was squeezed and the candidate is not, the candidate differs and is better."""
    p = probabilities(run.noise, run.rows["item"])
    challenge(registry, run)
    report = judge(workspace, quick, lambda workspace, bundle, rows: p.mean() + (p - p.mean()) * 0.4)
    entry = find(report, "prediction_drift")
    assert entry["verdict"] == "open" and entry["observed"] > entry["threshold"]
    assert "log loss -" in entry["reason"]


def test_a_first_run_needs_lr(workspace: Workspace, run, quick):
    """Only a champion that goes on has no LR beside it. The reason says how to train one."""
    predictions = workspace.predictions / "test.parquet"
    pq.write_table(pq.read_table(predictions).drop_columns("lr"), predictions)
    entry = find(judge(workspace, quick), "auc_over_lr")
    assert entry["verdict"] == "closed" and "run once with train.start: scratch" in entry["reason"]


def test_the_gain_over_lr_of_a_first_run(workspace: Workspace, run, quick, monkeypatch):
    """Without a champion, the gain over LR has a limit of its own."""
    monkeypatch.setattr(plausibility, "MAX_GAIN_OVER_LR", 0.01)
    report = judge(workspace, quick)
    assert shut(report) == ["implausible_gain"] and "AUC over LR's" in find(report, "implausible_gain")["reason"]


@pytest.mark.parametrize("rolled_back", [False, True])
def test_a_leap_of_the_gain_over_lr_is_held(rolled_back: bool, workspace: Workspace, run, quick, registry):
    """The champion's recorded gain over LR was smaller. A champion that was rolled back for a leak does not count."""
    crown(registry, run)
    run.rows["lr"] = np.full(len(run.rows["label"]), 0.5)
    run.become(0.1)
    if rolled_back:
        crown(registry, run)
        registry.rollback(1, "ann", "a leak")
        run.become(0.05)
    report = judge(workspace, set_gate(quick, max_gain=0.1))
    assert "gain over LR beyond every recent champion's" in find(report, "implausible_gain")["reason"]


def test_a_bundle_of_another_rule_for_a_click_is_closed(workspace: Workspace, run, quick):
    """The reason names the key of the log that differs from today's params.yaml."""
    report = judge(workspace, replace(quick, fetch=replace(quick.fetch, options={"positive_rating": 5.0})))
    assert shut(report) == ["made_from"]
    assert "fetch.movielens-100k.positive_rating was 4.0, is 5.0" in find(report, "made_from")["reason"]


def test_a_continued_champion_is_bound_in_full(workspace: Workspace, run, quick):
    """params.yaml may pin the beginning of a version; training records the full version."""
    made, other = "ab12" * 16, "cd34" * 16
    assert shut(judge(workspace, going_on(run, quick, made, made[:8]))) == []
    assert shut(judge(workspace, going_on(run, quick, made, other[:8]))) == ["made_from"]


def test_a_log_that_changed_its_meaning_is_closed(workspace, run, quick, registry) -> None:
    """If all labels are flipped, the candidate's gain does not change, but the champion's AUC falls, which closes."""
    crown(registry, run)
    run.rows["label"] = 1 - run.rows["label"]
    run.become(0.1)
    entry = find(judge(workspace, quick), "champion_today")
    assert entry["verdict"] == "closed" and entry["observed"] < -0.3
    assert "change their meaning" in entry["reason"] and "gate.max_champion_drop" in entry["reason"]


@pytest.mark.parametrize(
    ("before", "noise", "learned", "is_stale"),
    [
        (3.0, 0.2, "2024-10-03", True),
        (3.0, 0.2, "2024-10-01", False),  # the same days as the champion, so however good it is, it excuses nothing
        (1.4, 1.1, "2024-10-03", False),  # not far below the recorded AUC, but not certainly better than the champion
        (3.0, 1.7, "2024-10-03", False),  # certainly better, but still far below the recorded AUC
    ],
)
def test_only_a_candidate_that_learned_the_days_since_shows_that_the_champion_is_stale(
    before: float, noise: float, learned: str, is_stale: bool, workspace, run, quick, registry
) -> None:
    """The champion was good once, ranks today's rows badly, and has learned until 1 October."""
    run.noise = before
    crown(registry, run, protocol=PROTOCOL | {"name": "temporal"}, seen_until="2024-10-01T23:00:00+00:00")
    run.facts |= {"judged_until": f"{learned}T23:30:00+00:00", "seen_until": "2024-10-13T23:30:00+00:00"}
    run.become(noise)
    entry = find(judge(workspace, quick), "champion_today")
    assert entry["verdict"] == ("open" if is_stale else "closed") and entry["observed"] < -0.08
    assert ("the candidate, which has learned newer days, has 0." in entry["reason"]) == (learned == "2024-10-03")
    assert entry["reason"].endswith("the champion is stale" if is_stale else "raise gate.max_champion_drop")


@pytest.mark.parametrize(
    ("learned", "drop", "rise", "verdict", "says"),
    [
        ("2024-10-01", 1.1, 1.1, "borderline", "both are near their limits"),
        ("2024-10-03", 1.1, 1.1, "open", "near the limit"),
        ("2024-10-01", 1.1, 9.0, "open", "near the limit"),
        ("2024-10-01", 3.0, 1.1, "open", None),
    ],
)
def test_a_fall_and_a_rise_near_their_limits_are_one_signal(
    learned: str, drop: float, rise: float, verdict: str, says: str | None, workspace, run, quick, registry
) -> None:
    """The limits are multiples of the fall and the rise that there are."""
    run.noise = 3.0
    crown(registry, run, protocol=PROTOCOL | {"name": "temporal"}, seen_until="2024-10-01T23:00:00+00:00")
    run.facts |= {"judged_until": f"{learned}T23:30:00+00:00", "seen_until": "2024-10-13T23:30:00+00:00"}
    run.become(0.2)
    report = judge(workspace, quick)
    fall = -find(report, "champion_today")["observed"]
    gain = find(report, "champion_delta_auc")["observed"]
    limits = set_gate(quick, max_champion_drop=drop * fall, max_gain=rise * gain)
    entry = find(judge(workspace, limits), "champion_today")
    assert entry["verdict"] == verdict
    assert entry["reason"] is None if says is None else says in entry["reason"]


@pytest.fixture
def measured(quick):
    return set_gate(quick, max_latency_ms=100.0, max_latency_ratio=1.5)


@pytest.mark.parametrize(
    ("limits", "closed"), [({"max_latency_ms": 120.0}, "latency_ratio"), ({"max_latency_ratio": 1.6}, "latency_ms")]
)
def test_a_time_beyond_its_limit_closes_alone(limits, closed, workspace: Workspace, run, measured, registry):
    """Both gates time the candidate, one of them beside the champion's bundle, and round what they find."""
    old = challenge(registry, run)
    pairs = []

    def slow(bundle: Verified, other: Verified | None) -> float:
        pairs.append((bundle.version, other and other.version))
        return 120.04 / NOMINAL_MS if other is None else 1.604

    report = judge(workspace, set_gate(measured, **limits), latency=slow)
    assert shut(report) == [closed]
    assert pairs == [(report["bundle"], None), (report["bundle"], old)]
    assert [find(report, name)["observed"] for name in ("latency_ms", "latency_ratio")] == [120.0, 1.6]


def test_bundle_that_cannot_answer_closes(workspace: Workspace, run, measured, registry):
    """Neither an error nor a time that is not a number passes."""
    challenge(registry, run)

    def broken(bundle, other):
        if other is None:
            raise RuntimeError("no such operator")
        return math.nan

    report = judge(workspace, measured, latency=broken)
    assert shut(report) == ["latency_ms", "latency_ratio"]
    assert "no such operator" in find(report, "latency_ms")["reason"]
    assert "raise gate.max_latency_ratio" in find(report, "latency_ratio")["reason"]


def test_promotion_measures_an_open_verdict_no_second_time(workspace: Workspace, run, measured, registry):
    """It is bound to the hashes of all that it read."""
    challenge(registry, run)
    times = iter([9.0, 1.1, 11.0, 1.2])

    def varying(bundle, other):
        return next(times)

    gate(workspace, measured, score, varying)
    assert promote(workspace, measured, by="ann", reason="nightly", score=score, latency=varying).appended
    assert list(times) == [11.0, 1.2]


def test_a_champion_of_a_log_that_lacks_negatives(workspace: Workspace, run, quick, registry):
    """The champion gives rates of the traffic, and they are compared with the candidate's among the rows of the log."""
    negatives = {"negatives": {"log": 0.2, "training": 1.0}}
    edit(workspace.features / MANIFEST, lambda manifest: manifest | negatives)
    run.facts |= negatives
    crown(registry, run)
    run.become(0.1)

    def of_traffic(workspace, bundle, rows):
        odds = 1 / (1 / score(workspace, bundle, rows) - 1)
        return 1 / (1 + 1 / (0.2 * odds))

    report = judge(workspace, quick, of_traffic)
    assert shut(report) == [] and find(report, "prediction_drift")["observed"] < 0.1
