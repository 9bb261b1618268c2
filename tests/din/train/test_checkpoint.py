"""Checkpoints: damaged files, identity, and which are kept. Alone: `pytest tests/din/train/test_checkpoint.py`."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from din import plugins
from din.features.reader import Features
from din.model import MODELS
from din.params.reading import Params
from din.stages import code
from din.train import checkpoint
from din.train.checkpoint import Progress
from din.train.compute import CPU_ALONE
from din.train.run import code_of_training
from tests.factories.features import write_features

TENSORS = {"now.table": torch.arange(12.0).view(3, 4), "sparse.steps": torch.tensor(5), "none": torch.empty(0, 4)}
PROGRESS = Progress(epoch=1, batch=7, loss=0.5, history=[{"epoch": 0, "valid_auc": 0.75}])


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda content: content[:-1],
    "another program's": lambda content: content.replace(b"progress", b"progrezz"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_ignored(damage: str, tmp_path: Path, capsys) -> None:
    """One printed line says so, and training starts over."""
    checkpoint.save(tmp_path / "state", TENSORS, PROGRESS)
    sound = (tmp_path / "state").read_bytes()
    content = DAMAGES[damage](sound)
    assert content != sound
    (tmp_path / "state").write_bytes(content)
    assert checkpoint.load(tmp_path / "state") is None
    (said,) = capsys.readouterr().out.splitlines()
    assert "can't be read" in said and "training starts over" in said


def test_no_bit_flips_unnoticed(tmp_path: Path) -> None:
    """Whichever bit of the file flips, in the header or in a tensor, the checkpoint is ignored."""
    path = tmp_path / "state"
    checkpoint.save(path, TENSORS, PROGRESS)
    loaded = checkpoint.load(path)
    assert loaded and loaded[0].keys() == TENSORS.keys() and loaded[1] == PROGRESS
    sound = path.read_bytes()
    for place in range(0, len(sound), 3):
        flipped = bytearray(sound)
        flipped[place] ^= 1 << place // 3 % 8
        path.write_bytes(flipped)
        assert checkpoint.load(path) is None, place


def test_checkpoints_are_bound_to_features_and_code(
    features: Features, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another manifest, and another line in a module of training or in a model's plugin, change the folder of a run."""
    here = checkpoint.directory(features.root, params.train, CPU_ALONE, code_of_training(params.train))
    other = write_features(tmp_path / "other", users=25).root
    assert checkpoint.directory(other, params.train, CPU_ALONE, code_of_training(params.train)) != here
    plugin = tmp_path / "mine.py"
    plugged = replace(params.train, model=replace(params.train.model, name="mine"))
    names = set()
    monkeypatch.setattr(MODELS, "_things", dict(MODELS._things))
    for line in ("", "HEADS = 2\n"):
        MODELS._things.pop("mine", None)
        plugin.write_text(f"from din.model import MODELS\n{line}@MODELS.register('mine')\nclass Mine:\n    pass\n")
        plugins.load(["mine.py"], tmp_path)
        names.add(checkpoint.directory(features.root, plugged, CPU_ALONE, code_of_training(plugged)))
    assert len(names) == 2
    digests = code.digests
    monkeypatch.setattr(code, "digests", lambda modules: digests(modules) | {"din/model/attention.py": "other"})
    assert checkpoint.directory(features.root, params.train, CPU_ALONE, code_of_training(params.train)) != here


def test_the_newest_two_of_other_runs_stay(tmp_path: Path) -> None:
    """The two other runs that were saved last are kept; the current run is kept at any age."""
    for age, name in enumerate(("new", "newer", "older", "oldest", "mine")):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (10_000 - age, 10_000 - age))
    (tmp_path / ".DS_Store").touch()
    os.utime(tmp_path / ".DS_Store", (0, 0))
    for _ in range(2):
        checkpoint.prune(tmp_path / "mine")
        assert {path.name for path in tmp_path.iterdir()} == {"mine", "new", "newer", ".DS_Store"}
