"""Which champion a run goes on from. Alone: `pytest tests/promotion/test_pin.py`."""

from datetime import date

import pytest
from judging import crown
from settings import changed

from din.errors import InputError
from din.promotion.pin import pin


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


@pytest.mark.parametrize(("day", "expected"), [(13, 2), (12, 1), (11, 0), (30, 2)])
def test_a_day_goes_on_from_the_newest_champion_before_it(day: int, expected: int, versions, registry, train) -> None:
    """A rerun or a backfill starts where the first run of its day started."""
    assert pin(registry, train, date(2024, 10, day)) == versions[expected]


def test_the_first_day_has_no_champion(versions, registry, train) -> None:
    """Before the first champion's day, and in an empty registry, a run starts from scratch."""
    assert pin(registry, train, date(2024, 10, 10)) == "none"


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
