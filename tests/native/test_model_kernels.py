"""The model through kernels against the model through torch. Alone: `pytest tests/native/test_model_kernels.py`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from compiler import needs_compiler
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from din.model.attention import ActivationUnit, pool
from din.model.dice import Dice
from din.model.embedding import Batch, Columns, Embedded, Ids, embed, encode, segment_softmax
from din.model.interest import Inputs, Interest
from din.model.kernels import Take
from din.model.mlp import multilayer_perceptron
from din.native.library import kernels

pytestmark = needs_compiler

SIZES = st.integers(1, 35)


@contextmanager
def threads(number: int) -> Iterator[None]:
    """That many, for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    yield
    torch.set_num_threads(before)


def spread(module: torch.nn.Module, seed: int, dtype: torch.dtype = torch.float32, shake: float = 0.0) -> None:
    """Weights that let every input matter, each off by the relative amount `shake`."""
    random = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data.normal_(generator=random).mul_(0.5)
    for parameter in module.to(dtype).parameters():
        parameter.data.mul_(1 + shake * torch.randn(parameter.shape, generator=random))


def gathered(module: torch.nn.Module) -> None:
    """As if another process had the same rows: moments as alone, through the exchange's code."""
    for layer in module.modules():
        if isinstance(layer, Dice):
            layer.gather = lambda own: torch.stack([own, own])


def differs(module: torch.nn.Module) -> bool:
    """After one step, in float64: whether the rows of each unit differ, or are one. Rows that hardly differ magnify
    every rounding, in the sigmoid too, by up to 10⁴: no two implementations agree on them."""
    variances = [(layer.variance - 0.95) / 0.05 for layer in module.modules() if isinstance(layer, Dice)]
    return all(bool(((variance > 1e-3) | (variance.abs() < 1e-12)).all()) for variance in variances)


def check(found: list[Tensor], twin: list[Tensor], exact: list[Tensor], shaken: list[Tensor]) -> None:
    """As near to float64 as rounding allows: 3e-5 of each tensor's scale, or some times what the twin is off, or what
    weights that are off by a rounding change."""
    for ours, *others, truth, moved in zip(found, twin, exact, shaken, strict=True):
        if truth.numel():
            off = max(float((other - truth).abs().max()) for other in (*others, moved))
            assert float((ours - truth).abs().max()) <= max(3e-5 * max(1.0, float(truth.abs().max())), 20 * off)


RUNS = [
    (True, torch.float32, 0.0),
    (False, torch.float32, 0.0),
    (False, torch.float64, 0.0),
    (False, torch.float64, 1e-7),
]


def inputs(
    units: Sequence[ActivationUnit],
    members: Sequence[Tensor | None],
    embedded: Embedded,
    batch: Batch,
    softmax: bool,
    product: bool,
    native: bool,
) -> list[Tensor]:
    """What DIN's MLP reads, its gradients by embeddings and weights, and the units' moving averages."""
    leaves = [tensor.clone().requires_grad_() for tensor in embedded[:3]]
    weights = [weight for unit in units for weight in unit.parameters()]
    if native:
        interests = [Interest(kernels(), unit, softmax) for unit in units]
        own = [weight for interest in interests for weight in interest.weights]
        x = Inputs.apply(kernels(), interests, members, product, batch, *leaves, *own)
    else:
        query, every = encode(Embedded(*leaves), batch)
        pooled = []
        for unit, member in zip(units, members, strict=True):
            keys = every if member is None else every.chosen(member)
            weight = unit(query, keys.rows(), keys.segment_T)
            weight = segment_softmax(weight, keys.segment_T, len(query), None) if softmax else weight
            pooled.append(pool(weight, keys.rows(), keys.segment_T, len(query)))
        products = [each[:, : query.shape[1]] * query for each in pooled] if product else []
        x = torch.cat([leaves[2], *pooled, query, *products], 1)
    by = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(x.dtype)
    gradients = torch.autograd.grad((x * by).sum(), [*leaves, *weights], materialize_grads=True)
    return [x.detach(), *gradients, *(buffer for unit in units for buffer in unit.buffers())]


def packed(lengths: Sequence[int], items: int, feedback: bool, random: torch.Generator) -> Batch:
    """Impressions with so many behaviours, of a few items that occur often."""
    nothing = Ids(torch.zeros(0), None, None)
    segment = torch.repeat_interleave(torch.tensor(lengths, dtype=torch.int64))
    candidate = torch.randint(items, (len(lengths),), generator=random)
    behaviour = torch.randint(items, (len(segment),), generator=random)
    return Batch((), (nothing,) if feedback else (), (), (), candidate, behaviour, segment)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.one_of(st.integers(0, 3), st.integers(0, 70)), max_size=7),
    width=SIZES,
    feedback=st.integers(0, 20),
    hidden=st.lists(SIZES, min_size=1, max_size=3),
    interaction=st.sampled_from(["difference_product", "product"]),
    softmax=st.booleans(),
    product=st.booleans(),
    sequences=st.lists(st.booleans(), min_size=1, max_size=2),
    everyones=st.booleans(),
    parts=st.integers(1, 3),
    seed=st.integers(0, 999),
)
def test_what_the_mlp_reads_is_that_of_torch(
    lengths, width, feedback, hidden, interaction, softmax, product, sequences, everyones, parts, seed
) -> None:
    """Any histories (none, one behaviour, long), no impressions at all, widths, depths, feedback or none, sequences of
    all behaviours or of some, moments of one process or of all, any threads: inputs, all gradients, moving averages."""
    random = torch.Generator().manual_seed(seed)
    batch = packed(lengths, few := max(sum(lengths) // 3, 1), feedback > 0, random)
    count = len(batch.segment)
    members = [torch.rand(count, generator=random) < 0.7 if chosen else None for chosen in sequences]
    for member in members:  # equal rows: √ε alone divides the mean's rounding
        seen = batch.behaviour if member is None else batch.behaviour[member]
        assume(feedback or len(seen) < 2 or len(seen.unique()) > 1)
    shapes = ((few, width), (count, feedback), (len(lengths), 3))
    embedded = [torch.randn(shape, generator=random) for shape in shapes]
    results = []
    for native, dtype, shake in RUNS:
        units = [ActivationUnit(width, width + feedback, tuple(hidden), "dice", interaction) for _ in sequences]
        for number, unit in enumerate(units):
            spread(unit.train(), seed + number, dtype, shake)
            if everyones:
                gathered(unit)
        own = Embedded(*(tensor.to(dtype) for tensor in embedded))
        with threads(parts):
            results.append(inputs(units, members, own, batch, softmax, product, native))
        assume(dtype == torch.float32 or all(map(differs, units)))
    check(*results)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(0, 90),
    inputs=SIZES,
    hidden=st.lists(SIZES, min_size=1, max_size=3),
    everyones=st.booleans(),
    parts=st.integers(1, 3),
    seed=st.integers(0, 999),
)
def test_perceptrons_are_those_of_torch(rows, inputs, hidden, everyones, parts, seed) -> None:
    """The MLP with Dice: outputs, all gradients and moving averages, no rows included."""
    x = torch.randn(rows, inputs, generator=torch.Generator().manual_seed(seed))
    results = []
    for native, dtype, shake in RUNS:
        model = multilayer_perceptron(inputs, tuple(hidden), "dice").train()
        spread(model, seed, dtype, shake)
        if everyones:
            gathered(model)
        own = x.to(dtype).requires_grad_()
        model.kernels = kernels() if native else None
        with threads(parts):
            y = model(own)
            by = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
            gradients = torch.autograd.grad((y * by).sum(), [own, *model.parameters()], materialize_grads=True)
        results.append([y.detach(), *gradients, *model.buffers()])
        assume(dtype == torch.float32 or differs(model))
    check(*results)


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), max_size=12), st.integers(0, 2), st.integers(1, 3), st.integers(1, 3))
def test_lookups_are_those_of_torch(ids: list[int], fields: int, width: int, parts: int) -> None:
    """Several fields' columns of a table side by side, no fields, other columns of the same table, and the table's
    gradient; duplicated ids."""
    table, own = torch.randn(5, 4).requires_grad_(), torch.tensor(ids, dtype=torch.int64)
    lookups = tuple(Ids(own.roll(field), None, None) for field in range(fields))
    groups = [Columns(lookups, len(ids), 1, width), Columns((Ids(own, None, None),), len(ids), 0, 1)]
    with threads(parts):
        ours = torch.cat(Take.apply(kernels(), table, groups), 1)
    theirs = torch.cat([embed(table, group) for group in groups], 1)
    assert torch.equal(ours, theirs)
    by = torch.randn(ours.shape)
    expected = torch.autograd.grad((theirs * by).sum(), table)
    torch.testing.assert_close(torch.autograd.grad((ours * by).sum(), table), expected)


def example(**changes: Any) -> list[Tensor]:
    """Results of one activation unit of about 100 behaviours; `changes`: first values of some embeddings."""
    random = torch.Generator().manual_seed(0)
    unit = ActivationUnit(8, 12, (20, 10), "dice", "product").train()
    spread(unit, 0)
    batch = packed([9, 30, 0, 1, 20, 40], 30, True, random)
    rows = {"items": (30, 8), "behaviours": (100, 4), "profile": (6, 3)}
    embedded = {name: torch.randn(shape, generator=random) for name, shape in rows.items()}
    for name, value in changes.items():
        embedded[name][0] = value
    return inputs([unit], [None], Embedded(*embedded.values()), batch, False, True, True)


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_the_same_bits_twice(parts: int) -> None:
    """Runs on as many threads agree bit for bit."""
    with threads(parts):
        assert all(torch.equal(a, b) for a, b in zip(example(), example(), strict=True))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["items", "behaviours"])
def test_what_is_not_finite_stays_visible(value: float, where: str) -> None:
    """NaN and infinity in an input reach the output and the gradients: a diverging run can be seen."""
    x, *gradients = example(**{where: value})
    assert not x.isfinite().all()
    assert not all(gradient.isfinite().all() for gradient in gradients)
