"""The stage `train`."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from din import plugins
from din.base.artifacts import replace_directory, write_json
from din.base.errors import InputError
from din.base.names import Digest
from din.base.workspace import Workspace
from din.features.reader import Features
from din.model import MODELS, artifact
from din.ops import backend
from din.params.reading import Params
from din.params.train import Train
from din.release.registry.registry import Registry
from din.stages import code
from din.train import checkpoint
from din.train.champion_start import ChampionStart, require_temporal
from din.train.compute import Compute, computing
from din.train.learn import Training, learn
from din.train.machine import describe
from din.train.results import Epoch, TrainingSummary, TrainingTimes


def train(workspace: Workspace, params: Params) -> None:
    """Train on the features, and write `models/din/`, `reports/training/` and `reports/machine/train.json`.

    A killed run of the same inputs is resumed. The checkpoint of this run is kept, and the two newest of other runs.

    `summary.json` depends on the inputs alone. `times.json` holds the durations; see `TrainingTimes`.

    Raises:
        InputError: features are missing, training diverged, or there is no bundle to start from.
    """
    with computing(params.train.compute) as compute:
        _train(workspace, params, compute)


def code_of_training(params: Train) -> Digest:
    """Return the digest of the code that trains a model, and of the plugin that registers it."""
    return code.digest(["din.train.fit"], ["train"], plugins.digest_of(MODELS[params.model.name].thing.__module__))


def _train(workspace: Workspace, params: Params, compute: Compute) -> None:
    features = Features(workspace.features)
    rows = features.manifest.rows
    with _start(workspace, params, features) as start:
        settings = params.train
        if start:  # the pin may be a prefix of the version
            settings = replace(settings, champion=start.version)
        folder = workspace.checkpoints / checkpoint.directory(
            features.root, settings, compute, code_of_training(settings)
        )
        print(f"training {settings.model.name} on {rows['train']:,} impressions, checkpoints in {folder}", flush=True)
        began = time.process_time()
        training = learn(features, settings, folder / "state.safetensors", start, compute)
        cpu_seconds = round(time.process_time() - began, 3)
    _save(training, settings, workspace.model)
    progress = training.progress
    outcome = {
        f"valid_{settings.learning.metric}": progress.best_metric if progress.epoch else None,
        "history": tuple(Epoch(**epoch) for epoch in progress.history),
        "days": tuple(day.report for day in training.days),
        "blend": training.blend,
    }
    summary = TrainingSummary(
        model=settings.model.name,
        champion=settings.champion,
        backend="reference" if backend.identity() is None else "native",
        epochs=progress.epoch,
        best_epoch=progress.best_epoch + 1,
        **{name: value for name, value in outcome.items() if value != ()},
    )
    write_json(workspace.training, summary)
    write_json(workspace.machine_of("train"), describe(compute))
    seconds = round(progress.seconds + training.pass_seconds, 3)
    rate = round(progress.epoch * rows["train"] / sum(progress.epoch_seconds), 1) if progress.epoch else None
    times = TrainingTimes(seconds=seconds, cpu_seconds=cpu_seconds, samples_per_second=rate)
    write_json(workspace.training_times, times)
    speed = f"; epochs alone: {rate:,.0f} impressions/s" if rate else ""
    print(f"trained and validated in {seconds:,.1f} s{speed}", flush=True)
    checkpoint.prune(folder)


def _save(training: Training, settings: Train, target: Path) -> None:
    parts = {"": training.judged, artifact.START: training.start, artifact.BEFORE: training.before}
    with replace_directory(target) as folder:
        for name, model in parts.items():
            if model:
                place = folder / name
                artifact.write(model.trained, settings, model.features, place, model.seen_until, model.optimizers)


@contextmanager
def _start(workspace: Workspace, params: Params, features: Features) -> Iterator[ChampionStart | None]:
    """Yield the champion that the parameters pin, copied from the registry and verified. None if they pin none.

    Raises:
        InputError: the champion is not pinned yet, today's rows are not held out by time, the bundle is missing, or it
            has learned all of today's rows.
    """
    if params.train.start == "scratch":
        yield None
        return
    if params.train.champion is None:
        raise InputError(
            "train.start is champion, and train.champion is null, so nobody has said which; run `din pin`, which "
            "writes the version of the champion, or none if there is none yet"
        )
    require_temporal(features.manifest.protocol, "in this log")
    if params.train.continues is None:
        yield None
        return
    registry = Registry.of(workspace, params)
    version = registry.find(params.train.continues)
    workspace.state.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=workspace.state) as parent:
        start = ChampionStart(version, registry.fetch(version, Path(parent) / version))
        start.check_newer(features)
        yield start
