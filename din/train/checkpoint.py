"""Training state in one safetensors file, which is complete or absent, and bound to data, parameters and code.

The name of its directory is a hash of all three, so the checkpoint of another run is never loaded. The file is written
atomically, with a hash of its content. A checkpoint that can't be read, or is damaged, is ignored.
"""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from din.base.artifacts import MANIFEST, atomic_path, sha256_file
from din.base.names import Digest
from din.params.blocks import to_json
from din.params.train import Train
from din.train.compute import Compute


@dataclass
class Progress:
    """How far training has come: the next batch, and the best epoch so far."""

    epoch: int = 0  # of the next batch, from 0
    batch: int = 0  # number of the next batch in its epoch, from 0
    loss: float = 0.0  # summed over the impressions of the epoch so far
    start_seconds: float = 0.0  # spent before the first step, and again after each resume
    epoch_seconds: list[float] = field(default_factory=list)  # spent in the training steps of each epoch
    settling_seconds: float = 0.0
    validation_seconds: float = 0.0
    best_epoch: int = -1  # -1: no epoch has been validated
    best_metric: float = float("-inf")
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """The duration of all epochs in seconds, with settling and validation."""
        return sum(self.epoch_seconds) + self.settling_seconds + self.validation_seconds


def directory(features: Path, params: Train, compute: Compute, code: Digest) -> str:
    """Return the name of a run's folder of checkpoints: a hash of the features, `train`, and the code of training.

    `train.compute` enters as it was resolved: `auto` is a different run on a different machine. The time between saves
    is left out, since it changes no result.
    """
    settings = to_json(params) | {"compute": compute.settled}
    versions = [torch.__version__, np.__version__]
    key = [sha256_file(features / MANIFEST), settings, code, versions]
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]


def save(path: Path, tensors: dict[str, Tensor], progress: Progress) -> None:
    """Write a checkpoint atomically."""
    tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(asdict(progress))
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"progress": text, "sha256": _hash(tensors, text)})


def load(path: Path) -> tuple[dict[str, Tensor], Progress] | None:
    """Return the tensors and the progress of a checkpoint, or None if there is none.

    One that can't be read, or does not match its hash, is ignored, with a printed line.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            metadata = file.metadata() or {}
        if metadata["sha256"] != _hash(tensors, metadata["progress"]):
            raise ValueError("it is damaged: its content does not match its hash")
        return tensors, Progress(**json.loads(metadata["progress"]))
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        print(f"checkpoint {path} can't be read ({error}); training starts over", flush=True)
        return None


def _hash(tensors: dict[str, Tensor], progress: str) -> str:
    """Return the sha256 of everything that a checkpoint holds. The tensors are contiguous and on the CPU."""
    digest = hashlib.sha256(progress.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def prune(current: Path) -> None:
    """Remove the folders of all runs, or of all studies, but `current` and the two newest others.

    Others are kept so that a killed run can still be resumed after another one has run.
    """
    if not current.parent.exists():  # a continued champion saves none
        return
    folders = (path for path in current.parent.iterdir() if path.is_dir())
    by_age = sorted(folders, key=lambda path: path.stat().st_mtime)
    removable = [path for path in by_age if path != current]
    for path in removable[:-2]:
        shutil.rmtree(path)
