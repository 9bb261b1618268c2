"""Embedding&MLP: what every model but LR is made of. Embeddings, one pooled interest for each sequence, an MLP.

logit = MLP(profile, interest of each sequence, candidate, interest ⊙ candidate, …) + item bias or LR (`train.linear`)
"""

from itertools import compress

import torch
from torch import Tensor, nn

from din.model.embedding import Batch, Columns, Embedded, Ids, Keys, embed, encode, segment_sum
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
        embedded = self._embed(table_RW, batch, batch.candidate.shape[0])
        logits = self.deep_logits(embedded, batch)
        if self.wide:
            return logits + self.wide(table_RW[:, : self.linear], batch)
        return logits if embedded.bias_B1 is None else logits + embedded.bias_B1.squeeze(1)

    def request(self, table_RW: Tensor, batch: Batch) -> Tensor:
        """Logits [C] of one user's candidates (see `Batch`): the history is encoded once, nothing is padded."""
        embedded = self._embed(table_RW, batch, 1)
        query_CD, keys = encode(embedded, batch)
        key_LK = keys.rows()
        interests = [
            self.request_pool(number, query_CD, key_LK, _column(selection(batch), key_LK))
            for number, selection in enumerate(self.selections)
        ]
        logits = self._predict(query_CD, interests, embedded.profile_BP.expand(query_CD.shape[0], -1))
        if self.wide:
            return logits + self.wide.request(table_RW[:, : self.linear], batch)
        return logits if embedded.bias_B1 is None else logits + embedded.bias_B1.squeeze(1)

    def deep_logits(self, embedded: Embedded, batch: Batch) -> Tensor:
        """Those of packed impressions [B], without the linear part."""
        query_BD, every = encode(embedded, batch)
        interests = []
        for number, selection in enumerate(self.selections):
            keys, member = every, selection(batch)
            if member is not None and self.training:  # statistics of a batch must see the sequence's behaviours alone
                keys, member = every.chosen(member), None
            interests.append(self.pool(number, query_BD, keys, _column(member, query_BD)))
        return self._predict(query_BD, interests, embedded.profile_BP)

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

    def _embed(self, table: Tensor, batch: Batch, owners: int) -> Embedded:
        """What the model reads of the table [R, W]; `owners` of profiles: B, or 1 for a request."""
        candidate = Ids(batch.items[0].ids.index_select(0, batch.candidate), None, None)
        groups = [
            Columns(batch.items, batch.items[0].ids.shape[0], self.linear, self.dim),
            Columns(batch.behaviours, batch.behaviour.shape[0], self.linear, self.dim),
            Columns((*batch.users, *batch.contexts), owners, self.linear, self.dim),
            *([Columns((candidate,), batch.candidate.shape[0], 0, 1)] if self.item_bias else []),
        ]
        kernels = self.kernels if self.training else None
        plain = [bool(kernels) and all(lookup.plain for lookup in group.lookups) for group in groups]
        taken = iter(Take.apply(kernels, table, list(compress(groups, plain))) if any(plain) else ())
        found = (next(taken) if own else embed(table, group) for group, own in zip(groups, plain, strict=True))
        return Embedded(*found)

    def _predict(self, query: Tensor, interests: list[Tensor], profile: Tensor) -> Tensor:
        products = [interest[:, : self.query_width] * query for interest in interests] if self.interest_product else []
        return self.deep(torch.cat([profile, *interests, query], 1), products)


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
