"""`make month`: the defects and the days they are planted on, the page, and a short month."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundles import bundle, crown
from html_page import Page
from hypothesis import given
from hypothesis import strategies as st
from small_months import ROOT, SCORED, SETTINGS, begun, ended, four_days

from benchmarks.daily import CHAMPION
from benchmarks.month import page
from benchmarks.month.days import Month, Step, learning_with
from benchmarks.month.faults import FAULTS, planned
from benchmarks.month.source import date_of
from din.artifacts import hash_files
from din.errors import InputError
from din.metrics import auc
from din.registry.registry import Registry

PLANTS = {name: fault.plant for name, fault in FAULTS.items() if fault.plant}
LAST = 11
LEARNERS = """
from pathlib import Path
from din.params import load
from din.train import refit as stage
from din.train.learner import Learner

def show(*_):
    print(Learner.step.__module__)

stage._refit = show
show()
stage.refit(None, load(Path({params!r})))
show()
"""
"""A program that prints where the step of a learner is defined: before the stage `refit`, in it, and after it."""


@pytest.fixture
def month(tmp_path: Path) -> Month:
    """Return a month that has not begun."""
    return begun(tmp_path / "month")


@given(st.integers(1, 60))
def test_sound_days_follow_bad_ones(days: int) -> None:
    """The first two days and the last one are sound, and so is one of three days in a row."""
    bad = sorted(planned(days))
    assert all(2 < day < days for day in bad)
    assert all(later - earlier >= 3 for earlier, later in zip(bad, bad[2:], strict=False))


def test_thirty_days_have_faults_of_both_kinds() -> None:
    """They have ten faults of learning and eight of the data, each once."""
    names = set(planned(30).values())
    lessons = {name for name in names if FAULTS[name].lesson}
    assert (len(lessons), len(names - lessons)) == (10, 8)


def test_a_fault_of_learning_is_in_refit_alone(tmp_path: Path) -> None:
    """In a process that starts in the block, the stage `refit` learns wrongly, and nothing does before and after it."""
    command = tmp_path / "command.py"
    command.write_text(LEARNERS.format(params=str(ROOT / "params.yaml")))

    def learners() -> list[str]:
        done = subprocess.run([sys.executable, str(command)], capture_output=True, text=True, check=True)
        return done.stdout.split()

    sound, wrong = "din.train.learner", "benchmarks.lessons.plants"
    environment = dict(os.environ)
    with learning_with(tmp_path / "plants", "ascent"):
        assert learners() == [sound, wrong, sound]
    assert learners() == [sound, sound, sound]
    assert dict(os.environ) == environment


@pytest.mark.parametrize("name", PLANTS)
def test_a_defect_is_gone_the_next_day(month: Month, name: str) -> None:
    """A planted day changes the source, and the next delivery leaves it as if it had never been planted."""
    source, sound = month.source, replace(month.source, folder=month.folder / "sound")
    source.deliver(LAST)
    source.deliver(LAST, PLANTS[name])
    sound.deliver(LAST)
    assert hash_files(source.folder) != hash_files(sound.folder)
    source.deliver(LAST + 1)
    sound.deliver(LAST + 1)
    assert hash_files(source.folder) == hash_files(sound.folder)


def test_the_truth_belongs_to_the_rows(month: Month) -> None:
    """Sequence numbers find the true probabilities of their rows, in any order."""
    label = month.source.events(LAST)["label"].to_numpy()
    place = np.random.default_rng(0).permutation(len(label))
    sequence = (date_of(LAST) - date_of(0)).days * 10**9 + place
    truth = month.source.truth(LAST, sequence)
    assert auc(label[place], truth) > 0.7
    assert np.array_equal(truth, month.source.truth(LAST, np.sort(sequence))[place])


def test_another_month_is_refused(month: Month) -> None:
    """A folder keeps its settings, except that a newer commit doesn't count."""
    moved = Month.opened(month.folder, ROOT, replace(SETTINGS, commit="1" * 40), {})
    assert moved.settings.commit == SETTINGS.commit
    with pytest.raises(InputError, match=r"days 4 there, 5 here; give another --folder"):
        Month.opened(month.folder, ROOT, replace(SETTINGS, days=5), {})


def test_the_page_says_what_happened(month: Month) -> None:
    """It counts replaced champions, names what refused a day, and compares scores and costs without kills."""
    four_days(month)
    text = page.text(month, None)
    assert "Bad lessons among them: 0, of which `gate` refused 0." in text
    assert "Bad days: 1. Models of bad days that served: 0." in text
    assert "replaced on 2 of them (67 %; bar: 80 %)" in text
    assert "run again: refit." in text
    assert "| 2024-01-11 | one user clicks on everything, half as often as all others together | refused at" in text
    assert "validate_raw: source: robots, rates |" in text
    assert "| from scratch every day | +0.0000 | [+0.0000, +0.0000] | 2 |" in text
    assert "| the whole run, CPU s | 4.0 | 31.0 | 0.13 | ≤ 0.33 |" in text
    page.picture(month, month.folder / "month.svg")
    assert (month.folder / "month.svg").read_text().count("<polyline") == len(SCORED)
    page.write_html(month, None, month.folder / "month.html")
    html = Page((month.folder / "month.html").read_text())
    assert "No bad model served" in html.text and "replaced on 2 of them" in html.text
    assert len(html.having("polyline")) == len(SCORED)
    assert len(html.having("tr")) == sum(line.startswith("| ") for line in text.splitlines()) - 3


def test_a_bad_day_that_serves_is_named(month: Month, tmp_path: Path) -> None:
    """The registry decides, whatever the day's own record says."""
    registry = Registry(str(month.folder / "registry"), "month-champion")
    days = [ended(month, number, Step("promote", 0, 1.0, "")) for number in range(1, 5)]
    for number in (1, 2, 4):
        crown(registry, bundle(tmp_path / f"{number}", f"{number}"), run_id=month.run_id(CHAMPION, number))
    assert page.served_bad_days(month, days) == []
    crown(registry, bundle(tmp_path / "3", "3"), run_id=month.run_id(CHAMPION, 3))
    assert page.served_bad_days(month, days) == ["2024-01-11"]
    for number in (2, 4):
        month.scores(number).parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"user": [1, 1], "label": [0, 1], "champion": [0.1, 0.2]}), month.scores(number))
    page.write_html(month, None, month.folder / "month.html")
    assert "A bad model served" in (month.folder / "month.html").read_text()


def test_a_replay_compares_versions(month: Month, tmp_path: Path) -> None:
    """A day whose bundle differs is counted."""
    again = begun(tmp_path / "again")
    for number in range(1, 5):
        ended(month, number, Step("promote", 0, 1.0, ""))
        ended(again, number, Step("promote", 0, 1.0, ""))
    assert "4 of 4 bundles have equal bits" in page.text(month, again)
    again.keep(CHAMPION, replace(again.day(CHAMPION, 2), bundle="another"))
    assert "3 of 4 bundles have equal bits" in page.text(month, again)
