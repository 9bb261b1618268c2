"""Embedding&MLP: what every model but LR is made of. Embeddings, one pooled interest for each sequence, an MLP.

logit = MLP(profile, interest of each sequence, candidate, interest ⊙ candidate, …) + item bias or LR (`train.linear`)
"""

import torch
from torch import Tensor, nn

from din.model.embedding import Batch, Ids, Keys, embed, segment_sum
from din.model.kernels import Take
from din.model.lr import LogisticRegression
from din.model.mlp import multilayer_perceptron
from din.native.library import Kernels
from din.params import Train
from din.schema import Field, Group


class EmbeddingMLP(nn.Module):
    """Everything but how behaviours are pooled.

    Of the table's `width` columns the first `linear` ones are linear weights (LR's two, or the item bias), the others
    are each value's embedding.
    """

    kernels: Kernels | None = None

    def __init__(self, fields: tuple[Field, ...], params: Train, selections: nn.ModuleList) -> None:
        super().__init__()
        counts = {group: sum(field.group is group for field in fields) for group in Group}
        dim, sequences = params.embedding_dim, len(selections)
        self.selections = selections
        self.wide = LogisticRegression() if params.linear == "wide" else None
        self.linear = self.wide.linear if self.wide else 1
        self.item_bias = params.linear == "item_bias"
        self.dim, self.width = dim, self.linear + dim
        self.interest_product = params.interest_product
        self.query_width = counts[Group.ITEM] * dim
        self.key_width = self.query_width + counts[Group.BEHAVIOUR] * dim
        vectors = counts[Group.USER] + counts[Group.CONTEXT] + counts[Group.ITEM]
        vectors += sequences * (counts[Group.ITEM] + counts[Group.BEHAVIOUR])
        products = sequences * self.query_width if params.interest_product else 0
        inputs = vectors * dim + products + self.extra_inputs(vectors)
        self.head = multilayer_perceptron(inputs, params.hidden, params.activation, params.dropout)

    def forward(self, table_RW: Tensor, batch: Batch) -> Tensor:
        """Logits [B] of packed impressions."""
        query_BD, every = self._encode(table_RW, batch)
        interests = []
        for number, selection in enumerate(self.selections):
            keys, member = every, selection(batch)
            if member is not None and self.training:  # statistics of a batch must see the sequence's behaviours alone
                keys, member = every.chosen(member), None
            interests.append(self.pool(number, query_BD, keys, _column(member, query_BD)))
        profile_BP = self._profile(table_RW, batch, query_BD.shape[0])
        logits = self._predict(query_BD, interests, profile_BP)
        if self.wide:
            return logits + self.wide(table_RW[:, : self.linear], batch)
        return logits + self._item_bias(table_RW, batch) if self.item_bias else logits

    def request(self, table_RW: Tensor, batch: Batch) -> Tensor:
        """Logits [C] of one user's candidates (see `Batch`): the history is encoded once, nothing is padded."""
        query_CD, keys = self._encode(table_RW, batch)
        key_LK = keys.rows()
        interests = [
            self.request_pool(number, query_CD, key_LK, _column(selection(batch), key_LK))
            for number, selection in enumerate(self.selections)
        ]
        profile_CP = self._profile(table_RW, batch, 1).expand(query_CD.shape[0], -1)
        logits = self._predict(query_CD, interests, profile_CP)
        if self.wide:
            return logits + self.wide.request(table_RW[:, : self.linear], batch)
        return logits + self._item_bias(table_RW, batch) if self.item_bias else logits

    def pool(self, sequence: int, query_BD: Tensor, keys: Keys, member_T1: Tensor | None) -> Tensor:
        """The user's interest in each candidate, [B, K], of the behaviours whose `member` is 1 (None: all)."""
        raise NotImplementedError

    def request_pool(self, sequence: int, query_CD: Tensor, key_LK: Tensor, member_L1: Tensor | None) -> Tensor:
        """The same for one user's history and C candidates, [C, K]."""
        raise NotImplementedError

    def extra_inputs(self, vectors: int) -> int:
        """Width of what `deep` feeds the MLP beside the field vectors and products."""
        return 0

    def deep(self, vectors_BV: Tensor, products: list[Tensor]) -> Tensor:
        """Logits [B] of the field vectors, side by side, and the products of interests and candidate."""
        return self.head(torch.cat([vectors_BV, *products], 1)).squeeze(1)

    def _encode(self, table: Tensor, batch: Batch) -> tuple[Tensor, Keys]:
        items_UD = self._embed(table, batch.items, batch.items[0].ids.shape[0])
        query_BD = items_UD.index_select(0, batch.candidate)
        keys = Keys(items_UD, batch.behaviour, batch.segment)
        if batch.behaviours:
            feedback = self._embed(table, batch.behaviours, batch.behaviour.shape[0])
            keys = Keys(torch.cat([keys.rows(), feedback], 1), None, batch.segment)
        return query_BD, keys

    def _profile(self, table: Tensor, batch: Batch, owners: int) -> Tensor:
        return self._embed(table, (*batch.users, *batch.contexts), owners)

    def _embed(
        self, table: Tensor, lookups: tuple[Ids, ...], owners: int, column: int | None = None, width: int | None = None
    ) -> Tensor:
        """Concatenated embeddings [owners, …], or other columns of the table."""
        column, width = self.linear if column is None else column, width or self.dim
        if self.kernels and self.training and lookups and all(lookup.plain for lookup in lookups):
            return Take.apply(self.kernels, table, column, width, *(lookup.ids for lookup in lookups))
        return embed(table[:, column : column + width], lookups, owners)

    def _predict(self, query: Tensor, interests: list[Tensor], profile: Tensor) -> Tensor:
        products = [interest[:, : self.query_width] * query for interest in interests] if self.interest_product else []
        return self.deep(torch.cat([profile, *interests, query], 1), products)

    def _item_bias(self, table: Tensor, batch: Batch) -> Tensor:
        bias_U1 = self._embed(table, batch.items[:1], batch.items[0].ids.shape[0], 0, 1)
        return bias_U1.index_select(0, batch.candidate).squeeze(1)


class BaseModel(EmbeddingMLP):
    """The paper's BaseModel: behaviours pooled without regard to the candidate."""

    def __init__(self, fields: tuple[Field, ...], params: Train, selections: nn.ModuleList) -> None:
        super().__init__(fields, params, selections)
        self.mean = params.pooling == "mean"

    def pool(self, sequence: int, query_BD: Tensor, keys: Keys, member_T1: Tensor | None) -> Tensor:
        impressions, key_TK, segment_T = query_BD.shape[0], keys.rows(), keys.segment_T
        total_BK = segment_sum(key_TK if member_T1 is None else key_TK * member_T1, segment_T, impressions)
        if not self.mean:
            return total_BK
        one_T1 = torch.ones_like(key_TK[:, :1]) if member_T1 is None else member_T1
        return total_BK / segment_sum(one_T1, segment_T, impressions).clamp_min(1)

    def request_pool(self, sequence: int, query_CD: Tensor, key_LK: Tensor, member_L1: Tensor | None) -> Tensor:
        one_L1 = torch.ones_like(key_LK[:, :1]) if member_L1 is None else member_L1
        pooled_1K = (key_LK * one_L1).sum(0, keepdim=True)
        if self.mean:
            pooled_1K = pooled_1K / one_L1.sum().clamp_min(1)
        return pooled_1K.expand(query_CD.shape[0], -1)


def _column(member_T: Tensor | None, like: Tensor) -> Tensor | None:
    """A mask as 0/1 numbers [T, 1]."""
    return None if member_T is None else member_T.unsqueeze(1).to(like.dtype)
