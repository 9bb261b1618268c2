"""The model through kernels against the model through torch. Alone: `pytest tests/native/test_model_kernels.py`."""

from collections.abc import Iterator
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
from din.model.embedding import Ids, Keys, embed, segment_softmax
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


def check(found: list[Tensor], twin: list[Tensor], exact: list[Tensor], shaken: list[Tensor]) -> None:
    """As near to float64 as rounding allows: 1e-5 of each tensor's scale, or some times what the twin is off, or what
    weights that are off by a rounding change: rows that hardly differ magnify both."""
    for ours, *others, truth, moved in zip(found, twin, exact, shaken, strict=True):
        if truth.numel():
            off = max(float((other - truth).abs().max()) for other in (*others, moved))
            assert float((ours - truth).abs().max()) <= max(1e-5 * max(1.0, float(truth.abs().max())), 20 * off)


RUNS = [
    (True, torch.float32, 0.0),
    (False, torch.float32, 0.0),
    (False, torch.float64, 0.0),
    (False, torch.float64, 1e-7),
]


def interest(
    unit: ActivationUnit, query: Tensor, keys: Keys, softmax: bool, native: bool, seed: int
) -> tuple[Tensor, list[Tensor]]:
    """Pooled interests, and them beside all gradients and moving averages."""
    query, source = query.clone().requires_grad_(), keys.source_NK.clone().requires_grad_()
    keys, segment = keys._replace(source_NK=source), keys.segment_T
    if native:
        pooled = unit.native(kernels(), query, keys, softmax)
    else:
        weight = unit(query, keys.rows(), segment)
        weight = segment_softmax(weight, segment, len(query), None) if softmax else weight
        pooled = pool(weight, keys.rows(), segment, len(query))
    by = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(seed)).to(pooled.dtype)
    inputs = [query, source, *unit.parameters()]
    gradients = torch.autograd.grad((pooled * by).sum(), inputs, materialize_grads=True)
    return pooled, [pooled.detach(), *gradients, *unit.buffers()]


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.one_of(st.integers(0, 3), st.integers(0, 70)), min_size=1, max_size=7),
    width=SIZES,
    feedback=st.integers(0, 20),
    hidden=st.lists(SIZES, min_size=1, max_size=3),
    interaction=st.sampled_from(["difference_product", "product"]),
    softmax=st.booleans(),
    own_rows=st.booleans(),
    everyones=st.booleans(),
    parts=st.integers(1, 3),
    seed=st.integers(0, 999),
)
def test_interests_are_those_of_torch(
    lengths, width, feedback, hidden, interaction, softmax, own_rows, everyones, parts, seed
) -> None:
    """Any histories (none, one behaviour, long), widths, depths, duplicated keys, a row for each behaviour or shared
    ones, moments of one process or of all, any threads: outputs, all gradients and moving averages."""
    random = torch.Generator().manual_seed(seed)
    segment = torch.repeat_interleave(torch.tensor(lengths))
    count, few = len(segment), max(len(segment) // 3, 1)
    query = torch.randn(len(lengths), width, generator=random)
    source = torch.randn(count if own_rows else few, width + feedback, generator=random)
    position = None if own_rows else torch.randint(few, (count,), generator=random)
    assume(own_rows or count < 2 or len(position.unique()) > 1)  # equal rows: √ε alone divides the mean's rounding
    results = []
    for native, dtype, shake in RUNS:
        unit = ActivationUnit(width, width + feedback, tuple(hidden), "dice", interaction)
        spread(unit, seed, dtype, shake)
        if everyones:
            gathered(unit)
        keys = Keys(source.to(dtype), position, segment)
        with threads(parts):
            results.append(interest(unit.train(), query.to(dtype), keys, softmax, native, seed)[1])
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
    check(*results)


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), max_size=12), st.integers(1, 2), st.integers(1, 3), st.integers(1, 3))
def test_lookups_are_those_of_torch(ids: list[int], fields: int, width: int, parts: int) -> None:
    """Several fields' columns of a table side by side, and the table's gradient; duplicated ids."""
    table = torch.randn(5, 4).requires_grad_()
    lookups = [torch.tensor(ids, dtype=torch.int64).roll(field) for field in range(fields)]
    with threads(parts):
        ours = Take.apply(kernels(), table, 1, width, *lookups)
    theirs = embed(table[:, 1 : 1 + width], [Ids(own, None, None) for own in lookups], len(ids))
    assert torch.equal(ours, theirs)
    by = torch.randn(ours.shape)
    expected = torch.autograd.grad((theirs * by).sum(), table)
    torch.testing.assert_close(torch.autograd.grad((ours * by).sum(), table), expected)


def example(**changes: Any) -> list[Tensor]:
    """Results of one activation unit of 100 behaviours."""
    random = torch.Generator().manual_seed(0)
    unit = ActivationUnit(8, 12, (20, 10), "dice", "product").train()
    spread(unit, 0)
    segment = torch.randint(9, (100,), generator=random).sort().values
    position = torch.randint(30, (100,), generator=random)
    keys = Keys(torch.randn(30, 12, generator=random), position, segment)
    query = torch.randn(9, 8, generator=random)
    for name, value in changes.items():
        {"query": query, "key": keys.source_NK}[name][0] = value
    return interest(unit, query, keys, False, True, 0)[1]


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_the_same_bits_twice(parts: int) -> None:
    """Runs on as many threads agree bit for bit."""
    with threads(parts):
        assert all(torch.equal(a, b) for a, b in zip(example(), example(), strict=True))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["query", "key"])
def test_what_is_not_finite_stays_visible(value: float, where: str) -> None:
    """NaN and infinity in an input reach the output and the gradients: a diverging run can be seen."""
    pooled, *gradients = example(**{where: value})
    assert not pooled.isfinite().all()
    assert not all(gradient.isfinite().all() for gradient in gradients)
