"""The gradients of a batch of DIN, forward and backward, in one native call.

Python, autograd and small torch operations take a third of a step where each operation is a call of its own. They are
also what a second thread can't share. The reference is the model, differentiated by autograd.

There is a native form for layers of Dice, and fields of one id or of a list of ids.
`din.ops` explains the shape letters.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from din.kinds import Lookup
from din.ops.activation_unit import FirstLayer
from din.ops.constants import EPSILON
from din.ops.dice import MOMENTUM, Dice
from din.ops.inputs import Places
from din.ops.native.library import Library, Struct
from din.ops.perceptron import stack_fits
from din.ops.table_rows import library_for


class Shape(NamedTuple):
    """The sizes of a network and its switches, as in `din_network` of `din_ops.h`."""

    table_width: int
    dim: int
    query_width: int
    key_width: int
    product: bool
    softmax: bool
    item_bias: bool


class Layers(NamedTuple):
    """The layers of a network: the activation unit's first one and those above, and all of the MLP."""

    first: FirstLayer
    unit: Sequence[nn.Module]
    head: Sequence[nn.Module]


class Fields(NamedTuple):
    """A batch's lookups of the fields of each group. The first one of items holds their ids."""

    items: Sequence[Lookup[Tensor]]
    behaviours: Sequence[Lookup[Tensor]]
    profile: Sequence[Lookup[Tensor]]


class Labels(NamedTuple):
    """The labels of a batch, their weights in the loss, and what the loss adds to the logits."""

    label_B: Tensor
    weight_B: Tensor | None  # None: all are 1
    offset: float  # added to the logits


class Network:
    """A network whose gradients one native call computes. It refers to the parameters, and holds their gradients."""

    def __init__(self, library: Library, shape: Shape, layers: Layers) -> None:
        self._library = library
        self._gradients: list[tuple[Tensor, Tensor]] = []
        first, linear = layers.first, layers.head[0]
        assert isinstance(linear, nn.Linear)
        profile = linear.in_features - shape.key_width - shape.query_width * (1 + shape.product)
        difference = first.difference_HD
        self._struct = library.struct(
            "din_network",
            **{name: int(value) for name, value in shape._asdict().items()},
            profile_width=profile,
            momentum=MOMENTUM,
            epsilon=EPSILON,
            query_weight=first.query_HD,
            key_weight=first.key_HK,
            difference_weight=difference,
            product_weight=first.product_HD,
            bias=first.bias_H,
            d_query_weight=self._room_for(first.query_HD),
            d_key_weight=self._room_for(first.key_HK),
            d_difference=None if difference is None else self._room_for(difference),
            d_product_weight=self._room_for(first.product_HD),
            d_bias=self._room_for(first.bias_H),
            unit=self._stack(layers.unit),
            head_weight=linear.weight,
            head_bias=linear.bias,
            d_head_weight=self._room_for(linear.weight),
            d_head_bias=self._room_for(linear.bias),
            head=self._stack(layers.head[1:]),
        )

    def gradient(self, table_RW: Tensor, fields: Fields, places: Places, labels: Labels) -> tuple[Tensor, Tensor]:
        """Return the mean loss of a batch, a scalar, and the gradient of the table's rows, [R, W].

        The parameters get their gradients, and the layers of Dice update their moving averages.
        """
        batch = self._library.struct(
            "din_batch",
            impressions=len(labels.label_B),
            behaviours=len(places.behaviour_T),
            items=len(fields.items[0].ids),
            rows=len(table_RW),
            item_fields=self._chain(fields.items),
            behaviour_fields=self._chain(fields.behaviours),
            profile_fields=self._chain(fields.profile),
            candidate=places.candidate_B,
            behaviour=places.behaviour_T,
            segment=places.segment_T,
            labels=labels.label_B,
            weights=labels.weight_B,
            offset=labels.offset,
        )
        d_table_RW = torch.empty_like(table_RW)
        loss = self._library.din_gradient(torch.get_num_threads(), self._struct, batch, table_RW, d_table_RW)
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
        return torch.tensor(loss), d_table_RW

    def _room_for(self, parameter: Tensor) -> Tensor:
        """Return a tensor that the native call fills with the gradient of a parameter."""
        gradient = torch.zeros_like(parameter)
        self._gradients.append((parameter, gradient))
        return gradient

    def _stack(self, layers: Sequence[nn.Module]) -> Struct | None:
        """Return layers of Dice and linear layers, which alternate, as `din_dice_linear`."""
        struct = None
        for dice, linear in zip(layers[-2::-2], layers[::-2], strict=True):
            assert isinstance(dice, Dice) and isinstance(linear, nn.Linear)
            struct = self._library.struct(
                "din_dice_linear",
                units=len(dice.alpha),
                alpha=dice.alpha,
                moving_mean=dice.mean,
                moving_variance=dice.variance,
                weight=linear.weight,
                bias=linear.bias,
                d_alpha=self._room_for(dice.alpha),
                d_weight=self._room_for(linear.weight),
                d_bias=self._room_for(linear.bias),
                next=struct,
            )
        return struct

    def _chain(self, lookups: Sequence[Lookup[Tensor]]) -> Struct | None:
        """Return the fields of a group as `din_field`."""
        struct = None
        for field in reversed(lookups):
            struct = self._library.struct(
                "din_field", count=len(field.ids), ids=field.ids, owners=field.owners, next=struct
            )
        return struct


def network_of(shape: Shape, layers: Layers) -> Network | None:
    """Return the native form of a network in training, or None where there is none."""
    first = layers.first.query_HD
    library = library_for(first)
    linear, *upper = layers.head
    if library and isinstance(linear, nn.Linear) and stack_fits(layers.unit, first) and stack_fits(upper, first):
        return Network(library, shape, layers)
    return None


def fields_fit(fields: Fields) -> bool:
    """Return whether all fields of a batch have one id or a list of ids."""
    return all(field.weights is None for group in fields for field in group)
