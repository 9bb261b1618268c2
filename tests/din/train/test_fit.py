"""The training loop: it learns, resumes bit for bit, and trains the unknown row. Alone: `pytest tests/din/train`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from din.base.artifacts import read_json, write_json
from din.base.errors import InputError
from din.features.packing import Packer
from din.features.reader import Features
from din.model import MODELS, artifact
from din.model.model import build
from din.ops import backend
from din.ops.backend import Backend
from din.params.reading import Params
from din.params.train import Train
from din.train.fit import fit
from din.train.loader import TrainingLoader
from din.train.optimizers import row_decay
from din.train.predict import predict
from tests.factories.features import rewrite, write_features
from tests.helpers.backends import both_backends
from tests.helpers.killed import run_until_killed
from tests.helpers.settings import changed
from tests.helpers.states import same


@pytest.fixture(scope="module")
def quick(params: Params) -> Train:
    return changed(params.train, epochs=2, batch_size=32, attention_hidden=(8,), hidden=(8,), threads=1, patience=9)


@both_backends
@pytest.mark.parametrize(
    ("options", "die_after"),
    [
        ({"dropout": 0.3, "decay": 0.5}, 9),
        ({"optimizer": "sgd", "renew_embeddings": True, "average": 1.0}, 13),
        ({"name": "deepfm"}, 17),  # its best epoch is the first
    ],
    ids=["dropout, decay", "sgd, renewed, averaged", "deepfm"],
)
def test_a_resumed_run_ends_with_the_same_bits(
    backend_name: Backend, options, die_after: int, features: Features, quick: Train, tmp_path: Path, monkeypatch
) -> None:
    """A run stopped after any checkpoint and started again has the state and history of a run that never stopped."""
    quick = changed(quick, checkpoint_minutes=1e-9, **options)
    path = tmp_path / "state.safetensors"
    with backend.using(backend_name):
        whole, whole_progress = fit(features, quick)
        run_until_killed(die_after, monkeypatch, lambda: fit(features, quick, path))
        resumed, resumed_progress = fit(features, quick, path)
    assert same(whole.state(), resumed.state())
    assert whole_progress.history == resumed_progress.history


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_learns(name: str, tmp_path: Path, params: Params) -> None:
    """Each model learns some of it, at least on training rows, although LR sees no pairs of values."""
    features = write_features(tmp_path, users=60, impressions=30)
    train = changed(params.train, name=name, epochs=4, learning_rate=0.01, patience=9, threads=1)
    _, progress = fit(features, changed(train, attention_hidden=(8,), hidden=(8,)))
    losses = [epoch["train_loss"] for epoch in progress.history]
    assert losses[-1] < losses[0] - 0.01


def test_the_unknown_rows_are_trained(features: Features, quick: Train) -> None:
    """Row 0 of every vocabulary changes, even where no value is missing, because of `unknown_rate`."""
    learner, _ = fit(features, changed(quick, unknown_rate=0.2))
    layout = Packer(features).layout
    _, start = build(features.fields, layout, quick)
    for name, offset in layout.offsets.items():
        assert not torch.equal(learner.table[offset], start[offset]), name


@pytest.mark.parametrize(("field", "fewer"), [("item_id", 0), ("rating", 1), ("age", None)])
def test_dropped_values_count_for_the_unknown_row(
    field: str, fewer: int | None, features: Features, quick: Train
) -> None:
    """n_j of row 0 includes the share 1 − (1 − rate)^n of impressions, in which one of n values is dropped."""
    decay = row_decay(features, changed(quick, unknown_rate=0.5, regularization=3.0).learning)
    total = features.manifest.impressions
    values = sum(features.vocabulary("item_id")["impressions"].to_pylist()) / total - fewer if fewer is not None else 1
    seen = features.vocabulary(field)["impressions"].to_pylist()
    expected = [3.0 / (seen[0] + (1 - 0.5**values) * total), *(3.0 / n for n in seen[1:])]
    offset = Packer(features).layout.offsets[field]
    torch.testing.assert_close(decay[offset : offset + len(seen)], torch.tensor(expected))


def test_an_epoch_visits_each_impression_once_in_its_own_order(features: Features) -> None:
    """Two epochs have the same labels in different orders."""
    loader = TrainingLoader(features, Packer(features, 0.3), 20, seed=5)
    labels = np.concatenate([shard.impressions.label for shard in features.shards("train")])
    visited = [np.concatenate([batch.packed.labels for batch in loader.epoch(epoch)]) for epoch in range(2)]
    assert sorted(visited[0]) == sorted(visited[1]) == sorted(labels)
    assert not np.array_equal(*visited)


def test_a_model_survives_the_disk(features: Features, quick: Train, tmp_path: Path) -> None:
    """A loaded model predicts the same; saving twice gives the same bytes."""
    trained = fit(features, quick)[0].finish()
    for name in ("a", "b"):
        artifact.save(trained, quick, features, tmp_path / name)
    assert all(
        (tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes()
        for f in ("config.json", "weights.safetensors")
    )
    loaded = artifact.load(features, tmp_path / "a")
    expected = predict(trained, features, "test", 64).logits
    assert np.array_equal(predict(loaded, features, "test", 64).logits, expected)


def test_a_diverging_run_says_what_to_lower(features: Features, quick: Train) -> None:
    """A loss that is not finite is bad input, and the message names the learning rate."""
    with pytest.raises(InputError, match=r"loss is .*lower train\.learning\.learning_rate \(now 1e\+30\)"):
        fit(features, changed(quick, optimizer="sgd", learning_rate=1e30))


@pytest.mark.parametrize(
    ("held_out", "advice"),
    [
        ([], "raise featurize.valid_fraction"),
        ([{"day": "2024-05-03", "split": "valid", "rows": {}}], "no event on 2024-05-03: deliver these days"),
    ],
    ids=["by user", "by time"],
)
def test_a_run_without_validation_rows_ends_before_its_first_epoch(
    held_out: list[dict[str, Any]], advice: str, features: Features, quick: Train, capsys
) -> None:
    """The message names the missing days, instead of a metric that can't be computed after an epoch."""
    rewrite(features, "valid", lambda rows: rows[:0])
    path = features.root / "manifest.json"
    write_json(path, read_json(path) | {"held_out": held_out})
    with pytest.raises(InputError, match=advice):
        fit(Features(features.root), quick)
    assert "epoch" not in capsys.readouterr().out
