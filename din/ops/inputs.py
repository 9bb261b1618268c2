"""From embeddings to the inputs of the MLP.

    embeddings ── encode ──> candidates [B, D], keys of behaviours [T, K] ── pooling ──> interests [B, K] ── join

Where the native forms are in use, the gradients of both are written by hand. Without this, autograd would make an extra
pass over each slice and sum, and a training step of DIN would take a tenth longer.

`din.ops` explains the shape letters.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from din.ops.table_rows import add_rows, library_for


class Embedded(NamedTuple):
    """Embeddings of a batch, with the fields of each group side by side.

    Attributes:
        items_UD: the distinct items.
        feedback_TF: the behaviours' own fields.
        profile_BP: users and contexts.
    """

    items_UD: Tensor
    feedback_TF: Tensor
    profile_BP: Tensor


class Places(NamedTuple):
    """The items of a batch's candidates and behaviours.

    Attributes:
        candidate_B, behaviour_T: positions among the distinct items.
        segment_T: each behaviour's impression, non-decreasing.
        age_T: seconds from each behaviour to its impression, NaN where unknown. None: the model reads no ages.
    """

    candidate_B: Tensor
    behaviour_T: Tensor
    segment_T: Tensor
    age_T: Tensor | None


class Keys(NamedTuple):
    """Keys of T behaviours. Behaviours of the same item may share a key.

    Attributes:
        source_NK: the keys, shared ones once.
        position_T: each behaviour's row in `source_NK`. None: behaviour t has row t.
        segment_T, age_T: as in `Places`.
    """

    source_NK: Tensor
    position_T: Tensor | None
    segment_T: Tensor
    age_T: Tensor | None

    def rows(self) -> Tensor:
        """Return one key per behaviour, [T, K]."""
        return self.source_NK if self.position_T is None else self.source_NK.index_select(0, self.position_T)

    def chosen(self, member_T: Tensor) -> "Keys":
        """Return the keys of the behaviours where `member_T` is true."""
        kept = member_T.nonzero().squeeze(1)
        position = kept if self.position_T is None else self.position_T.index_select(0, kept)
        age_T = None if self.age_T is None else self.age_T.index_select(0, kept)
        return Keys(self.source_NK, position, self.segment_T.index_select(0, kept), age_T)

    def of_sequence(self, member_T: Tensor | None, training: bool) -> "tuple[Keys, Tensor | None]":
        """Return the behaviours to read for a sequence, and a mask [T, 1] of 0 and 1. No mask: all belong to it.

        Training drops all other behaviours, since they must not enter the statistics of a batch. Evaluation masks them
        instead, because a mask can be exported.

        Args:
            member_T: bool, the behaviours that belong to the sequence. None: all.
        """
        if member_T is None:
            return self, None
        if training:
            return self.chosen(member_T), None
        return self, member_T.unsqueeze(1).to(self.source_NK.dtype)


def encode(embedded: Embedded, places: Places) -> tuple[Tensor, Keys]:
    """Return candidates [B, D], and the keys of all behaviours [T, K]. A key holds item fields, then feedback."""
    age_T = places.age_T
    if age_T is not None:
        age_T = age_T.to(embedded.items_UD.dtype)  # parity also runs models in float64
    if library_for(embedded.items_UD):
        query_BD, source_NK = _Encoded.apply(places, embedded.items_UD, embedded.feedback_TF)
        position_T = None if embedded.feedback_TF.shape[1] else places.behaviour_T
        return query_BD, Keys(source_NK, position_T, places.segment_T, age_T)
    keys = Keys(embedded.items_UD, places.behaviour_T, places.segment_T, age_T)
    if embedded.feedback_TF.shape[1]:
        keys = keys._replace(source_NK=torch.cat([keys.rows(), embedded.feedback_TF], 1), position_T=None)
    return embedded.items_UD.index_select(0, places.candidate_B), keys


class _Encoded(torch.autograd.Function):
    """`encode` with a gradient that adds the rows of candidates to those of behaviours in place."""

    @staticmethod
    def forward(ctx: Any, places: Places, items_UD: Tensor, feedback_TF: Tensor) -> tuple[Tensor, Tensor]:
        ctx.places = places
        ctx.items = items_UD.shape
        source_NK = items_UD
        if feedback_TF.shape[1]:
            source_NK = torch.cat([items_UD.index_select(0, places.behaviour_T), feedback_TF], 1)
        return items_UD.index_select(0, places.candidate_B), source_NK

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        d_query_BD, d_source_NK = gradients
        items, width = ctx.items
        d_feedback_TF = None
        if d_source_NK.shape[1] == width:
            d_items_UD = d_source_NK.clone()
        else:
            d_items_UD = d_source_NK.new_zeros(items, width)
            add_rows(d_items_UD, ctx.places.behaviour_T, d_source_NK.contiguous())
            d_feedback_TF = d_source_NK[:, width:]
        add_rows(d_items_UD, ctx.places.candidate_B, d_query_BD.contiguous())
        return None, d_items_UD, d_feedback_TF


def join(profile_BP: Tensor, interests: Sequence[Tensor], query_BD: Tensor, *, product: bool) -> Tensor:
    """Return the inputs of the MLP side by side, [B, I]: profile, interests, candidate, and products if `product`.

    A product is interest ⊙ candidate, [B, D] for each sequence, over the fields that both have.
    """
    if library_for(query_BD):
        return _Joined.apply(product, profile_BP, query_BD, *interests)
    return _side_by_side(profile_BP, interests, query_BD, product)


def _side_by_side(profile_BP: Tensor, interests: Sequence[Tensor], query_BD: Tensor, product: bool) -> Tensor:
    width = query_BD.shape[1]
    products = [interest_BK[:, :width] * query_BD for interest_BK in interests] if product else []
    return torch.cat([profile_BP, *interests, query_BD, *products], 1)


class _Joined(torch.autograd.Function):
    """`join` with a gradient that multiplies and adds in one pass."""

    @staticmethod
    def forward(ctx: Any, product: bool, profile_BP: Tensor, query_BD: Tensor, *interests: Tensor) -> Tensor:
        ctx.product = product
        ctx.profile_width = profile_BP.shape[1]
        ctx.save_for_backward(query_BD, *interests)
        return _side_by_side(profile_BP, interests, query_BD, product)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        query_BD, *interests = ctx.saved_tensors
        width = query_BD.shape[1]
        widths = [ctx.profile_width, *(interest_BK.shape[1] for interest_BK in interests), width]
        widths += [width] * len(interests) * ctx.product
        d_profile_BP, *parts = gradients[0].split(widths, 1)
        d_interests = [part.clone() for part in parts[: len(interests)]]
        d_query_BD, *products = parts[len(interests) :]
        if ctx.product:
            d_query_BD = d_query_BD.clone()
            for d_product_BD, interest_BK, d_interest_BK in zip(products, interests, d_interests, strict=True):
                d_query_BD.addcmul_(d_product_BD, interest_BK[:, :width])
                d_interest_BK[:, :width].addcmul_(d_product_BD, query_BD)
        return None, d_profile_BP, d_query_BD, *d_interests
