"""Leave out the behaviours that matter most by `explain`, and see how much worse the clicks are predicted.

    python -m benchmarks.attention ~/run ~/simulated --write

It reads folders of finished runs of DIN, with their data, models and reports, and takes a sample of the test rows.

A behaviour's *effect* is what `din score --explain` prints: how far the logit moves without this one behaviour. Its
*attention* is the absolute value of its weight, because without softmax weights may be negative. The deletion curve
ranks the behaviours of each request in each of these ways, leaves out the first k together, and takes the log loss of
the labels. Labels took no part in the ranking, so a ranking that says nothing loses no more than a random one.

On the simulated log, clicks depend on the behaviours in the candidate's category and on no others. So a ranking is also
judged by how often its first behaviour is one of these.

Shapes: L behaviours of a request.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from benchmarks import harness
from benchmarks.generated_tables import publish
from din.base.artifacts import MANIFEST, hash_files, read_json
from din.base.errors import InputError
from din.base.workspace import Workspace
from din.bundle.encode import Encoder
from din.bundle.requests_from_log import requests_for
from din.bundle.scorer import Request, Scorer, Scores
from din.features.reader import Features
from din.metrics.estimates import Interval, difference
from din.model import artifact
from din.model.din import DIN
from din.model.embedding import to_tensors
from din_loop.explain import explain

DELETED = (1, 3, 10)
"""The numbers of behaviours that are left out together, of histories that are longer."""
LEAST = min(DELETED) + 1
_EACH_SIDE = 0.975
_SEED = 5

Probabilities = NDArray[np.float64]
Predict = Callable[[Sequence[Request]], Probabilities]
"""Returns the probability of a click for each request with one candidate."""


@dataclass(frozen=True)
class Weighed:
    """A request with one candidate, and the weights that rank its behaviours.

    Attributes:
        label: 1 for a click, else 0.
        attention: float [L], not negative.
        effects: float [L], absolute, on the logit.
        random: float [L], drawn uniformly.
        causal: bool [L], the behaviours in the candidate's category; none if the log is not simulated.
    """

    user: int
    label: int
    request: Request
    attention: NDArray[np.float64]
    effects: NDArray[np.float64]
    random: NDArray[np.float64]
    causal: NDArray[np.bool_]


Ranking = Callable[[Weighed], NDArray[np.float64]]
"""Returns the weights [L] of a request's behaviours; the largest is left out first."""
RANKINGS: dict[str, Ranking] = {
    "random": attrgetter("random"),
    "most attended": attrgetter("attention"),
    "largest effects": attrgetter("effects"),
}


def main() -> int:
    """Run the command line and return the exit code: 0 = done, 2 = bad usage or input."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attention", description="Leave behaviours out.")
    parser.add_argument("runs", type=Path, nargs="+", help="folders of finished runs")
    parser.add_argument("--requests", type=harness.positive, default=5000, help="of each run; default: 5000")
    parser.add_argument("--write", action="store_true", help="write the tables to docs/serving.md")
    options = parser.parse_args()

    def tables() -> str:
        runs = [(run.name, weighed(Workspace(run), options.requests), predict(Workspace(run))) for run in options.runs]
        return f"{curves(runs)}\n{causal_shares([(name, requests) for name, requests, _ in runs])}"

    return publish("attention" if options.write else "", tables)


def predict(here: Workspace) -> Predict:
    """Return a function that scores with the bundle of a run."""
    scorer = Scorer.open(here.bundle)
    return lambda requests: Scores.joined(scorer.both_of_many(requests)).probabilities


def weighed(here: Workspace, most: int) -> list[Weighed]:
    """Return at most `most` test rows of a run, drawn at random, as requests with the weights of their behaviours.

    Raises:
        InputError: the bundle's model has learned the test rows.
    """
    if hash_files(here.shipped) != hash_files(here.model):
        raise InputError(
            f"{here.root}: the bundle's model has learned the test rows; expected a run that holds out users, or one "
            "with train.learning.advance: false"
        )
    features = artifact.known(Features(here.features), here.shipped)
    trained = artifact.load(features, here.shipped)
    assert isinstance(trained.model, DIN) and len(trained.model.units) == 1
    seen: list[Any] = []
    trained.model.units[0].register_forward_hook(lambda *call: seen.append(call[-1]))
    scorer, encoder = Scorer.open(here.bundle), Encoder(here.bundle)
    random = np.random.default_rng(_SEED)
    rows = pq.read_table(here.predictions / "test.parquet")
    long = np.flatnonzero(rows["history_length"].to_numpy() >= LEAST)
    rows = rows.take(np.sort(random.permutation(long)[:most]))
    requests = requests_for(rows, here.raw, here.features)
    categories = _categories(here)
    weighed_requests = []
    for user, label, request in zip(rows["user"].to_pylist(), rows["label"].to_pylist(), requests, strict=True):
        (packed,) = encoder.pack([request])
        seen.clear()
        with torch.inference_mode():
            trained.model(trained.table, to_tensors(packed))
        attention = np.abs(seen[0].numpy().ravel().astype(np.float64))
        effects = np.abs(explain(scorer, request).effects[: len(attention), 0])
        category = categories.get(request["candidates"][0]["item_id"])
        causal = np.array(
            [category is not None and categories[behaviour["item_id"]] == category for behaviour in request["history"]]
        )
        weighed_requests.append(
            Weighed(user, label, request, attention, effects, random.random(len(attention)), causal)
        )
    return weighed_requests


def _categories(here: Workspace) -> dict[int, object]:
    """Return the category of each item of a simulated log; nothing for another log."""
    if read_json(here.raw / MANIFEST)["source"] != "simulate":
        return {}
    items = pq.read_table(here.raw / "items.parquet")
    return dict(zip(items["item_id"].to_pylist(), items["category"].to_pylist(), strict=True))


def without(request: Request, weights: NDArray[np.float64], count: int) -> Request:
    """Return the request without the behaviours that have the `count` largest weights."""
    left_out = set(np.argsort(-weights, kind="stable")[:count])
    return {
        **request,
        "history": [behaviour for place, behaviour in enumerate(request["history"]) if place not in left_out],
    }


@dataclass(frozen=True)
class Deletion:
    """The predictions of requests without some of their behaviours, by ranking.

    Attributes:
        whole: the predictions with all behaviours.
        left: the predictions without the first ones of each ranking.
    """

    users: list[int]
    labels: list[int]
    whole: Probabilities
    left: dict[str, Probabilities]

    def more_loss(self, ranking: str, than: str | None = None) -> Interval:
        """Return how much larger the log loss is than by another ranking, or than with all behaviours.

        The interval holds with 95 %. The sampling unit is the user.
        """
        other = self.whole if than is None else self.left[than]
        return difference("log_loss", self.labels, self.left[ranking], other, self.users).interval(_EACH_SIDE)


def deletion(requests: Sequence[Weighed], predict: Predict, count: int) -> Deletion:
    """Leave out `count` behaviours of each request with more of them, by each ranking."""
    longer = [request for request in requests if len(request.effects) > count]
    left = {
        name: predict([without(request.request, weights(request), count) for request in longer])
        for name, weights in RANKINGS.items()
    }
    whole = predict([request.request for request in longer])
    return Deletion([request.user for request in longer], [request.label for request in longer], whole, left)


def causal_share(requests: Sequence[Weighed], ranking: Ranking) -> float:
    """Return the share of requests whose first behaviour by a ranking is causal, where some are and some are not."""
    return float(np.mean([request.causal[ranking(request).argmax()] for request in requests if _mixed(request)]))


def _mixed(request: Weighed) -> bool:
    return 0 < request.causal.mean() < 1


def curves(runs: Sequence[tuple[str, Sequence[Weighed], Predict]]) -> str:
    """Return the table of the deletion curves."""
    rows = []
    for name, requests, predict in runs:
        for count in DELETED:
            curve = deletion(requests, predict, count)
            pairs = (("random", None), ("most attended", "random"), ("largest effects", "random"))
            losses = [curve.more_loss(*pair) for pair in (*pairs, ("largest effects", "most attended"))]
            rows.append([name, count, f"{len(curve.labels):,}", *map(harness.interval, losses)])
    head = ["run", "left out", "requests", "random", "most attended, over random", "largest effects, over random"]
    title = "**How much the log loss of the test rows rises without some behaviours**"
    return f"{title}\n\n{harness.table([*head, 'largest effects, over most attended'], rows)}"


def causal_shares(runs: Sequence[tuple[str, Sequence[Weighed]]]) -> str:
    """Return the table of how often the first behaviour is causal, of the simulated runs; empty if there are none."""
    rows = []
    for name, requests in runs:
        if mixed := [request for request in requests if _mixed(request)]:
            shares = [f"{causal_share(mixed, ranking):.1%}" for ranking in RANKINGS.values()]
            rows.append([name, f"{len(mixed):,}", *shares])
    title = "**How often the first behaviour is one that causes the click**"
    return f"{title}\n\n{harness.table(['run', 'requests', *RANKINGS], rows)}" if rows else ""


if __name__ == "__main__":
    sys.exit(main())
