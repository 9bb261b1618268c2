"""`make month`, short: four days through the workers' code, with a defect and a killed stage."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

sys.path.append(str(Path(__file__).parents[1] / "pipeline"))
from workspace import SMALL, Workspace  # tests/pipeline

from benchmarks.daily import CHAMPION, FIRST, SCRATCH
from benchmarks.month import page
from benchmarks.month.__main__ import run_month
from benchmarks.month.days import KILLED, TRUTH, Month, Settings
from din.artifacts import hash_files

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
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
def month(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Month]:
    """Return a finished month, of the code as it is."""
    root = tmp_path_factory.mktemp("month")
    (root / "repository").mkdir()
    repository = Workspace(root / "repository", {})
    settings = Settings(
        repository.git("rev-parse", "HEAD"), days=4, earlier=8, impressions=4000, faults=("milliseconds",)
    )
    month = Month.opened(root / "runs", repository.root, settings, EXTRA)
    with pytest.MonkeyPatch.context() as patched:
        for name in ("DIN_REPOSITORY", "DIN_HOME", "DIN_DVC_REMOTE", "DIN_REGISTRY"):
            patched.setenv(name, "")  # so that they are removed again
        run_month(month, (SCRATCH,), jobs=1)
        yield month


def test_sound_days_are_promoted_and_the_bad_one_is_refused(month: Month) -> None:
    """The model of the bad day never serves, and the day after it learns both days."""
    days = [month.day(CHAMPION, number) for number in range(1, 5)]
    assert [day.promoted for day in days] == [True, True, False, True]
    assert page.served_bad_days(month, days) == []
    refused = days[2].steps[-1]
    assert (refused.name, refused.code) in (("open", 2), ("fetch", 2), ("validate_raw", 3))
    assert days[3].bundle not in (days[0].bundle, days[1].bundle)


def test_the_killed_stage_ran_again(month: Month) -> None:
    """On the day of the kill, the stage is there twice: killed, and done."""
    steps = month.day(CHAMPION, month.kill_day).steps
    assert [step.code for step in steps if step.name == KILLED] == [None, 0]


def test_later_days_are_scored_by_earlier_bundles(month: Month) -> None:
    """Each sound day after the first has scores of the bundles that were there, and the table compares them."""
    assert [number for number in range(1, 5) if month.scores(number).exists()] == [2, 4]
    columns = pq.read_schema(month.scores(4)).names
    assert columns == ["user", "label", TRUTH, CHAMPION, FIRST, SCRATCH]
    text = page.text(month, None)
    assert "Models of bad days that served: 0." in text
    assert "the whole run, CPU s" in text


def test_a_finished_month_runs_nothing(month: Month) -> None:
    """A second call leaves every file of the records as it was."""
    before = hash_files(month.folder / "days") | hash_files(month.folder / "registry")
    run_month(month, (SCRATCH,), jobs=1)
    assert hash_files(month.folder / "days") | hash_files(month.folder / "registry") == before
