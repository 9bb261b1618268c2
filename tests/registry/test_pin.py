"""Which champion a run goes on from."""

from datetime import date

import pytest
from settings import changed

from din.errors import InputError
from din.registry.champions import pin, removed_lesson
from tests.factories.run import crown, find, going_on, judge


@pytest.fixture
def train(quick):
    """The settings of a run that goes on from a champion."""
    return changed(quick.train, start="champion")


@pytest.fixture
def versions(run, registry) -> list[str]:
    """Three champions, whose logs end on the 10th, 11th and 12th."""
    found = []
    for number, day in enumerate((10, 11, 12)):
        run.noise = 0.2 + number / 10
        run.finish()
        found.append(crown(registry, run, until=f"2024-10-{day}"))
    return found


def test_a_day_goes_on_from_the_newest_champion_before_it(versions, registry, train) -> None:
    """A rerun or a backfill starts where the first run of its day started; before the first champion, from scratch."""
    found = [pin(registry, train, date(2024, 10, day)) for day in (10, 11, 12, 13, 30)]
    assert found == ["none", *versions, versions[2]]


def test_a_champion_that_was_rolled_back_is_passed_over(versions, registry, train) -> None:
    """A run never goes on from a bundle that a person rejected."""
    registry.rollback(versions[1], by="ann", reason="bad")
    assert pin(registry, train, date(2024, 10, 13)) == versions[1]


@pytest.mark.parametrize(("day", "weekday"), [(13, "sunday"), (14, "monday")])
def test_one_day_of_the_week_starts_from_scratch(day: int, weekday: str, versions, registry, train) -> None:
    """The challenger of the week is trained on the whole window."""
    weekly = changed(train, scratch_day=weekday)
    assert pin(registry, weekly, date(2024, 10, day)) == "none"
    assert pin(registry, weekly, date(2024, 10, day + 1)) == versions[2]


def test_a_run_from_scratch_has_nothing_to_pin(registry, quick) -> None:
    """The message names the parameter."""
    with pytest.raises(InputError, match=r"train\.start is scratch"):
        pin(registry, quick.train, date(2024, 10, 13))


@pytest.fixture
def lessons(run, registry) -> dict[str, str]:
    """Champions A, B from A, C from B and D from scratch, of which B is rolled back last, by a way that spares C."""
    found: dict[str, str] = {}
    own = run.facts["params"]["train"]
    for number, (name, start) in enumerate({"A": None, "B": "A", "C": "B", "D": None}.items()):
        settings = {"start": "champion", "champion": found[start]} if start else {}
        run.facts["params"] |= {"train": own | settings}
        run.noise = 0.2 + number / 10
        run.finish()
        found[name] = crown(registry, run, until=f"2024-10-{10 + number}")
    run.facts["params"] |= {"train": own}
    registry.rollback(found["B"], by="ann", reason="D was no better")
    registry.rollback(found["A"], by="ann", reason="B learned wrong prices")
    return found


def test_the_heir_of_a_lesson_that_was_rolled_back_is_passed_over(lessons, registry, train) -> None:
    """C was not rolled back, but it has learned B's lesson. So a later day, and a backfill, start from A."""
    assert pin(registry, train, date(2024, 10, 30)) == lessons["A"]
    assert removed_lesson(registry, registry.history(), lessons["C"]) == registry.history()[-1]


@pytest.mark.parametrize(("name", "verdict"), [("A", "open"), ("C", "closed")])
def test_a_bundle_that_is_pinned_by_hand_brings_no_lesson_back(
    name: str, verdict: str, lessons, workspace, run, quick
) -> None:
    """Whether the run was opened before the rollback or after it."""
    run.facts |= {"until": "2024-10-20"}
    run.noise = 0.1
    found = find(judge(workspace, going_on(run, quick, lessons[name])), "not_rolled_back")
    assert found["verdict"] == verdict, found
    if name == "C":
        assert lessons["B"][:12] in found["reason"] and "wrong prices" in found["reason"]


def test_a_person_may_bring_a_lesson_back(lessons, run, registry, train) -> None:
    """C and what goes on from it count as sound again, also after a later rollback of another bundle."""
    registry.rollback(lessons["C"], by="ann", reason="the prices were right")
    assert pin(registry, train, date(2024, 10, 30)) == lessons["C"]
    settings = {"start": "champion", "champion": lessons["C"]}
    run.facts["params"] |= {"train": run.facts["params"]["train"] | settings}
    versions = []
    for run.noise in (0.7, 0.8, 0.9):
        run.finish()
        versions.append(crown(registry, run))
    registry.rollback(versions[1], by="ann", reason="the third is bad")
    assert removed_lesson(registry, registry.history(), versions[0]) is None
    assert removed_lesson(registry, registry.history(), versions[2]) is not None
