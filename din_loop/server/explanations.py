"""Explanations of scores within an answer, with limits on what they cost."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic_core import to_json

from din.base.errors import MOST_SHOWN, InputError, shown
from din.bundle.scorer import Request, Scorer
from din_loop.explain import cost, explain

_MOST_READ = 4
"""The most bytes that an explanation may read, in bodies of the largest size."""


def most_parts(text: str) -> int:
    """Return how many parts to name for each candidate: the query's `explain`, a whole number from 0."""
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < 0:
        raise InputError(f"explain: {shown(text)}; expected a whole number from 0, e.g. ?explain=3")
    return number


def why(scorer: Scorer, requests: Sequence[Request], most: int, size: int) -> list[list[list[dict[str, Any]]]]:
    """Return, for each candidate of each request, the `most` parts with the largest effects.

    Args:
        size: the bytes of the body, each of which may be read again without each part.

    Raises:
        InputError: they take more scores than a request may hold candidates, or read more bytes than a body may have,
            and would hold a thread for too long.
    """
    limits = scorer.limits
    costs = [cost(scorer, request) for request in requests]
    if sum(costs) > limits.candidates:
        raise InputError(
            f"explain: {most} takes {sum(costs):,} scores, because each candidate is scored again without each part; "
            f"expected at most {limits.candidates:,}: send fewer candidates, or raise --max-candidates"
        )
    rounds = [scores // max(len(request["candidates"]), 1) for scores, request in zip(costs, requests, strict=True)]
    times = max(rounds, default=0)
    if times * size > _MOST_READ * limits.request_bytes:
        raise InputError(
            f"explain: {most} reads a body of {size:,} bytes {times:,} times, once without each of its parts; "
            f"expected at most {_MOST_READ * limits.request_bytes:,} bytes in all: send less"
        )
    explanations = [explain(scorer, request) for request in requests]
    brief = [replace(explanation, parts=[_brief(part) for part in explanation.parts]) for explanation in explanations]
    return [
        [explanation.strongest(place, most) for place in range(explanation.effects.shape[1])] for explanation in brief
    ]


def _brief(part: Mapping[str, Any]) -> dict[str, Any]:
    """Return a part whose value is cut if it is long, because the answer repeats it for each candidate."""
    return {
        key: value if len(to_json(value).decode()) <= MOST_SHOWN else shown(value, quotes=False)
        for key, value in part.items()
    }
