"""A scorer answers anything with probabilities or one line, in bounded memory."""

import io
import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from din.base.errors import InputError
from din.bundle import Limits, Scorer
from din.bundle.scorer import RequestError, score_file
from tests.factories.bundles import FIELDS, Finished
from tests.helpers.strategies import PLAIN, REQUESTS

SMALL = Limits(candidates=4, history=8, request_mb=0.001)


def test_one_long_text_among_numbers_costs_no_more_than_itself(scorer: Scorer) -> None:
    """An array of text is as wide as its longest entry, so 10,000 candidates and 1 MB of text could take 40 GB."""
    candidates: list[Any] = [{"price": 1.0} for _ in range(10_000)]
    candidates[5_000] = {"price": "x" * 1_000_000}
    tracemalloc.start()
    with pytest.raises(InputError, match="price: 'xxx"):
        scorer.score({"candidates": candidates})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000_000


def test_odd_numbers_have_a_meaning(scorer: Scorer) -> None:
    """Booleans are 1 and 0, integers may be large, numbers beyond float32 are missing like NaN, text is refused."""

    def priced(value: Any) -> float:
        return float(scorer.score({"candidates": [{"price": value}]})[0])

    assert priced(True) == priced(1) == priced(1.0) and priced(False) == priced(0)
    assert priced(math.nan) == priced(math.inf) == priced(-1e300) == priced(None)
    year = [float(scorer.score({"candidates": [{"year": value}]})[0]) for value in (2**70, 10.0**30, 3000)]
    assert year[0] == year[1] == year[2]  # all are in the last bucket
    for value in ("1", "", "NaN", "true"):
        with pytest.raises(InputError, match=f"price: '{value}' is not a number; expected a number"):
            priced(value)


def test_callers_choose_the_limits(finished: Finished, scorer: Scorer) -> None:
    """A request within the limits is answered as without them, and the model's own history is always allowed."""
    within = Scorer.open(finished.bundle).within(SMALL)
    most = {"candidates": ["i1", "i2", "i3", "i4"], "history": ["i5"] * 8}
    assert np.array_equal(within.score(most), scorer.score(most))
    for key in most:
        with pytest.raises(InputError, match=f"{key}: .* expected at most "):
            within.score(most | {key: [*most[key], "i1"]})
    none = scorer.within(Limits(history=0))
    assert len(none.score({"candidates": ["i1"], "history": ["i2"] * scorer.max_history})) == 1
    assert scorer.limits == Limits()


class Endless(io.RawIOBase):
    """A file whose only line never ends; `given` counts the bytes read."""

    given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        buffer[:] = b"1" * len(buffer)
        self.given += len(buffer)
        return len(buffer)


def test_an_endless_line_is_refused(scorer: Scorer) -> None:
    """The message names the line and the limit, and no more than the limit is read."""
    endless = Endless()
    with pytest.raises(InputError, match=r"line 1: longer than 1 MB; .*--max-request-mb"):
        list(score_file(scorer.within(Limits(request_mb=1)), io.BufferedReader(endless)))
    assert endless.given < 1_100_000


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"candidates": 1}', "candidates: 1; expected a list"),
        (b'{"candidates": ["\xff"]}', "not a JSON document"),
        (b'{"user": ' * 10_000, ""),
        (b"[" * 100_000 + b"]" * 100_000, ""),
        (b"1" * 5_000, ""),
    ],
    ids=["a wrong value", "not UTF-8", "10,000 levels", "100,000 levels", "5,000 digits"],
)
def test_a_wrong_line_is_named(line: bytes, message: str, scorer: Scorer) -> None:
    """One message names the number of the line in the file, with blank lines counted."""
    with pytest.raises(InputError, match=f"^line 3: {message}") as refused:
        list(score_file(scorer, io.BytesIO(b'{"candidates": ["i1"]}\n\n' + line)))
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 300


NAMES = sorted({"item_id"}.union(*FIELDS.values()))
ODD = PLAIN | st.floats() | st.sampled_from([2**63, -(2**63) - 1, 10**400])
OBJECTS = st.dictionaries(st.sampled_from(NAMES), ODD, max_size=3)
ENTRIES = st.lists(OBJECTS, max_size=4)
ANY = ODD | st.fixed_dictionaries(
    {"candidates": ENTRIES}, optional={"history": ENTRIES, "user": OBJECTS, "context": OBJECTS}
)


@given(requests=st.lists(REQUESTS | ANY, max_size=5))
def test_any_json_is_answered_or_refused(requests: list[Any], scorer: Scorer) -> None:
    """InputError in one short line is the only error. Alone and among others, a request gets the same probabilities."""
    answered = []
    for request in requests:
        try:
            scores = scorer.score(request)
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 1_500
            with pytest.raises(RequestError):
                scorer.score_many([request])
        else:
            assert len(scores) == len(request["candidates"])
            assert ((scores >= 0) & (scores <= 1)).all()
            answered.append((request, scores))
    many = scorer.score_many([request for request, _ in answered])
    for (_, scores), found in zip(answered, many, strict=True):
        assert np.allclose(scores, found, atol=1e-4)  # parity is stricter, but for numbers as extreme as some here
