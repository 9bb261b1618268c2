"""Marks for tests that need the native operations, and for tests that run on both backends."""

import pytest

from din.ops.native.library import Unusable, load

try:
    load()
    REASON = ""
except Unusable as error:
    REASON = str(error)

needs_compiler = pytest.mark.skipif(bool(REASON), reason=f"no native operations: {REASON}")
both_backends = pytest.mark.parametrize("backend_name", ["reference", pytest.param("native", marks=needs_compiler)])
