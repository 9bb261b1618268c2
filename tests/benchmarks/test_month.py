"""`make month`: the defects and the days they are planted on, the page, and a short month."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundles import bundle, crown
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.daily import CHAMPION, FIRST, SCRATCH
from benchmarks.environments import ROOT
from benchmarks.month import (
    FAULTS,
    TRUTH,
    Day,
    Month,
    Settings,
    Step,
    learning_with,
    picture,
    planned,
    run_month,
    served_bad_days,
    text,
)
from benchmarks.source import date_of
from din.artifacts import hash_files
from din.metrics import auc
from din.registry.registry import Registry

sys.path.append(str(Path(__file__).parents[1] / "pipeline"))
from workspace import SMALL, Workspace  # tests/pipeline

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
SCORED = (TRUTH, CHAMPION, FIRST, SCRATCH)


@pytest.fixture
def month(tmp_path: Path) -> Month:
    """Return a month that has not begun."""
    return Month(Settings(days=4, earlier=8, impressions=300, faults=("flood",)), tmp_path / "month", "0" * 40)


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

    sound, wrong = "din.train.learner", "tests.faults.learning"
    environment = dict(os.environ)
    with learning_with(tmp_path / "plants", "ascent"):
        assert learners() == [sound, wrong, sound]
    assert learners() == [sound, sound, sound]
    assert dict(os.environ) == environment


@pytest.mark.parametrize("name", PLANTS)
def test_a_defect_is_gone_the_next_day(month: Month, name: str) -> None:
    """A planted day changes its own file, its neighbour's or the items', and the next delivery is sound."""
    source, sound = month.source, replace(month.source, folder=month.folder / "sound")
    source.deliver(LAST)
    source.deliver(LAST, PLANTS[name])
    sound.deliver(LAST)
    planted, right = hash_files(source.folder), hash_files(sound.folder)
    (changed,) = {path for path in planted.keys() | right.keys() if planted.get(path) != right.get(path)}
    others = {"categories": "items.parquet", "shrunk": f"events/date={date_of(LAST - 1)}/part-0.parquet"}
    assert changed == others.get(name, f"events/date={date_of(LAST)}/part-0.parquet")
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


def four_days(folder: Path) -> dict[str, list[Day]]:
    """Return four days that were made up: two promotions, a planted defect, and a closed gate."""
    rng = np.random.default_rng(1)
    user, label = np.arange(400) % 80, (rng.random(400) < 0.4).astype(np.int8)
    good, bad = label + rng.normal(0, 1, 400), label + rng.normal(0, 3, 400)
    scores = dict(zip(SCORED, (label, good, bad, good), strict=True))
    pq.write_table(pa.table({"user": user, "label": label, **scores}), folder / "scores.parquet")
    made = Day(0, None, bundle=folder, table_rows=100, learning=2.0)
    promoted = replace(made, steps=(Step("refit", 0, 3.0, ""), Step("promote", 0, 1.0, "")))
    scored = folder / "scores.parquet"
    flood = Day(3, "flood", (Step("validate_raw", 3, 1.0, f"{folder}/month/source: robots, rates"),))
    days = [
        replace(promoted, number=1),
        replace(promoted, number=2, scores=scored),
        flood,
        replace(made, number=4, scores=scored, steps=(Step("gate", 3, 1.0, "champion_delta_auc"),)),
    ]
    scratch = replace(made, number=2, steps=(Step("train", 0, 30.0, ""), Step("promote", 0, 1.0, "")))
    return {CHAMPION: days, SCRATCH: [scratch]}


def test_the_page_says_what_happened(month: Month, tmp_path: Path) -> None:
    """It counts replaced champions, names what refused a day, and compares scores and costs."""
    runs = four_days(tmp_path)
    found = text(month, runs)
    assert "Bad lessons among them: 0, of which `gate` refused 0." in found
    assert "Bad days: 1. Models of bad days that served: 0." in found
    assert "replaced on 2 of them (67 %; bar: 80 %)" in found
    assert "| 2024-01-11 | one user clicks on everything, half as often as all others together | refused at" in found
    assert "validate_raw: source: robots, rates |" in found
    assert "| from scratch every day | +0.0000 | [+0.0000, +0.0000] | 2 |" in found
    assert "| the whole run, CPU s | 4.0 | 31.0 | 0.13 | ≤ 0.33 |" in found
    picture(runs[CHAMPION], tmp_path / "month.svg")
    assert (tmp_path / "month.svg").read_text().count("<polyline") == len(SCORED)


def test_a_bad_day_that_serves_is_named(month: Month, tmp_path: Path) -> None:
    """The registry decides, whatever the day's own record says."""
    registry = Registry(str(month.folder / "registry"), "month-champion")
    days = four_days(tmp_path)[CHAMPION]
    for number in (1, 2, 4):
        crown(registry, bundle(tmp_path / f"{number}", f"{number}"), run_id=month.run_id(CHAMPION, number))
    assert served_bad_days(month, days) == []
    crown(registry, bundle(tmp_path / "3", "3"), run_id=month.run_id(CHAMPION, 3))
    assert served_bad_days(month, days) == ["2024-01-11"]


EXTRA = {key: value for key, value in SMALL.items() if not key.startswith("fetch.")} | {
    "train.learning.learning_rate": 0.003,  # so that few rows are enough to beat LR
    "validate_predictions.min_calibration": 0.3,  # little trained on little
    "validate_predictions.max_calibration": 3.0,
    "validate_predictions.max_log_loss_over_constant": 1.2,
    "gate.margin": 0.2,
    "gate.slice_margin": 0.3,
    "gate.max_champion_drop": 0.5,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Settings]]:
    """Return the folder and the settings of a finished month, of the code as it is."""
    root = tmp_path_factory.mktemp("month")
    (root / "repository").mkdir()
    repository = Workspace(root / "repository", {})
    settings = Settings(4, 8, 4000, ("milliseconds",), repository=repository.root, extra=EXTRA)
    with pytest.MonkeyPatch.context() as patched:
        for name in ("DIN_REPOSITORY", "DIN_HOME", "DIN_DVC_REMOTE", "DIN_REGISTRY"):
            patched.setenv(name, "")  # so that they are removed again
        run_month(root / "months", settings, 0, (SCRATCH,))
        yield root / "months", settings


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_short_month(finished: tuple[Path, Settings]) -> None:
    """The bad day never serves, the day after learns both, earlier bundles score each day, and nothing runs twice."""
    before = hash_files(finished[0])
    month, runs = run_month(*finished, 0, (SCRATCH,))
    assert hash_files(finished[0]) == before
    days = runs[CHAMPION]
    assert [day.promoted for day in days] == [True, True, False, True]
    assert served_bad_days(month, days) == []
    refused = days[2].steps[-1]
    assert (refused.name, refused.code) in (("open", 2), ("fetch", 2), ("validate_raw", 3))
    assert [day.number for day in days if day.scores] == [2, 4]
    assert pq.read_schema(days[3].scores).names == ["user", "label", TRUTH, CHAMPION, FIRST, SCRATCH]
    found = text(month, runs)
    assert "Models of bad days that served: 0." in found
    assert "the whole run, CPU s" in found
