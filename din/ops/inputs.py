"""From embeddings to the inputs of the MLP. No native form of its own: `activation_unit` builds on it.

    embeddings ── encode ──> candidates [B, D], keys of behaviours [T, K] ── pooling ──> interests [B, K] ── MLPInputs

`din.ops` explains the shape letters.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


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
    keys = Keys(embedded.items_UD, places.behaviour_T, places.segment_T, age_T)
    if embedded.feedback_TF.shape[1]:
        keys = keys._replace(source_NK=torch.cat([keys.rows(), embedded.feedback_TF], 1), position_T=None)
    return embedded.items_UD.index_select(0, places.candidate_B), keys


class MLPInputs(NamedTuple):
    """The inputs of the MLP, in order.

    Attributes:
        profile_BP: user and context.
        interests: [B, K] for each sequence.
        query_BD: the candidate.
        products: interest ⊙ candidate, [B, D] for each sequence, over the fields that both have. Empty if the MLP does
            not read them.
    """

    profile_BP: Tensor
    interests: Sequence[Tensor]
    query_BD: Tensor
    products: Sequence[Tensor]

    @classmethod
    def of(cls, profile_BP: Tensor, interests: Sequence[Tensor], query_BD: Tensor, product: bool) -> "MLPInputs":
        """Return the inputs, with products if `product` is set."""
        width = query_BD.shape[1]
        products = [interest_BK[:, :width] * query_BD for interest_BK in interests] if product else []
        return cls(profile_BP, interests, query_BD, products)

    def joined(self) -> Tensor:
        """Return all inputs side by side, [B, I]."""
        return torch.cat([self.profile_BP, *self.interests, self.query_BD, *self.products], 1)

    @classmethod
    def split(
        cls, joined_BI: Tensor, profile_width: int, key_width: int, query_width: int, sequences: int
    ) -> "MLPInputs":
        """Undo `joined`. The parts are views."""
        products_width = joined_BI.shape[1] - profile_width - sequences * key_width - query_width
        products = products_width // query_width
        widths = [profile_width, *[key_width] * sequences, query_width, *[query_width] * products]
        profile_BP, *parts = joined_BI.split(widths, 1)
        return cls(profile_BP, parts[:sequences], parts[sequences], parts[sequences + 1 :])
