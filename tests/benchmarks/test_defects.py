"""Planted defects end at the right gate, and sound variants open all."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from benchmarks.defects import page
from benchmarks.defects.delivery import draw
from benchmarks.defects.drive import STAGES, Prepared, parameters
from benchmarks.defects.table import DEFECTS, PLANTS, Defect
from benchmarks.defects.variants import VARIANTS, Variant
from din.stages import pipeline

ROOT = Path(__file__).parents[2]
RIGHT = 0.95
WAITING = 0.2
"""The largest share of sound variants on which the gate may wait for more days."""
SOUND = {"small", "long", "new_tab", "holiday_of_new_users", "counting"}
"""The variants that `make test` drives. Other tests cover the other file formats and split protocols."""


def named(faults: Iterable[Defect] | Iterable[Variant]) -> list:
    """Return faults as parameters, with their names as ids."""
    return [pytest.param(fault, id=fault.name) for fault in faults]


@pytest.fixture(scope="module")
def early() -> Prepared:
    """Return a sound delivery, for defects of its raw log."""
    return Prepared(draw(), Path(), parameters({}), "validate_raw")


def test_all_stages_are_driven() -> None:
    """A defect passes every stage of dvc.yaml but `code`, which reads no data."""
    assert ["code", *STAGES] == list(pipeline.read(ROOT / "dvc.yaml"))


@pytest.mark.parametrize("defect", named(defect for defect in DEFECTS if defect.quick))
def test_an_early_gate_catches(defect: Defect, early: Prepared, tmp_path: Path) -> None:
    """A defect that takes little time ends at the right gate, whose message names it; no other one of raw closes."""
    outcome = defect.drive(early, tmp_path / "workspace")
    assert defect.verdict(outcome) == "right", outcome
    assert {gate for gate in outcome.closed if gate.startswith("validate_raw.")} <= {*defect.gates}


@pytest.mark.parametrize("variant", named(variant for variant in VARIANTS if variant.name in SOUND))
def test_the_early_suites_open(variant: Variant, tmp_path: Path) -> None:
    """Neither the raw log nor, where they can differ, the features of a sound delivery close a gate."""
    outcome = variant.drive(tmp_path / "workspace", variant.quick)
    assert outcome.stage is None, outcome


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_right_gate_catches_nearly_all(tmp_path: Path) -> None:
    """At least 95 % of the defects end at the right gate, the others at another one. No sound variant closes a gate."""
    driven = page.drive_all(tmp_path)
    assert driven.named("missed") == []
    assert driven.named("closed") == []
    assert len(driven.named("undecided")) <= WAITING * len(VARIANTS)
    assert len(driven.named("right")) >= RIGHT * len(DEFECTS), driven.named("late")


@pytest.mark.parametrize(("table", "least"), [(DEFECTS, 80), (VARIANTS, 30)], ids=["defects", "variants"])
def test_there_are_many_and_each_has_a_name(table: Sequence[Defect] | Sequence[Variant], least: int) -> None:
    """Names and descriptions are unique, and each defect of the table is planted."""
    assert len(table) >= least
    assert PLANTS.keys() == {defect.name for defect in DEFECTS}
    assert len({one.name for one in table}) == len({one.what for one in table}) == len(table)
