"""The block `train`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from din.params.blocks import Block, Conflict, Layers, Share, Values


@dataclass(frozen=True, kw_only=True)
class Train(Block):
    """The model, how it learns, and what it computes on."""

    model: Literal["din", "base", "lr", "wide_deep", "pnn", "deepfm"]
    warm_start: Annotated[str, Field(pattern="^[0-9a-f]{8,64}$")] | None
    seed: NonNegativeInt
    embedding_dim: PositiveInt
    embedding_std: PositiveFloat
    attention_hidden: Layers
    interaction: Literal["difference_product", "product", "outer"]
    softmax: bool
    hidden: Layers
    activation: Literal["dice", "prelu", "relu", "sigmoid", "bipolar_sigmoid"]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    pooling: Literal["sum", "mean"]
    sequences: dict[str, dict[str, Values]]
    linear: Literal["item_bias", "wide", "none"]
    linear_rate: PositiveFloat
    interest_product: bool
    optimizer: Literal["adam", "sgd", "rowwise_adagrad"]
    learning_rate: PositiveFloat
    decay: PositiveFloat
    decay_steps: PositiveInt | None
    clip_norm: PositiveFloat | None
    batch_size: PositiveInt
    epochs: PositiveInt
    patience: PositiveInt
    metric: Literal["gauc", "auc"]
    regularizer: Literal["mini_batch_aware", "l2_batch", "l2_full", "dropout", "none"]
    regularization: NonNegativeFloat
    penalty: Literal["decoupled", "coupled"]
    unknown_rate: Share
    backend: Literal["auto", "reference", "native"]
    checkpoint_minutes: PositiveFloat
    threads: PositiveInt | None
    processes: PositiveInt
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["float32", "bfloat16"]

    def conflicts(self) -> Iterator[Conflict]:
        """Report settings that exclude each other, or that do nothing without another one."""
        if self.regularizer == "dropout" and self.model == "lr":
            yield Conflict(("regularizer", "model"), "lr has no layers to drop; choose another regularizer")
        if self.regularizer == "dropout" and self.dropout == 0:
            yield Conflict(("regularizer", "dropout"), "nothing would be dropped; set dropout, e.g. to 0.5")
        if self.decay_steps and self.decay == 1:
            advice = "the learning rate would never change; set decay below 1 or decay_steps to null"
            yield Conflict(("decay_steps", "decay"), advice)
