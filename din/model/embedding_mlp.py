"""Embedding&MLP, the base of all models but LR: embeddings, a pooled interest, and an MLP.

    logit = MLP(profile, interest, candidate, interest ⊙ candidate, …) + item bias or LR

`train.model.linear` chooses the last term. `din.ops` explains the shape letters.
"""

import torch
from torch import Tensor, nn
from typing_extensions import override

from din.kinds import Lookup
from din.model.ages import Ages
from din.model.embedding import Batch
from din.model.lr import LogisticRegression
from din.model.mlp import multilayer_perceptron
from din.model.model import Model
from din.ops.histories import Histories
from din.ops.inputs import Embedded, Keys, encode, join
from din.ops.lookup import Columns, lookup
from din.params.train import Train
from din.schema import Field, Group


class EmbeddingMLP(Model):
    """Everything but the pooling of behaviours, which a subclass adds as `pool`.

    Attributes:
        linear: the number of linear columns, which come first: LR's two, or one for the item bias. The other `dim`
            columns of the table are the embeddings.
        ages: the embeddings of ages, the last field of a behaviour. None: `train.model.ages` is not set.
        vectors: the number of leading inputs of the MLP that are embeddings. The others are products of these.
    """

    def __init__(self, fields: tuple[Field, ...], params: Train) -> None:
        super().__init__()
        counts = {group: sum(field.group is group for field in fields) for group in Group}
        settings = params.model
        dim = settings.embedding_dim
        self.wide = LogisticRegression() if settings.linear == "wide" else None
        self.linear = self.wide.linear if self.wide else 1
        self.item_bias = settings.linear == "item_bias"
        self.dim = dim
        self.width = self.linear + dim
        self.interest_product = settings.interest_product
        self.ages = Ages(dim, params.learning.embedding_std) if settings.ages else None
        self.reads_ages = self.reads_ages or settings.ages
        of_behaviour = counts[Group.ITEM] + counts[Group.BEHAVIOUR] + settings.ages
        self.query_width = counts[Group.ITEM] * dim
        self.key_width = of_behaviour * dim
        vectors = counts[Group.USER] + counts[Group.CONTEXT] + counts[Group.ITEM] + of_behaviour
        self.vectors = vectors * dim
        products = self.query_width if settings.interest_product else 0
        inputs = self.vectors + products + self.extra_inputs(vectors)
        self.head = multilayer_perceptron(inputs, settings.hidden, settings.activation, params.learning.dropout)

    @property
    def constant(self) -> nn.Parameter:
        """The constant of the logit, [1]."""
        last = self.head[-1]
        assert isinstance(last, nn.Linear)
        return last.bias

    @override
    def logits(self, table_RW: Tensor, batch: Batch, histories: Histories) -> Tensor:
        embedded, bias_B1 = self.embed(table_RW, batch, histories.owners)
        logits = self.deep(self.inputs(embedded, batch, histories))
        if self.wide:
            return logits + self.wide.logits(table_RW[:, : self.linear], batch, histories)
        return logits if bias_B1 is None else logits + bias_B1.squeeze(1)

    def inputs(self, embedded: Embedded, batch: Batch, histories: Histories) -> Tensor:
        """Return the inputs of the MLP, [B, I], without `extra_inputs`."""
        query_BD, keys = encode(embedded, batch.places)
        interest_BK = self.pool(query_BD, keys, histories)
        profile_BP = embedded.profile_BP.expand(query_BD.shape[0], -1)
        return join(profile_BP, interest_BK, query_BD, product=self.interest_product)

    def pool(self, query_BD: Tensor, keys: Keys, histories: Histories) -> Tensor:
        """Return the user's interest in each candidate, [B, K].

        Args:
            query_BD: the candidates.
            keys: the behaviours, oldest first, with their ages.
            histories: maps behaviours to candidates.
        """
        raise NotImplementedError

    def extra_inputs(self, vectors: int) -> int:
        """Return how many inputs `deep` adds to `inputs`, given the number of field vectors."""
        return 0

    def deep(self, inputs_BI: Tensor) -> Tensor:
        """Return the logits [B], without the linear part."""
        return self.head(inputs_BI).squeeze(1)

    def embed(self, table: Tensor, batch: Batch, owners: int) -> tuple[Embedded, Tensor | None]:
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
            candidate = Lookup(item_id.index_select(0, batch.candidate))
            groups.append(Columns((candidate,), batch.candidate.shape[0], 0, 1))
        items, feedback, profile, *bias = lookup(table, groups)
        if self.ages:
            assert batch.age is not None
            feedback = torch.cat([feedback, self.ages(batch.age)], 1)
        return Embedded(items, feedback, profile), bias[0] if bias else None
