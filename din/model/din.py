"""Deep Interest Network (arXiv 1706.06978) and its BaseModel: Embedding&MLP, with or without local activation."""

import torch
from torch import Tensor, nn

from din.eventlog.packing import TableLayout
from din.model.attention import ActivationUnit, pool
from din.model.dice import multilayer_perceptron
from din.model.embedding import Batch, embed, embed_field, segment_sum
from din.params import Train
from din.schema import Field, Group


class EmbeddingMLP(nn.Module):
    """What DIN and BaseModel share: everything but the weights of the behaviours.

    Of the table's `width` columns the first `linear` one is each value's linear weight (the item bias), the others are
    its embedding.
    """

    def __init__(self, fields: tuple[Field, ...], params: Train) -> None:
        super().__init__()
        counts = {group: sum(field.group is group for field in fields) for group in Group}
        dim = params.embedding_dim
        self.linear, self.width = 1, 1 + dim
        self.item_bias, self.interest_product = params.item_bias, params.interest_product
        self.query_width = counts[Group.ITEM] * dim
        self.key_width = self.query_width + counts[Group.BEHAVIOUR] * dim
        profile = (counts[Group.USER] + counts[Group.CONTEXT]) * dim
        inputs = profile + self.key_width + self.query_width * (2 if params.interest_product else 1)
        self.head = multilayer_perceptron(inputs, params.hidden, params.activation)

    def forward(self, table_RW: Tensor, batch: Batch) -> Tensor:
        """Logits [B] of packed impressions."""
        query_BD, key_TK = self._encode(table_RW, batch)
        impressions = query_BD.shape[0]
        interest_BK = self.interest(query_BD, key_TK, batch.segment)
        return self._predict(table_RW, batch, query_BD, interest_BK, self._profile(table_RW, batch, impressions))

    def request(self, table_RW: Tensor, batch: Batch) -> Tensor:
        """Logits [C] of one user's candidates (see `Batch`): the history is encoded once, nothing is padded."""
        query_CD, key_LK = self._encode(table_RW, batch)
        interest_CK = self.request_interest(query_CD, key_LK)
        profile_CP = self._profile(table_RW, batch, 1).expand(query_CD.shape[0], -1)
        return self._predict(table_RW, batch, query_CD, interest_CK, profile_CP)

    def interest(self, query_BD: Tensor, key_TK: Tensor, segment_T: Tensor) -> Tensor:
        """The user's interest in each candidate, [B, K]."""
        raise NotImplementedError

    def request_interest(self, query_CD: Tensor, key_LK: Tensor) -> Tensor:
        """The same for one user's history and C candidates, [C, K]."""
        raise NotImplementedError

    def _encode(self, table: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        embeddings = table[:, 1:]
        items_UD = embed(embeddings, batch.items, batch.items[0].ids.shape[0])
        query_BD = items_UD.index_select(0, batch.candidate)
        behaviours = batch.behaviour.shape[0]
        feedback = embed(embeddings, batch.behaviours, behaviours)
        return query_BD, torch.cat([items_UD.index_select(0, batch.behaviour), feedback], 1)

    def _profile(self, table: Tensor, batch: Batch, owners: int) -> Tensor:
        return embed(table[:, 1:], (*batch.users, *batch.contexts), owners)

    def _predict(self, table: Tensor, batch: Batch, query: Tensor, interest: Tensor, profile: Tensor) -> Tensor:
        inputs = [profile, interest, query]
        if self.interest_product:
            inputs.append(interest[:, : self.query_width] * query)
        logits = self.head(torch.cat(inputs, 1)).squeeze(1)
        if self.item_bias:
            bias_U1 = embed_field(table[:, :1], batch.items[0], batch.items[0].ids.shape[0])
            logits = logits + bias_U1.index_select(0, batch.candidate).squeeze(1)
        return logits


class DIN(EmbeddingMLP):
    """Local activation: behaviours weighted by their relevance to the candidate, summed (Eq. 3)."""

    def __init__(self, fields: tuple[Field, ...], params: Train) -> None:
        super().__init__(fields, params)
        self.unit = ActivationUnit(self.query_width, self.key_width, params.attention_hidden, params.activation)

    def interest(self, query_BD: Tensor, key_TK: Tensor, segment_T: Tensor) -> Tensor:
        return pool(self.unit(query_BD, key_TK, segment_T), key_TK, segment_T, query_BD.shape[0])

    def request_interest(self, query_CD: Tensor, key_LK: Tensor) -> Tensor:
        return self.unit.request(query_CD, key_LK) @ key_LK


class BaseModel(EmbeddingMLP):
    """The paper's BaseModel: behaviours pooled without regard to the candidate."""

    def __init__(self, fields: tuple[Field, ...], params: Train) -> None:
        super().__init__(fields, params)
        self.mean = params.pooling == "mean"

    def interest(self, query_BD: Tensor, key_TK: Tensor, segment_T: Tensor) -> Tensor:
        impressions = query_BD.shape[0]
        total = segment_sum(key_TK, segment_T, impressions)
        if not self.mean:
            return total
        return total / segment_sum(key_TK.new_ones(key_TK.shape[0], 1), segment_T, impressions).clamp_min(1)

    def request_interest(self, query_CD: Tensor, key_LK: Tensor) -> Tensor:
        pooled = key_LK.sum(0, keepdim=True)
        if self.mean:
            pooled = pooled / torch.ones_like(key_LK[:, 0]).sum().clamp_min(1)  # exportable: L may be 0
        return pooled.expand(query_CD.shape[0], -1)


class LogisticRegression(nn.Module):
    """LR over one-hot fields and the history's mean of one-hots.

    Column 0 of the table is a value's weight on the impression itself, column 1 its weight in the history.
    """

    linear = width = 2

    def __init__(self, fields: tuple[Field, ...], params: Train) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, table_RW: Tensor, batch: Batch) -> Tensor:
        """Logits [B] of packed impressions."""
        impressions = batch.candidate.shape[0]
        own, history = self._parts(table_RW, batch, impressions)
        length = segment_sum(history.new_ones(history.shape[0], 1), batch.segment, impressions).clamp_min(1)
        pooled = segment_sum(history, batch.segment, impressions) / length
        return own + pooled.squeeze(1)

    def request(self, table_RW: Tensor, batch: Batch) -> Tensor:
        """Logits [C] of one user's candidates."""
        own, history = self._parts(table_RW, batch, 1)
        return own + history.sum() / torch.ones_like(history).sum().clamp_min(1)  # exportable: L may be 0

    def _parts(self, table: Tensor, batch: Batch, owners: int) -> tuple[Tensor, Tensor]:
        distinct, behaviours = batch.items[0].ids.shape[0], batch.behaviour.shape[0]
        item_U2 = embed(table, batch.items, distinct).view(distinct, -1, 2).sum(1)
        profile = embed(table[:, :1], (*batch.users, *batch.contexts), owners).sum(1)
        own = item_U2[:, 0].index_select(0, batch.candidate) + profile + self.bias
        feedback = embed(table[:, 1:], batch.behaviours, behaviours).sum(1, keepdim=True)
        return own, item_U2[:, 1:].index_select(0, batch.behaviour) + feedback


Model = EmbeddingMLP | LogisticRegression
MODELS: dict[str, type[DIN] | type[BaseModel] | type[LogisticRegression]] = {
    "din": DIN,
    "base": BaseModel,
    "lr": LogisticRegression,
}


def build(fields: tuple[Field, ...], layout: TableLayout, params: Train) -> tuple[Model, Tensor]:
    """A fresh model by name and its embedding table [R, W], from `params.seed` alone."""
    torch.manual_seed(params.seed)
    model = MODELS[params.model](fields, params)
    table = torch.randn(layout.rows, model.width) * params.embedding_std
    table[:, : model.linear] = 0
    return model, table
