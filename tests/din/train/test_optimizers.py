"""Penalties of the table's optimizer. tests/din/ops/test_updates.py has its steps."""

import numpy as np
import pytest
import torch

from din.features.reader import Features
from din.kinds import Number
from din.params.reading import Params
from din.train.optimizers import TableOptimizer, row_decay
from tests.helpers.settings import changed


def test_no_number_becomes_unknown(features: Features, params: Params) -> None:
    """`unknown_rate` adds to the impressions of the unknown row, except in fields of numbers, which it leaves alone."""
    plain, dropping = (
        row_decay(features, changed(params.train, regularization=3.0, unknown_rate=rate).learning)
        for rate in (0.0, 0.5)
    )
    starts = np.cumsum([0, *(features.rows[field.name] for field in features.fields)])[:-1]
    same = {
        isinstance(field.form, Number): float(plain[start]) == float(dropping[start])
        for field, start in zip(features.fields, starts.tolist(), strict=True)
    }
    assert same == {True: True, False: False}


@pytest.mark.parametrize(
    ("regularizer", "expected"),
    [
        ("mini_batch_aware", lambda n: 3.0 / n),
        ("l2_batch", lambda n: 3.0),
        ("l2_full", lambda n: 3.0),
        ("dropout", lambda n: 0.0),
        ("none", lambda n: 0.0),
    ],
)
def test_each_regularizer_has_its_own_decay(regularizer, expected, features: Features, params: Params) -> None:
    """Rows of the joint table get λ/n_j of Eq. 6, λ, or 0; only `l2_full` updates rows outside the batch."""
    train = changed(params.train, regularizer=regularizer, regularization=3.0, unknown_rate=0.0)
    decay = row_decay(features, train.learning)
    n = np.concatenate([features.vocabulary(field.name)["impressions"].to_numpy() for field in features.fields])
    np.testing.assert_allclose(decay.numpy(), [expected(max(count, 1)) for count in n], rtol=1e-6)
    assert TableOptimizer(train.learning, torch.zeros(len(n), 2), decay, 1).whole_table == (regularizer == "l2_full")
