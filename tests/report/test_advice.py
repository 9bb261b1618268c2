"""Every rule of the advice is silent on a sound run, and speaks on one that it is about."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from din.metrics.estimates import Interval
from din.params import Params
from din.report.advice import ADVICE, advise
from din.report.figures import Scored
from din.report.run import Run
from din.train.results import TrainingSummary
from din.verdicts import GateReport, MissedDay
from din.workspace import Workspace

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
    run.gate = GateReport.model_construct(missed_days=[MissedDay(day="2024-10-03", rows=1200, why="late")])


PLANTED: dict[str, Callable[[Run], None]] = {
    "DIN101": lambda run: trained(run, best_epoch=1),
    "DIN102": lambda run: trained(run, best_epoch=20, epochs=20),
    "DIN103": lambda run: see(run, over_lr=Interval(0.002, -0.001, 0.005)),
    "DIN106": lambda run: see(run, median_history=2.0),
    "DIN107": lambda run: see(run, unknown_items={"valid": 0.2, "test": 0.4}),
    "DIN109": missed,
}


def test_a_sound_run_gives_no_advice(sound: Run) -> None:
    """No rule raises a false alarm."""
    assert advise(sound) == []


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


def test_every_rule_is_planted_and_documented() -> None:
    """Codes are in order, each is provoked above, and docs/report.md explains each."""
    page = (ROOT / "docs" / "report.md").read_text()
    assert [code for code in PLANTED if f"`{code}`" not in page] == []
    assert [code for code in ADVICE if code.startswith("DIN")] == list(PLANTED)  # a plugin's rule may be there, too


def test_nothing_is_advised_about_reports_that_are_missing(workspace: Workspace, tmp_path: Path) -> None:
    """A broken run gives no advice, only what its reports can tell."""
    assert advise(Run(Workspace(tmp_path / "empty"))) == []
    assert advise(Run(workspace)) == []
