"""The local activation unit with pooling (Eq. 3 of arXiv 1706.06978), from embeddings to the MLP's inputs.

    interest_b = Σ_t a(k_t, q_b)·k_t      over the behaviours t of impression b, with its candidate q_b

a is a perceptron whose first layer reads [q, k, q−k, q⊙k]. By distributivity

    W·[q, k, q−k, q⊙k] = (Wq + Wd)·q + (Wk − Wd)·k + Wp·(q⊙k)

Therefore the term in q is computed once per impression, and only the other two once per behaviour. A behaviour may be
wider than the candidate, since its own fields (past feedback) have no counterpart in q. For these, q counts as 0.

`din.ops` explains the shape letters. X is D for q⊙k, and D² for all products q_i·k_j.

The native form supports Dice in float32 on the CPU, in training and in evaluation without gradients. It does not
support the outer product. It builds one matrix per impression, (Wk − Wd) + Wp·diag(q), which halves the multiplications
of the first layer. Everything from the embeddings to the inputs of the MLP is one autograd function. With separate
operations, autograd would make an extra pass over every concatenation, slice and sum.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from din.ops import backend
from din.ops.histories import Histories, Packed
from din.ops.inputs import Embedded, Keys, MLPInputs, Places, encode
from din.ops.native.library import Library, Struct
from din.ops.perceptron import DiceStack, State, stack_fits
from din.ops.segments import segment_softmax, segment_sum
from din.ops.table_rows import add_rows


class FirstLayer(NamedTuple):
    """Weights of an activation unit's first layer."""

    query_HD: Tensor
    key_HK: Tensor
    difference_HD: Tensor | None  # None: the layer does not read q−k
    product_HX: Tensor
    bias_H: Tensor

    @property
    def outer(self) -> bool:
        """True if the layer reads all products q_i·k_j."""
        return self.product_HX.shape[1] != self.query_HD.shape[1]

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
    query = histories.queries(query_BD)
    shared = histories.keys(shared_TD)
    product = _outer_product(query, shared) if weights.outer else query * shared
    by_query = histories.queries(linear(query_BD, query_HD, weights.bias_H))
    by_key = histories.keys(linear(key_TK, key_HK))
    return by_query + by_key + linear(product, weights.product_HX)


def _outer_product(query: Tensor, shared: Tensor) -> Tensor:
    """Return all products q_i·k_j of each pair, [*pairs, D²]."""
    return (query.unsqueeze(-1) * shared.unsqueeze(-2)).flatten(-2)


def attended_inputs(
    embedded: Embedded,
    places: Places,
    histories: Histories,
    members: Sequence[Tensor | None],
    units: Sequence[Unit],
    *,
    softmax: bool,
    product: bool,
    training: bool,
) -> Tensor:
    """Return the inputs of the MLP, [B, I], with one interest per sequence.

    The interest of an impression without behaviours is 0.

    Args:
        embedded: the embeddings of the batch.
        places: the items of candidates and behaviours.
        histories: the impressions' histories.
        members: bool [T] for each sequence, the behaviours that belong to it. None: all.
        units: the activation unit of each sequence.
        softmax: normalise the weights of an impression's behaviours by a softmax.
        product: add interest ⊙ candidate to the inputs.
        training: see `Keys.of_sequence`.
    """
    library = backend.library()
    if library and isinstance(histories, Packed) and all(_fits(unit, embedded) for unit in units):
        attentions = [_Attention(library, unit, softmax) for unit in units]
        tensors = [tensor for attention in attentions for tensor in attention.tensors]
        return _AttendedInputs.apply(attentions, places, members, product, *embedded, *tensors)
    query_BD, every = encode(embedded, places)
    interests = []
    for unit, member_T in zip(units, members, strict=True):
        keys, member_T1 = every.of_sequence(member_T, training)
        interests.append(_interest(unit, query_BD, keys.rows(), member_T1, histories.of(keys.segment_T), softmax))
    profile_BP = embedded.profile_BP.expand(query_BD.shape[0], -1)
    return MLPInputs.of(profile_BP, interests, query_BD, product).joined()


def _interest(
    unit: Unit, query_BD: Tensor, key_TK: Tensor, member_T1: Tensor | None, histories: Histories, softmax: bool
) -> Tensor:
    """Return the interests [B, K] of one sequence (the reference)."""
    weights = unit(query_BD, key_TK, histories)
    if softmax:
        weights = histories.softmax(weights, member_T1)
    elif member_T1 is not None:
        weights = weights * member_T1
    return histories.weighted_sum(weights, key_TK)


def _fits(unit: Unit, embedded: Embedded) -> bool:
    return stack_fits(unit.upper_layers(), embedded.items_UD) and not unit.first_layer().outer


class _AttendedInputs(torch.autograd.Function):
    """The native form of `attended_inputs`. `tensors` are those of `Embedded`, then the weights of all attentions."""

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
        query_BD, every = encode(embedded, places)
        interests = []
        for attention, member_T in zip(attentions, members, strict=True):
            keys, _ = every.of_sequence(member_T, training=True)
            interests.append(attention.forward(query_BD, keys))
        ctx.attentions = attentions
        ctx.places = places
        ctx.items = len(embedded.items_UD)
        ctx.profile_width = embedded.profile_BP.shape[1]
        ctx.save_for_backward(query_BD, every.source_NK, *interests)
        return MLPInputs.of(embedded.profile_BP, interests, query_BD, product).joined()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        query_BD, source_NK, *interests = ctx.saved_tensors
        key_width = source_NK.shape[1]
        width = query_BD.shape[1]
        parts = MLPInputs.split(gradients[0], ctx.profile_width, key_width, width, len(interests))
        d_query_BD = parts.query_BD.clone()
        d_source_NK = torch.zeros_like(source_NK)
        d_tensors = []
        for number, attention in enumerate(ctx.attentions):
            d_interest_BK = parts.interests[number].clone()
            if parts.products:
                d_product_BD = parts.products[number]
                d_query_BD.addcmul_(d_product_BD, interests[number][:, :width])
                d_interest_BK[:, :width].addcmul_(d_product_BD, query_BD)
            d_tensors += attention.backward(d_interest_BK, d_query_BD, d_source_NK)
        if key_width == width:  # the keys are the items themselves
            d_items_UD = d_source_NK
            d_feedback_TF = None
        else:  # `encode` concatenated each behaviour's item and feedback
            d_items_UD = source_NK.new_zeros(ctx.items, width)
            d_feedback_TF = d_source_NK[:, width:]
            add_rows(d_items_UD, ctx.places.behaviour_T, d_source_NK)
        add_rows(d_items_UD, ctx.places.candidate_B, d_query_BD)
        return None, None, None, None, d_items_UD, d_feedback_TF, parts.profile_BP, *d_tensors


class _Forward(NamedTuple):
    """The results of a forward pass that `_Attention.backward` needs."""

    query_BD: Tensor
    keys: Keys
    histories: Struct  # din_histories
    query_HD: Tensor  # weights of q alone
    key_HK: Tensor  # weights of k alone
    weight_T: Tensor  # pooling weights of the behaviours
    states: list[State]  # one per layer of Dice


class _Attention:
    """The native form of an activation unit with its pooling. Each call of `backward` follows one of `forward`.

    Attributes:
        tensors: the unit's weights.
    """

    def __init__(self, library: Library, unit: Unit, softmax: bool) -> None:
        self._library = library
        self._first = unit.first_layer()
        self._softmax = softmax
        self._stack = DiceStack(library, unit.upper_layers())
        self.tensors = [tensor for tensor in self._first if tensor is not None] + self._stack.tensors

    def forward(self, query_BD: Tensor, keys: Keys) -> Tensor:
        """Return the interests [B, K] of candidates."""
        library = self._library
        threads = torch.get_num_threads()
        impressions, width = query_BD.shape
        behaviours = len(keys.segment_T)
        units = len(self._first.bias_H)
        query_HD, key_HK = self._first.linear_parts()
        offsets = keys.segment_T.new_empty(impressions + 1)
        library.din_segment_offsets(behaviours, keys.segment_T, impressions, offsets)
        histories = library.struct(
            "din_histories",
            impressions=impressions,
            key_width=keys.source_NK.shape[1],
            keys=keys.source_NK,
            position=keys.position_T,
            offsets=offsets,
        )
        base_BH = torch.addmm(self._first.bias_H, query_BD, query_HD.T)
        s = self._stack.hidden(behaviours, units)
        weights = (key_HK, self._first.product_HX)
        library.din_unit_forward(threads, histories, width, units, query_BD, base_BH, *weights, s)
        weight_T, states = self._stack.forward(s, behaviours)
        if self._softmax:
            weight_T = segment_softmax(weight_T.unsqueeze(1), keys.segment_T, impressions, None).squeeze(1)
        pooled_BK = query_BD.new_empty(impressions, keys.source_NK.shape[1])
        library.din_pool_forward(threads, histories, weight_T, pooled_BK)
        self._kept = _Forward(query_BD, keys, histories, query_HD, key_HK, weight_T, states)
        return pooled_BK

    def backward(self, d_pooled_BK: Tensor, d_query_BD: Tensor, d_source_NK: Tensor) -> list[Tensor]:
        """Return the gradients of `tensors`. Add the gradients of candidates and keys to d_query_BD and d_source_NK."""
        kept = self._kept
        keys = kept.keys
        library = self._library
        threads = torch.get_num_threads()
        impressions, width = kept.query_BD.shape
        d_weight_T = torch.empty_like(kept.weight_T)
        library.din_pool_backward(threads, kept.histories, d_pooled_BK, d_weight_T)
        if self._softmax:
            d_weight_T = _softmax_backward(kept.weight_T, d_weight_T, keys.segment_T, impressions)
        lowest, d_stack = self._stack.backward(kept.states, d_weight_T)

        product_HX = self._first.product_HX
        d_base_BH = kept.query_BD.new_empty(impressions, len(self._first.bias_H))
        d_unit_query_BD = torch.empty_like(kept.query_BD)
        d_key_HK = torch.empty_like(kept.key_HK)
        d_product_HX = torch.empty_like(product_HX)
        d_key_TK = kept.query_BD.new_empty(len(kept.weight_T), kept.key_HK.shape[1])
        read = (
            kept.query_BD,
            kept.key_HK,
            product_HX,
            kept.weight_T,
            d_pooled_BK,
            lowest.layer,
            lowest.u,
            lowest.means,
        )
        written = (d_base_BH, d_unit_query_BD, d_key_HK, d_product_HX, d_key_TK)
        library.din_unit_backward(threads, kept.histories, width, *read, *written)

        d_query_BD.add_(d_unit_query_BD).addmm_(d_base_BH, kept.query_HD)
        if keys.position_T is None:
            d_source_NK += d_key_TK
        else:
            add_rows(d_source_NK, keys.position_T, d_key_TK)
        d_query_HD = d_base_BH.T @ kept.query_BD
        d_first = [d_query_HD, d_key_HK]
        if self._first.difference_HD is not None:
            d_first.append(d_query_HD - d_key_HK[:, :width])
        return [*d_first, d_product_HX, d_base_BH.sum(0), *d_stack]


def _softmax_backward(weight_T: Tensor, d_weight_T: Tensor, segment_T: Tensor, impressions: int) -> Tensor:
    """Return the gradient [T] of the scores of a softmax over each impression's behaviours, given d_weight_T."""
    product_T = weight_T * d_weight_T
    total_B = segment_sum(product_T.unsqueeze(1), segment_T, impressions).squeeze(1)
    return product_T - weight_T * total_B.index_select(0, segment_T)
