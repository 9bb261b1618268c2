"""Leave out the behaviour that a model attends to most, and see how far the logit moves, compared with a random one.

    python -m benchmarks.attention ~/run ~/simulated --write

It reads folders of finished runs of DIN, with their data, models and reports.

A behaviour's *attention* is the absolute value of its weight, because without softmax weights may be negative. Its
*effect* is what `din score --explain` prints. On the simulated log, clicks depend on the behaviours in the candidate's
category and on no others, so both should tell them apart. Bounds are those of a bootstrap of users.

Shapes: L behaviours of a request, R requests, U users.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from benchmarks import harness
from benchmarks.generated_tables import publish
from din.artifacts import MANIFEST, read_json
from din.features.reader import Features
from din.metrics.estimates import Interval
from din.metrics.ranking import auc
from din.model import artifact
from din.model.din import DIN
from din.model.embedding import to_tensors
from din.serve.encode import Encoder
from din.serve.explain import explain
from din.serve.requests_from_log import requests_for
from din.serve.scorer import Scorer
from din.workspace import Workspace

LEAST = 2
"""The shortest history of which a behaviour is left out."""
_DRAWS = 2000
_SEED = 5


@dataclass(frozen=True)
class Weighed:
    """A request with one candidate.

    Attributes:
        attention: float [L].
        effects: float [L], on the logit.
        alike: bool [L], the behaviours in the candidate's category; None if the log is not simulated.
    """

    user: int
    attention: NDArray[np.float64]
    effects: NDArray[np.float64]
    alike: NDArray[np.bool_] | None


Choice = Callable[[Weighed], int]
CHOICES: dict[str, Choice] = {
    "the most attended": lambda one: int(one.attention.argmax()),
    "the one with the largest effect": lambda one: int(np.abs(one.effects).argmax()),
    "the newest": lambda one: -1,
}


def main() -> int:
    """Run the command line and return the exit code: 0 = done, 2 = bad usage or input."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attention", description="Leave behaviours out.")
    parser.add_argument("runs", type=Path, nargs="+", help="folders of finished runs")
    parser.add_argument("--requests", type=harness.positive, default=600, help="of each run; default: 600")
    parser.add_argument("--write", action="store_true", help="write the table to docs/scoring.md")
    given = parser.parse_args()
    return publish(
        "attention" if given.write else "",
        lambda: text([(run.name, weighed(Workspace(run), given.requests)) for run in given.runs]),
    )


def weighed(here: Workspace, most: int) -> list[Weighed]:
    """Return attention and effects of the shipped model of a run, for at most `most` of its test rows."""
    features = artifact.known(Features(here.features), here.shipped)
    trained = artifact.load(features, here.shipped)
    assert isinstance(trained.model, DIN) and len(trained.model.units) == 1
    seen: list[Any] = []
    trained.model.units[0].register_forward_hook(lambda *call: seen.append(call[-1]))
    scorer, encoder = Scorer.open(here.bundle), Encoder(here.bundle)
    rows = pq.read_table(here.predictions / "test.parquet")
    long = np.flatnonzero(rows["history_length"].to_numpy() >= LEAST)
    rows = rows.take(np.sort(np.random.default_rng(_SEED).permutation(long)[:most]))
    categories = _categories(here)
    found = []
    for user, request in zip(rows["user"].to_pylist(), requests_for(rows, here.raw, here.features), strict=True):
        (packed,) = encoder.pack([request])
        seen.clear()
        with torch.inference_mode():
            trained.model(trained.table, to_tensors(packed))
        attention = np.abs(seen[0].numpy().ravel().astype(np.float64))
        effects = explain(scorer, request).effects[: len(attention), 0]
        alike = None
        if categories:
            own = categories[request["candidates"][0]["item_id"]]
            alike = np.array([categories[one["item_id"]] == own for one in request["history"]])
        found.append(Weighed(user, attention, effects, alike))
    return found


def _categories(here: Workspace) -> dict[int, object] | None:
    """Return the category of each item of a simulated log; None for another log."""
    if read_json(here.raw / MANIFEST)["source"] != "simulate":
        return None
    items = pq.read_table(here.raw / "items.parquet")
    return dict(zip(items["item_id"].to_pylist(), items["category"].to_pylist(), strict=True))


def times_a_random_one(found: Sequence[Weighed], choice: Choice) -> Interval:
    """Return how many times as far the logit moves without the chosen behaviour, on average, as without a random one.

    The bounds hold 95 % of the draws of a bootstrap of users.
    """
    _, user = np.unique([one.user for one in found], return_inverse=True)
    chosen = np.bincount(user, [abs(one.effects[choice(one)]) for one in found])
    random = np.bincount(user, [np.abs(one.effects).mean() for one in found])
    draws = np.random.default_rng(_SEED).integers(0, len(chosen), (_DRAWS, len(chosen)))
    lower, upper = np.quantile(chosen[draws].sum(axis=1) / random[draws].sum(axis=1), (0.025, 0.975))
    return Interval(chosen.sum() / random.sum(), lower, upper)


def told_apart(found: Sequence[Weighed], score: Callable[[Weighed], NDArray[np.float64]]) -> float:
    """Return the mean AUC, over requests, of a score of behaviours for those in the candidate's category."""
    mixed = [(one, one.alike) for one in found if one.alike is not None and 0 < one.alike.mean() < 1]
    return float(np.mean([auc(alike, score(one)) for one, alike in mixed]))


def text(runs: Sequence[tuple[str, list[Weighed]]]) -> str:
    """Return the table of runs."""
    rows = []
    for name, found in runs:
        moved = [times_a_random_one(found, choice) for choice in CHOICES.values()]
        times = [f"{one.point:.1f} [{one.lower:.1f}, {one.upper:.1f}]" for one in moved]
        apart = ["", ""]
        if found[0].alike is not None:
            aucs = told_apart(found, lambda one: one.attention), told_apart(found, lambda one: np.abs(one.effects))
            apart = [f"{one:.3f}" for one in aucs]
        rows.append([name, len(found), *times, *apart])
    head = ["run", "requests", *CHOICES, "AUC of attention", "AUC of effects"]
    title = "**How many times as far the logit moves without one behaviour as without a random one**"
    return f"{title}\n\n{harness.table(head, rows)}"


if __name__ == "__main__":
    sys.exit(main())
