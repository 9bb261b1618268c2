"""Several sequences, from raw ids to the scorer."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from serve_workspace import Finished, build
from settings import changed

from din.artifacts import read_json
from din.params import Params
from din.serve import Scorer
from din.serve.parity import check_parity

pytestmark = pytest.mark.slow  # a training and an export; parts of them are tested in model, train and test_export.py

SEQUENCES = {"liked": {"rating": (4, 5)}, "disliked": {"rating": (1,)}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, params: Params) -> Finished:
    """DIN with two sequences, finished."""
    train = changed(params.train, sequences=SEQUENCES)
    return build(tmp_path_factory.mktemp("sequences"), replace(params, train=train))


def test_raw_ids_reach_their_sequence(finished: Finished) -> None:
    """PyTorch, onnxruntime and the scorer agree, also on histories without a behaviour of a sequence."""
    check_parity(finished.here, finished.params)
    assert finished.parity()["verdict"] == "open"
    ids = read_json(finished.here.model / "config.json")["sequences"]
    assert {name: list(fields) for name, fields in ids.items()} == {"disliked": ["rating"], "liked": ["rating"]}


@pytest.mark.parametrize("rating", [2, 3, None, "never seen"])
def test_a_behaviour_of_no_sequence_changes_nothing(finished: Finished, rating: object) -> None:
    """A behaviour of neither sequence changes no score, and one of a sequence does."""
    scorer = Scorer.open(Path(finished.bundle))
    history = [{"item_id": "i3", "rating": 5}, {"item_id": "i7", "rating": 1}]

    def score(more: list[dict]) -> np.ndarray:
        return scorer.score({"history": [*history, *more], "candidates": ["i1", "i2"]}, "logit")

    np.testing.assert_allclose(score([{"item_id": "i9", "rating": rating}]), score([]), atol=1e-6)
    assert np.abs(score([{"item_id": "i9", "rating": "4"}]) - score([])).min() > 1e-4
