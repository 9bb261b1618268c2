"""Several processes that train one model. Alone: `pytest tests/train -k distributed`."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from backends import needs_compiler
from hypothesis import given
from hypothesis import strategies as st
from joined_processes import together
from random_features import FIELDS, PLAIN, write_features
from ruamel.yaml import YAML
from settings import changed
from torch.nn.functional import binary_cross_entropy_with_logits

from din.features.packing import Packer
from din.features.reader import Features
from din.model.din import build
from din.model.embedding import to_tensors
from din.ops import backend
from din.ops.backend import Backend
from din.ops.dice import Dice, statistics_of_all
from din.params import Params, Train
from din.train.compute import Compute, computing
from din.train.distributed import Ranks
from din.train.fit import fit
from din.train.loader import TrainingLoader

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6), st.integers(1, 9))
def test_every_row_is_dealt_once_and_evenly(sizes: list[int], processes: int) -> None:
    """For any shards, and more ranks than rows, each row has one rank, and the ranks' numbers differ by at most one."""
    shares = [Ranks(rank, processes).shares(sizes) for rank in range(processes)]
    for shard, size in enumerate(sizes):
        assert [row for own in shares for row in own[shard]] == list(range(size))
    counts = [sum(len(part) for part in own) for own in shares]
    assert max(counts) - min(counts) <= 1


def step(features: Features, params: Train, rows: np.ndarray, total: int, ranks: Ranks) -> dict[str, torch.Tensor]:
    """Return loss, gradients and moving averages of one step over impressions `rows` of shard 0, summed over ranks."""
    packer = Packer(features)
    model, table = build(features.fields, packer.layout, params)
    for layer in model.modules():
        if isinstance(layer, Dice):
            torch.nn.init.uniform_(layer.alpha, -1, 1)
    packed = packer.pack(features.shard(0, "train"), rows)
    table.requires_grad_()
    with statistics_of_all(ranks.gather if ranks.size > 1 else None):
        logits = model.train()(table, to_tensors(packed))
        loss = binary_cross_entropy_with_logits(logits, torch.from_numpy(packed.labels), reduction="sum") / total
        loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()} | {"table": table.grad}
    gradients["loss"] = loss.detach()
    if ranks.size > 1:
        everything = torch.arange(len(table))
        table_gradient = gradients.pop("table")
        sums, total = ranks.add(list(gradients.values()), table_gradient, [everything] * ranks.size, len(table))
        gradients = dict(zip(gradients, sums, strict=True)) | {"table": total}
    return gradients | dict(model.named_buffers())


def check_exchange(ranks: Ranks) -> None:
    def vector(rank: int, turn: int, size: int) -> torch.Tensor:
        return torch.arange(size) + 1000 * rank + turn

    assert ranks.exchange
    random = np.random.default_rng(0)
    for turn in range(60):
        sizes = random.integers(0, 4**6 if turn == 30 else turn + 1, ranks.size).tolist()
        sizes[turn % ranks.size] += 1
        expected = [vector(rank, turn, size) for rank, size in enumerate(sizes)]
        own = expected[ranks.rank]
        found = ranks.exchange([own[: turn // 2], own[turn // 2 :]], sizes)
        assert all(map(torch.equal, found, expected)), turn
        everyones = ranks.gather(torch.full((turn % 3 + 1,), float(ranks.rank)))
        assert everyones.tolist() == [[float(rank)] * (turn % 3 + 1) for rank in range(ranks.size)]


def check_gradients(ranks: Ranks, root: Path, params: Train, chosen: Backend) -> None:
    features = Features(root)
    histories = features.shard(0, "train").impressions.history_length
    longest, empty = np.argsort(-histories)[:30], np.flatnonzero(histories == 0)
    for name, parts in {
        "uneven": (longest[:23], longest[23:]),
        "one without impressions": (longest, longest[:0]),
        "one without behaviours": (longest, empty),
        "no behaviours at all": (empty[:2], empty[2:]),
    }.items():
        rows = np.concatenate(parts)
        whole = step(features, params, rows, len(rows), Ranks())
        with backend.using(chosen, ranks.collect):
            found = step(features, params, parts[ranks.rank], len(rows), ranks)
        for key, value in whole.items():
            torch.testing.assert_close(
                found[key], value, atol=1e-5, rtol=1e-4, msg=lambda m, k=key, n=name: f"{n} {k} {m}"
            )
        everyones = ranks.collect(found)
        assert all(torch.equal(value, everyones[0][key]) for each in everyones for key, value in each.items())


def check_fit(ranks: Ranks, root: Path, params: Train, chosen: Backend) -> None:
    features = Features(root)
    loader = TrainingLoader(features, Packer(features), params.learning.batch_size, params.learning.seed, ranks)
    with backend.using(chosen, ranks.collect):
        batches = list(loader.epoch(0))
    assert len(batches) == loader.batches(0)
    seen = [len(batch.packed) for batch in batches]
    everyones = ranks.collect(seen)
    assert [batch.impressions for batch in batches] == np.sum(everyones, 0).tolist()
    assert np.sum(everyones) == features.manifest["rows"]["train"]
    assert min(map(min, everyones)) == 0  # some rank has an empty batch at the end of an epoch

    compute = Compute(ranks=ranks)
    with backend.using(chosen, ranks.collect):
        trained, progress = fit(features, params, compute=compute)
    found = {**trained.model.state_dict(), "table": trained.table}
    for other, history in ranks.collect((found, progress.history)):
        assert history == progress.history
        assert all(torch.equal(found[name], tensor) for name, tensor in other.items())
    if chosen == "native":
        _, reference = fit(features, params, compute=compute)
        check_losses(progress.history, reference.history, 1e-3)


def check_losses(found: list[dict[str, float]], expected: list[dict[str, float]], tolerance: float) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        for name in ("train_loss", "valid_log_loss"):
            assert ours[name] == pytest.approx(theirs[name], rel=tolerance)


def check_metrics(ranks: Ranks, root: Path, params: Train) -> None:
    features = Features(root)
    with backend.using("native", ranks.collect):
        _, team = fit(features, params, compute=Compute(ranks=ranks))
    _, alone = fit(features, changed(params, batch_size=params.learning.batch_size * ranks.size))
    first, last = (team.history[epoch]["train_loss"] for epoch in (0, -1))
    assert last < 0.95 * first
    check_losses(
        team.history, alone.history, 0.006
    )  # measured: 0.0035; with half of the table's gradient 0.008, with half the rate 0.08


def check_both(ranks: Ranks, root: Path, params: Train, chosen: Backend) -> None:
    check_gradients(ranks, root, params, chosen)
    check_fit(ranks, root, changed(params, batch_size=20, epochs=2, patience=9, unknown_rate=0.1), chosen)


@pytest.mark.parametrize(
    ("backend_name", "declared"),
    [
        ("reference", FIELDS),
        pytest.param("native", FIELDS, marks=needs_compiler),
        pytest.param("native", PLAIN, marks=[needs_compiler, pytest.mark.slow]),
    ],
    ids=["reference", "native", "native, plain fields"],
)
def test_two_processes_compute_what_one_does(
    backend_name: Backend, declared: dict, tmp_path: Path, params: Params
) -> None:
    """A batch in two parts has the gradients of the whole batch; both ranks end with the same bits and its losses."""
    features = write_features(tmp_path, users=41, impressions=11, shards=3, declared=declared)
    train = changed(params.train, hidden=(12, 8), attention_hidden=(8, 4), threads=1)
    together(2, check_both, features.root, train, backend_name)


@needs_compiler
def test_two_processes_learn_what_one_does(tmp_path: Path, params: Params) -> None:
    """Losses equal one process with equal batches, up to the noise of their order; gradients are clipped."""
    features = write_features(tmp_path, users=100, impressions=20, shards=3)
    train = changed(params.train, hidden=(12, 8), attention_hidden=(8, 4), threads=1, epochs=2, patience=9)
    clipped = changed(train, batch_size=64, learning_rate=0.005, clip_norm=0.5)
    together(2, check_metrics, features.root, clipped)


@pytest.mark.parametrize("processes", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_vectors_of_any_length_reach_all(processes: int) -> None:
    """Each rank gets the vectors of all ranks, including empty ones, in the order of ranks."""
    together(processes, check_exchange)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_GPU)])
def test_bfloat16_trains_near_float32(device: str, features: Features, params: Params) -> None:
    """With autocast of the dense part, weights stay float32 and losses are within 0.01, on the chosen device."""
    quick = changed(params.train, epochs=1, batch_size=32, threads=1, device=device)
    losses = []
    for precision in ("float32", "bfloat16"):
        with computing(changed(quick, precision=precision, backend="reference").compute) as compute:
            trained, progress = fit(features, quick, compute=compute)
        assert trained.table.dtype == torch.float32
        losses.append(progress.history[0]["train_loss"])
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)


@pytest.fixture
def workspace(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes workspaces with small features, whose params.yaml trains in two processes."""

    def make(name: str, learning: dict[str, Any] | None = None, compute: dict[str, Any] | None = None) -> Path:
        root = tmp_path / name
        write_features(root / "data" / "features")
        yaml = YAML()
        params = yaml.load((Path(__file__).parents[2] / "params.yaml").read_text())
        train = params["train"]
        train["model"] |= {"hidden": [8], "attention_hidden": [8]}
        train["learning"] |= {"batch_size": 16, "epochs": 2, "patience": 99} | (learning or {})
        train["compute"] |= {"threads": 1, "processes": 2} | (compute or {})
        yaml.dump(params, root / "params.yaml")
        return root

    return make


def run(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *command], cwd=root, capture_output=True, text=True, timeout=250)


def outcome(root: Path) -> int:
    return json.loads((root / ".din/outcome/train.json").read_text())["exit_code"]


def test_din_train_in_two_processes(workspace: Callable[..., Path]) -> None:
    """One of them writes one outcome, log, model and summary, whose speed counts the time of training alone."""
    root = workspace("whole")
    done = run(root, "din.cli", "train")
    assert (done.returncode, outcome(root)) == (0, 0), done.stderr
    assert done.stdout.count("epoch 2,") == 1
    summary = json.loads((root / "reports/training/summary.json").read_text())
    rows = json.loads((root / "data/features/manifest.json").read_text())["rows"]["train"]
    assert summary["epochs"] == 2
    times = json.loads((root / "reports/training/times.json").read_text())
    assert times["samples_per_second"] > 2 * rows / times["seconds"]
    assert json.loads((root / "models/din/config.json").read_text())["train"]["compute"]["processes"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("cause", ["an unreadable shard on one rank", "divergence on all"])
def test_an_error_ends_all_with_one_message(cause: str, workspace: Callable[..., Path]) -> None:
    """The rank that failed gives the exit code and outcome; its message appears once; no process is left."""
    diverging = {"optimizer": "sgd", "learning_rate": 1e30} if cause == "divergence on all" else {}
    root = workspace("broken", learning=diverging)
    if cause != "divergence on all":
        shard = root / "data/features/shards/00001/train.parquet"
        content = bytearray(shard.read_bytes())
        content[4:200] = bytes([255]) * 196  # damages the first page; the footer, which all ranks read, stays whole
        shard.write_bytes(content)
    done = run(root, "din.cli", "train")
    assert (done.returncode, outcome(root)) == (2, 2), done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert not (root / "models/din").exists()


@pytest.mark.slow
def test_killed_and_resumed_ends_with_the_bits_of_torchrun(workspace: Callable[..., Path]) -> None:
    """A run continued after SIGKILL to all processes gives the model of an uninterrupted run under torchrun."""
    often = {"checkpoint_minutes": 1e-9}
    killed = workspace("killed", {"epochs": 5}, often)
    clean = workspace("clean", {"epochs": 5}, often | {"processes": 1})
    process = subprocess.Popen(
        [sys.executable, "-m", "din.train"], cwd=killed, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert any(line.startswith("epoch 2") for line in process.stdout)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = run(killed, "din.train")
    assert "resuming at epoch" in done.stdout, done.stderr
    torchrun = run(clean, "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "din.train")
    assert torchrun.returncode == 0, torchrun.stderr
    for name in ("weights.safetensors", "config.json"):
        left, right = (root / "models/din" / name for root in (killed, clean))
        assert left.read_bytes() == right.read_bytes(), name
