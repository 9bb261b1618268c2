"""The description of the machine that a stage computes on."""

from dataclasses import replace

import pytest

from din import documents
from din.code import Machine
from din.params import Params
from din.train.compute import computing
from din.train.machine import describe


@pytest.mark.parametrize("backend", ["reference", "native"])
def test_the_operations_that_ran(backend: str, params: Params) -> None:
    """The description is a sound document, says which operations run, and is the same each time."""
    with computing(replace(params.train.compute, backend=backend, threads=1)) as compute:
        found = describe(compute)
        assert describe(compute) == found
    assert documents.parse(Machine, documents.dump(found), "machine") == found
    assert (found.backend, found.device, found.threads) == (backend, "cpu", 1)
    assert (found.library is None) == (backend == "reference")
