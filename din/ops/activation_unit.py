"""The local activation unit with pooling (Eq. 3 of arXiv 1706.06978).

    interest_b = Σ_t a(k_t, q_b)·k_t      over the behaviours t of impression b, with its candidate q_b

a is a perceptron whose first layer reads [q, k, q−k, q⊙k]. By distributivity

    W·[q, k, q−k, q⊙k] = (Wq + Wd)·q + (Wk − Wd)·k + Wp·(q⊙k)

Therefore the term in q is computed once per impression, and only the other two once per behaviour. A behaviour may be
wider than the candidate, since its own fields (past feedback) have no counterpart in q. For these, q counts as 0.

`din.ops` explains the shape letters.

The native form supports Dice in float32 on the CPU, in training and in evaluation without gradients. It builds one
matrix per impression, (Wk − Wd) + Wp·diag(q), which halves the multiplications of the first layer.
"""

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from din.ops import backend
from din.ops.histories import Histories, Packed
from din.ops.inputs import Keys
from din.ops.native.library import Library
from din.ops.perceptron import DiceStack, stack_fits
from din.ops.segments import segment_softmax, segment_sum
from din.ops.table_rows import add_rows


class FirstLayer(NamedTuple):
    """Weights of an activation unit's first layer."""

    query_HD: Tensor
    key_HK: Tensor
    difference_HD: Tensor | None  # None: the layer does not read q−k
    product_HD: Tensor
    bias_H: Tensor

    def linear_parts(self) -> tuple[Tensor, Tensor]:
        """Return the weights of q alone, [H, D], and of k alone, [H, K]."""
        if self.difference_HD is None:
            return self.query_HD, self.key_HK
        width = self.query_HD.shape[1]
        key_HK = torch.cat([self.key_HK[:, :width] - self.difference_HD, self.key_HK[:, width:]], 1)
        return self.query_HD + self.difference_HD, key_HK


class Unit(Protocol):
    """The interface of an activation unit."""

    def __call__(self, query_BD: Tensor, key_TK: Tensor, histories: Histories) -> Tensor:
        """Return the weight of each behaviour for each candidate that it is weighed for, [*pairs, 1]."""
        ...

    def first_layer(self) -> FirstLayer:
        """Return the weights of the first layer."""
        ...

    def upper_layers(self) -> list[nn.Module]:
        """Return the layers above the first: activations and linear layers, alternating."""
        ...


def first_layer(query_BD: Tensor, key_TK: Tensor, histories: Histories, weights: FirstLayer) -> Tensor:
    """Return the hidden values [*pairs, H] of an activation unit's first layer (the reference)."""
    query_HD, key_HK = weights.linear_parts()
    shared_TD = key_TK[:, : query_BD.shape[1]]
    product = histories.queries(query_BD) * histories.keys(shared_TD)
    by_query = histories.queries(linear(query_BD, query_HD, weights.bias_H))
    by_key = histories.keys(linear(key_TK, key_HK))
    return by_query + by_key + linear(product, weights.product_HD)


def interest(unit: Unit, query_BD: Tensor, keys: Keys, histories: Histories, *, softmax: bool) -> Tensor:
    """Return the interests [B, K]. The interest of an impression without behaviours is 0.

    Args:
        unit: the activation unit.
        query_BD: the candidates.
        keys: the behaviours.
        histories: maps behaviours to candidates.
        softmax: normalise the weights of an impression's behaviours by a softmax.
    """
    library = backend.library()
    if library and isinstance(histories, Packed) and stack_fits(unit.upper_layers(), query_BD):
        first = unit.first_layer()
        query_HD, key_HK = first.linear_parts()
        base_BH = linear(query_BD, query_HD, first.bias_H)
        stack = DiceStack(library, unit.upper_layers())
        tensors = (query_BD, base_BH, keys.source_NK, key_HK, first.product_HD, *stack.tensors)
        return _Interest.apply(library, stack, softmax, keys, *tensors)
    key_TK = keys.rows()
    weights = unit(query_BD, key_TK, histories)
    if softmax:
        weights = histories.softmax(weights)
    return histories.weighted_sum(weights, key_TK)


class _Interest(torch.autograd.Function):
    """The native form of `interest`, from the candidates' part of the first layer on."""

    @staticmethod
    def forward(
        ctx: Any,
        library: Library,
        stack: DiceStack,
        softmax: bool,
        keys: Keys,
        query_BD: Tensor,
        base_BH: Tensor,
        source_NK: Tensor,
        key_HK: Tensor,
        product_HD: Tensor,
        *_: Tensor,
    ) -> Tensor:
        """Return the interests [B, K].

        Args:
            stack: the layers above the first, whose tensors come last.
            keys: the behaviours, with the tensor `source_NK`.
            base_BH: the candidates' part of the first layer's outputs.
            key_HK, product_HD: weights of k alone, and of q⊙k.
        """
        threads = torch.get_num_threads()
        impressions, width = query_BD.shape
        units = base_BH.shape[1]
        behaviours = len(keys.segment_T)
        offsets = keys.segment_T.new_empty(impressions + 1)
        library.din_segment_offsets(behaviours, keys.segment_T, impressions, offsets)
        histories = library.struct(
            "din_histories",
            impressions=impressions,
            key_width=source_NK.shape[1],
            keys=source_NK,
            position=keys.position_T,
            offsets=offsets,
        )
        s = stack.hidden(behaviours, units)
        library.din_unit_forward(threads, histories, width, units, query_BD, base_BH, key_HK, product_HD, s)
        weight_T, states = stack.forward(s, behaviours)
        if softmax:
            weight_T = segment_softmax(weight_T.unsqueeze(1), keys.segment_T, impressions).squeeze(1)
        pooled_BK = query_BD.new_empty(impressions, source_NK.shape[1])
        library.din_pool_forward(threads, histories, weight_T, pooled_BK)
        ctx.library, ctx.stack, ctx.softmax, ctx.histories, ctx.states = library, stack, softmax, histories, states
        ctx.save_for_backward(query_BD, source_NK, key_HK, product_HD, weight_T, keys.segment_T, keys.position_T)
        return pooled_BK

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        query_BD, source_NK, key_HK, product_HD, weight_T, segment_T, position_T = ctx.saved_tensors
        library = ctx.library
        threads = torch.get_num_threads()
        impressions, width = query_BD.shape
        d_pooled_BK = gradients[0].contiguous()
        d_weight_T = torch.empty_like(weight_T)
        library.din_pool_backward(threads, ctx.histories, d_pooled_BK, d_weight_T)
        if ctx.softmax:
            d_weight_T = _softmax_backward(weight_T, d_weight_T, segment_T, impressions)
        lowest, d_stack = ctx.stack.backward(ctx.states, d_weight_T)

        d_query_BD = torch.empty_like(query_BD)
        d_base_BH = query_BD.new_empty(impressions, len(product_HD))
        d_key_HK = torch.empty_like(key_HK)
        d_product_HD = torch.empty_like(product_HD)
        d_source_NK = d_key_TK = query_BD.new_empty(len(weight_T), source_NK.shape[1])
        above = (lowest.layer, lowest.u, lowest.means)
        read = (query_BD, key_HK, product_HD, weight_T, d_pooled_BK, *above)
        written = (d_base_BH, d_query_BD, d_key_HK, d_product_HD, d_key_TK)
        library.din_unit_backward(threads, ctx.histories, width, *read, *written)
        if position_T is not None:
            d_source_NK = torch.zeros_like(source_NK)
            add_rows(d_source_NK, position_T, d_key_TK)
        return None, None, None, None, d_query_BD, d_base_BH, d_source_NK, d_key_HK, d_product_HD, *d_stack


def _softmax_backward(weight_T: Tensor, d_weight_T: Tensor, segment_T: Tensor, impressions: int) -> Tensor:
    """Return the gradient [T] of the scores of a softmax over each impression's behaviours, given d_weight_T."""
    product_T = weight_T * d_weight_T
    total_B = segment_sum(product_T.unsqueeze(1), segment_T, impressions).squeeze(1)
    return product_T - weight_T * total_B.index_select(0, segment_T)
