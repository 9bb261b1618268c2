"""Teachers: models with other seeds, whose mean the model learns in place of the labels of the training rows.

Trainings that differ in their seed alone make different errors, so the mean of their logits ranks better than any one
of them. A model that learns this mean keeps most of the gain, and a request costs what it costs with a single model.

    target = σ(mean of the teachers' logits + offset)

The offset is that of the loss, for the negatives that training left out, since the loss adds it to the model's logits
too. A teacher has learned the rows that it scores, but none that is judged: validation and test rows, and days that are
learned in passes, keep their labels.

Training takes at least k + 1 times as long. The targets take 4 bytes a training row, and 20 while they are made. A
teacher's checkpoint ends as its logits, so a resumed run trains no finished teacher again, and no weights of teachers
are kept.

Reference: Hinton et al., arXiv 1503.02531 (distillation of an ensemble into one model).
"""

import time
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from din.features.reader import Features
from din.params import Train
from din.train import checkpoint
from din.train.compute import Compute
from din.train.fit import fit
from din.train.loader import Targets
from din.train.predict import predict_shards

_LOGITS = "logits"  # of a finished teacher: the only tensor of its checkpoint


def taught(features: Features, params: Train, checkpoint_path: Path | None, compute: Compute) -> tuple[Targets, float]:
    """Train the teachers, and return the targets of the training rows and the seconds that it took.

    Args:
        checkpoint_path: the checkpoint of the model that they teach. Theirs are beside it. None: there are none.

    Raises:
        InputError: as in `fit`.
    """
    rows = features.split_rows("train")
    total = np.zeros(sum(rows))
    seconds = 0.0
    teachers = params.learning.teachers
    for number in range(1, teachers + 1):
        path = checkpoint_path and checkpoint_path.with_name(f"teacher-{number}.safetensors")
        logits, spent = _teacher(features, params, number, path, compute)
        total += logits
        seconds += spent
    print(f"{params.model.name} learns the mean of {teachers} teachers", flush=True)
    targets = np.exp(-np.logaddexp(0, -(total / teachers + features.offset))).astype(np.float32)
    return np.split(targets, list(accumulate(rows))[:-1]), seconds


def _teacher(
    features: Features, params: Train, number: int, path: Path | None, compute: Compute
) -> tuple[NDArray[np.float32], float]:
    """Return a teacher's logits of the training rows, in the order of the files, and the seconds that it took."""
    found = checkpoint.load(path) if path else None
    if found and _LOGITS in found[0]:
        return found[0][_LOGITS].numpy(), found[1].seconds
    del found  # `fit` loads it again
    seed = int(np.random.SeedSequence(params.learning.seed, spawn_key=(number,)).generate_state(1)[0])
    print(f"teacher {number} of {params.learning.teachers}, with seed {seed}", flush=True)
    settings = replace(params, learning=replace(params.learning, seed=seed, teachers=0, advance=False))
    learner, progress = fit(features, settings, path, compute)
    began = time.monotonic()
    shards = predict_shards(learner.trained, features, "train", compute=compute)
    logits = np.concatenate([shard.logits.astype(np.float32) for shard in shards])
    progress.validation_seconds += time.monotonic() - began
    if path:
        checkpoint.save(path, {_LOGITS: torch.from_numpy(logits)}, progress)
    return logits, progress.seconds
