"""Every key of `train` is in a block, and the block decides which rules apply to it.

    model      identifies a checkpoint, binds a continued champion, and the floor LR has its own
    learning   identifies a checkpoint, is free in one, and the floor LR has its own
    compute    identifies a checkpoint by what it resolves to, is free in one, and the floor LR shares it

Exceptions are named here, each with its reason. Alone: `pytest tests/din/train/test_owners.py`.
"""

import contextlib
from dataclasses import fields, replace

import pytest

from din.base.errors import InputError
from din.base.names import Digest
from din.features.packing import TableLayout
from din.features.reader import Features
from din.model import artifact
from din.model.artifact import Trained
from din.model.model import build
from din.params.blocks import leaves
from din.params.reading import Params
from din.params.train import Train
from din.train import checkpoint
from din.train.champion_start import ChampionStart
from din.train.compute import Compute, computing
from din.train.evaluate import floor
from tests.helpers.settings import BLOCKS, changed

STARTS = ["start", "champion", "scratch_day"]
NOT_IDENTIFYING = {"compute.checkpoint_minutes": "the time of a save does not change a result"}
SHARED_WITH_THE_FLOOR = {
    "learning.metric": "not every metric is defined on every log",
    "learning.advance": "a floor learns the days that the model learns",
}
CODE = Digest("0" * 64)


def test_every_key_of_train_has_an_owner() -> None:
    """All keys but the ones that name the start are in one of the blocks, and no name occurs twice."""
    keys = list(leaves(Train))
    assert [key for key in keys if key.partition(".")[0] not in BLOCKS] == STARTS
    assert len({key.rpartition(".")[2] for key in keys}) == len(keys)


def test_what_compute_resolves_to_identifies_a_checkpoint(features_once: Features, params: Params) -> None:
    """Each resolved value identifies a run, under the name of its setting."""
    settings = {field.name for field in fields(params.train.compute)}
    assert {f"compute.{name}" for name in settings - Compute().settled.keys()} == NOT_IDENTIFYING.keys()
    with computing(replace(params.train.compute, threads=3)) as compute:
        runs = {
            checkpoint.directory(features_once.root, params.train, resolved, CODE) for resolved in (compute, Compute())
        }
    assert len(runs) == 2


@pytest.fixture(scope="module")
def start(features_once: Features, params: Params, tmp_path_factory: pytest.TempPathFactory) -> ChampionStart:
    """Return a bundle of the shipped settings to start from."""
    bundle = tmp_path_factory.mktemp("bundle")
    model, table = build(features_once.fields, TableLayout.of(features_once.fields, features_once.rows), params.train)
    artifact.save(Trained(model, table), params.train, features_once, bundle / artifact.IN_BUNDLE)
    (bundle / "vocab").symlink_to(features_once.root / "vocab")
    return ChampionStart("ab" * 32, bundle)


@pytest.mark.parametrize("key", leaves(Train))
def test_the_block_of_a_key_decides(key: str, start: ChampionStart, features_once: Features, params: Params) -> None:
    """It decides whether another value is another run, changes the floor too, and is refused with a champion."""
    block, _, name = key.rpartition(".")
    other = "base" if key == "model.name" else "another"  # nothing here checks its type
    train = changed(params.train, **{name: other})
    runs = {checkpoint.directory(features_once.root, settings, Compute(), CODE) for settings in (params.train, train)}
    assert len(runs) == (1 if block == "compute" else 2)
    shared = block == "compute" or key in SHARED_WITH_THE_FLOOR
    assert (floor(replace(params, train=train), 1) != floor(params, 1)) == shared
    with pytest.raises(InputError, match=f"architecture: {name} ") if block == "model" else contextlib.nullcontext():
        start.shared_rows(features_once, train.model)


def test_the_floor_reads_a_large_log_in_larger_batches(params: Params) -> None:
    """An epoch's steps stay bounded, and a small log has batches of the default size."""
    sizes = {rows: floor(params, rows).learning.batch_size for rows in (1, 1_000_000, 100_000_000)}
    assert sizes == {1: 256, 1_000_000: 256, 100_000_000: 24_414}
