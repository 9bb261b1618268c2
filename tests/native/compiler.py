"""Marks for tests that need the kernels, and for those that run with and without."""

import pytest

from din.native.library import Unusable, kernels

try:
    kernels()
    REASON = ""
except Unusable as error:
    REASON = str(error)

needs_compiler = pytest.mark.skipif(bool(REASON), reason=f"no kernels: {REASON}")
through_both = pytest.mark.parametrize(
    "through", [lambda: None, pytest.param(kernels, marks=needs_compiler)], ids=["torch", "kernels"]
)
