"""Explain a score by how much its logit changes if one part of the request is left out.

    effect of a part = logit of the request − logit of the request without it      > 0: the part favours a click

The parts are each behaviour that the model reads, the user as a whole, and each user and context field. The effects are
exact for any model, unlike attention weights, whose influence higher layers can reverse. Effects need not add up to the
logit, because parts interact. One explanation costs as much as scoring 1 + P requests.

Shapes: C candidates, P parts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from din.base import documents
from din.base.errors import InputError
from din.bundle.scorer import Request, Scorer, Scores, request_lines
from din.schema import ITEM_ID, USER_ID, Field, Group


@dataclass(frozen=True)
class Explanation:
    """The scores of the candidates of a request, and the effects of its parts.

    Attributes:
        parts: the P parts as JSON values, e.g. {"history": 3, "item_id": 50}, where 3 is the position in the request's
            history, counted from 0, or {"context": "tab", "value": "home"}.
        effects: [P, C] the effects on the logits.
    """

    scores: Scores
    parts: list[dict[str, Any]]
    effects: NDArray[np.float64]

    def strongest(self, candidate: int, most: int) -> list[dict[str, Any]]:
        """Return the `most` parts with the largest absolute effects on a candidate, with their effects."""
        effects = self.effects[:, candidate]
        order = np.argsort(-np.abs(effects), kind="stable")[:most]
        return [self.parts[row] | {"effect": round(float(effects[row]), 6)} for row in order]


def explain(scorer: Scorer, request: Request) -> Explanation:
    """Return the effect of each part of a request on each of its candidates.

    Raises:
        InputError: the request is malformed or too large.
    """
    scores = scorer.both(request)  # raises if the request is malformed
    parts = list(_parts(scorer, request))
    without = Scores.joined(scorer.both_of_many([left_out for _, left_out in parts]))
    effects = scores.logits - without.logits.reshape(len(parts), len(scores.logits))
    return Explanation(scores, [part for part, _ in parts], effects)


def cost(scorer: Scorer, request: Request) -> int:
    """Return the number of scores that explain a valid request: 1 + P for each candidate, and for none as for one."""
    parts = len(_behaviours(scorer, request)) + 1 + len(_fields(scorer))
    return (1 + parts) * max(len(request["candidates"]), 1)


def explain_file(scorer: Scorer, lines: BinaryIO, most: int) -> Iterator[dict[str, Any]]:
    """Yield `{"version", "probabilities", "why"}` for each request of a JSON-lines file.

    `why` has a list for each candidate: the `most` parts with the largest effects.

    Raises:
        InputError: a line is not a valid request. The message names the line.
    """
    for number, line in request_lines(lines, scorer.limits):
        request = documents.decode(line, f"line {number}", scorer.limits.request_bytes)
        try:
            explanation = explain(scorer, request)
        except InputError as error:
            raise InputError(f"line {number}: {error}") from None
        probabilities = explanation.scores.probabilities.tolist()
        why = [explanation.strongest(candidate, most) for candidate in range(len(probabilities))]
        yield {"version": scorer.version, "probabilities": probabilities, "why": why}


def _parts(scorer: Scorer, request: Request) -> Iterator[tuple[dict[str, Any], Request]]:
    """Yield each part, and the request without it.

    A field is replaced by null, because the bundle would fill in the profile of a known user.
    """
    history = request.get("history") or []
    read = _behaviours(scorer, request)
    for place in read:
        entry = history[place]
        item = entry.get(ITEM_ID) if isinstance(entry, dict) else entry
        others = [*history[read.start : place], *history[place + 1 :]]
        yield {"history": place, ITEM_ID: item}, {**request, "history": others}
    user = request.get("user") or {}
    yield {"user": USER_ID, "value": user.get(USER_ID)}, {**request, "user": {}}
    for field in _fields(scorer):
        key = str(field.group)
        values = request.get(key) or {}
        part = {key: field.name, "value": values.get(field.name)}
        yield part, {**request, key: {**values, field.name: None}}


def _behaviours(scorer: Scorer, request: Request) -> range:
    """Return the places of the behaviours that the model reads, in the request's history."""
    length = len(request.get("history") or [])
    return range(max(length - scorer.max_history, 0), length)


def _fields(scorer: Scorer) -> list[Field]:
    """Return the user and context fields, without the user's id."""
    return [field for field in scorer.fields if field.group in (Group.USER, Group.CONTEXT) and field.name != USER_ID]
