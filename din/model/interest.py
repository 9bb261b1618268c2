"""DIN from embeddings to the MLP's inputs through `din.native`, forward and backward, as one function of autograd.

    [profile, interest of each sequence, candidate, interest ⊙ candidate of each]

As many functions as there are operations, autograd would pass over every concatenation, slice and sum once more.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from din.model.attention import ActivationUnit
from din.model.embedding import Batch, Embedded, Keys, encode, segment_softmax, segment_sum
from din.model.kernels import Layers, add_rows
from din.native.library import Kernels


class Inputs(torch.autograd.Function):
    """Inputs of the MLP, [B, …].

    Args:
        interests: one for each sequence. members: bool [T] of each, the behaviours that belong to it; None = all.
        product: whether interest ⊙ candidate is part of them. embedded: items, behaviours, profile of `Embedded`, then
            all `interests`' weights.
    """

    @staticmethod
    def forward(
        ctx: Any,
        kernels: Kernels,
        interests: "Sequence[Interest]",
        members: Sequence[Tensor | None],
        product: bool,
        batch: Batch,
        *tensors: Tensor,
    ) -> Tensor:
        embedded = Embedded(*tensors[:3])
        query, every = encode(embedded, batch)
        keys = [every if member is None else every.chosen(member) for member in members]
        pooled = [interest.forward(query, own) for interest, own in zip(interests, keys, strict=True)]
        products = [each[:, : query.shape[1]] * query for each in pooled] if product else []
        parts = [embedded.profile_BP, *pooled, query, *products]
        ctx.kernels, ctx.interests, ctx.batch, ctx.product = kernels, interests, batch, product
        ctx.save_for_backward(query, every.source_NK, *pooled)
        ctx.items, ctx.widths = embedded.items_UD.shape[0], [part.shape[1] for part in parts]
        return torch.cat(parts, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        (query, source, *pooled), batch, width = ctx.saved_tensors, ctx.batch, ctx.saved_tensors[0].shape[1]
        d_profile, *parts = gradients[0].split(ctx.widths, 1)
        d_query, d_source, d_weights = parts[len(pooled)].clone(), torch.zeros_like(source), []
        for number, interest in enumerate(ctx.interests):
            d_pooled = parts[number].clone()
            if ctx.product:
                d_product = parts[len(pooled) + 1 + number]
                d_query.addcmul_(d_product, pooled[number][:, :width])
                d_pooled[:, :width].addcmul_(d_product, query)
            d_weights += interest.backward(d_pooled, d_query, d_source)
        d_items = d_source
        if batch.behaviours:
            add_rows(ctx.kernels, batch.behaviour, d_source, d_items := source.new_zeros(ctx.items, width), 0, width)
        add_rows(ctx.kernels, batch.candidate, d_query, d_items, 0, width)
        d_embedded = (d_items, d_source[:, width:] if batch.behaviours else None, d_profile)
        return *[None] * 5, *d_embedded, *d_weights


class Interest:
    """An activation unit and Eq. 3, Σ_j a_j·e_j, in one step: `backward` goes by what `forward` kept.

    Its first layer is W_k·k + W_p·(q⊙k) + base, base [B, H] being what does not depend on k.
    """

    def __init__(self, kernels: Kernels, unit: nn.Module, softmax: bool) -> None:
        assert isinstance(unit, ActivationUnit)
        self._kernels, self._unit, self._softmax = kernels, unit, softmax
        self._layers = Layers([unit.activation, *unit.rest])
        self._linear = [unit.query_weight, unit.key_weight, unit.product_weight, unit.bias]
        self._differences = [unit.difference_weight] if unit.interaction == "difference_product" else []
        self.weights = [*self._linear, *self._differences, *self._layers.tensors]

    def forward(self, query: Tensor, keys: Keys) -> Tensor:
        """Interests [B, K] of candidates [B, D]; no behaviours: 0."""
        (source, position, segment), kernels, unit = keys, self._kernels, self._unit
        query_weight, key_weight = unit.linear_parts()
        impressions, hidden, threads = len(query), len(unit.bias), torch.get_num_threads()
        starts, s = segment.new_empty(impressions + 1), source.new_empty(len(segment), kernels("row_width", hidden))
        kernels("segment_offsets", len(segment), segment, impressions, starts)
        sizes = (threads, impressions, query.shape[1], source.shape[1])
        base = torch.addmm(unit.bias, query, query_weight.T)
        first = (key_weight, unit.product_weight)
        kernels("first_forward", *sizes, hidden, query, base, source, position, starts, *first, s)
        weight, states = self._layers.forward(kernels, s)
        if self._softmax:
            weight = segment_softmax(weight.unsqueeze(1), segment, impressions, None).squeeze(1)
        pooled = source.new_empty(impressions, source.shape[1])
        kernels("pool_forward", threads, *pooled.shape, weight, source, position, starts, pooled)
        self._kept = query, keys, starts, sizes, query_weight, first, weight, states
        return pooled

    def backward(self, d_pooled: Tensor, d_query: Tensor, d_source: Tensor) -> list[Tensor]:
        """Gradients of `weights`; those of candidates and keys are added to d_query and d_source."""
        query, (source, position, segment), starts, sizes, query_weight, first, weight, states = self._kept
        (threads, impressions, width, key_width), kernels = sizes, self._kernels
        d_weight = torch.empty_like(weight)
        kernels("pool_backward", threads, impressions, key_width, source, position, starts, d_pooled, d_weight)
        if self._softmax:
            each = weight * d_weight
            total = segment_sum(each.unsqueeze(1), segment, impressions).squeeze(1)
            d_weight = each - weight * total.index_select(0, segment)
        state, u, means, d_layers = self._layers.backward(kernels, states, d_weight)
        d_base, d_key = query.new_empty(impressions, state.units), query.new_empty(len(weight), key_width)
        d_first, by_product = [*map(torch.empty_like, first)], torch.empty_like(query)
        given = (query, source, position, starts, *first, weight, d_pooled, *state[:5], u, means)
        kernels("first_backward", *sizes, *given, d_base, by_product, *d_first, d_key)
        d_query.add_(by_product).addmm_(d_base, query_weight)
        if position is None:
            d_source += d_key
        else:
            add_rows(kernels, position, d_key, d_source, 0, key_width)
        d_query_weight, (d_key_weight, d_product_weight) = d_base.T @ query, d_first
        differences = [d_query_weight - d_key_weight[:, :width]] if self._differences else []
        return [d_query_weight, d_key_weight, d_product_weight, d_base.sum(0), *differences, *d_layers]
