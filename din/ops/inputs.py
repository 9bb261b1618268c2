"""From embeddings to the inputs of the MLP.

    embeddings ── encode ──> candidates [B, D], keys of behaviours [T, K] ── pooling ──> interest [B, K] ── join

Where the native forms are in use, the gradients of both are written by hand. Without this, autograd would make an extra
pass over each slice and sum, and a training step of DIN would take a tenth longer.

`din.ops` explains the shape letters.
"""

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


def join(profile_BP: Tensor, interest_BK: Tensor, query_BD: Tensor, *, product: bool) -> Tensor:
    """Return the inputs of the MLP side by side, [B, I]: profile, interest, candidate, and a product if `product`.

    The product is interest ⊙ candidate, [B, D], over the fields that both have.
    """
    if library_for(query_BD):
        return _Joined.apply(product, profile_BP, interest_BK, query_BD)
    return _side_by_side(profile_BP, interest_BK, query_BD, product)


def _side_by_side(profile_BP: Tensor, interest_BK: Tensor, query_BD: Tensor, product: bool) -> Tensor:
    products = [interest_BK[:, : query_BD.shape[1]] * query_BD] if product else []
    return torch.cat([profile_BP, interest_BK, query_BD, *products], 1)


class _Joined(torch.autograd.Function):
    """`join` with a gradient that multiplies and adds in one pass."""

    @staticmethod
    def forward(ctx: Any, product: bool, profile_BP: Tensor, interest_BK: Tensor, query_BD: Tensor) -> Tensor:
        ctx.product = product
        ctx.profile_width = profile_BP.shape[1]
        ctx.save_for_backward(interest_BK, query_BD)
        return _side_by_side(profile_BP, interest_BK, query_BD, product)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        interest_BK, query_BD = ctx.saved_tensors
        width = query_BD.shape[1]
        widths = [ctx.profile_width, interest_BK.shape[1], width, *([width] if ctx.product else [])]
        d_profile_BP, d_interest_BK, d_query_BD, *d_product = gradients[0].split(widths, 1)
        if ctx.product:
            d_query_BD = d_query_BD.clone().addcmul_(d_product[0], interest_BK[:, :width])
            d_interest_BK = d_interest_BK.clone()
            d_interest_BK[:, :width].addcmul_(d_product[0], query_BD)
        return None, d_profile_BP, d_interest_BK, d_query_BD
