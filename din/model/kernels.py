"""The activation unit and the layers of Dice through `din.native`: what the modules compute, in training on CPU.

A batch's moments lie between two sweeps over its rows, so each sweep is a call and `Dice` stays the owner of its
statistics, those of several processes included. Rows of hidden values are padded to `PAD` floats with zeros.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from din.model.dice import EPSILON, MOMENTUM, Dice
from din.model.embedding import Keys, segment_softmax, segment_sum
from din.native.library import Kernels

PAD = 16  # vector.h


def padded(units: int) -> int:
    """Floats of a row of `units` hidden values."""
    return -(-units // PAD) * PAD


class Take(torch.autograd.Function):
    """Columns column .. column + width of the rows of a table [R, W], for several fields' ids [N] side by side."""

    @staticmethod
    def forward(ctx: Any, kernels: Kernels, table: Tensor, column: int, width: int, *ids: Tensor) -> Tensor:
        found = table.new_empty(len(ids[0]), len(ids) * width)
        for number, own in enumerate(ids):
            sizes = (torch.get_num_threads(), len(own), table.shape[1])
            kernels("table_take", *sizes, own, table, column, width, found[:, number * width :], found.shape[1])
        ctx.kernels, ctx.columns, ctx.shape = kernels, (column, width), table.shape
        ctx.save_for_backward(*ids)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        ids, (gradient,), (rows, table_width) = ctx.saved_tensors, gradients, ctx.shape
        gradient, (column, width) = gradient.contiguous(), ctx.columns
        table = gradient.new_zeros(ctx.shape)
        for number, own in enumerate(ids):
            sizes = (torch.get_num_threads(), len(own), table_width)
            part = gradient[:, number * width :]
            ctx.kernels("table_add", *sizes, own, rows, table, column, width, part, gradient.shape[1])
        return None, table, None, None, *[None] * len(ids)


class Interest(torch.autograd.Function):
    """The activation unit and Eq. 3: Σ_j a_j·e_j per impression, [B, K]; no behaviours: 0.

    Its first layer is W_k·k + W_p·(q⊙k) + base, base [B, H] being what does not depend on k. One function, so that the
    gradient of a key is written once.
    """

    @staticmethod
    def forward(
        ctx: Any,
        kernels: Kernels,
        keys: Keys,
        layers: "Layers",
        softmax: bool,
        source: Tensor,
        query: Tensor,
        base: Tensor,
        key_weight: Tensor,
        product_weight: Tensor,
        *tensors: Tensor,
    ) -> Tensor:
        source, query, base = source.contiguous(), query.contiguous(), base.contiguous()
        threads, (impressions, hidden), count = torch.get_num_threads(), base.shape, len(keys.segment_T)
        sizes, weights = (threads, impressions, query.shape[1], source.shape[1]), (key_weight, product_weight)
        starts, s = keys.segment_T.new_empty(impressions + 1), source.new_empty(count, padded(hidden))
        kernels("segment_offsets", count, keys.segment_T, impressions, starts)
        kernels("first_forward", *sizes, hidden, query, base, source, keys.position_T, starts, *weights, s)
        weight, states = layers.forward(kernels, s, tensors)
        if softmax:
            weight = segment_softmax(weight.unsqueeze(1), keys.segment_T, impressions, None).squeeze(1)
        pooled = source.new_empty(impressions, source.shape[1])
        kernels("pool_forward", threads, *pooled.shape, weight, source, keys.position_T, starts, pooled)
        ctx.kernels, ctx.layers, ctx.states, ctx.softmax, ctx.sizes = kernels, layers, states, softmax, sizes
        ctx.save_for_backward(query, source, keys.position_T, starts, *weights, weight, keys.segment_T, *tensors)
        return pooled

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        query, source, position, starts, *weights, weight, segment = ctx.saved_tensors[:8]
        kernels, (threads, impressions, _, width), d_pooled = ctx.kernels, ctx.sizes, gradients[0].contiguous()
        d_weight = torch.empty_like(weight)
        kernels("pool_backward", threads, impressions, width, source, position, starts, d_pooled, d_weight)
        if ctx.softmax:
            each = weight * d_weight
            total = segment_sum(each.unsqueeze(1), segment, impressions).squeeze(1)
            d_weight = each - weight * total.index_select(0, segment)
        state, g, means, d_tensors = ctx.layers.backward(kernels, ctx.states, ctx.saved_tensors[8:], d_weight)
        d_base, d_key = query.new_empty(impressions, state.units), query.new_empty(len(weight), width)
        outputs = [d_base, *map(torch.empty_like, (query, *weights)), d_key]
        given = (query, source, position, starts, *weights, weight, d_pooled)
        kernels("first_backward", *ctx.sizes, *given, *state[:5], g, means, *outputs)
        d_source = d_key
        if position is not None:
            d_source = torch.empty_like(source)
            kernels("scatter", threads, *d_key.shape, d_key, position, len(source), d_source)
        d_base, d_query, *d_weights, _ = outputs
        return None, None, None, None, d_source, d_query, d_base, *d_weights, *d_tensors


class Perceptron(torch.autograd.Function):
    """A linear layer, then `Layers`: x [N, inputs] to [N]."""

    @staticmethod
    def forward(
        ctx: Any, kernels: Kernels, layers: "Layers", x: Tensor, weight: Tensor, bias: Tensor, *tensors: Tensor
    ) -> Tensor:
        x, s = x.contiguous(), x.new_empty(len(x), padded(len(bias)))
        kernels("input_linear", torch.get_num_threads(), *x.shape, len(bias), x, weight, bias, s)
        result, states = layers.forward(kernels, s, tensors)
        ctx.kernels, ctx.layers, ctx.states = kernels, layers, states
        ctx.save_for_backward(x, weight, bias, *tensors)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        x, weight, bias, *tensors = ctx.saved_tensors
        state, g, means, d_tensors = ctx.layers.backward(ctx.kernels, ctx.states, tensors, gradients[0].contiguous())
        outputs = list(map(torch.empty_like, (x, weight, bias)))
        given = (x, weight, *state[:5], g, means)
        ctx.kernels("input_linear_backward", torch.get_num_threads(), *x.shape, *given, *outputs)
        return None, None, *outputs, *d_tensors


class State(NamedTuple):
    """What a sweep reads of a layer: the arguments of C's `layer`, and the number of rows that its moments are of."""

    units: int
    s: Tensor
    mean: Tensor
    scale: Tensor
    alpha: Tensor
    rows: Tensor | int


class Layers:
    """Dice and linear in turn, to one output a row; `tensors` are each Dice's α, then each linear's weight and bias."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.activations = [module for module in modules if isinstance(module, Dice)]
        linears = [module for module in modules if isinstance(module, nn.Linear)]
        self.tensors = [activation.alpha for activation in self.activations]
        self.tensors += [tensor for linear in linears for tensor in (linear.weight, linear.bias)]

    def forward(self, kernels: Kernels, s: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor, list[State]]:
        """Outputs [N] from s [N, padded units], and each layer's state; the moving averages move."""
        sizes, states, depth = (torch.get_num_threads(), len(s)), [], len(self.activations)
        for number, activation in enumerate(self.activations):
            states.append(state := _observed(kernels, activation, tensors[number], s))
            weight, bias = tensors[depth + 2 * number : depth + 2 * number + 2]
            if number + 1 < depth:
                s = s.new_empty(len(s), padded(len(bias)))
                kernels("dice_linear", *sizes, state.units, len(bias), *state[1:5], weight, bias, s)
            else:
                s = s.new_empty(len(s))
                kernels("dice_output", *sizes, *state[:5], weight, bias, s)
        return s, states

    def backward(
        self, kernels: Kernels, states: list[State], tensors: Sequence[Tensor], gradient: Tensor
    ) -> tuple[State, Tensor, Tensor, list[Tensor]]:
        """The lowest layer, the gradient g of its output, its E[h] and E[h·z] [2, width]; gradients of `tensors`."""
        sizes, depth = (torch.get_num_threads(), len(gradient)), len(states)
        found = [torch.empty_like(tensor) for tensor in tensors]
        g = means = gradient
        for number in reversed(range(depth)):
            state, weight = states[number], tensors[depth + 2 * number]
            below, sums = torch.empty_like(state.s), state.s.new_empty(3, state.s.shape[1])
            outputs = (below, sums, *found[depth + 2 * number : depth + 2 * number + 2])
            if number + 1 < depth:
                upper = (*states[number + 1][:5], g, means)
                kernels("dice_linear_backward", *sizes, *upper, *state[:5], weight, *outputs)
            else:
                kernels("dice_output_backward", *sizes, *state[:5], weight, gradient, *outputs)
            gather = self.activations[number].gather
            means = (gather(sums[:2].flatten()).sum(0) if gather else sums[:2]) / state.rows
            g, found[number] = below, sums[2, : state.units]
        return states[0], g, means, found


def _observed(kernels: Kernels, dice: Dice, alpha: Tensor, s: Tensor) -> State:
    """A layer with the statistics of its rows s."""
    threads, (count, width), units = torch.get_num_threads(), s.shape, len(alpha)
    rows, mean, scale = max(count, 1), s.new_empty(width), s.new_empty(width)
    if dice.gather:
        kernels("moments", threads, count, width, s, mean, scale)
        rows, mean, scale = dice.statistics(count, mean, scale)
    else:
        averages = (dice.mean, dice.variance, MOMENTUM, EPSILON)
        kernels("statistics", threads, count, units, s, mean, scale, *averages)
    return State(units, s, mean, scale, alpha, rows)
