"""Whole runs with either backend. Alone: `pytest tests/din/ops/test_runs.py`."""

from pathlib import Path

import numpy as np
import pytest

from din.base.names import Digest
from din.features.reader import Features
from din.ops import backend
from din.ops.backend import Backend
from din.params.reading import Params
from din.params.train import Train
from din.train import checkpoint
from din.train.compute import CPU_ALONE
from din.train.fit import fit
from din.train.predict import predict
from tests.factories.features import FIELDS, PLAIN, VECTORS, write_features
from tests.helpers.backends import both_backends, needs_compiler
from tests.helpers.settings import changed

pytestmark = needs_compiler
CODE = Digest("0" * 64)


@pytest.fixture
def quick(params: Params) -> Train:
    small = {"embedding_dim": 6, "attention_hidden": (12, 5), "hidden": (17, 6)}
    return changed(params.train, epochs=2, batch_size=32, threads=1, patience=9, **small)


@pytest.mark.parametrize(
    ("changes", "declared"),
    [
        ({"ages": True, "softmax": True}, FIELDS),
        ({"name": "pnn", "dropout": 0.2, "optimizer": "sgd", "learning_rate": 0.05}, FIELDS),
        ({"linear": "wide", "interest_product": False}, PLAIN),
        ({}, VECTORS),
    ],
    ids=["ages, softmax", "pnn", "plain fields, wide", "vectors"],
)
def test_a_run_ends_near_that_of_references(changes: dict, declared: dict, tmp_path: Path, quick: Train) -> None:
    """Losses and validation metrics of two epochs agree, whichever parts of the model have a native form."""
    features, train = write_features(tmp_path, declared=declared), changed(quick, **changes)
    histories = []
    for name in ("native", "reference"):
        with backend.using(name):
            histories.append(fit(features, train)[1].history)
    for found, expected in zip(*histories, strict=True):
        assert found == pytest.approx(expected, rel=2e-3)


def test_backends_never_share_a_checkpoint(features_once: Features, params: Params) -> None:
    """The backend that computes identifies a checkpoint."""
    folders = set()
    for name in ("native", "reference"):
        with backend.using(name):
            folders.add(checkpoint.directory(features_once.root, params.train, CPU_ALONE, CODE))
    assert len(folders) == 2


@both_backends
def test_a_score_does_not_depend_on_its_batch(backend_name: Backend, features: Features, quick: Train) -> None:
    """Scores equal the references up to rounding, whatever the size of a batch."""
    trained = fit(features, quick)[0].finish()
    expected = predict(trained, features, "test", 1024).logits
    assert np.ptp(expected) > 0
    for size in (1, 7, 1024):
        with backend.using(backend_name):
            np.testing.assert_allclose(predict(trained, features, "test", size).logits, expected, rtol=0, atol=1e-5)
