"""The block `train`, divided by owner: the model, the way it learns, and the machine it uses.

The block of a key decides which rules apply to it:

    model      A warm start must match it, since weights have their meaning from it. The floor LR has its own.
    learning   A warm start may change it. The floor LR has its own.
    compute    A warm start may change it. The floor LR shares it.

A checkpoint is bound to all of model and learning, and to the values that compute resolves to (`din.train.compute`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from din.params.blocks import Block, Conflict, Layers, Share, Values

PinnedVersion = Annotated[str, Field(pattern="^[0-9a-f]{8,64}$")]
"""The version of a bundle, or a unique beginning of it."""

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)
"""In the order of `date.weekday`."""


def names_version(pin: str | None, version: str) -> bool:
    """Return whether a pin means this version: it is the version, or its beginning."""
    return pin is not None and version.startswith(pin)


@dataclass(frozen=True, kw_only=True)
class ModelParams(Block):
    """The architecture."""

    name: Literal["din", "base", "lr", "wide_deep", "pnn", "deepfm"]
    embedding_dim: Annotated[int, Field(gt=0, le=4096)]
    attention_hidden: Layers
    interaction: Literal["difference_product", "product", "outer"]
    softmax: bool
    hidden: Layers
    activation: Literal["dice", "prelu", "relu", "sigmoid", "bipolar_sigmoid"]
    pooling: Literal["sum", "mean"]
    sequences: dict[str, dict[str, Values]]
    linear: Literal["item_bias", "wide", "none"]
    interest_product: bool


@dataclass(frozen=True, kw_only=True)
class LearningParams(Block):
    """The initial weights, and how they change."""

    seed: NonNegativeInt
    embedding_std: PositiveFloat
    initial_item_bias: Literal["zero", "ctr"]
    optimizer: Literal["adam", "sgd", "rowwise_adagrad"]
    learning_rate: PositiveFloat
    linear_rate: PositiveFloat
    decay: PositiveFloat
    decay_steps: PositiveInt | None
    clip_norm: PositiveFloat | None
    batch_size: PositiveInt
    epochs: PositiveInt
    patience: PositiveInt
    metric: Literal["gauc", "auc"]
    average: Share
    renew_embeddings: bool
    regularizer: Literal["mini_batch_aware", "l2_batch", "l2_full", "dropout", "none"]
    regularization: NonNegativeFloat
    penalty: Literal["decoupled", "coupled"]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    unknown_rate: Share
    advance: bool
    half_life_days: PositiveFloat | None

    def conflicts(self) -> Iterator[Conflict]:
        """Report settings that do nothing without another one."""
        if self.regularizer == "dropout" and self.dropout == 0:
            yield Conflict(("regularizer", "dropout"), "nothing would be dropped; set dropout, e.g. to 0.5")
        if self.decay_steps and self.decay == 1:
            advice = "the learning rate would never change; set decay below 1 or decay_steps to null"
            yield Conflict(("decay_steps", "decay"), advice)


@dataclass(frozen=True, kw_only=True)
class ComputeParams(Block):
    """The device and threads of training."""

    device: Literal["auto", "cpu", "cuda"]
    threads: PositiveInt | None
    backend: Literal["auto", "reference", "native"]
    checkpoint_minutes: PositiveFloat

    def conflicts(self) -> Iterator[Conflict]:
        """Report a device that native operations do not support."""
        if self.backend == "native" and self.device == "cuda":
            yield Conflict(("backend", "device"), "native operations compute on CPUs; set backend to auto")


@dataclass(frozen=True, kw_only=True)
class Train(Block):
    """A training run: where it starts, and three blocks of settings."""

    start: Literal["scratch", "champion"]
    champion: PinnedVersion | Literal["none"] | None
    scratch_day: Weekday | None
    warm_start: PinnedVersion | None
    model: ModelParams
    learning: LearningParams
    compute: ComputeParams

    @property
    def continues(self) -> str | None:
        """The version of the champion that goes on, if one does."""
        pinned = self.champion if self.start == "champion" else None
        return None if pinned == "none" else pinned

    def goes_on_from(self, version: str) -> bool:
        """Return whether a champion goes on, and is this version."""
        return names_version(self.continues, version)

    def conflicts(self) -> Iterator[Conflict]:
        """Report a way of learning that the model does not support, and two bundles to start from."""
        if self.start == "champion" and self.warm_start:
            yield Conflict(("start", "warm_start"), "a run starts from one bundle; set warm_start to null")
        if self.start == "champion" and not self.learning.advance:
            advice = "a champion goes on by learning new days; set learning.advance to true"
            yield Conflict(("start", "learning.advance"), advice)
        if self.learning.regularizer == "dropout" and self.model.name == "lr":
            advice = "lr has no layers to drop; choose another regularizer"
            yield Conflict(("learning.regularizer", "model.name"), advice)
        if self.learning.renew_embeddings and self.model.name == "lr":
            advice = "lr is nothing but its table, so an epoch would keep nothing; set renew_embeddings to false"
            yield Conflict(("learning.renew_embeddings", "model.name"), advice)
