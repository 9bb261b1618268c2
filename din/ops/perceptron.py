"""A perceptron: linear layers with an activation between any two, to one output a row.

    s₁ = x·W₁ᵀ + b₁,   s₂ = f(s₁)·W₂ᵀ + b₂,   …,   y = f(sₙ)·wᵀ + b           [N, I] to [N, 1]

The reference runs the layers in turn. The native form is for training with Dice as f, without dropout, on the CPU and
in float32: tiles of rows go through a layer while they lie in the nearest cache, and only the hidden values s are
stored (docs/kernels.md). The statistics of Dice are known after a whole batch only, so every layer is a sweep of its
own, and between two sweeps processes that train together exchange their moments.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from din.ops import backend
from din.ops.dice import EPSILON, MOMENTUM, Dice, Gather, gather_of_all
from din.ops.native.library import Library, Struct


def perceptron(x_NI: Tensor, layers: Sequence[nn.Module]) -> Tensor:
    """Return the outputs [N, 1] of linear layers, activations and dropouts in turn."""
    library = backend.library()
    first, rest = layers[0], layers[1:]
    if library and isinstance(first, nn.Linear) and stack_fits(rest, x_NI):
        stack = DiceStack(library, rest)
        y_N: Tensor = _Perceptron.apply(stack, x_NI, first.weight, first.bias, *stack.tensors)
        return y_N.unsqueeze(1)
    for layer in layers:
        x_NI = layer(x_NI)
    return x_NI


def stack_fits(layers: Sequence[nn.Module], x: Tensor) -> bool:
    """Return whether `DiceStack` can train these layers on values like x."""
    pairs = len(layers) > 0 and len(layers) % 2 == 0
    kinds = (Dice, nn.Linear)
    alternate = pairs and all(isinstance(layer, kinds[number % 2]) for number, layer in enumerate(layers))
    full_precision = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return alternate and layers[0].training and x.is_cpu and full_precision


class _Perceptron(torch.autograd.Function):
    """The first linear layer and a stack above it, [N, I] to [N]; `tensors` are the stack's, for their gradients."""

    @staticmethod
    def forward(ctx: Any, stack: "DiceStack", x: Tensor, weight: Tensor, bias: Tensor, *tensors: Tensor) -> Tensor:
        x = x.contiguous()
        (rows, inputs), units = x.shape, len(bias)
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
        d_x, d_weight, d_bias = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(bias)
        given = (x, weight, lowest.layer, lowest.u, lowest.means)
        ctx.stack.library.din_linear_backward(torch.get_num_threads(), *x.shape, *given, d_x, d_weight, d_bias)
        return None, d_x, d_weight, d_bias, *d_tensors


class State(NamedTuple):
    """What backward needs of a layer of Dice over N rows: C's view of it, the number of rows [1] of all processes, and
    how their vectors are gathered."""

    layer: Struct
    units: int
    rows: Tensor
    gather: Gather | None


class LowestLayer(NamedTuple):
    """How far `DiceStack.backward` gets: u and means [3, H] of the lowest layer of Dice (see `din_ops.h`)."""

    layer: Struct
    u: Tensor
    means: Tensor


class DiceStack:
    """Dice and linear layers in turn, to one output a row, run natively in training.

    Attributes:
        tensors: each Dice's α, then each linear layer's weight and bias: what has gradients.
    """

    def __init__(self, library: Library, layers: Sequence[nn.Module]) -> None:
        self.library = library
        self._dices = [layer for layer in layers if isinstance(layer, Dice)]
        self._linears = [layer for layer in layers if isinstance(layer, nn.Linear)]
        self.tensors = [dice.alpha for dice in self._dices]
        self.tensors += [tensor for linear in self._linears for tensor in (linear.weight, linear.bias)]

    def hidden(self, rows: int, units: int) -> Tensor:
        """Return memory for hidden values of N rows; their layout is C's own."""
        return torch.empty(self.library.din_hidden_size(rows, units))

    def forward(self, s: Tensor, rows: int) -> tuple[Tensor, list[State]]:
        """Return outputs [N] of hidden values s, and each layer's state; the moving averages move."""
        threads, states = torch.get_num_threads(), []
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
        """Return where the gradient got to, and the gradients of `tensors`."""
        threads, rows = torch.get_num_threads(), len(d_y)
        d_alphas: list[Tensor] = []
        d_linears: list[Tensor] = []
        above: LowestLayer | None = None
        for state, linear in zip(reversed(states), reversed(self._linears), strict=True):
            u, sums = self.hidden(rows, state.units), torch.empty(4, state.units)
            d_weight, d_bias = torch.empty_like(linear.weight), torch.empty_like(linear.bias)
            outputs = (u, sums, d_weight, d_bias)
            if above is None:
                self.library.din_dice_output_backward(threads, rows, state.layer, linear.weight, d_y, *outputs)
            else:
                self.library.din_dice_linear_backward(threads, rows, *above, state.layer, linear.weight, *outputs)
            totals = state.gather(sums[:3].flatten()).sum(0).view(3, -1) if state.gather else sums[:3]
            above = LowestLayer(state.layer, u, totals / state.rows)
            d_alphas.insert(0, sums[3])
            d_linears[:0] = [d_weight, d_bias]
        assert above is not None
        return above, [*d_alphas, *d_linears]

    def _observe(self, dice: Dice, s: Tensor, rows: int) -> State:
        """Take the statistics of hidden values s, and of other processes' where there are some."""
        threads, units, gather = torch.get_num_threads(), len(dice.alpha), gather_of_all()
        own = torch.empty(1 + 2 * units)
        self.library.din_dice_moments(threads, rows, units, s, own)
        everyones = gather(own) if gather else own
        processes = len(everyones) if gather else 1
        count, mean, scale = torch.empty(1), torch.empty(units), torch.empty(units)
        averages = (dice.mean, dice.variance, MOMENTUM, EPSILON)
        self.library.din_dice_statistics(processes, units, everyones, count, mean, scale, *averages)
        layer = self.library.struct("din_dice_layer", units=units, s=s, mean=mean, scale=scale, alpha=dice.alpha)
        return State(layer, units, count, gather)
