"""Random packed batches, and models with random weights, without a log."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from din.features.packing import PackedBatch, TableLayout
from din.kinds import Column, Lookup
from din.model.blend import Blend, BlendRecord
from din.model.model import Model
from din.ops.dice import Dice
from din.schema import Field, Group
from tests.factories.features import LENGTH, rows_of


def draw_weights(model: Model, table: Tensor, scale: float = 0.4) -> None:
    """Draw weights large enough that all inputs matter, with this standard deviation."""
    generator = torch.Generator().manual_seed(1)
    for tensor in (*model.parameters(), table):
        tensor.data.copy_(torch.randn(tensor.shape, generator=generator) * scale)
    for module in model.modules():
        if isinstance(module, Dice):
            module.mean.normal_(generator=generator)
            module.variance.uniform_(0.01, 4, generator=generator)
            module.alpha.data[:4] = torch.tensor([0.0, 1.0, 1 + 1e-6, 1 - 1e-7])  # at and around the ends of folding


def draw_blend(fields: Sequence[Field], layout: TableLayout, feedback: str | None = "rating") -> Blend:
    """Return a blend with random statistics and weights. It knows four items and four values of the feedback."""
    generator = torch.Generator().manual_seed(2)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    vectors = nn.functional.normalize(normal(4, 5))
    vectors[0] = 0
    tensors = {"counts": normal(4, 3), "vectors": vectors}
    columns = ["model", "impressions", "clicks", "popularity", "behaviours", "nearest", "near"]
    if feedback is not None:
        factors = normal(2, 4, 3)
        factors[:, 0] = 0
        tensors |= {"values": normal(4), "means": normal(4), "factors": factors, "noise": torch.tensor([0.7, 1.3])}
        columns += ["liked", "level", "taste"]
    width = len(columns)
    tensors |= {"centre": normal(width), "scale": normal(width).abs() + 0.5, "knots": normal(4, width)}
    tensors |= {"slopes": normal(width) / 4, "bends": normal(4, width) / 8, "constant": normal(1)[0]}
    return Blend(BlendRecord(columns=columns, feedback=feedback), tensors, fields, layout)


def random_batch(
    seed: int, fields: Sequence[Field], layout: TableLayout, lengths: Sequence[int], request: bool = False
) -> PackedBatch:
    """Return random features of len(lengths) impressions with histories of these lengths. A request has one history."""
    random = np.random.default_rng(seed)
    behaviours = sum(lengths[:1] if request else lengths)
    owners = 1 if request else len(lengths)
    items = random.integers(1, 6)

    def lookups(group: Group, count: int) -> dict[str, Lookup]:
        own = (field for field in fields if field.group is group)
        return {f.name: f.form.look_up(random_column(random, f, count), layout.offsets[f.name]) for f in own}

    return PackedBatch(
        lookups={
            Group.ITEM: lookups(Group.ITEM, items),
            Group.BEHAVIOUR: lookups(Group.BEHAVIOUR, behaviours),
            Group.USER: lookups(Group.USER, owners),
            Group.CONTEXT: lookups(Group.CONTEXT, owners),
        },
        candidate=random.integers(0, items, len(lengths)),
        behaviour=random.integers(0, items, behaviours),
        segment=np.zeros(behaviours, np.int64) if request else np.repeat(np.arange(len(lengths)), lengths),
        age=random.random(behaviours, np.float32),
        labels=np.zeros(len(lengths), np.float32),
    )


def random_column(random: np.random.Generator, field: Field, owners: int) -> Column:
    if field.kind == "vector":
        vectors = random.normal(size=(owners, LENGTH)).astype(np.float32)
        vectors[random.random(owners) < 0.2] = np.nan
        return Column(vectors)
    if not field.form.holds_ids:
        return Column(np.where(random.random(owners) < 0.2, np.nan, random.normal(size=owners)).astype(np.float32))
    if not field.form.ragged:
        return Column(random.integers(0, rows_of(field, 6), owners).astype(np.int32))
    counts = random.integers(1, 4, owners)
    values = random.integers(0, rows_of(field, 6), counts.sum()).astype(np.int32)
    return Column(values, np.concatenate([[0], np.cumsum(counts)]))
