"""Activation units and perceptrons for scoring against their references in float64. Alone: `pytest tests/din/ops`."""

from collections.abc import Sequence

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from din.model.attention import ActivationUnit
from din.model.mlp import multilayer_perceptron
from din.ops import scoring
from din.ops.activation_unit import interest
from din.ops.dice import Dice
from din.ops.histories import Histories, OneHistory, Packed
from din.ops.inputs import Keys
from tests.helpers.backends import needs_compiler

pytestmark = needs_compiler

SIZES = st.integers(1, 35)
HIDDEN = st.lists(SIZES, min_size=1, max_size=3)
SEEDS = st.integers(0, 999)


def drawn(module: nn.Module, random: torch.Generator) -> nn.Module:
    """Draw weights and statistics for which every input matters, in evaluation."""
    for parameter in module.parameters():
        parameter.data.normal_(generator=random).mul_(0.5)
    for part in module.modules():
        if isinstance(part, Dice):
            part.mean.normal_(generator=random)
            part.variance.uniform_(0.1, 4, generator=random)
    return module.eval().requires_grad_(requires_grad=False)


def layers_of(modules: Sequence[nn.Module]) -> list[scoring.ScoredLayer]:
    """Return the layers of alternating linear modules and Dice."""
    dices = [*(dice_of(dice) for dice in modules[1::2]), None]
    linears = [module for module in modules[::2] if isinstance(module, nn.Linear)]
    return [
        scoring.ScoredLayer(linear.weight.numpy(), linear.bias.numpy(), dice)
        for linear, dice in zip(linears, dices, strict=True)
    ]


def dice_of(dice: nn.Module) -> scoring.ScoredDice:
    assert isinstance(dice, Dice)
    return scoring.ScoredDice(dice.alpha.numpy(), dice.mean.numpy(), dice.variance.numpy())


def check(found: np.ndarray, expected: Tensor) -> None:
    """Assert that values are equal up to rounding."""
    scale = np.abs(expected.numpy()).max(initial=1)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4 * scale)


@settings(max_examples=30)
@given(rows=st.integers(0, 90), inputs=SIZES, hidden=HIDDEN, seed=SEEDS)
def test_perceptrons(rows: int, inputs: int, hidden: list[int], seed: int) -> None:
    """Outputs agree for all numbers of rows and layers, also without rows."""
    random = torch.Generator().manual_seed(seed)
    model = drawn(multilayer_perceptron(inputs, tuple(hidden), "dice"), random)
    x_NI = torch.randn(rows, inputs, generator=random)
    outputs = scoring.ScoredPerceptron(layers_of([*model.children()]))(x_NI.numpy())
    check(outputs, model.double()(x_NI.double()).squeeze(1))


@settings(max_examples=40)
@given(
    lengths=st.lists(st.integers(0, 3) | st.integers(0, 70), min_size=1, max_size=7),
    shared=st.booleans(),
    width=SIZES,
    feedback=st.integers(0, 20),
    hidden=HIDDEN,
    interaction=st.sampled_from(["difference_product", "product"]),
    softmax=st.booleans(),
    seed=SEEDS,
)
def test_interests(
    lengths: list[int],
    shared: bool,
    width: int,
    feedback: int,
    hidden: list[int],
    interaction: str,
    softmax: bool,
    seed: int,
) -> None:
    """Interests agree for histories of any length, one for each impression or one for all."""
    random = torch.Generator().manual_seed(seed)
    unit = drawn(ActivationUnit(width, width + feedback, tuple(hidden), "dice", interaction), random)
    assert isinstance(unit, ActivationUnit)
    query_HD, key_HK = unit.first_layer().linear_parts()
    activation, *upper = unit.upper_layers()
    first = scoring.ScoredLayer(key_HK.numpy(), unit.bias.numpy(), dice_of(activation))
    native = scoring.ScoredActivationUnit(
        query_HD.numpy(), unit.product_weight.numpy(), [first, *layers_of(upper)], softmax=softmax
    )

    impressions = len(lengths)
    of_each = lengths[:1] if shared else lengths
    query_BD = torch.randn(impressions, width, generator=random)
    key_TK = torch.randn(sum(of_each), width + feedback, generator=random)
    found = native(query_BD.numpy(), key_TK.numpy(), np.cumsum([0, *of_each]))

    segment_T = torch.repeat_interleave(torch.tensor(of_each))
    histories: Histories = OneHistory(impressions) if shared else Packed(segment_T, impressions)
    keys = Keys(key_TK.double(), None, segment_T, None)
    check(found, interest(unit.double(), query_BD.double(), keys, histories, softmax=softmax))


@given(rows=st.integers(0, 5), inputs=SIZES, width=SIZES, seed=SEEDS)
def test_products(rows: int, inputs: int, width: int, seed: int) -> None:
    """A product of two matrices agrees with numpy's."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, inputs)).astype(np.float32)
    y = random.normal(size=(inputs, width)).astype(np.float32)
    np.testing.assert_allclose(scoring.product(x, y), x @ y, rtol=1e-4, atol=1e-4)
