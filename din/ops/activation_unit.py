"""The local activation unit with pooling (Eq. 3 of arXiv 1706.06978), from embeddings to the MLP's inputs.

    interest_b = Σ_t a(k_t, q_b)·k_t      over the behaviours t of impression b, q_b its candidate

a is a perceptron whose first layer reads [q, k, q−k, q⊙k]. By distributivity

    W·[q, k, q−k, q⊙k] = (Wq + Wd)·q + (Wk − Wd)·k + Wp·(q⊙k)

so the part of q is computed once per impression, and only the other two once per behaviour. A behaviour may be wider
than the candidate: its own fields (past feedback) have no counterpart in q, which is taken as 0 there.

The native form is for training with Dice, without the outer product, on the CPU and in float32. It takes one matrix for
each impression, (Wk − Wd) + Wp·diag(q), which halves the products of the first layer, and does everything from
embeddings to the MLP's inputs as one function of autograd: as separate operations, autograd would make an extra pass
over every concatenation, slice and sum.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from din.ops import backend
from din.ops.inputs import Embedded, Keys, MLPInputs, Places, encode
from din.ops.native.library import Library, Struct
from din.ops.perceptron import DiceStack, State, stack_fits
from din.ops.rows import add_rows
from din.ops.segments import segment_softmax, segment_sum


class FirstLayer(NamedTuple):
    """Weights of an activation unit's first layer. difference_HD: None = it does not read q−k.

    product_HX: X = D for q⊙k, D² for all products q_i·k_j.
    """

    query_HD: Tensor
    key_HK: Tensor
    difference_HD: Tensor | None
    product_HX: Tensor
    bias_H: Tensor

    @property
    def outer(self) -> bool:
        """Whether it reads all products q_i·k_j."""
        return self.product_HX.shape[1] != self.query_HD.shape[1]

    def linear_parts(self) -> tuple[Tensor, Tensor]:
        """Return the weights [H, D] of q alone and [H, K] of k alone."""
        if self.difference_HD is None:
            return self.query_HD, self.key_HK
        width = self.query_HD.shape[1]
        key_HK = torch.cat([self.key_HK[:, :width] - self.difference_HD, self.key_HK[:, width:]], 1)
        return self.query_HD + self.difference_HD, key_HK


class Unit(Protocol):
    """What this operation needs of an activation unit."""

    def __call__(self, query_BD: Tensor, key_TK: Tensor, segment_T: Tensor) -> Tensor:
        """Return the weights [T, 1] of behaviours for the candidate of their impression."""
        ...

    def first_layer(self) -> FirstLayer:
        """Return the weights of the first layer."""
        ...

    def upper_layers(self) -> list[nn.Module]:
        """Return the layers above it, activations and linear layers in turn."""
        ...


def first_layer(query_BD: Tensor, key_TK: Tensor, segment_T: Tensor, weights: FirstLayer) -> Tensor:
    """Return the hidden values [T, H] of an activation unit's first layer (the reference)."""
    query_HD, key_HK = weights.linear_parts()
    query_TD, shared_TD = query_BD.index_select(0, segment_T), key_TK[:, : query_BD.shape[1]]
    product_TX = _outer_product(query_TD, shared_TD) if weights.outer else query_TD * shared_TD
    hidden_TH = linear(query_BD, query_HD, weights.bias_H).index_select(0, segment_T)
    hidden_TH = torch.addmm(hidden_TH, key_TK, key_HK.T)  # summed by the product: no further pass over [T, H]
    return torch.addmm(hidden_TH, product_TX, weights.product_HX.T)


def _outer_product(query_TD: Tensor, shared_TD: Tensor) -> Tensor:
    return (query_TD.unsqueeze(2) * shared_TD.unsqueeze(1)).flatten(1)


def attended_inputs(
    embedded: Embedded,
    places: Places,
    members: Sequence[Tensor | None],
    units: Sequence[Unit],
    *,
    softmax: bool,
    product: bool,
    training: bool,
) -> Tensor:
    """Return what the MLP reads, [B, I], with one interest for each sequence; without behaviours an interest is 0.

    Args:
        members: bool [T] of each sequence, the behaviours that belong to it; None = all.
        units: the activation unit of each sequence.
        softmax: the weights of an impression's behaviours go through a softmax.
        product: the MLP reads interest ⊙ candidate too.
        training: see `Keys.of_sequence`.
    """
    library = backend.library()
    if library and training and all(_fits(unit, embedded) for unit in units):
        attentions = [_Attention(library, unit, softmax) for unit in units]
        tensors = [tensor for attention in attentions for tensor in attention.tensors]
        return _AttendedInputs.apply(attentions, places, members, product, *embedded, *tensors)
    query_BD, every = encode(embedded, places)
    interests = [
        _reference(unit, query_BD, *every.of_sequence(member_T, training), softmax)
        for unit, member_T in zip(units, members, strict=True)
    ]
    return MLPInputs.of(embedded.profile_BP, interests, query_BD, product).joined()


def _reference(unit: Unit, query_BD: Tensor, keys: Keys, member_T1: Tensor | None, softmax: bool) -> Tensor:
    key_TK, segment_T, impressions = keys.rows(), keys.segment_T, query_BD.shape[0]
    weight_T1 = unit(query_BD, key_TK, segment_T)
    if softmax:
        weight_T1 = segment_softmax(weight_T1, segment_T, impressions, member_T1)
    elif member_T1 is not None:
        weight_T1 = weight_T1 * member_T1
    return segment_sum(weight_T1 * key_TK, segment_T, impressions)


def _fits(unit: Unit, embedded: Embedded) -> bool:
    return stack_fits(unit.upper_layers(), embedded.items_UD) and not unit.first_layer().outer


class _AttendedInputs(torch.autograd.Function):
    """`attended_inputs`, natively. `tensors`: the three of `Embedded`, then all attentions'."""

    @staticmethod
    def forward(
        ctx: Any,
        attentions: "Sequence[_Attention]",
        places: Places,
        members: Sequence[Tensor | None],
        product: bool,
        *tensors: Tensor,
    ) -> Tensor:
        embedded = Embedded(*tensors[:3])
        query, every = encode(embedded, places)
        chosen = [every.of_sequence(member, training=True)[0] for member in members]
        interests = [attention.forward(query, keys) for attention, keys in zip(attentions, chosen, strict=True)]
        ctx.attentions, ctx.places, ctx.items = attentions, places, len(embedded.items_UD)
        ctx.widths = embedded.profile_BP.shape[1], every.source_NK.shape[1], query.shape[1], len(attentions)
        ctx.save_for_backward(query, every.source_NK, *interests)
        return MLPInputs.of(embedded.profile_BP, interests, query, product).joined()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        query, source, *interests = ctx.saved_tensors
        parts, width = MLPInputs.split(gradients[0], *ctx.widths), query.shape[1]
        d_query, d_source, d_tensors = parts.query_BD.clone(), torch.zeros_like(source), []
        for number, attention in enumerate(ctx.attentions):
            d_interest = parts.interests[number].clone()
            if parts.products:
                d_query.addcmul_(parts.products[number], interests[number][:, :width])
                d_interest[:, :width].addcmul_(parts.products[number], query)
            d_tensors += attention.backward(d_interest, d_query, d_source)
        d_items, d_feedback = d_source, None
        if source.shape[1] > width:  # keys were copied, to stand beside their feedback
            d_items, d_feedback = source.new_zeros(ctx.items, width), d_source[:, width:]
            add_rows(d_items, ctx.places.behaviour_T, d_source)
        add_rows(d_items, ctx.places.candidate_B, d_query)
        return None, None, None, None, d_items, d_feedback, parts.profile_BP, *d_tensors


class _Forward(NamedTuple):
    """What `_Attention.backward` needs of its forward pass."""

    query: Tensor  # [B, D]
    keys: Keys
    histories: Struct
    query_weight: Tensor  # [H, D], of q alone
    key_weight: Tensor  # [H, K], of k alone
    weight: Tensor  # [T], of the pooling
    states: list[State]


class _Attention:
    """An activation unit and its pooling, natively; `backward` follows one `forward`.

    Attributes:
        tensors: the unit's weights.
    """

    def __init__(self, library: Library, unit: Unit, softmax: bool) -> None:
        self._library, self._first, self._softmax = library, unit.first_layer(), softmax
        self._stack = DiceStack(library, unit.upper_layers())
        self.tensors = [tensor for tensor in self._first if tensor is not None] + self._stack.tensors

    def forward(self, query: Tensor, keys: Keys) -> Tensor:
        """Return interests [B, K] of candidates [B, D]."""
        library, threads = self._library, torch.get_num_threads()
        (impressions, width), count, units = query.shape, len(keys.segment_T), len(self._first.bias_H)
        query_weight, key_weight = self._first.linear_parts()
        offsets = keys.segment_T.new_empty(impressions + 1)
        library.din_segment_offsets(count, keys.segment_T, impressions, offsets)
        histories = library.struct(
            "din_histories",
            impressions=impressions,
            key_width=keys.source_NK.shape[1],
            keys=keys.source_NK,
            position=keys.position_T,
            offsets=offsets,
        )
        base = torch.addmm(self._first.bias_H, query, query_weight.T)
        s = self._stack.hidden(count, units)
        first = (key_weight, self._first.product_HX)
        library.din_unit_forward(threads, histories, width, units, query, base, *first, s)
        weight, states = self._stack.forward(s, count)
        if self._softmax:
            weight = segment_softmax(weight.unsqueeze(1), keys.segment_T, impressions, None).squeeze(1)
        pooled = query.new_empty(impressions, keys.source_NK.shape[1])
        library.din_pool_forward(threads, histories, weight, pooled)
        self._kept = _Forward(query, keys, histories, query_weight, key_weight, weight, states)
        return pooled

    def backward(self, d_pooled: Tensor, d_query: Tensor, d_source: Tensor) -> list[Tensor]:
        """Return the gradients of `tensors`; add those of candidates and of keys to d_query and d_source."""
        query, keys, histories, query_weight, key_weight, weight, states = self._kept
        library, threads, (impressions, width) = self._library, torch.get_num_threads(), query.shape
        d_weight = torch.empty_like(weight)
        library.din_pool_backward(threads, histories, d_pooled, d_weight)
        if self._softmax:
            each = weight * d_weight
            total = segment_sum(each.unsqueeze(1), keys.segment_T, impressions).squeeze(1)
            d_weight = each - weight * total.index_select(0, keys.segment_T)
        lowest, d_stack = self._stack.backward(states, d_weight)
        d_base, d_own_query = query.new_empty(impressions, len(self._first.bias_H)), torch.empty_like(query)
        d_key_weight, d_product = torch.empty_like(key_weight), torch.empty_like(self._first.product_HX)
        d_key = query.new_empty(len(weight), key_weight.shape[1])
        given = (query, key_weight, self._first.product_HX, weight, d_pooled, *lowest)
        library.din_unit_backward(
            threads, histories, width, *given, d_base, d_own_query, d_key_weight, d_product, d_key
        )
        d_query.add_(d_own_query).addmm_(d_base, query_weight)
        if keys.position_T is None:
            d_source += d_key
        else:
            add_rows(d_source, keys.position_T, d_key)
        d_query_weight = d_base.T @ query
        difference = [] if self._first.difference_HD is None else [d_query_weight - d_key_weight[:, :width]]
        return [d_query_weight, d_key_weight, *difference, d_product, d_base.sum(0), *d_stack]
