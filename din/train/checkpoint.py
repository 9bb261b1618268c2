"""Training state in one safetensors file: complete or absent, and bound to data, parameters and code.

The directory's name is a hash of all three, so a checkpoint of another run is never found. Written atomically, with a
checksum: what can't be read in full, or is not what was written, is not taken. That costs one CRC over all tensors at
each save and load, half a second per GB.
"""

import hashlib
import json
import shutil
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from din.artifacts import atomic_path, sha256_file
from din.params import Train, to_json
from din.train.compute import Compute

CODE = ("train/*.py", "model/*.py", "ops/**/*.py", "ops/**/*.[ch]", "features/*.py", "metrics/*.py", "schema.py")


@dataclass
class Progress:
    """Where training stands: the next batch, and the best epoch so far."""

    epoch: int = 0
    batch: int = 0
    loss: float = 0.0  # summed over the epoch's impressions so far
    seconds: float = 0.0  # of training steps
    validation_seconds: float = 0.0
    best_epoch: int = -1
    best_metric: float = float("-inf")
    history: list[dict[str, Any]] = field(default_factory=list)


def directory(features: Path, params: Train, compute: Compute) -> str:
    """Return the name of a run's folder of checkpoints: a hash of features manifest, train params and code.

    In place of `train.compute`, what it resolves to: when state is saved does not change what is computed, and `auto`
    is another run on another machine.
    """
    package = Path(__file__).parent.parent
    code = {
        path.relative_to(package).as_posix(): sha256_file(path) for part in CODE for path in sorted(package.glob(part))
    }
    versions = [torch.__version__, np.__version__]
    key = [sha256_file(features / "manifest.json"), to_json(params) | {"compute": compute.settled}, code, versions]
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]


def save(path: Path, tensors: dict[str, Tensor], progress: Progress) -> None:
    """Write a checkpoint atomically."""
    tensors, said = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, json.dumps(asdict(progress))
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"progress": said, "crc32": _checksum(tensors, said)})


def load(path: Path) -> tuple[dict[str, Tensor], Progress] | None:
    """A checkpoint's tensors and progress; None where there is none to take."""
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            written = file.metadata() or {}
            if written.get("crc32") != _checksum(tensors, written.get("progress", "")):
                raise ValueError("its checksum is another")
            return tensors, Progress(**json.loads(written["progress"]))
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        print(f"checkpoint {path} can't be read ({error}); training starts over", flush=True)
        return None


def prune(current: Path, others: int = 2) -> None:
    """Remove all runs' checkpoints but `current` and the newest `others`: a killed run that waits for its return, while
    another one ran, is still there."""
    rest = sorted((path for path in current.parent.iterdir() if path != current), key=lambda path: path.stat().st_mtime)
    for old in rest[: max(len(rest) - others, 0)]:
        shutil.rmtree(old)


def _checksum(tensors: dict[str, Tensor], progress: str) -> str:
    """Of names, types, shapes and bytes."""
    shapes = [(name, str(tensor.dtype), *tensor.shape) for name, tensor in sorted(tensors.items())]
    crc = zlib.crc32(f"{progress}{shapes}".encode())
    for _, tensor in sorted(tensors.items()):
        crc = zlib.crc32(tensor.flatten().view(torch.uint8).numpy().data, crc)
    return f"{crc:08x}"
