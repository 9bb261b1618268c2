"""From embeddings to what the MLP reads. No native form of its own: `activation_unit` builds on it.

embeddings ── encode ──> candidates [B, D] and keys of behaviours [T, K] ── pooling ──> interests [B, K] ── MLPInputs
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Embedded(NamedTuple):
    """Embeddings of a batch, each group's fields side by side.

    items_UD: of distinct items. feedback_TF: of the behaviours' own fields. profile_BP: of users and contexts.
    """

    items_UD: Tensor
    feedback_TF: Tensor
    profile_BP: Tensor


class Places(NamedTuple):
    """Which items a batch shows.

    candidate_B, behaviour_T: positions among its distinct items. segment_T: each behaviour's impression,
    non-decreasing.
    """

    candidate_B: Tensor
    behaviour_T: Tensor
    segment_T: Tensor


class Keys(NamedTuple):
    """Keys of T behaviours without a copy of each: behaviour t has row position_T[t] of source_NK, or row t (None).

    segment_T: each behaviour's impression, non-decreasing.
    """

    source_NK: Tensor
    position_T: Tensor | None
    segment_T: Tensor

    def rows(self) -> Tensor:
        """Return one key for each behaviour, [T, K]."""
        return self.source_NK if self.position_T is None else self.source_NK.index_select(0, self.position_T)

    def chosen(self, member_T: Tensor) -> "Keys":
        """Keep the behaviours where `member` is true."""
        at = member_T.nonzero().squeeze(1)
        position = at if self.position_T is None else self.position_T.index_select(0, at)
        return Keys(self.source_NK, position, self.segment_T.index_select(0, at))

    def of_sequence(self, member_T: Tensor | None, training: bool) -> "tuple[Keys, Tensor | None]":
        """Return the behaviours to read for a sequence, and a mask [T, 1] of 0 and 1 (None = all belong to it).

        Training keeps the sequence's behaviours alone, since the statistics of a batch must not see others. Evaluation
        masks, which can be exported.
        """
        if member_T is None:
            return self, None
        if training:
            return self.chosen(member_T), None
        return self, member_T.unsqueeze(1).to(self.source_NK.dtype)


def encode(embedded: Embedded, places: Places) -> tuple[Tensor, Keys]:
    """Return candidates [B, D], and the keys of all behaviours [T, K]: item fields, then feedback."""
    keys = Keys(embedded.items_UD, places.behaviour_T, places.segment_T)
    if embedded.feedback_TF.shape[1]:
        keys = Keys(torch.cat([keys.rows(), embedded.feedback_TF], 1), None, places.segment_T)
    return embedded.items_UD.index_select(0, places.candidate_B), keys


class MLPInputs(NamedTuple):
    """What the MLP reads of each impression, in the order of these fields.

    profile_BP: of user and context. interests: [B, K] of each sequence. query_BD: the candidate. products: interest ⊙
    candidate of each sequence, [B, D], over the fields that both have; or none.
    """

    profile_BP: Tensor
    interests: Sequence[Tensor]
    query_BD: Tensor
    products: Sequence[Tensor]

    @classmethod
    def of(cls, profile_BP: Tensor, interests: Sequence[Tensor], query_BD: Tensor, product: bool) -> "MLPInputs":
        """Form the products where the MLP reads them."""
        width = query_BD.shape[1]
        products = [interest_BK[:, :width] * query_BD for interest_BK in interests] if product else []
        return cls(profile_BP, interests, query_BD, products)

    def joined(self) -> Tensor:
        """Return all of it side by side, [B, I]."""
        return torch.cat([self.profile_BP, *self.interests, self.query_BD, *self.products], 1)

    @classmethod
    def split(
        cls, joined_BI: Tensor, profile_width: int, key_width: int, query_width: int, sequences: int
    ) -> "MLPInputs":
        """Undo `joined`, as views."""
        rest = joined_BI.shape[1] - profile_width - sequences * key_width - query_width
        products = rest // query_width
        widths = [profile_width, *[key_width] * sequences, query_width, *[query_width] * products]
        profile_BP, *parts = joined_BI.split(widths, 1)
        return cls(profile_BP, parts[:sequences], parts[sequences], parts[sequences + 1 :])
