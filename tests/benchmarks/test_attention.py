"""`python -m benchmarks.attention`: a ranking of behaviours pays only if it knows which ones matter."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from benchmarks.attention import RANKINGS, Weighed, causal_share, causal_shares, curves, deletion, predict, weighed
from din.base.artifacts import write_json
from din.base.errors import InputError
from din.base.workspace import Workspace
from din.bundle.scorer import Request
from din.params.reading import Params
from tests.factories.bundles import built_once

CAUSE = 1
"""The only item of a history that moves the logit of a click."""


def logits(requests: Sequence[Request]) -> NDArray[np.float64]:
    return np.array([-2 + 2.0 * (CAUSE in request["history"]) for request in requests])


def known_model(requests: Sequence[Request]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-logits(requests)))


@pytest.fixture(scope="module")
def planted() -> list[Weighed]:
    """2,000 requests of 500 users, half of them with the cause in the history, and clicks that follow the model."""
    random = np.random.default_rng(3)
    found = []
    for number in range(2000):
        history = random.permutation([CAUSE if number % 2 else 2, 3, 4, 5, 6]).tolist()
        request: Request = {"history": history, "candidates": [9]}
        label = int(random.random() < known_model([request])[0])
        shorter = [{**request, "history": history[:place] + history[place + 1 :]} for place in range(5)]
        effects = np.abs(logits([request]) - logits(shorter))
        weights = random.random((2, 5))
        found.append(Weighed(number // 4, label, request, weights[0], effects, weights[1], np.array(history) == CAUSE))
    return found


def test_a_ranking_pays_only_if_it_knows_the_cause(planted: list[Weighed]) -> None:
    """Without a behaviour that matters, labels are predicted worse. Random effects pay nothing, and wrong ones lose."""
    random = np.random.default_rng(4)
    ignorant = [replace(one, effects=random.random(5)) for one in planted]
    mistaken = [replace(one, effects=-one.effects) for one in planted]
    knows, guesses, errs = (deletion(log, known_model, 1) for log in (planted, ignorant, mistaken))
    assert knows.more_loss("largest effects", "random").lower > 0.05
    assert knows.more_loss("largest effects", "most attended").lower > 0.05
    nothing = guesses.more_loss("largest effects", "random")
    assert nothing.lower < 0 < nothing.upper
    assert errs.more_loss("largest effects", "random").upper < 0
    assert causal_share(planted, RANKINGS["largest effects"]) == 1
    assert causal_share(ignorant, RANKINGS["largest effects"]) == pytest.approx(1 / 5, abs=0.05)


def test_a_run(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, params: Params) -> None:
    """Each behaviour that the model reads has its weights, and a model that has learned the test rows is refused."""
    finished = built_once(tmp_path_factory, params)
    here = Workspace(shutil.copytree(finished.here.root, tmp_path / "run"))
    shards = [pq.read_table(path) for path in sorted(here.features.glob("shards/*/test.parquet"))]
    rows = pa.concat_tables(shards)
    lengths = pa.array(rows["history_end"].to_numpy() - rows["history_start"].to_numpy())
    pq.write_table(rows.append_column("history_length", lengths), here.predictions / "test.parquet")
    found = weighed(here, 20)
    expected = lengths.to_numpy()[lengths.to_numpy() >= 2]
    assert len(found) == min(20, len(expected))
    assert all(len(one.attention) == len(one.effects) == len(one.request["history"]) >= 2 for one in found)
    assert max(float(np.ptp(one.attention)) for one in found) > 1e-4
    whole = deletion(found, predict(here), 1)
    assert not np.array_equal(whole.whole, whole.left["random"])
    assert f"| run | 1 | {len(found)} |" in curves([("run", found, predict(here))])
    assert causal_shares([("run", found)]) == ""

    write_json(here.shipped / "another.json", {})
    with pytest.raises(InputError, match="the bundle's model has learned the test rows"):
        weighed(here, 20)
