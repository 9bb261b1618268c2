"""A mark for tests that need the kernels."""

import pytest

from din.native.library import Unusable, kernels

try:
    kernels()
    REASON = ""
except Unusable as error:
    REASON = str(error)

needs_compiler = pytest.mark.skipif(bool(REASON), reason=f"no kernels: {REASON}")
