"""Deep Interest Network (arXiv 1706.06978), and every model by name."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from din.errors import InputError
from din.eventlog.packing import TableLayout
from din.model.attention import ActivationUnit, pool, request_softmax
from din.model.baselines import PNN, DeepFM, WideDeep
from din.model.embedding import Batch, Embedded, Keys, segment_softmax
from din.model.embedding_mlp import BaseModel, EmbeddingMLP
from din.model.interest import Inputs, Interest
from din.model.lr import LogisticRegression
from din.model.sequences import Sequences, selections
from din.native.library import Kernels
from din.params import Train
from din.schema import Field


class DIN(EmbeddingMLP):
    """Local activation: behaviours weighted by their relevance to the candidate, summed (Eq. 3).

    Each sequence has an activation unit of its own.
    """

    def __init__(self, fields: tuple[Field, ...], params: Train, selections: nn.ModuleList) -> None:
        super().__init__(fields, params, selections)
        self.softmax = params.softmax
        self.has_kernel = params.activation == "dice" and params.interaction != "outer"
        self.units = nn.ModuleList(
            ActivationUnit(
                self.query_width, self.key_width, params.attention_hidden, params.activation, params.interaction
            )
            for _ in selections
        )

    def deep_logits(self, embedded: Embedded, batch: Batch) -> Tensor:
        """As `EmbeddingMLP.deep_logits`; the order of the MLP's inputs in `Inputs` is that of `_predict`."""
        if not (self.kernels and self.training and self.has_kernel):
            return super().deep_logits(embedded, batch)
        interests = [Interest(self.kernels, unit, self.softmax) for unit in self.units]
        members = [selection(batch) for selection in self.selections]
        weights = [weight for interest in interests for weight in interest.weights]
        settings = (self.kernels, interests, members, self.interest_product, batch)
        return self.head(Inputs.apply(*settings, *embedded[:3], *weights)).squeeze(1)

    def pool(self, sequence: int, query_BD: Tensor, keys: Keys, member_T1: Tensor | None) -> Tensor:
        key_TK, segment_T = keys.rows(), keys.segment_T
        weight_T1 = self.units[sequence](query_BD, key_TK, segment_T)
        if self.softmax:
            weight_T1 = segment_softmax(weight_T1, segment_T, query_BD.shape[0], member_T1)
        elif member_T1 is not None:
            weight_T1 = weight_T1 * member_T1
        return pool(weight_T1, key_TK, segment_T, query_BD.shape[0])

    def request_pool(self, sequence: int, query_CD: Tensor, key_LK: Tensor, member_L1: Tensor | None) -> Tensor:
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


def use_kernels(model: Model, params: Train, kernels: Kernels) -> None:
    """Let the parts of a model that have kernels train through them, on CPU and in full precision."""
    if isinstance(model, EmbeddingMLP):
        model.kernels = kernels
        if params.activation == "dice" and not params.dropout:
            model.head.kernels = kernels


def build(
    fields: tuple[Field, ...], layout: TableLayout, params: Train, sequences: Sequences | None = None
) -> tuple[Model, Tensor]:
    """A fresh model by name and its embedding table [R, W], from `params.seed` alone.

    Args:
        sequences: `params.sequences` as ids (see `din.model.sequences.resolve`).

    Raises:
        InputError: regularizer `dropout` without a rate, or of a model without layers to drop.
    """
    if params.regularizer == "dropout" and not params.dropout:
        raise InputError("train.regularizer: dropout needs a rate; set train.dropout, such as 0.5")
    if params.regularizer == "dropout" and params.model == "lr":
        raise InputError("train.regularizer: dropout has nothing to drop in model lr; use another regularizer")
    torch.manual_seed(params.seed)
    model = MODELS[params.model](fields, params, selections(sequences or {}, fields, layout))
    table = torch.randn(layout.rows, model.width) * params.embedding_std
    table[:, : model.linear] = 0
    return model, table
