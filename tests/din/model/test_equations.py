"""Layers, compared with the paper's equations written as arithmetic. Alone: `pytest tests/din/model`."""

import math

import pytest
import torch

from din.ops.dice import Dice
from din.ops.segments import segment_softmax


def test_dice_is_equation_9() -> None:
    """Outputs and moving averages equal those computed by hand for three rows of one unit."""
    dice = Dice(1).train()
    dice.alpha.data.fill_(0.25)
    s = [1.0, 2.0, 6.0]
    mean, variance = 9 / 3, (4 + 1 + 9) / 3
    p = [1 / (1 + math.exp(-(x - mean) / math.sqrt(variance + 1e-8))) for x in s]
    expected = [[a * x + (1 - a) * 0.25 * x] for a, x in zip(p, s, strict=True)]
    torch.testing.assert_close(dice(torch.tensor(s).unsqueeze(1)), torch.tensor(expected, dtype=torch.float32))
    assert dice.mean.item() == pytest.approx(0.05 * mean)
    assert dice.variance.item() == pytest.approx(0.95 + 0.05 * variance)


def test_the_gradient_of_dice_flows_through_its_statistics() -> None:
    """In training, the gradients of inputs and α equal finite differences."""
    dice = Dice(3).double().train()
    dice.alpha.data.copy_(torch.tensor([0.0, 0.3, -0.7]))
    s = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda s, _: dice(s), (s, dice.alpha))


@pytest.mark.parametrize("rows", [0, 1])
def test_dice_survives_no_row_and_one_row(rows: int) -> None:
    """Without rows the averages stay as they are; one row is its own mean, so p = 1/2."""
    dice = Dice(2).train()
    out = dice(torch.full((rows, 2), 3.0))
    assert out.tolist() == [[1.5, 1.5]] * rows
    assert torch.isfinite(dice.variance).all()
    assert (dice.mean.abs().sum() == 0) == (rows == 0)


def test_softmax_by_hand() -> None:
    """Histories of 2, 0 and 2 behaviours have the right weights, for huge scores too."""
    score = torch.tensor([[0.0], [math.log(3)], [1e4], [1e4 + math.log(4)]])
    segment = torch.tensor([0, 0, 2, 2])
    weight = segment_softmax(score, segment, 3)
    torch.testing.assert_close(weight, torch.tensor([[1 / 4], [3 / 4], [1 / 5], [4 / 5]]), atol=1e-3, rtol=0)
    assert segment_softmax(score[:0], segment[:0], 2).shape == (0, 1)
