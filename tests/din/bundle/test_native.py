"""Built-in models in C, compared with PyTorch on ragged input, and a scorer with C kernels, with onnxruntime."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from din.bundle import Scorer
from din.bundle.native import NativeModel
from din.features.packing import TableLayout
from din.model.artifact import Trained
from din.model.embedding import to_tensors
from din.model.model import build
from din.params.blocks import to_json
from din.params.reading import Params
from din.schema import Field, parse_fields
from tests.factories.batches import draw_blend, draw_weights, random_batch
from tests.factories.bundles import FIELDS, REQUEST, Finished
from tests.factories.features import rows_of, with_lengths
from tests.factories.run import edit
from tests.helpers.backends import needs_compiler
from tests.helpers.settings import changed

SMALL = {"embedding_dim": 3, "attention_hidden": (5, 4), "hidden": (6, 5)}
VARIANTS: dict[str, dict[str, Any]] = {
    "din": {},
    "din, other options": {"interaction": "product", "softmax": True, "ages": True, "linear": "wide"},
    "din, no products": {"interest_product": False, "linear": "none", "attention_hidden": (20,)},
    "base": {"name": "base", "dropout": 0.5},
    "base, mean": {"name": "base", "pooling": "mean", "ages": True},
    "wide_deep": {"name": "wide_deep"},
    "pnn": {"name": "pnn", "pooling": "mean"},
    "deepfm": {"name": "deepfm", "pooling": "mean"},
    "din, blended": {"blend": True},
    "base, blended without feedback": {"name": "base", "pooling": "mean", "blend": True},
}


@dataclass(frozen=True)
class Both:
    """A model with random weights, in PyTorch and in C."""

    trained: Trained
    native: NativeModel
    fields: tuple[Field, ...]
    layout: TableLayout


@pytest.fixture(scope="module", params=VARIANTS)
def both(request: pytest.FixtureRequest, params: Params) -> Both:
    train = changed(params.train, **(SMALL | VARIANTS[request.param]))
    fields = with_lengths(parse_fields(FIELDS))
    layout = TableLayout.of(fields, {field.name: rows_of(field, 6) for field in fields})
    model, table = build(fields, layout, train)
    draw_weights(model, table)
    config = {"train": to_json(train), "table": {"offsets": layout.offsets}}
    if train.model.blend:
        model.blend = draw_blend(fields, layout, "rating" if train.model.name == "din" else None)
        config["blend"] = model.blend.record.model_dump()
    weights = {name: tensor.numpy() for name, tensor in {**model.state_dict(), "table": table}.items()}
    return Both(Trained(model.eval(), table), NativeModel(config, weights), fields, layout)


SEEDS = st.integers(0, 2**32 - 1)


@needs_compiler
@settings(max_examples=15)
@given(seed=SEEDS, lengths=st.lists(st.integers(0, 4) | st.integers(0, 70), min_size=1, max_size=6))
def test_batches_equal_torch(both: Both, seed: int, lengths: list[int]) -> None:
    """Logits are equal for any histories, including empty and single ones."""
    packed = random_batch(seed, both.fields, both.layout, lengths)
    with torch.no_grad():
        expected = both.trained.model(both.trained.table, to_tensors(packed)).numpy()
    np.testing.assert_allclose(both.native(packed, request=False), expected, atol=1e-4, rtol=1e-5)


@needs_compiler
@settings(max_examples=15)
@given(seed=SEEDS, candidates=st.integers(1, 40), length=st.integers(0, 5) | st.integers(0, 70))
def test_requests_equal_torch(both: Both, seed: int, candidates: int, length: int) -> None:
    """A request of any size gets the logits of `model.request`."""
    packed = random_batch(seed, both.fields, both.layout, [length] * candidates, request=True)
    with torch.no_grad():
        expected = both.trained.model.request(both.trained.table, to_tensors(packed)).numpy()
    np.testing.assert_allclose(both.native(packed, request=True), expected, atol=1e-4, rtol=1e-5)


@pytest.fixture(scope="module")
def scorers(finished: Finished) -> tuple[Scorer, Scorer]:
    return Scorer.open(finished.bundle), Scorer.open(finished.bundle, native=False)


ITEM = st.sampled_from([*(f"i{number}" for number in range(33)), "never seen", None])
BEHAVIOUR = st.fixed_dictionaries(
    {"item_id": ITEM}, optional={"rating": st.integers(0, 6), "watched": st.floats(-9, 9)}
)
REQUESTS = st.fixed_dictionaries(
    {"candidates": st.lists(ITEM, max_size=5), "history": st.lists(ITEM | BEHAVIOUR, max_size=9)},
    optional={"user": st.fixed_dictionaries({"user_id": st.sampled_from([4, 7, "never seen"])})},
)


@needs_compiler
@given(st.lists(REQUESTS, max_size=3))
def test_a_scorer_equals_onnxruntime(scorers: tuple[Scorer, Scorer], requests: list[dict[str, Any]]) -> None:
    """Probabilities differ by rounding at most: without a history, beyond the longest one, and for unknown ids."""
    native, portable = scorers
    assert native.native and not portable.native
    assert native.reads_ages == portable.reads_ages
    for way in (lambda scorer: [scorer.score(request) for request in requests], lambda one: one.score_many(requests)):
        for found, expected in zip(way(native), way(portable), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "setting", [{"name": "lr"}, {"name": "a_plugin"}, {"activation": "relu"}, {"interaction": "outer"}]
)
def test_other_models_stay_with_onnxruntime(setting: dict[str, Any], own: Finished) -> None:
    """A model without a native form is scored by its graphs."""
    edit(own.bundle / "model/config.json", lambda config: config["train"]["model"].update(setting))
    own.reseal()
    scorer = Scorer.open(own.bundle)
    assert not scorer.native
    assert (scorer.score(REQUEST) == Scorer.open(own.bundle, native=False).score(REQUEST)).all()
