"""The memory of parsed bodies. Alone: `pytest tests/din_loop/server/test_bodies.py`."""

import json
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic_core import from_json

from din.base.errors import InputError
from din_loop.server.bodies import parsed_bytes

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)
COPIES = 50
"""The copies of a value in a body, so that memory that is shared or allocated once hardly matters."""


@settings(max_examples=50)
@given(VALUES, st.booleans())
@example([], True)
@example({}, True)
@example({"": {"": {}}}, True)
@example([[[[]]]], True)
@example("a" * 999 + "😀", False)
@example("a" * 999 + "😀", True)
@example({str(number): number for number in range(1000, 1100)}, True)
def test_a_parsed_body_takes_at_most_its_bound(value: object, escaped: bool) -> None:
    """The slow twin parses the body, and asks Python's allocator what it has handed out since."""
    body = json.dumps([value] * COPIES, ensure_ascii=escaped, separators=(",", ":")).encode()
    tracemalloc.start()
    parsed = from_json(body)
    allocated, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert parsed is not None
    assert allocated <= parsed_bytes(body, 10**9) + 1000


def test_a_body_that_would_take_too_much_is_refused() -> None:
    """The largest request of many fields passes. Many empty objects or keys do not, unless more is allowed."""
    behaviours = [{"item_id": number, "timestamp": 1_700_000_000 + number, "rating": 3} for number in range(10_000)]
    candidates = [{"item_id": number, **{f"field_{n}": f"text {n}" for n in range(8)}} for number in range(10_000)]
    parsed_bytes(json.dumps({"candidates": candidates, "history": behaviours}).encode(), 16_000_000)
    for body in (b"[" + b"{}," * 450_000 + b"{}]", b"{" + b'"a":1,' * 260_000 + b'"a":1}'):
        with pytest.raises(InputError, match=r"the body of 1\.[46] MB .* it may take 10\d MB of memory; "):
            parsed_bytes(body, 16_000_000)
        parsed_bytes(body, 20_000_000)
