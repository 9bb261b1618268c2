"""The stage `train`."""

import shutil
from pathlib import Path

from din.artifacts import write_json
from din.eventlog.reader import Features
from din.model import artifact
from din.params import Params
from din.train import checkpoint
from din.train.compilation import compiles
from din.train.fit import fit

SUMMARY = Path("reports/training/summary.json")


def train(params: Params) -> None:
    """Features to `models/din/` and `reports/training/summary.json`; resumes a killed run of the same inputs."""
    features = Features()
    rows = features.manifest["rows"]
    compiled = compiles(params.train, rows["train"])
    folder = checkpoint.directory(features.root, params.train, compiled)
    print(f"training {params.train.model} on {rows['train']:,} impressions, checkpoints in {folder}", flush=True)
    trained, progress = fit(features, params.train, folder / "state.safetensors", compiled)
    artifact.save(trained, params.train, features)
    write_json(
        SUMMARY,
        {
            "model": params.train.model,
            "compiled": compiled,
            "epochs": progress.epoch,
            "best_epoch": progress.best_epoch + 1,
            f"valid_{params.train.metric}": progress.best_metric,
            "seconds": round(progress.seconds, 3),
            "samples_per_second": round(progress.epoch * rows["train"] / progress.seconds, 1),
            "history": progress.history,
        },
    )
    for old in folder.parent.iterdir():
        if old != folder:
            shutil.rmtree(old)
