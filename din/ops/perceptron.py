"""A perceptron: linear layers with an activation f between any two, and one output per row.

    s₁ = x·W₁ᵀ + b₁,   s₂ = f(s₁)·W₂ᵀ + b₂,   …,   y = f(sₙ)·wᵀ + b           [N, I] to [N, 1]

N rows, I inputs, H hidden units of a layer.

The reference runs the layers in turn. The native form supports Dice as f, in float32 on the CPU, in training and in
evaluation without gradients. It does not support dropout. It takes each tile of rows through a layer while the tile is
in the nearest cache, and stores only the hidden values s (docs/kernels.md). In training the statistics of Dice are
known only after the whole batch, so each layer is a sweep over all rows.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from din.ops import backend
from din.ops.constants import EPSILON
from din.ops.dice import Dice, weight_of_batch
from din.ops.native.library import Library, Struct


def perceptron(x_NI: Tensor, layers: Sequence[nn.Module]) -> Tensor:
    """Return the outputs [N, 1] of a sequence of linear layers, activations and dropouts."""
    library = backend.library()
    first, *upper = layers
    if library and isinstance(first, nn.Linear) and stack_fits(upper, x_NI):
        stack = DiceStack(library, upper)
        y_N: Tensor = _Perceptron.apply(stack, x_NI, first.weight, first.bias, *stack.tensors)
        return y_N.unsqueeze(1)
    for layer in layers:
        x_NI = layer(x_NI)
    return x_NI


def stack_fits(layers: Sequence[nn.Module], x: Tensor) -> bool:
    """Return whether `DiceStack` can run these layers on values with the type and device of x."""
    if not layers or len(layers) % 2:
        return False
    kinds = (Dice, nn.Linear)
    alternate = all(isinstance(layer, kinds[number % 2]) for number, layer in enumerate(layers))
    has_form = layers[0].training or not torch.is_grad_enabled()  # in evaluation, the native form has no gradient
    return alternate and has_form and x.is_cpu and x.dtype == torch.float32


class _Perceptron(torch.autograd.Function):
    """The first linear layer and the stack above it, [N, I] to [N].

    weight [H, I] and bias [H] belong to the first layer. `tensors` belong to the stack, and autograd must see them.
    """

    @staticmethod
    def forward(ctx: Any, stack: "DiceStack", x: Tensor, weight: Tensor, bias: Tensor, *tensors: Tensor) -> Tensor:
        x = x.contiguous()
        rows, inputs = x.shape
        units = len(bias)
        s = stack.hidden(rows, units)
        stack.library.din_linear_forward(torch.get_num_threads(), rows, inputs, units, x, weight, bias, s)
        y, ctx.states = stack.forward(s, rows)
        ctx.stack = stack
        ctx.save_for_backward(x, weight, bias)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        x, weight, bias = ctx.saved_tensors
        lowest, d_tensors = ctx.stack.backward(ctx.states, gradients[0].contiguous())
        d_x = torch.empty_like(x)
        d_weight = torch.empty_like(weight)
        d_bias = torch.empty_like(bias)
        rows, inputs = x.shape
        ctx.stack.library.din_linear_backward(
            torch.get_num_threads(),
            rows,
            inputs,
            x,
            weight,
            lowest.layer,
            lowest.u,
            lowest.means,
            d_x,
            d_weight,
            d_bias,
        )
        return None, d_x, d_weight, d_bias, *d_tensors


class State(NamedTuple):
    """A layer of Dice over N rows, kept for its backward pass."""

    layer: Struct  # din_dice_layer
    units: int  # H


class LowestLayer(NamedTuple):
    """The result of `DiceStack.backward` from which the layer below computes its gradients.

    `din_ops.h` explains u and means at `din_dice_output_backward`.
    """

    layer: Struct  # din_dice_layer
    u: Tensor  # [N, H] hidden
    means: Tensor  # [3, H]


class DiceStack:
    """The native form of alternating Dice and linear layers, with one output per row.

    Attributes:
        tensors: the tensors that have gradients: α of each Dice, then weight and bias of each linear layer.
    """

    def __init__(self, library: Library, layers: Sequence[nn.Module]) -> None:
        self.library = library
        self._dices = [layer for layer in layers if isinstance(layer, Dice)]
        self._linears = [layer for layer in layers if isinstance(layer, nn.Linear)]
        self.tensors = [dice.alpha for dice in self._dices]
        self.tensors += [tensor for linear in self._linears for tensor in (linear.weight, linear.bias)]

    def hidden(self, rows: int, units: int) -> Tensor:
        """Return uninitialised memory for hidden values [N, H], in the layout of the C code."""
        return torch.empty(self.library.din_hidden_size(rows, units))

    def forward(self, s: Tensor, rows: int) -> tuple[Tensor, list[State]]:
        """Return outputs [N] of hidden values s [N, H], and the state of each layer of Dice.

        Training updates the moving averages.
        """
        threads = torch.get_num_threads()
        states = []
        for dice, linear in zip(self._dices, self._linears, strict=True):
            state = self._observe(dice, s, rows)
            states.append(state)
            if linear is self._linears[-1]:
                s = torch.empty(rows)
                self.library.din_dice_output_forward(threads, rows, state.layer, linear.weight, linear.bias, s)
            else:
                outputs = linear.out_features
                s = self.hidden(rows, outputs)
                self.library.din_dice_linear_forward(threads, rows, state.layer, outputs, linear.weight, linear.bias, s)
        return s, states

    def backward(self, states: list[State], d_y: Tensor) -> tuple[LowestLayer, list[Tensor]]:
        """Return the lowest layer, for the layer below it, and the gradients of `tensors`, given d_y [N]."""
        threads = torch.get_num_threads()
        rows = len(d_y)
        d_alphas: list[Tensor] = []
        d_linears: list[Tensor] = []
        above: LowestLayer | None = None
        for state, linear in zip(reversed(states), reversed(self._linears), strict=True):
            u = self.hidden(rows, state.units)
            sums = torch.empty(4, state.units)
            d_weight = torch.empty_like(linear.weight)
            d_bias = torch.empty_like(linear.bias)
            outputs = (u, sums, d_weight, d_bias)
            if above is None:
                self.library.din_dice_output_backward(threads, rows, state.layer, linear.weight, d_y, *outputs)
            else:
                self.library.din_dice_linear_backward(threads, rows, *above, state.layer, linear.weight, *outputs)
            above = LowestLayer(state.layer, u, sums[:3] / max(rows, 1))
            d_alphas.insert(0, sums[3])
            d_linears[:0] = [d_weight, d_bias]
        assert above is not None
        return above, [*d_alphas, *d_linears]

    def _observe(self, dice: Dice, s: Tensor, rows: int) -> State:
        """Return the layer with its statistics: measured on s [N, H] in training, else the moving averages."""
        units = len(dice.alpha)
        if dice.training:
            mean = torch.empty(units)
            scale = torch.empty(units)
            averages = (dice.mean, dice.variance, weight_of_batch(), EPSILON)
            self.library.din_dice_statistics(torch.get_num_threads(), rows, units, s, mean, scale, *averages)
        else:
            mean = dice.mean
            scale = torch.rsqrt(dice.variance + EPSILON)
        layer = self.library.struct("din_dice_layer", units=units, s=s, mean=mean, scale=scale, alpha=dice.alpha)
        return State(layer, units)
