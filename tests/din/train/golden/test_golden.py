"""A tiny run with committed losses, computed by torch alone.

A change that is meant to move them commits the output of `python tests/din/train/golden/test_golden.py` and gives the
reason.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

HERE = Path(__file__).parent
LOSSES = HERE / "losses.json"


def run(root: Path) -> list[dict[str, float]]:
    """Return training and validation loss of three epochs of the default model in small."""
    from din.params.train import Train
    from din.train.compute import computing
    from din.train.fit import fit
    from tests.factories.features import write_features

    train = Train()
    train = replace(
        train,
        model=replace(train.model, embedding_dim=8, attention_hidden=(12, 6), hidden=(16, 8)),
        learning=replace(train.learning, learning_rate=0.005, epochs=3, patience=9),
    )
    features = write_features(root, users=100, impressions=20)
    with computing(replace(train.compute, device="cpu", threads=1, backend="reference")) as compute:
        _, progress = fit(features, train, compute=compute)
    return [{key: epoch[key] for key in ("train_loss", "valid_log_loss")} for epoch in progress.history]


def test_losses_are_those_committed(tmp_path: Path) -> None:
    """Each epoch's losses equal the committed ones, up to the rounding of another processor."""
    found, expected = run(tmp_path), json.loads(LOSSES.read_text())
    assert len(found) == len(expected) == 3
    for ours, committed in zip(found, expected, strict=True):
        assert ours == pytest.approx(committed, abs=1e-4)


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parents[3]))
    with TemporaryDirectory() as folder:
        LOSSES.write_text(json.dumps(run(Path(folder)), indent=2) + "\n")
