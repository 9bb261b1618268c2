"""The benchmark's rows are as described, and our contestant runs on them, without peers."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import __main__ as bench
from benchmarks import ours
from benchmarks.checks import check_factors, check_share, check_training
from benchmarks.directory import VALID, write_directory
from benchmarks.measure import EPOCHS, Contestant, auc, best_ms, measure
from benchmarks.ours import settings
from benchmarks.report import OURS, markdown, merge
from benchmarks.roofline import Roofline, epoch_sizes
from benchmarks.rows import CLICKED, SKIPPED, WORKLOADS, Workload, impressions, one_request
from benchmarks.serving import Served
from din.errors import InputError
from din.features.packing import Packer
from din.model.din import DIN
from din.train.fit import fit
from din.train.learner import Learner
from din.train.loader import TrainingLoader

SMALL = [replace(workload, rows=600, items=500, dim=4, batch=128) for workload in WORKLOADS]
HALF_FILLED, SHORT = SMALL


@pytest.mark.parametrize(("workload", "mean"), [(HALF_FILLED, 25.5), (SHORT, 9.0)], ids=lambda value: str(value)[:20])
def test_histories_have_the_lengths_of_their_workload(workload: Workload, mean: float) -> None:
    """They have 1 to max_history behaviours, the right mean and existing ids, and the seed decides them."""
    workload = replace(workload, rows=20_000)
    rows = impressions(workload)
    assert rows.length.min() == 1 and rows.length.max() <= workload.max_history
    assert rows.length.mean() == pytest.approx(mean, rel=0.03)
    assert rows.history.min() >= 1 and rows.history.max() <= workload.items
    padded = rows.padded(workload.max_history)
    assert np.array_equal((padded > 0).sum(1), rows.length)
    assert np.array_equal(padded[padded > 0], rows.history)
    assert rows.category.min() >= 1
    assert np.array_equal(impressions(workload).history, rows.history)
    assert not np.array_equal(impressions(replace(workload, seed=1)).label, rows.label)


def test_a_click_is_likelier_with_the_candidates_category_in_the_history() -> None:
    """The planted signal has the stated strength."""
    rows = impressions(replace(HALF_FILLED, rows=20_000))
    owner = np.repeat(np.arange(len(rows.item)), rows.length)
    met = np.zeros(len(rows.item), bool)
    met[owner[rows.category_of[rows.history] == rows.category[owner]]] = True
    assert 0.3 < met.mean() < 0.9
    assert rows.label[met].mean() == pytest.approx(CLICKED, abs=0.02)
    assert rows.label[~met].mean() == pytest.approx(SKIPPED, abs=0.02)


def test_the_directory_holds_the_same_rows(tmp_path: Path) -> None:
    """It holds item, history, category, user and label of every impression, and n_j of Eq. 6 equals a loop."""
    rows = impressions(HALF_FILLED)
    features = write_directory(tmp_path, HALF_FILLED, rows)
    shard = features.shard(0, "train")
    found = shard.impressions
    assert np.array_equal(found.item, rows.item) and np.array_equal(found.user, rows.user)
    assert np.array_equal(found.label, rows.label) and np.array_equal(found.history_length, rows.length)
    assert np.array_equal(shard.behaviour_item, rows.history)
    assert np.array_equal(features.items["category"].values[found.item], rows.category)
    assert features.rows["item_id"] == HALF_FILLED.items + 1
    assert features.split_rows("test") == [600] and features.split_rows("valid") == [VALID]
    expected = np.zeros(HALF_FILLED.items + 1, np.int64)
    for item, history in zip(rows.item, np.split(rows.history, np.cumsum(rows.length)[:-1]), strict=True):
        expected[list({item, *history})] += 1
    assert np.array_equal(features.vocabulary("item_id")["impressions"].to_numpy(), expected)


@pytest.fixture
def ours_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Contestant:
    """Our contestant on few rows, without its further figures."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return ours.build(HALF_FILLED, candidates=60)._replace(extra=dict)


def test_our_training_accounts_for_its_time_and_rows(ours_small: Contestant) -> None:
    """Every epoch is timed, every part adds up to the whole call, and every row is trained in every epoch."""
    found = measure(ours_small)
    check_training("ours", found, HALF_FILLED.rows)
    assert found["training"]["rows"] == EPOCHS * HALF_FILLED.rows
    assert found["epoch_seconds"] > 0 and found["train_per_second"] > found["counted_per_second"]


WRONG_TIMER = """
from benchmarks import measure, ours

def settling_for_epochs(progress):
    epochs = [progress.settling_seconds / measure.EPOCHS] * measure.EPOCHS
    return measure.Training(epochs, 0.0, progress.validation_seconds, progress.start_seconds)

build = ours.build
ours.recorded = settling_for_epochs
ours.build = lambda *given: build(*given)._replace(extra=dict)
measure.main()
"""


def test_a_wrong_timer_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command ends with an error that names the gap if settling is taken for the epochs, as it once was."""
    plant = ["-c", WRONG_TIMER]
    sound = bench.command
    monkeypatch.setattr(bench, "HOME", tmp_path)
    monkeypatch.setattr(bench, "command", lambda python, *given: [python, *plant, *sound(python, *given)[3:]])
    options = "--rows 300 --repeats 1 --cores 1 --no-full-epoch --peers"
    monkeypatch.setattr("sys.argv", ["benchmarks", *options.split()])
    assert bench.main() == InputError.exit_code
    told = r"din-ctr, half-filled, 1 core: its training took .* a gap of \d\.\d+ s"
    assert re.search(told, capsys.readouterr().err)


def test_a_training_that_skips_rows_is_refused(ours_small: Contestant, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that leaves out a batch of each epoch is refused, and the rows are named."""
    epoch = TrainingLoader.epoch
    monkeypatch.setattr(TrainingLoader, "epoch", lambda self, number, first=0: epoch(self, number, first or 1))
    with pytest.raises(InputError, match="ours: it trained on 1,416 rows in 3 epochs; expected 1,800"):
        check_training("ours", measure(ours_small), HALF_FILLED.rows)


def test_impossible_shares_and_factors_are_refused() -> None:
    """Products that take longer than their epoch are refused, and factors of more than twice the page's."""
    check_share("ours", {"roofline_seconds": 0.5, "epoch_seconds": 0.5})
    with pytest.raises(InputError, match="306% of an epoch"):
        check_share("ours", {"roofline_seconds": 0.52, "epoch_seconds": 0.17})
    page = "**half-filled, 1 core**\n| ours to the fastest peer | **5.0×** | **3.6×** | | |\n"
    check_factors(page.replace("5.0", "10.0"), page)
    check_factors(page.replace("**5.0×**", "**–**"), page)
    check_factors(page.replace("1 core", "2 cores").replace("5.0", "25.9"), page)
    with pytest.raises(InputError, match=r"half-filled, 1 core: 25\.9 times the fastest peer, and the page says 5\.0"):
        check_factors(page.replace("5.0", "25.9"), page)


def test_our_side_answers_a_request(tmp_path: Path) -> None:
    """The request's graph gives a probability per candidate; nothing takes no time."""
    rows = impressions(SHORT)
    written = write_directory(tmp_path / "features", SHORT, rows)
    params = settings(SHORT, 1)
    trained, _ = fit(written, params)
    assert isinstance(trained.model, DIN)
    served = Served(trained.model, trained.table, written, tmp_path / "served", threads=1)
    packed = Packer(written).pack(written.shard(0, "test"), np.arange(8))
    assert served.batch.run(packed).probabilities.shape == (8,)
    times = served.times(one_request(SHORT, rows, candidates=60), params)
    assert min(times.values()) > 0 and "request_floor_ms" in times


@pytest.mark.parametrize("workload", SMALL, ids=lambda workload: workload.name)
def test_the_roofline_multiplies_as_often_as_a_step(workload: Workload, tmp_path: Path) -> None:
    """The roofline's products have as many floating-point operations as a real training step on the same batch."""
    features, params = write_directory(tmp_path, workload, impressions(workload)), settings(workload, EPOCHS)
    learning = params.learning
    learner = Learner(features, params)
    batch = next(learner.loader().epoch(0))
    learner.model.train()
    with FlopCounterMode(display=False) as step:
        learner.step(learner.inputs(batch), learning.learning_rate)
    roofline = Roofline(features, params, [(len(batch.packed.segment), len(batch.packed))])
    with FlopCounterMode(display=False) as products:
        roofline.run()
    assert products.get_total_flops() == step.get_total_flops() > 0


def test_the_roofline_covers_an_epoch(tmp_path: Path) -> None:
    """The roofline covers every behaviour and impression, in batches of the right sizes, including a short last one."""
    rows = impressions(SHORT)
    sizes = epoch_sizes(write_directory(tmp_path, SHORT, rows), settings(SHORT, EPOCHS))
    behaviours, batches = zip(*sizes, strict=True)
    assert batches == (128, 128, 128, 128, 88)
    assert sum(behaviours) == rows.length.sum()


def test_a_measurement_leaves_no_folder_behind() -> None:
    """The temporary files of a contestant are removed with its process."""
    program = "import tempfile; from benchmarks.measure import say; say({'folder': tempfile.mkdtemp()})"
    folder = Path(bench.run([sys.executable, "-c", program], 1)["folder"])
    assert folder.is_absolute() and not folder.exists()


def test_auc_and_turns() -> None:
    """AUC is the rank sum, and the best of alternating turns counts."""
    assert auc(np.array([0, 1, 0, 1]), np.array([0.1, 0.4, 0.35, 0.8])) == 1.0
    assert auc(np.array([0, 1, 1, 0]), np.array([0.1, 0.4, 0.35, 0.8])) == 0.5
    order: list[str] = []
    best_ms({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repeats=2)
    assert order == ["a", "b", "a", "b"]


def test_the_page_shows_what_was_measured() -> None:
    """The page shows ratios to the fastest peer, and names failures."""
    fast = {"version": "1", "train_per_second": 100.0, "score_per_second": 50.0, "peak_mb": 10.0, "auc": 0.7}
    best = merge({**fast, "train_per_second": 90.0, "peak_mb": 8.0}, fast)
    assert (best["train_per_second"], best["peak_mb"]) == (100.0, 8.0)
    assert merge({"error": "killed"}, fast) == fast == merge(fast, {"error": "killed"})
    training = {"epochs": 2.0, "settling": 0.5, "validation": 0.2, "rest": 0.2, "whole": 3.0}
    fast["training"] = {**training, "rest": 0.3}
    mine = {**fast, "training": training, "train_per_second": 450.0, "counted_per_second": 200.0}
    mine |= {"onnx_score_per_second": 1.0, "first_epoch_seconds": 1.0}
    turns = [
        {**mine, "roofline_seconds": 0.5, "epoch_seconds": 1.0},
        {**mine, "roofline_seconds": 0.6, "epoch_seconds": 0.8},
    ]
    runs = {OURS: merge(*turns), "slow": fast, "broken": {"error": f"no such | {'module ' * 99}"}}
    full = {"stage_seconds": 71.0, "epoch_seconds": 60.0, "backend": "native"}
    text = markdown({"runs": {"half-filled, 1 core": runs}, "full_epoch": full})
    assert "we train 200 rows/s, 2.0× the fastest peer" in text
    assert "the rest add up to 97% to 100% of the wall time" in text
    assert "took 0.80 s, its matrix products alone 0.50 s: 62 % of the epoch" in text
    assert "| **4.5×** | **1.0×** |" in text and "| broken | failed: `no such / module" in text
    assert "stage: **71 s**" in text and "validation 60 s, start, reading, compiling and saving 11 s" in text
    assert max(map(len, text.splitlines())) < 250


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_train_stage_runs_in_a_workspace() -> None:
    """`din train` takes longer than its epoch."""
    found = ours.train_stage(replace(SHORT, rows=300))
    assert found["stage_seconds"] > found["epoch_seconds"] > 0


def test_a_count_below_one_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The benchmark ends before it measures anything."""
    monkeypatch.setattr("sys.argv", ["benchmarks", "--repeats", "0"])
    with pytest.raises(SystemExit, match="2"):
        bench.main()
    assert "expected a whole number from 1 on, got '0'" in capsys.readouterr().err
