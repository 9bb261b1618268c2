"""Every rule of the advice is silent on a sound run, and speaks on one that it is about."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from settings import changed

from din.facts import Evaluation
from din.metrics.estimates import Interval
from din.params import Params, load
from din.report.advice import ADVICE, advise
from din.report.figures import Scored, SliceFigures
from din.report.run import Run
from din.train.results import TrainingSummary
from din.verdicts import GateReport, MissedDay
from din.workspace import Workspace
from tests.factories import documents_of

ROOT = Path(__file__).parent.parent.parent
NARROW = Interval(1.0, 0.98, 1.02)


@pytest.fixture
def sound(scored: Scored, params: Params) -> Run:
    """A run that gives no advice."""
    evaluation = Evaluation(**documents_of.evaluation())
    training = TrainingSummary(model="din", champion=None, backend="native", epochs=5, best_epoch=3)
    return Run(Workspace(Path()), params=params, evaluation=evaluation, training=training, scored=scored)


def see(run: Run, **changes: Any) -> None:
    assert run.scored
    run.scored = replace(run.scored, **changes)


def trained(run: Run, **changes: Any) -> None:
    assert run.training
    run.training = run.training.model_copy(update=changes)


def one_class(run: Run) -> None:
    assert run.evaluation
    test = run.evaluation.test.model_copy(update={"users": 120, "one_class_users": 61})
    run.evaluation = run.evaluation.model_copy(update={"test": test})


def missed(run: Run) -> None:
    run.gate = GateReport.model_construct(missed_days=[MissedDay(day="2024-10-03", rows=1200, why="late")])


PLANTED: dict[str, Callable[[Run], None]] = {
    "DIN101": lambda run: trained(run, best_epoch=1),
    "DIN102": lambda run: trained(run, best_epoch=20, epochs=20),
    "DIN103": lambda run: see(run, over_lr=Interval(0.002, -0.001, 0.005)),
    "DIN104": lambda run: see(run, valid_auc=Interval(0.8, 0.78, 0.82)),
    "DIN105": lambda run: see(run, slices=[SliceFigures("tab", "home", 800, 90, NARROW, Interval(1.3, 1.2, 1.4))]),
    "DIN106": lambda run: see(run, median_history=2.0),
    "DIN107": lambda run: see(run, unknown_items={"valid": 0.2, "test": 0.4}),
    "DIN108": one_class,
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


def test_a_model_below_lr_gets_the_settings_that_it_lacks(sound: Run) -> None:
    """If LR is better for certain, the advice names what makes training steadier, and LR if nothing is left."""
    assert sound.params
    see(sound, over_lr=Interval(-0.004, -0.007, -0.001))
    sound.params = replace(sound.params, train=changed(sound.params.train, average=0.0, patience=4))
    (first,) = advise(sound)
    assert (first.code, first.title) == ("DIN103", "Logistic regression is better than the model")
    assert first.do.startswith("Set train.learning.average: 0.25, train.learning.initial_item_bias: zero, and compare")
    sound.params = replace(sound.params, train=changed(sound.params.train, average=0.25, initial_item_bias="zero"))
    (last,) = advise(sound)
    assert last.do == "Use train.model.name: lr, which is cheaper and better here."


def test_every_rule_is_planted_and_documented() -> None:
    """Codes are in order, each is provoked above, and docs/report.md explains each."""
    page = (ROOT / "docs" / "report.md").read_text()
    assert len(list(ADVICE)) == len(PLANTED)
    assert [code for code in PLANTED if f"`{code}`" not in page] == []
    assert list(ADVICE) == list(PLANTED)


def test_nothing_is_advised_about_reports_that_are_missing() -> None:
    """A broken run gives no advice, only what its reports can tell."""
    assert advise(Run(Workspace(Path()))) == []
    assert advise(Run(Workspace(Path()), params=load(ROOT / "params.yaml"))) == []


@pytest.mark.parametrize("bounds", [Interval(1.3, 1.05, 1.5), Interval(1.3, float("nan"), float("nan"))])
def test_a_slice_that_may_be_calibrated_gives_no_advice(bounds: Interval, sound: Run) -> None:
    """An interval that reaches into the limits, or is undefined, proves nothing."""
    see(sound, slices=[SliceFigures("tab", "home", 800, 90, NARROW, bounds)])
    assert advise(sound) == []
