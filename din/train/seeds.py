"""Train again with other seeds, and keep each training's predictions of the test rows.

A training has a folder, named by a hash of everything it depends on. While it runs, the folder holds its checkpoint, so
that a killed training resumes. Once it has finished, predictions and a record replace the checkpoint, and it is not
trained again.
"""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from din import documents
from din.artifacts import replace_directory, write_json
from din.document_types import SeedTraining
from din.train.predict import predict
from din.train.run import Job

_RECORD = "training.json"
_PREDICTIONS = "test.parquet"


@dataclass(frozen=True)
class Finished:
    """The record of a finished training, and the test rows with its predictions."""

    training: SeedTraining
    rows: pa.Table


def other_seeds(seed: int, count: int) -> list[int]:
    """Return the `count` smallest seeds from 1 on that are not `seed`."""
    return [other for other in range(1, count + 2) if other != seed][:count]


def train_seed(job: Job, seed: int, store: Path, batch_size: int) -> Finished:
    """Train a job with another seed, or return the training of an earlier call.

    Args:
        job: the training of the candidate.
        seed: the seed to use instead of its own.
        store: the folder that holds one folder for each training.
        batch_size: the number of impressions that are scored at once.

    Raises:
        InputError: training diverged.
    """
    seeded = job.seeded(seed)
    folder = seeded.folder(store)
    if not (folder / _RECORD).exists():
        _train(seeded, folder, batch_size)
    return Finished(documents.read(SeedTraining, folder / _RECORD), pq.read_table(folder / _PREDICTIONS))


def _train(job: Job, folder: Path, batch_size: int) -> None:
    learned = job.run(folder)
    judged = learned.judged
    progress = learned.progress
    found = predict(judged.trained, judged.features, "test", batch_size, job.compute)
    record: SeedTraining = {
        "seed": job.settings.learning.seed,
        "epochs": progress.epoch,
        "best_epoch": progress.best_epoch + 1,
        "seconds": round(progress.seconds, 3),
    }
    with replace_directory(folder) as finished:
        pq.write_table(found.table(), finished / _PREDICTIONS)
        write_json(finished / _RECORD, record)
