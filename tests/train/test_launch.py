"""The role of a training process, and whose error is reported. Alone: `pytest tests/train/test_launch.py`."""

import os
from pathlib import Path

import pytest
from joined_processes import together
from torch.distributed import DistBackendError

from din.errors import InputError
from din.train import launch
from din.train.distributed import Ranks
from din.workspace import Workspace

PAIR = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:553]"


@pytest.mark.parametrize(
    ("environment", "role"),
    [
        ({}, "alone"),
        ({"WORLD_SIZE": "4"}, "alone"),
        ({"RANK": "0"}, "alone"),
        ({"RANK": "1", "WORLD_SIZE": "4"}, "rank"),
    ],
    ids=str,
)
def test_a_rank_has_a_number_and_a_size(environment: dict[str, str], role: str, tmp_path: Path, monkeypatch) -> None:
    """A process is a rank only if both variables are set; some clusters set one of them for other purposes."""
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    roles: list[str] = []
    monkeypatch.setattr(launch, "be_rank", lambda workspace: roles.append("rank"))
    monkeypatch.setattr(launch, "train_alone", lambda workspace: roles.append("alone"))
    launch.main(Workspace(tmp_path))
    assert roles == [role]


@pytest.mark.parametrize(
    ("error", "gone"),
    [
        (RuntimeError(f"{PAIR} Connection closed by peer [127.0.0.1]:36551."), True),
        (RuntimeError(f"Gloo connectFullMesh failed with {PAIR} no error"), True),
        (DistBackendError("NCCL communicator was aborted"), True),
        (InputError("data/gloo/manifest.json: not found"), False),
        (RuntimeError("no room for data/gloo/manifest.json"), False),
    ],
    ids=str,
)
def test_errors_of_the_exchange_are_told_from_others(error: Exception, gone: bool) -> None:
    """They are recognised by type, and gloo's by the source file in the message, but not by a path with that name."""
    assert launch.says_rank_gone(error) == gone


def _one_leaves(ranks: Ranks) -> None:
    if ranks.rank == 0:
        with pytest.raises(Exception) as caught:
            for _ in range(9):
                ranks.collect("here")
        assert launch.says_rank_gone(caught.value), caught.value
    os._exit(0)  # without closing the connection


def test_the_error_of_the_installed_torch_is_recognised() -> None:
    """The error that torch raises when a rank has exited is known as such."""
    together(2, _one_leaves)
