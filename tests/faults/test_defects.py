"""Planted defects end at the right gate. Alone: `pytest tests/faults [-m slow]`; the page: `make defects`."""

import re
from pathlib import Path

import page
import pytest
from defects import DEFECTS, SECTIONS, Defect
from drive import Prepared, prepare

RIGHT = 0.95


def named(defects: tuple[Defect, ...]) -> list:
    """Return parameters with their names as ids."""
    return [pytest.param(defect, id=defect.name) for defect in defects]


@pytest.fixture(scope="module")
def early(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """A sound delivery, driven through the first two suites."""
    return prepare(tmp_path_factory.mktemp("early"), last="validate_features")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """A sound delivery, driven to the gate against yesterday's champion."""
    return prepare(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def verdicts() -> dict[str, str]:
    """Verdicts by name, filled as the slow tests go."""
    return {}


@pytest.mark.parametrize("defect", named(tuple(defect for defect in DEFECTS if defect.quick)))
def test_an_early_gate_catches(defect: Defect, early: Prepared, tmp_path: Path) -> None:
    """A defect that costs little to drive ends at the right gate, and the message names it."""
    outcome = defect.drive(early, tmp_path / "workspace")
    assert defect.verdict(outcome) == "right", outcome


@pytest.mark.slow
@pytest.mark.parametrize("defect", named(DEFECTS))
def test_no_defect_reaches_an_open_gate(
    defect: Defect, whole: Prepared, tmp_path: Path, verdicts: dict[str, str]
) -> None:
    """Some gate closes on a critical defect, or warns of a lesser one."""
    outcome = defect.drive(whole, tmp_path / "workspace")
    verdicts[defect.name] = defect.verdict(outcome)
    assert verdicts[defect.name] != "open", outcome


@pytest.mark.slow
def test_the_right_gate_catches_nearly_all(verdicts: dict[str, str]) -> None:
    """Of all defects that were driven, at least 95 % end at the right gate."""
    late = [name for name, verdict in verdicts.items() if verdict != "right"]
    assert len(verdicts) == len(DEFECTS), "run the whole module"
    assert len(late) <= (1 - RIGHT) * len(DEFECTS), late


def test_there_are_many_and_each_has_a_name() -> None:
    """At least 80 defects; no name and no description occurs twice."""
    assert len(DEFECTS) >= 80
    assert len({defect.name for defect in DEFECTS}) == len({defect.what for defect in DEFECTS}) == len(DEFECTS)


def test_the_page_agrees_with_the_table() -> None:
    """docs/defects.md lists each defect with its severity, its word, and the gate that caught it."""
    rows = [
        line for line in page.PAGE.read_text().splitlines(keepends=True) if re.match(r"\| (?!defect|variant|-)", line)
    ]
    expected = [defect for section in SECTIONS.values() for defect in section]
    listed = rows[: len(expected)]
    for defect, line in zip(expected, listed, strict=True):
        right = [page.row(defect, page.Found("right", gate)) for gate in defect.gates]
        late = re.search(r"\| late: `(.*?)`", line)
        other = [page.Found("late", late[1])] if late else [page.Found("open", ""), page.Found("", "")]
        assert line in [*right, *(page.row(defect, one) for one in other)], f"{defect.name}: run `make defects`"
