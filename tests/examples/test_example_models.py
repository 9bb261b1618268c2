"""The examples of models: one in the scorer, and the loss of the other. `din plugin check` trains and compares them."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from din import plugins
from din.base.errors import InputError
from din.bundle import Scorer
from din.features.reader import Features
from din.params.reading import Params
from din.train.learner import Learner
from din_loop.server.openapi import description
from din_loop.server.settings import Settings
from tests.factories.bundles import Finished, build, random_log
from tests.factories.features import rewrite, with_times
from tests.helpers.settings import changed

ROOT = Path(__file__).parent.parent.parent
NOW = 1_700_000_000


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, params: Params) -> Finished:
    plugins.load(["examples/plugins/transformer.py"], ROOT)
    train = changed(params.train, name="transformer", options={"heads": 2, "length": 4})
    fields = {"item": {"category": "categorical"}, "behaviour": {"rating": "categorical"}}
    log = replace(random_log(), fields=fields)
    return build(tmp_path_factory.mktemp("transformer"), replace(params, train=train), log)


@pytest.fixture
def scorer(finished: Finished) -> Iterator[Scorer]:
    yield Scorer.open(finished.bundle)


def request(*days: float, time: Any = NOW) -> dict[str, Any]:
    """Return a request whose behaviours are some days old."""
    history = [{"item_id": f"i{n}", "timestamp": NOW - 86_400 * day} for n, day in enumerate(days)]
    return {"history": history, "candidates": ["i1", "i2"], "time": time}


def test_ages_change_a_score(scorer: Scorer) -> None:
    """Behaviours count differently a year later, and equally if the request is a year later too."""
    scores = scorer.both(request(1, 2)).logits
    assert np.abs(scorer.both(request(366, 367)).logits - scores).max() > 1e-3
    year = 366 * 86_400
    later = request(1, 2, time=NOW + year)
    later["history"] = [entry | {"timestamp": entry["timestamp"] + year} for entry in later["history"]]
    np.testing.assert_allclose(scorer.both(later).logits, scores, atol=1e-6)


def test_only_the_newest_behaviours_count(scorer: Scorer) -> None:
    """Beyond `length`, older behaviours change nothing."""
    four = request(1, 2, 3, 4)
    five = four | {"history": [{"item_id": "i9", "timestamp": NOW - 10**6}, *four["history"]]}
    np.testing.assert_allclose(scorer.both(five).logits, scorer.both(four).logits, atol=1e-6)


def test_the_example_and_the_schema_have_times(scorer: Scorer) -> None:
    """The example can be scored, and the schema refuses what the scorer refuses."""
    post = description(scorer, Settings(registry="", model=""))["paths"]["/v1/score"]["post"]
    described = post["requestBody"]["content"]["application/json"]
    assert np.isfinite(scorer.score(described["example"])).all()
    bare = described["example"] | {"history": ["i1"]}
    for value, valid in [(described["example"], True), (bare, False), ({"candidates": ["i1"]}, False)]:
        assert jsonschema.Draft202012Validator(described["schema"]).is_valid(value) is valid


def test_a_request_without_times_is_refused(scorer: Scorer) -> None:
    """A model that reads ages must not be served with ages that nobody sent. Null says that a time is unknown."""
    with pytest.raises(InputError, match=r"time: missing; this model reads how old behaviours are; send the seconds"):
        scorer.score(request(1, time=None))
    with pytest.raises(InputError, match=r"time: 1700000000000; expected a number of seconds since 1970"):
        scorer.score(request(1, time=NOW * 1000))
    for behaviour in ("i1", {"item_id": "i1"}):
        with pytest.raises(InputError, match=r"history: .*i1.* has no timestamp; this model reads how old"):
            scorer.score({"history": [behaviour], "candidates": ["i2"], "time": NOW})
    unknown = {"item_id": "i1", "timestamp": None}
    assert np.isfinite(scorer.score({"history": [unknown], "candidates": ["i2"], "time": NOW})).all()


def test_the_listwise_loss_compares_candidates_of_one_request(features: Features, params: Params) -> None:
    """It is −ln(e^logit / Σ e^logit over the request) of each click, beside the log loss."""
    plugins.load(["examples/plugins/listwise.py"], ROOT)
    rewrite(features, "train", lambda rows: with_times(rows, rows["timestamp"].to_numpy() // 8))
    learner = Learner(features, changed(params.train, name="listwise", options={"share": 0.5}, hidden=(4,)))
    step = learner.inputs(next(learner.loader().epoch(0)))
    logits = torch.linspace(-60, 60, step.impressions)
    model, table = learner.trained
    assert step.batch.request is not None
    request, clicked, logit = step.batch.request.tolist(), step.labels.tolist(), logits.double().tolist()
    expected = 0.0
    for place, label in enumerate(clicked):
        rivals = [logit[other] for other in range(len(logit)) if request[other] == request[place]]
        expected += label * (math.log(sum(map(math.exp, rivals))) - logit[place])
    weights = torch.full_like(logits, 3)
    arguments = (table, step.batch, logits, step.labels)
    for weight, one in ((None, 1), (weights, 3)):
        beside = binary_cross_entropy_with_logits(logits, step.labels, weight, reduction="sum")
        assert float(model.loss(*arguments, weight) - beside) == pytest.approx(0.5 * one * expected, rel=1e-4)
