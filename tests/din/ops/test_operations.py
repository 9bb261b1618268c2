"""Native operations against their references, float64 as the judge. Alone: `pytest tests/din/ops`."""

import copy
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from din.kinds import Lookup
from din.model.attention import ActivationUnit
from din.model.mlp import multilayer_perceptron
from din.ops import backend
from din.ops.activation_unit import interest
from din.ops.backend import Backend
from din.ops.dice import Dice
from din.ops.histories import Packed
from din.ops.inputs import Embedded, Places, encode, join
from din.ops.lookup import Columns, lookup
from din.ops.table_rows import add_rows
from tests.helpers.backends import needs_compiler

pytestmark = needs_compiler

SIZES = st.integers(1, 35)


class Run(NamedTuple):
    """A way to compute an operation: the backend, the precision, and the relative change of the weights."""

    backend: Backend
    dtype: torch.dtype
    shake: float = 0.0


RUNS = [
    Run("native", torch.float32),
    Run("reference", torch.float32),
    Run("reference", torch.float64),
    Run("reference", torch.float64, 1e-7),
]


def check(native: list[Tensor], reference: list[Tensor], exact: list[Tensor], shaken: list[Tensor]) -> None:
    """Assert that native results differ from float64 by no more than rounding explains.

    A tensor may be off by 3e-5 of its scale. It may also be off by 20 times the error of the reference, or by 20 times
    the change of the result when weights change by a rounding error.
    """
    for found, other, truth, moved in zip(native, reference, exact, shaken, strict=True):
        if truth.numel():
            off = max(float((each - truth).abs().max()) for each in (other, moved))
            assert float((found - truth).abs().max()) <= max(3e-5 * max(1.0, float(truth.abs().max())), 20 * off)


@contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    yield
    torch.set_num_threads(before)


def spread(module: nn.Module, seed: int, run: Run) -> None:
    """Draw weights for which every input matters, in the precision of the run."""
    random = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data.normal_(generator=random).mul_(0.5)
    for parameter in module.to(run.dtype).parameters():
        parameter.data.mul_(1 + run.shake * torch.randn(parameter.shape, generator=random))


def differs(module: nn.Module) -> bool:
    """Return, after one step in float64, whether the rows of each unit differ, or are one.

    Rows that hardly differ magnify every rounding, in the sigmoid too, by up to 10⁴: no two implementations agree.
    """
    variances = [(layer.variance - 0.95) / 0.05 for layer in module.modules() if isinstance(layer, Dice)]
    return all(bool(((variance > 1e-3) | (variance.abs() < 1e-12)).all()) for variance in variances)


def results(output: Tensor, leaves: Sequence[Tensor], modules: Sequence[nn.Module]) -> list[Tensor]:
    """Return an output, its gradients by leaves and weights under a random gradient, and the moving averages."""
    weights = [weight for module in modules for weight in module.parameters()]
    by = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(output.dtype)
    gradients = torch.autograd.grad((output * by).sum(), [*leaves, *weights], materialize_grads=True)
    return [output.detach(), *gradients, *(buffer for module in modules for buffer in module.buffers())]


def places_of(lengths: Sequence[int], items: int, random: torch.Generator) -> Places:
    """Draw impressions with this many behaviours each, of a few items that occur often."""
    segment = torch.repeat_interleave(torch.tensor(lengths, dtype=torch.int64))
    candidate = torch.randint(items, (len(lengths),), generator=random)
    return Places(
        candidate, torch.randint(items, (len(segment),), generator=random), segment, torch.zeros(len(segment))
    )


@settings(max_examples=30)
@given(
    lengths=st.lists(st.one_of(st.integers(0, 3), st.integers(0, 70)), max_size=7),
    width=SIZES,
    feedback=st.integers(0, 20),
    hidden=st.lists(SIZES, min_size=1, max_size=3),
    interaction=st.sampled_from(["difference_product", "product"]),
    softmax=st.booleans(),
    product=st.booleans(),
    parts=st.integers(1, 3),
    seed=st.integers(0, 999),
)
def test_activation_units_with_pooling(
    lengths, width, feedback, hidden, interaction, softmax, product, parts, seed
) -> None:
    """Inputs, gradients, averages and an evaluation agree for all histories, layers and threads."""
    random = torch.Generator().manual_seed(seed)
    items = max(sum(lengths) // 3, 1)
    places = places_of(lengths, items, random)
    count = len(places.segment_T)
    histories = Packed(places.segment_T, len(lengths))
    assume(feedback or count < 2 or len(places.behaviour_T.unique()) > 1)  # else √ε alone divides the mean's rounding
    shapes = ((items, width), (count, feedback), (len(lengths), 3))
    embedded = [torch.randn(shape, generator=random) for shape in shapes]
    found = []
    for run in RUNS:
        unit = ActivationUnit(width, width + feedback, tuple(hidden), "dice", interaction)
        spread(unit.train(), seed, run)
        leaves = [tensor.to(run.dtype).requires_grad_() for tensor in embedded]

        def inputs(training: bool, unit=unit, leaves=leaves) -> Tensor:
            query_BD, keys = encode(Embedded(*leaves), places)
            interest_BK = interest(unit.train(training), query_BD, keys, histories, softmax=softmax)
            return join(leaves[2], interest_BK, query_BD, product=product)

        with threads(parts), backend.using(run.backend):
            trained = results(inputs(training=True), leaves, [unit])
            with torch.no_grad():
                found.append([*trained, inputs(training=False)])
        assume(run.dtype == torch.float32 or differs(unit))
    check(*found)


@settings(max_examples=25)
@given(
    rows=st.integers(0, 90),
    inputs=SIZES,
    hidden=st.lists(SIZES, min_size=1, max_size=3),
    parts=st.integers(1, 3),
    seed=st.integers(0, 999),
)
def test_perceptrons(rows, inputs, hidden, parts, seed) -> None:
    """Outputs, gradients, moving averages and an evaluation of an MLP with Dice agree, also without rows."""
    x = torch.randn(rows, inputs, generator=torch.Generator().manual_seed(seed))
    found = []
    for run in RUNS:
        model = multilayer_perceptron(inputs, tuple(hidden), "dice").train()
        spread(model, seed, run)
        own = x.to(run.dtype).requires_grad_()
        with threads(parts), backend.using(run.backend):
            trained = results(model(own), [own], [model])
            with torch.no_grad():
                found.append([*trained, model.eval()(own)])
        assume(run.dtype == torch.float32 or differs(model))
    check(*found)


def by_both(operation: Callable[[], Any]) -> tuple[Any, Any]:
    with backend.using("native"):
        native = operation()
    with backend.using("reference"):
        return native, operation()


@given(st.lists(st.integers(0, 4), max_size=12), st.integers(0, 2), st.integers(1, 3), st.integers(1, 3))
def test_lookups(ids: list[int], fields: int, width: int, parts: int) -> None:
    """Values are equal bit for bit and gradients agree, for no or several fields and for different columns."""
    random = torch.Generator().manual_seed(0)
    table = torch.randn(5, 4, generator=random).requires_grad_()
    own = torch.tensor(ids, dtype=torch.int64)
    lookups = tuple(Lookup(own.roll(field)) for field in range(fields))
    groups = [Columns(lookups, len(ids), 1, width), Columns((Lookup(own),), len(ids), 0, 1)]
    factors = torch.randn(len(ids), fields * width + 1, generator=random)

    def values_and_gradient() -> tuple[Tensor, Tensor]:
        values = torch.cat(lookup(table, groups), 1)
        return values.detach(), torch.autograd.grad((values * factors).sum(), table)[0]

    with threads(parts):
        (ours, our_gradient), (theirs, their_gradient) = by_both(values_and_gradient)
    assert torch.equal(ours, theirs)
    torch.testing.assert_close(our_gradient, their_gradient)


@given(st.lists(st.integers(0, 6), max_size=30), st.integers(1, 35), st.integers(0, 3), st.integers(1, 3))
def test_rows_are_added(ids: list[int], width: int, wider: int, parts: int) -> None:
    """Results are equal bit for bit, also with repeated ids and with rows wider than the table."""
    random = torch.Generator().manual_seed(0)
    table, own = torch.randn(7, width, generator=random), torch.tensor(ids, dtype=torch.int64)
    rows = torch.randn(len(ids), width + wider, generator=random)

    def added() -> Tensor:
        total = table.clone()
        add_rows(total, own, rows)
        return total

    with threads(parts):
        assert torch.equal(*by_both(added))


def example(**changes: float) -> list[Tensor]:
    """Return native results of an activation unit on 100 behaviours, with values in the first row of embeddings."""
    random = torch.Generator().manual_seed(0)
    unit = ActivationUnit(8, 12, (20, 10), "dice", "product").train()
    spread(unit, 0, RUNS[0])
    places = places_of([9, 30, 0, 1, 20, 40], 30, random)
    shapes = {"items_UD": (30, 8), "feedback_TF": (100, 4), "profile_BP": (6, 3)}
    embedded = {name: torch.randn(shape, generator=random) for name, shape in shapes.items()}
    for name, value in changes.items():
        embedded[name][0] = value
    leaves = [tensor.requires_grad_() for tensor in embedded.values()]
    with backend.using("native"):
        query_BD, keys = encode(Embedded(*leaves), places)
        pooled_BK = interest(unit, query_BD, keys, Packed(places.segment_T, 6), softmax=False)
        return results(join(leaves[2], pooled_BK, query_BD, product=True), leaves, [unit])


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_the_same_bits_twice(parts: int) -> None:
    """Runs with equal numbers of threads agree bit for bit."""
    with threads(parts):
        assert all(torch.equal(a, b) for a, b in zip(example(), example(), strict=True))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["items_UD", "feedback_TF"])
def test_values_that_are_not_finite_stay_visible(value: float, where: str) -> None:
    """NaN and infinity in an input reach output and gradients, so that a diverging run is noticed."""
    output, *gradients = example(**{where: value})
    assert not output.isfinite().all()
    assert not all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_modules_that_trained_natively_can_be_copied(copied: Callable[[nn.Module], nn.Module]) -> None:
    """A copy has the same results, and a module holds no reference to the library."""
    model, x = multilayer_perceptron(5, (7, 3), "dice").train(), torch.randn(20, 5)
    with backend.using("native"):
        model(x).sum().backward()
        twin = copied(model)
        torch.testing.assert_close(twin(x), model(x))
    torch.testing.assert_close(twin.eval()(x), model.eval()(x))
