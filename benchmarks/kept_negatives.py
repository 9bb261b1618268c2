"""Measure what `featurize.keep_negatives` saves and costs, on a simulated log with a CTR of about 2 %.

    python -m benchmarks.kept_negatives --keep 0.1 --seeds 2

The same log is featurized whole and with a share of training's negatives. Models with the parameters of params.yaml
and early stopping by validation AUC are trained on each, seed by seed, and judged on the same whole validation rows. A
third side forgets that negatives are missing, to show what the correction is worth. Seconds are CPU time, of
`featurize` and of training with its validation, which has one thread. The oracle is the AUC of the true probabilities.
"""

import argparse
import io
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.arguments import positive
from benchmarks.environments import ROOT
from din.artifacts import MANIFEST, read_json, write_json
from din.features.reader import Features
from din.featurize.build import featurize
from din.metrics.ranking import auc
from din.metrics.summary import summary
from din.params import Params, Train, load
from din.sources.fetch import fetch
from din.train.compute import computing
from din.train.fit import fit
from din.train.predict import EVALUATION_BATCH, predict
from din.workspace import Workspace

START = 1_704_067_200  # 2024-01-01
DAY = 86_400
DAYS = 20
USERS, ITEMS, CATEGORIES = 4_000, 2_000, 40
PRIOR = (5, 30)  # behaviours of a user from before the log
INTERCEPT, SLOPE = -5.5, 1.1
APPEAL = 0.6  # standard deviation of the items' appeal


@dataclass(frozen=True)
class Side:
    """One way to train on the log.

    Attributes:
        name: the name in the table.
        keep: the share of training's negatives.
        corrected: whether training knows that the others are missing.
    """

    name: str
    keep: float
    corrected: bool = True


@dataclass(frozen=True)
class Figures:
    """One training and what came of it.

    Attributes:
        rows: the training rows.
        ctr: the CTR of the training rows.
        featurize: CPU seconds of `featurize`.
        train: CPU seconds of training with its validation.
        auc: of the validation rows, like log loss and calibration.
        oracle: the AUC of the true probabilities on the same rows.
    """

    name: str
    rows: int
    ctr: float
    featurize: float
    train: float
    epochs: int
    auc: float
    log_loss: float
    calibration: float
    oracle: float

    def line(self) -> str:
        """Return a line of the table below `HEAD`."""
        return (
            f"{self.name:29}{self.rows:>9,}{self.ctr:>8.4f}{self.featurize:>9.1f} s{self.train:>7.1f} s{self.epochs:>8}"
            f"{self.auc:>9.4f}{self.log_loss:>10.4f}{self.calibration:>8.3f}{self.oracle:>9.4f}"
        )


HEAD = f"{'':29}     rows     CTR  featurize    train  epochs      AUC  log loss    cal.   oracle"


def draw(folder: Path, rows: int, seed: int = 7) -> np.ndarray:
    """Write events, items and prior history to `folder`, and return the true probability of each event, [rows].

    A click depends on n, the user's prior behaviours in the candidate's category, and on the item's own appeal, which
    only its clicks tell: logit = −5.5 + 1.1 log(1 + n) + appeal.
    """
    random = np.random.default_rng(seed)
    category = np.arange(ITEMS) % CATEGORIES
    interests = np.argsort(random.random((USERS, CATEGORIES)), axis=1)[:, :4]

    def liked(users: np.ndarray) -> np.ndarray:
        """Draw an item of one of the user's interests for each user."""
        own = interests[users, random.integers(0, 4, len(users))]
        return own + CATEGORIES * random.integers(0, ITEMS // CATEGORIES, len(users))

    past = np.repeat(np.arange(USERS), random.integers(*PRIOR, USERS, endpoint=True))
    past_item = liked(past)
    counts = np.zeros((USERS, CATEGORIES))
    np.add.at(counts, (past, category[past_item]), 1)
    user = random.integers(0, USERS, rows)
    item = np.where(random.random(rows) < 0.5, liked(user), random.integers(0, ITEMS, rows))
    appeal = APPEAL * random.normal(size=ITEMS)
    logit = INTERCEPT + SLOPE * np.log1p(counts[user, category[item]]) + appeal[item]
    probability = 1 / (1 + np.exp(-logit))
    events = {"user_id": user, "item_id": item, "timestamp": START + np.arange(rows) * (DAYS * DAY) // rows}
    events |= {"label": (random.random(rows) < probability).astype(int), "behaviour": np.zeros(rows, int)}
    history = {"user_id": past, "item_id": past_item, "timestamp": START - 1 - np.arange(len(past))[::-1]}
    items = {"item_id": np.arange(ITEMS), "category": [f"c{number}" for number in category]}
    for name, columns in {"events": events, "history": history, "items": items}.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    return probability


def parameters() -> Params:
    """Return the shipped parameters for the log of `draw`."""
    params = load(ROOT / "params.yaml")
    files = {name: f"{name}.parquet" for name in ("events", "items", "history")}
    fetch_block = replace(params.fetch, source="table", table=replace(params.fetch.table, **files))
    learning = replace(params.train.learning, metric="auc")
    train = replace(params.train, learning=learning, compute=replace(params.train.compute, threads=1))
    return replace(params, fetch=fetch_block, train=train)


def compare(rows: int, keep: float, seeds: int) -> Iterator[Figures]:
    """Yield the figures of each side and seed."""
    sides = (Side("whole", 1.0), Side("kept", keep), Side("kept, not corrected", keep, corrected=False))
    params = parameters()
    with TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        probability = draw(workspace.root, rows)
        with redirect_stdout(io.StringIO()):
            fetch(workspace, params)
        for side in sides:
            began = time.process_time()
            featurize(workspace, replace(params, featurize=replace(params.featurize, keep_negatives=side.keep)))
            spent = time.process_time() - began
            if not side.corrected:
                _forget(workspace.features)
            features = Features(workspace.features)
            for seed in range(1, seeds + 1):
                train = replace(params.train, learning=replace(params.train.learning, seed=seed))
                yield _measured(f"{side.name}, seed {seed}", features, train, spent, probability)


def _measured(name: str, features: Features, train: Train, featurized: float, probability: np.ndarray) -> Figures:
    """Train, and return the figures of the validation rows."""
    began = time.process_time()
    with redirect_stdout(io.StringIO()), computing(train.compute) as compute:
        trained, progress = fit(features, train, compute=compute)
        spent = time.process_time() - began
        found = predict(trained, features, "valid", EVALUATION_BATCH, compute)
    counts = features.training_counts()
    metrics = summary(found.rows["label"], found.probabilities, found.rows["user"])
    return Figures(
        name=name,
        rows=int(counts.impressions.sum()),
        ctr=counts.clicks.sum() / counts.impressions.sum(),
        featurize=featurized,
        train=spent,
        epochs=progress.epoch,
        auc=metrics["auc"],
        log_loss=metrics["log_loss"],
        calibration=metrics["calibration_ratio"],
        oracle=auc(found.rows["label"], probability[found.rows["sequence"]]),
    )


def _forget(features: Path) -> None:
    """Let the features no longer say that negatives are missing."""
    manifest = read_json(features / MANIFEST)
    del manifest["negatives"]
    write_json(features / MANIFEST, manifest)


def main() -> None:
    """Print the table, line by line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=positive, default=400_000, help="impressions of the log")
    parser.add_argument("--keep", type=float, default=0.1, help="share of training's negatives to keep")
    parser.add_argument("--seeds", type=positive, default=2, help="trainings on each side")
    options = parser.parse_args()
    print(HEAD, flush=True)
    for figures in compare(options.rows, options.keep, options.seeds):
        print(figures.line(), flush=True)


if __name__ == "__main__":
    main()
