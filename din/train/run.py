"""The stage `train`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from din.artifacts import write_json
from din.features.reader import Features
from din.model import artifact
from din.ops import backend
from din.params import Params
from din.registry.registry import Registry
from din.train import checkpoint
from din.train.compute import Compute, computing
from din.train.distributed import ALONE, Ranks
from din.train.fit import fit
from din.train.warm_start import Start
from din.workspace import Workspace


def train(workspace: Workspace, params: Params, ranks: Ranks = ALONE) -> None:
    """Train on the features, and write `models/din/` and `reports/training/summary.json`.

    Resumes a killed run of the same inputs.

    The summary depends on the inputs alone. `reports/training/times.json` holds the times: `seconds` of training and
    validation, and `samples_per_second` of training alone. The checkpoint of this run is kept, and the two newest of
    other runs.

    Several ranks all call this, and rank 0 writes.

    Raises:
        InputError: features are missing, training diverged, or there is nothing to start from at `warm_start`.
    """
    with computing(params.train.compute, ranks) as compute:
        _train(workspace, params, compute)


def _train(workspace: Workspace, params: Params, compute: Compute) -> None:
    features = Features(workspace.features)
    rows = features.manifest["rows"]
    with _start(workspace, params, features) as start:
        settings = replace(
            params.train,
            warm_start=start and start.version,
            compute=replace(params.train.compute, processes=compute.ranks.size),  # torchrun says how many
        )
        folder = workspace.checkpoints / checkpoint.directory(features.root, settings, compute)
        print(f"training {settings.model.name} on {rows['train']:,} impressions, checkpoints in {folder}", flush=True)
        trained, progress = fit(features, settings, folder / "state.safetensors", start, compute)
    if compute.ranks.rank > 0:
        return
    artifact.save(trained, settings, features, workspace.model)
    write_json(
        workspace.training,
        {
            "model": settings.model.name,
            "warm_start": settings.warm_start,
            "backend": "reference" if backend.identity() is None else "native",
            "epochs": progress.epoch,
            "best_epoch": progress.best_epoch + 1,
            f"valid_{settings.learning.metric}": progress.best_metric,
            "history": progress.history,
        },
    )
    seconds = round(progress.seconds + progress.validation_seconds, 3)
    rate = round(progress.epoch * rows["train"] / progress.seconds, 1)
    write_json(workspace.training_times, {"seconds": seconds, "samples_per_second": rate})
    print(f"trained and validated in {seconds:,.0f} s; training alone: {rate:,.0f} impressions/s", flush=True)
    checkpoint.prune(folder)


@contextmanager
def _start(workspace: Workspace, params: Params, features: Features) -> Iterator[Start | None]:
    """Yield the bundle that `train.warm_start` pins, copied from the registry and verified. None if none is pinned."""
    if params.train.warm_start is None:
        yield None
        return
    registry = Registry.of(workspace, params)
    version = registry.find(params.train.warm_start)
    workspace.state.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=workspace.state) as parent:
        start = Start(version, registry.fetch(version, Path(parent) / version))
        start.check_split(features)
        yield start
