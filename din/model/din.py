"""The Deep Interest Network (arXiv 1706.06978), and all models by name."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from din.features.packing import TableLayout
from din.model.attention import ActivationUnit, request_softmax
from din.model.baselines import PNN, DeepFM, WideDeep
from din.model.embedding import Batch
from din.model.embedding_mlp import BaseModel, EmbeddingMLP
from din.model.lr import LogisticRegression
from din.model.sequences import Sequences, selections
from din.ops.activation_unit import attended_inputs
from din.ops.inputs import Embedded
from din.params import Train
from din.schema import Field


class DIN(EmbeddingMLP):
    """DIN. An interest is the sum of behaviours, weighted by their relevance to the candidate (Eq. 3).

    Each sequence has its own activation unit.
    """

    def __init__(self, fields: tuple[Field, ...], params: Train, selections: nn.ModuleList) -> None:
        super().__init__(fields, params, selections)
        self.softmax = params.model.softmax
        self.units = nn.ModuleList(
            ActivationUnit(
                self.query_width,
                self.key_width,
                params.model.attention_hidden,
                params.model.activation,
                params.model.interaction,
            )
            for _ in selections
        )

    def inputs(self, embedded: Embedded, batch: Batch) -> Tensor:
        """Return the inputs of the MLP, [B, I]."""
        members = [selection(batch) for selection in self.selections]
        units = [unit for unit in self.units if isinstance(unit, ActivationUnit)]
        return attended_inputs(
            embedded,
            batch.places,
            members,
            units,
            softmax=self.softmax,
            product=self.interest_product,
            training=self.training,
        )

    def request_pool(self, sequence: int, query_CD: Tensor, key_LK: Tensor, member_L1: Tensor | None) -> Tensor:
        """Return one user's interest in each candidate, [C, K]; see `EmbeddingMLP.request_pool`."""
        unit = self.units[sequence]
        assert isinstance(unit, ActivationUnit)
        weight_CL = unit.request(query_CD, key_LK)
        if self.softmax:
            weight_CL = request_softmax(weight_CL, None if member_L1 is None else member_L1.squeeze(1))
        elif member_L1 is not None:
            weight_CL = weight_CL * member_L1.squeeze(1)
        return weight_CL @ key_LK


Model = EmbeddingMLP | LogisticRegression
MODELS: dict[str, Callable[[tuple[Field, ...], Train, nn.ModuleList], Model]] = {
    "din": DIN,
    "base": BaseModel,
    "lr": lambda fields, params, selections: LogisticRegression(),
    "wide_deep": WideDeep,
    "pnn": PNN,
    "deepfm": DeepFM,
}


def build(
    fields: tuple[Field, ...], layout: TableLayout, params: Train, sequences: Sequences | None = None
) -> tuple[Model, Tensor]:
    """Return a new model and its embedding table [R, W]. Their random weights depend on `params.learning.seed` alone.

    Args:
        layout: the rows of the table.
        sequences: `params.model.sequences`, with ids in place of values (see `din.model.sequences.resolve`).
    """
    torch.manual_seed(params.learning.seed)
    model = MODELS[params.model.name](fields, params, selections(sequences or {}, fields, layout))
    table = torch.randn(layout.rows, model.width) * params.learning.embedding_std
    table[:, : model.linear] = 0
    return model, table
