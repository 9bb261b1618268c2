"""Lookups and the layers of Dice through `din.native`: what the modules compute, in training on CPU.

A batch's moments lie between two sweeps over its rows, so each sweep is a call and `Dice` stays the owner of its
statistics, those of several processes included. Rows of hidden values are padded with zeros to whole vectors.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from din.model.dice import EPSILON, MOMENTUM, Dice
from din.model.embedding import Columns
from din.native.library import Kernels


def add_rows(kernels: Kernels, ids: Tensor, rows: Tensor, table: Tensor, column: int, width: int) -> None:
    """Add the first `width` columns of rows [N, …] to columns column .. column + width of rows `ids` [N] of a table."""
    sizes = (torch.get_num_threads(), len(ids), table.shape[1])
    kernels("table_add", *sizes, ids, len(table), table, column, width, rows, rows.stride(0))


class Take(torch.autograd.Function):
    """`embed` of plain fields, for several `Columns` of one table [R, W]: its gradient is made once."""

    @staticmethod
    def forward(ctx: Any, kernels: Kernels, table: Tensor, groups: Sequence[Columns]) -> tuple[Tensor, ...]:
        found = [table.new_empty(group.owners, len(group.lookups) * group.width) for group in groups]
        for to, group in zip(found, groups, strict=True):
            for number, (ids, _, _) in enumerate(group.lookups):
                sizes, part = (torch.get_num_threads(), len(ids), table.shape[1]), to[:, number * group.width :]
                kernels("table_take", *sizes, ids, table, group.column, group.width, part, to.shape[1])
        ctx.kernels, ctx.groups, ctx.shape = kernels, groups, table.shape
        return tuple(found)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        table = gradients[0].new_zeros(ctx.shape)
        for gradient, group in zip(map(Tensor.contiguous, gradients), ctx.groups, strict=True):
            for number, (ids, _, _) in enumerate(group.lookups):
                add_rows(ctx.kernels, ids, gradient[:, number * group.width :], table, group.column, group.width)
        return None, table, None


class Perceptron(torch.autograd.Function):
    """A linear layer, then `Layers`: x [N, inputs] to [N]. tensors: those of `layers`, for their gradients."""

    @staticmethod
    def forward(
        ctx: Any, kernels: Kernels, layers: "Layers", x: Tensor, weight: Tensor, bias: Tensor, *tensors: Tensor
    ) -> Tensor:
        x, s = x.contiguous(), x.new_empty(len(x), kernels("row_width", len(bias)))
        kernels("input_linear", torch.get_num_threads(), *x.shape, len(bias), x, weight, bias, s)
        result, states = layers.forward(kernels, s)
        ctx.kernels, ctx.layers, ctx.states = kernels, layers, states
        ctx.save_for_backward(x, weight, bias)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        x, weight, bias = ctx.saved_tensors
        state, u, means, d_tensors = ctx.layers.backward(ctx.kernels, ctx.states, gradients[0].contiguous())
        outputs = list(map(torch.empty_like, (x, weight, bias)))
        given = (x, weight, *state[:5], u, means)
        ctx.kernels("input_linear_backward", torch.get_num_threads(), *x.shape, *given, *outputs)
        return None, None, *outputs, *d_tensors


class State(NamedTuple):
    """What a sweep reads of a layer: the arguments of C's `layer`, and the number of rows that its moments are of."""

    units: int
    s: Tensor
    mean: Tensor
    scale: Tensor
    alpha: Tensor
    rows: Tensor


class Layers:
    """Dice and linear in turn, to one output a row; `tensors` are each Dice's α, then each linear's weight and bias."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.activations = [module for module in modules if isinstance(module, Dice)]
        linears = [module for module in modules if isinstance(module, nn.Linear)]
        self.tensors = [activation.alpha for activation in self.activations]
        self.tensors += [tensor for linear in linears for tensor in (linear.weight, linear.bias)]

    def forward(self, kernels: Kernels, s: Tensor) -> tuple[Tensor, list[State]]:
        """Outputs [N] from s [N, padded units], and each layer's state; the moving averages move."""
        sizes, states, depth = (torch.get_num_threads(), len(s)), [], len(self.activations)
        for number, activation in enumerate(self.activations):
            states.append(state := _observed(kernels, activation, s))
            weight, bias = self.tensors[depth + 2 * number : depth + 2 * number + 2]
            if number + 1 < depth:
                s = s.new_empty(len(s), kernels("row_width", len(bias)))
                kernels("dice_linear", *sizes, state.units, len(bias), *state[1:5], weight, bias, s)
            else:
                s = s.new_empty(len(s))
                kernels("dice_output", *sizes, *state[:5], weight, bias, s)
        return s, states

    def backward(
        self, kernels: Kernels, states: list[State], gradient: Tensor
    ) -> tuple[State, Tensor, Tensor, list[Tensor]]:
        """The lowest layer, its u and means (see `dice.h`), and the gradients of `tensors`."""
        sizes, depth = (torch.get_num_threads(), len(gradient)), len(states)
        found = [torch.empty_like(tensor) for tensor in self.tensors]
        u = means = gradient
        for number in reversed(range(depth)):
            state, weight = states[number], self.tensors[depth + 2 * number]
            below, sums = torch.empty_like(state.s), state.s.new_empty(4, state.s.shape[1])
            outputs = (below, sums, *found[depth + 2 * number : depth + 2 * number + 2])
            if number + 1 < depth:
                upper = (*states[number + 1][:5], u, means)
                kernels("dice_linear_backward", *sizes, *upper, *state[:5], weight, *outputs)
            else:
                kernels("dice_output_backward", *sizes, *state[:5], weight, gradient, *outputs)
            gather = self.activations[number].gather
            means = (gather(sums[:3].flatten()).sum(0) if gather else sums[:3]) / state.rows
            u, found[number] = below, sums[3, : state.units]
        return states[0], u, means, found


def _observed(kernels: Kernels, dice: Dice, s: Tensor) -> State:
    """A layer with the statistics of its rows s, and of other processes' where there are some."""
    threads, (count, width), units = torch.get_num_threads(), s.shape, len(dice.alpha)
    everyones = own = s.new_empty(1 + 2 * width)
    kernels("moments", threads, count, width, s, own)
    if dice.gather:
        everyones = dice.gather(own)
    rows, mean, scale = s.new_empty(1), s.new_empty(width), s.new_empty(width)
    averages = (dice.mean, dice.variance, MOMENTUM, EPSILON)
    kernels("statistics", everyones.numel() // len(own), width, units, everyones, rows, mean, scale, *averages)
    return State(units, s, mean, scale, dice.alpha, rows)
