"""Embedding&MLP, the base of all models but LR: embeddings, one pooled interest per sequence, and an MLP.

    logit = MLP(profile, interest of each sequence, candidate, interest ⊙ candidate, …) + item bias or LR

`train.model.linear` chooses the last summand. `din.model` explains the shape letters.
"""

import torch
from torch import Tensor, nn

from din.model.embedding import Batch
from din.model.lr import LogisticRegression
from din.model.mlp import multilayer_perceptron
from din.ops.inputs import Embedded, Keys, MLPInputs, encode
from din.ops.lookup import Columns, Ids, lookup
from din.ops.segments import segment_sum
from din.params import Train
from din.schema import Field, Group


class EmbeddingMLP(nn.Module):
    """Everything but the pooling of behaviours.

    Attributes:
        width: W, the columns of the embedding table.
        linear: how many of these come first and are linear weights: LR's two, or the item bias. The other `dim` columns
            are the embeddings.
        vectors: how many inputs of the MLP come first and are embeddings. The others are products of these.
    """

    def __init__(self, fields: tuple[Field, ...], params: Train, selections: nn.ModuleList) -> None:
        super().__init__()
        counts = {group: sum(field.group is group for field in fields) for group in Group}
        settings = params.model
        sequences = len(selections)
        dim = settings.embedding_dim
        self.selections = selections
        self.wide = LogisticRegression() if settings.linear == "wide" else None
        self.linear = self.wide.linear if self.wide else 1
        self.item_bias = settings.linear == "item_bias"
        self.dim = dim
        self.width = self.linear + dim
        self.interest_product = settings.interest_product
        self.query_width = counts[Group.ITEM] * dim
        self.key_width = self.query_width + counts[Group.BEHAVIOUR] * dim
        vectors = counts[Group.USER] + counts[Group.CONTEXT] + counts[Group.ITEM]
        vectors += sequences * (counts[Group.ITEM] + counts[Group.BEHAVIOUR])
        self.vectors = vectors * dim
        products = sequences * self.query_width if settings.interest_product else 0
        inputs = self.vectors + products + self.extra_inputs(vectors)
        self.head = multilayer_perceptron(inputs, settings.hidden, settings.activation, params.learning.dropout)

    @property
    def constant(self) -> nn.Parameter:
        """The constant of the logit, [1]."""
        last = self.head[-1]
        assert isinstance(last, nn.Linear)
        return last.bias

    def forward(self, table_RW: Tensor, batch: Batch) -> Tensor:
        """Return the logits [B] of packed impressions."""
        embedded, bias_B1 = self._embed(table_RW, batch, batch.candidate.shape[0])
        logits = self.deep(self.inputs(embedded, batch))
        if self.wide:
            return logits + self.wide(table_RW[:, : self.linear], batch)
        return logits if bias_B1 is None else logits + bias_B1.squeeze(1)

    def request(self, table_RW: Tensor, batch: Batch) -> Tensor:
        """Return the logits [C] of one user's candidates (see `Batch`).

        The history is encoded once, and nothing is padded.
        """
        embedded, bias_C1 = self._embed(table_RW, batch, 1)
        query_CD, keys = encode(embedded, batch.places)
        interests = []
        for number, selection in enumerate(self.selections):
            chosen, member_L1 = keys.of_sequence(selection(batch), training=False)
            interests.append(self.request_pool(number, query_CD, chosen.rows(), member_L1))
        profile_CP = embedded.profile_BP.expand(query_CD.shape[0], -1)
        logits = self.deep(MLPInputs.of(profile_CP, interests, query_CD, self.interest_product).joined())
        if self.wide:
            return logits + self.wide.request(table_RW[:, : self.linear], batch)
        return logits if bias_C1 is None else logits + bias_C1.squeeze(1)

    def inputs(self, embedded: Embedded, batch: Batch) -> Tensor:
        """Return the inputs of the MLP for packed impressions, [B, I], without `extra_inputs`."""
        raise NotImplementedError

    def request_pool(self, sequence: int, query_CD: Tensor, key_LK: Tensor, member_L1: Tensor | None) -> Tensor:
        """Return one user's interest in each candidate, [C, K].

        Args:
            sequence: number of the sequence.
            member_L1: 1 for behaviours that belong to the sequence, else 0. None: all belong to it.
        """
        raise NotImplementedError

    def extra_inputs(self, vectors: int) -> int:
        """Return how many inputs `deep` adds to `inputs`, given the number of field vectors."""
        return 0

    def deep(self, inputs_BI: Tensor) -> Tensor:
        """Return the logits [B], without the linear part."""
        return self.head(inputs_BI).squeeze(1)

    def _embed(self, table: Tensor, batch: Batch, owners: int) -> tuple[Embedded, Tensor | None]:
        """Look up the embeddings, and the item bias of each candidate, [B, 1], if the model has one.

        Args:
            table: the embedding table [R, W].
            owners: the number of profiles: B, or 1 for a request.
        """
        columns = (self.linear, self.dim)
        groups = [
            Columns(batch.lookups[Group.ITEM], batch.distinct_items, *columns),
            Columns(batch.lookups[Group.BEHAVIOUR], batch.behaviour.shape[0], *columns),
            Columns(batch.profile, owners, *columns),
        ]
        if self.item_bias:
            item_id = batch.lookups[Group.ITEM][0].ids
            candidate = Ids(item_id.index_select(0, batch.candidate), None, None)
            groups.append(Columns((candidate,), batch.candidate.shape[0], 0, 1))
        items, feedback, profile, *bias = lookup(table, groups)
        return Embedded(items, feedback, profile), bias[0] if bias else None


class BaseModel(EmbeddingMLP):
    """The paper's BaseModel, which pools behaviours without regard to the candidate."""

    def __init__(self, fields: tuple[Field, ...], params: Train, selections: nn.ModuleList) -> None:
        super().__init__(fields, params, selections)
        self.mean = params.model.pooling == "mean"

    def inputs(self, embedded: Embedded, batch: Batch) -> Tensor:
        """Return the inputs of the MLP, [B, I]."""
        query_BD, every = encode(embedded, batch.places)
        interests = []
        for selection in self.selections:
            keys, member_T1 = every.of_sequence(selection(batch), self.training)
            interests.append(self._pool(keys, member_T1, query_BD.shape[0]))
        return MLPInputs.of(embedded.profile_BP, interests, query_BD, self.interest_product).joined()

    def request_pool(self, sequence: int, query_CD: Tensor, key_LK: Tensor, member_L1: Tensor | None) -> Tensor:
        """Return one user's interest, which is the same for each candidate, [C, K]."""
        one_L1 = torch.ones_like(key_LK[:, :1]) if member_L1 is None else member_L1
        pooled_1K = (key_LK * one_L1).sum(0, keepdim=True)
        if self.mean:
            pooled_1K = pooled_1K / one_L1.sum().clamp_min(1)
        return pooled_1K.expand(query_CD.shape[0], -1)

    def _pool(self, keys: Keys, member_T1: Tensor | None, impressions: int) -> Tensor:
        """Return the sum or the mean of each impression's behaviours, [B, K]."""
        key_TK = keys.rows()
        segment_T = keys.segment_T
        total_BK = segment_sum(key_TK if member_T1 is None else key_TK * member_T1, segment_T, impressions)
        if not self.mean:
            return total_BK
        one_T1 = torch.ones_like(key_TK[:, :1]) if member_T1 is None else member_T1
        return total_BK / segment_sum(one_T1, segment_T, impressions).clamp_min(1)
