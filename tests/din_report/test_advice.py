"""Every rule of the advice is silent on a sound run, and speaks on one that it is about."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from din.base.workspace import Workspace
from din.contracts.manifests import FeaturesManifest
from din.contracts.verdicts import Expectation, GateEntry, GateReport, MissedDay, ValidationReport
from din.metrics.estimates import Interval
from din.params.reading import Params
from din.train.results import TrainingSummary
from din_report.advice import ADVICE, advise
from din_report.figures import Scored
from din_report.run import Run
from tests.factories import documents_of
from tests.helpers.settings import changed

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def sound(tmp_path: Path, scored: Scored, params: Params) -> Run:
    run = Run(Workspace(tmp_path))
    run.params, run.scored = params, scored
    run.training = TrainingSummary(model="din", champion=None, backend="native", epochs=5, best_epoch=3)
    return run


def see(run: Run, **changes: Any) -> None:
    assert run.scored
    run.scored = replace(run.scored, **changes)


def trained(run: Run, **changes: Any) -> None:
    assert run.training
    run.training = run.training.model_copy(update=changes)


def missed(run: Run) -> None:
    run.gate = GateReport.model_construct(gates=[], missed_days=[MissedDay(day="2024-10-03", rows=1200, why="late")])


def expectation(name: str, advice: str | None) -> Expectation:
    entry = documents_of.expectation(name, success=False)
    return Expectation.model_validate(entry | {"advice": advice})


def stopped(run: Run, *failed: Expectation) -> None:
    run.validation["raw"] = ValidationReport.model_construct(expectations=[*failed])


PLANTED: dict[str, Callable[[Run], None]] = {
    "DIN101": lambda run: trained(run, best_epoch=1),
    "DIN102": lambda run: trained(run, best_epoch=20, epochs=20),
    "DIN103": lambda run: see(run, over_lr=Interval(0.002, -0.001, 0.005)),
    "DIN106": lambda run: see(run, median_history=2.0),
    "DIN107": lambda run: see(run, unknown_items={"valid": 0.2, "test": 0.4}),
    "DIN109": missed,
    "DIN110": lambda run: stopped(run, expectation("row_counts", "Fetch again.")),
    "DIN111": lambda run: see(run, over_popularity=Interval(-0.02, -0.03, -0.01)),
    "DIN112": lambda run: see(run, gauc_over_lr=Interval(-0.0059, -0.0119, -0.0002)),
    "DIN113": lambda run: setattr(run, "features", FeaturesManifest.model_construct(protocol="leave_last_out")),
}


def test_a_sound_run_gives_no_advice(sound: Run) -> None:
    """No rule raises a false alarm."""
    assert advise(sound) == []


def test_a_rule_that_fails_takes_nothing_with_it(sound: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is noted, and the other rules speak."""

    def careless(_: Run) -> None:
        raise KeyError("a column of my log")

    monkeypatch.setitem(ADVICE._things, "DIN101", replace(ADVICE["DIN101"], thing=careless))
    see(sound, median_history=2.0)
    assert [one.code for one in advise(sound)] == ["DIN106"]
    assert "KeyError: 'a column of my log'" in sound.missing["advice DIN101"]


@pytest.mark.parametrize("code", PLANTED)
def test_a_rule_speaks(code: str, sound: Run) -> None:
    """The planted state provokes this rule alone, in whole sentences."""
    PLANTED[code](sound)
    (advice,) = advise(sound)
    assert advice.code == code
    assert all(text.endswith(".") for text in (advice.seen, advice.why, advice.do))


def test_a_worse_model_is_called_worse(sound: Run) -> None:
    """If even the upper bound is below 0, the title leaves no doubt."""
    see(sound, over_lr=Interval(-0.002, -0.003, -0.001))
    assert [one.title for one in advise(sound)] == ["Logistic regression is better than the model"]


@pytest.mark.parametrize("floor", ["over_popularity", "gauc_over_lr"])
@pytest.mark.parametrize("upper", [0.0, 0.01, math.nan])
def test_a_doubt_about_gauc_gives_no_advice(upper: float, floor: str, sound: Run) -> None:
    """The interval must lie below 0."""
    see(sound, **{floor: Interval(-0.02, -0.05, upper)})
    assert advise(sound) == []


def test_steps_that_were_taken_are_not_advised(sound: Run) -> None:
    """Against popularity, each step names a key that has another value."""
    see(sound, over_popularity=Interval(-0.02, -0.03, -0.01))
    steps = {"initial_item_bias": ("ctr", "zero"), "metric": ("gauc", "auc"), "behaviour": (None, "rating >= 1")}
    assert sound.params
    for taken in (0, 1):
        values = {key: value[1 - taken] for key, value in steps.items()}
        table = replace(sound.params.fetch.table, behaviour=values.pop("behaviour"))
        sound.params = replace(
            sound.params,
            train=changed(sound.params.train, **values),
            fetch=replace(sound.params.fetch, source="table", table=table),
        )
        (advice,) = advise(sound)
        assert [f"{key}: " in advice.do for key in (*steps, "order")] == [not taken] * 4


def test_the_first_note_of_what_failed_is_given(sound: Run) -> None:
    """Only what closed the run, and has a note. The reason of a gate with an interval is figures, not a note."""
    warning = expectation("shares", "Look.").model_copy(update={"severity": "warning"})
    stopped(sound, warning, expectation("row_counts", None))
    assert advise(sound) == []
    stopped(sound, expectation("row_counts", None), expectation("known_items", "Complete the table."))
    (advice,) = advise(sound)
    assert advice.seen == "`known_items` failed, and so did row_counts." and advice.do == "Complete the table."
    del sound.validation["raw"]
    judged = [
        ("fresh", "open", None),
        ("gauc", "borderline", None),
        ("auc", "closed", (0.4, 0.5)),
        ("age", "closed", None),
    ]
    gates = [
        GateEntry.model_construct(name=name, verdict=verdict, interval=interval, reason="Run.")
        for name, verdict, interval in judged
    ]
    sound.gate = GateReport.model_construct(gates=gates, missed_days=[])
    assert [one.seen for one in advise(sound)] == ["`age` failed, and so did auc."]


@pytest.mark.parametrize(
    ("protocol", "more"),
    [("temporal", "more days"), ("by_user", "more users"), ("leave_last_out", "users with more clicks")],
)
def test_more_rows_are_what_the_protocol_splits(protocol: str, more: str, sound: Run) -> None:
    """More days would not help a log that is split by user."""
    see(sound, over_lr=Interval(0.002, -0.001, 0.005))
    sound.features = FeaturesManifest.model_construct(protocol=protocol)
    advice = advise(sound)[0]
    assert f", or {more}. If" in advice.do


def test_every_rule_is_planted_and_documented() -> None:
    """Codes are in order, each is provoked above, and docs/report.md explains each."""
    page = (ROOT / "docs" / "report.md").read_text()
    assert [code for code in PLANTED if f"`{code}`" not in page] == []
    assert [code for code in ADVICE if code.startswith("DIN")] == list(PLANTED)  # a plugin's rule may be there, too


def test_nothing_is_advised_about_reports_that_are_missing(workspace: Workspace, tmp_path: Path) -> None:
    """A broken run gives no advice, only what its reports can tell."""
    assert advise(Run(Workspace(tmp_path / "empty"))) == []
    assert advise(Run(workspace)) == []
