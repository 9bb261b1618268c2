"""The block `train`, divided by owner: the model, the way it learns, and the machine it uses.

The block of a key decides which rules apply to it. LR is trained as the floor (`din.train.evaluate`).

    model      A continued champion must match all of it, since weights get their meaning from it. LR has its own.
    learning   A continued champion may change all of it but the optimizer. LR has its own.
    compute    A continued champion may change it. LR shares it.

A checkpoint is bound to all of model and learning, and to the values that compute resolves to (`din.train.compute`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from typing_extensions import Doc

from din.params.blocks import Block, Conflict, Layers, Seed, Share
from din.params.search import Between, OneOf

PinnedVersion = Annotated[str, Field(pattern="^[0-9a-f]{8,64}$")]
"""The version of a bundle, or a unique prefix of it."""

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)
"""The days of a week in the order of `date.weekday`."""


def names_version(pin: str | None, version: str) -> bool:
    """Return whether a pin is this version or a prefix of it."""
    return pin is not None and version.startswith(pin)


@dataclass(frozen=True, kw_only=True)
class ModelParams(Block):
    """The architecture."""

    name: Annotated[str, Doc("a model of docs/models.md, or a plugin's")] = "din"
    options: Annotated[dict[str, Any], Doc("what a plugin's model reads beside the keys below; docs/plugins.md")] = (
        field(default_factory=dict)
    )
    embedding_dim: Annotated[int, Field(gt=0, le=4096), OneOf((8, 16, 32)), Doc("width of a field's embedding")] = 16
    attention_hidden: Annotated[Layers, Doc("widths of the activation unit's hidden layers")] = (80, 40)
    interaction: Annotated[
        Literal["difference_product", "product"],
        Doc("difference_product | product: inputs of attention beside q and k"),
    ] = "difference_product"
    softmax: Annotated[
        bool,
        OneOf((False, True)),
        Doc("true: the attention weights of a history sum to 1; the paper uses no softmax"),
    ] = False
    hidden: Annotated[Layers, Doc("widths of the MLP's hidden layers")] = (200, 80)
    activation: Annotated[
        Literal["dice", "prelu", "relu", "sigmoid"],
        Doc("dice | prelu | relu | sigmoid"),
    ] = "dice"
    pooling: Annotated[
        Literal["sum", "mean"],
        OneOf(("sum", "mean")),
        Doc("sum | mean of the behaviours, in models that do not weigh them"),
    ] = "sum"
    ages: Annotated[
        bool,
        OneOf((False, True)),
        Doc("true: how long ago a behaviour was is one more field of it, and requests need times"),
    ] = False
    linear: Annotated[
        Literal["item_bias", "wide", "none"],
        OneOf(("item_bias", "wide", "none")),
        Doc("item_bias | wide | none: added to the logit of the MLP; wide adds the whole of LR"),
    ] = "item_bias"
    interest_product: Annotated[bool, Doc("true: pooled interest ⊙ candidate is one more input of the MLP")] = True
    blend: Annotated[bool, Doc("true: item counts and neighbours beside the logit, weighed on validation rows")] = False


@dataclass(frozen=True, kw_only=True)
class LearningParams(Block):
    """The initial weights, and how they change."""

    seed: Annotated[Seed, Doc("seeds initial weights, the order of rows, unknown ids and dropout")] = 1
    embedding_std: Annotated[
        PositiveFloat, Between(0.002, 0.2, log=True), Doc("standard deviation of the initial embeddings")
    ] = 0.05
    initial_item_bias: Annotated[
        Literal["zero", "ctr"],
        OneOf(("zero", "ctr")),
        Doc("zero | ctr: an item's linear weight starts at 0, or at the logit of its smoothed CTR less the mean's"),
    ] = "ctr"
    optimizer: Annotated[Literal["adam", "sgd"], Doc("adam | sgd")] = "adam"
    learning_rate: Annotated[
        PositiveFloat, Between(3e-4, 3e-3, log=True), Doc("at the start of training; see decay")
    ] = 0.001
    decay: Annotated[PositiveFloat, OneOf((0.5, 0.7, 1.0)), Doc("factor on the learning rate after each epoch")] = 1.0
    batch_size: Annotated[PositiveInt, OneOf((128, 256, 512)), Doc("impressions in a step")] = 256
    epochs: Annotated[PositiveInt, Doc("largest number of passes over the training rows")] = 20
    patience: Annotated[
        PositiveInt, OneOf((2, 4)), Doc("epochs without a better validation metric before training stops")
    ] = 2
    metric: Annotated[Literal["gauc", "auc"], Doc("gauc | auc: the validation metric that chooses the best epoch")] = (
        "auc"
    )
    average: Annotated[
        Share,
        OneOf((0.0, 0.25, 0.5)),
        Doc("share of an epoch's steps, at its end, over which weights are averaged; 0 = the last step's"),
    ] = 0.0
    renew_embeddings: Annotated[
        bool,
        OneOf((False, True)),
        Doc("true: each epoch starts with new embeddings; for logs whose first epoch is the best"),
    ] = False
    regularizer: Annotated[
        Literal["mini_batch_aware", "l2_batch", "l2_full", "dropout", "none"],
        Doc("mini_batch_aware | l2_batch | l2_full | dropout | none"),
    ] = "mini_batch_aware"
    regularization: Annotated[
        NonNegativeFloat, Between(0.1, 300.0, log=True), Doc("λ, the strength of the penalty")
    ] = 3.0
    penalty: Annotated[
        Literal["decoupled", "coupled"],
        OneOf(("decoupled", "coupled")),
        Doc("coupled | decoupled: added to the gradient, or applied beside the step; equal under sgd"),
    ] = "coupled"
    dropout: Annotated[
        float,
        Field(ge=0, lt=1),
        OneOf((0.0, 0.1, 0.3)),
        Doc("share of the MLP's inputs and hidden units that a training step drops"),
    ] = 0.0
    unknown_rate: Annotated[
        Share, Between(0.003, 0.1, log=True), Doc("share of values that a training step replaces by unknown")
    ] = 0.01
    advance: Annotated[bool, Doc("under temporal: learn each validation and test day once, after it was judged")] = True

    def conflicts(self) -> Iterator[Conflict]:
        """Report a regularizer that does nothing."""
        if self.regularizer == "dropout" and self.dropout == 0:
            yield Conflict(("regularizer", "dropout"), "nothing would be dropped; set dropout, e.g. to 0.5")


@dataclass(frozen=True, kw_only=True)
class ComputeParams(Block):
    """The device and threads of training."""

    device: Annotated[
        Literal["auto", "cpu", "cuda"], Doc("auto | cpu | cuda; auto = a GPU if there is one, unless backend is native")
    ] = "auto"
    threads: Annotated[PositiveInt | None, Doc("threads of training; null = all cores")] = 1
    backend: Annotated[
        Literal["auto", "reference", "native"],
        Doc("auto | reference | native: operations in C on CPUs; auto = native if a C compiler works"),
    ] = "auto"
    checkpoint_minutes: Annotated[
        PositiveFloat, Doc("minutes between two saves: the most work that a kill can lose")
    ] = 2.0

    def conflicts(self) -> Iterator[Conflict]:
        """Report a device that native operations do not support."""
        if self.backend == "native" and self.device == "cuda":
            yield Conflict(("backend", "device"), "native operations compute on CPUs; set backend to auto")


@dataclass(frozen=True, kw_only=True)
class Train(Block):
    """A training run: where it starts, and three blocks of settings."""

    start: Annotated[
        Literal["scratch", "champion"],
        Doc("scratch | champion: learn by epochs, or continue the champion over the days it has not seen"),
    ] = "scratch"
    champion: Annotated[
        PinnedVersion | Literal["none"] | None,
        Doc("with start: champion, its version, or none if there is none yet; `din pin` writes it"),
    ] = None
    scratch_day: Annotated[
        Weekday | None, Doc("monday … sunday: on this day of the week, `din pin` writes none; null = never")
    ] = None
    model: Annotated[ModelParams, Doc("the architecture; a champion continues only with all of it")] = ModelParams()
    learning: Annotated[LearningParams, Doc("how weights are initialised and updated")] = LearningParams()
    compute: Annotated[ComputeParams, Doc("the machine that training uses; see docs/models.md")] = ComputeParams()

    @property
    def continues(self) -> str | None:
        """The version of the champion to continue, or None."""
        pinned = self.champion if self.start == "champion" else None
        return None if pinned == "none" else pinned

    def conflicts(self) -> Iterator[Conflict]:
        """Report a way of learning that the start does not support."""
        if self.start == "champion" and not self.learning.advance:
            advice = "a champion continues by learning new days; set learning.advance to true"
            yield Conflict(("start", "learning.advance"), advice)

    def unread(self, reads: Callable[[str, str], bool]) -> Iterator[Conflict]:
        """Report settings that do nothing, or harm, with a model that does not read them.

        Args:
            reads: whether a model, by name, reads a key of this block.
        """
        name = self.model.name
        if self.learning.regularizer == "dropout" and not reads(name, "learning.dropout"):
            advice = f"{name} has no layers to drop; choose another regularizer"
            yield Conflict(("learning.regularizer", "model.name"), advice)
        if self.learning.renew_embeddings and not reads(name, "learning.renew_embeddings"):
            advice = f"{name} has only its table, so an epoch would keep nothing; set renew_embeddings to false"
            yield Conflict(("learning.renew_embeddings", "model.name"), advice)
