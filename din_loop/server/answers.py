"""From the bytes of a body to the bytes of an answer, in one call that a thread makes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from pydantic_core import from_json, to_json

from din.base.errors import MOST_SHOWN, InputError, shown
from din.bundle.explain import cost, explain
from din.bundle.scorer import Request, RequestError, Scorer
from din_loop.server.deployment import Serving

_MOST_READ = 4
"""The most bytes that an explanation may read, in bodies of the largest size."""
TENSOR = "request"
"""The input of the Open Inference Protocol: requests as texts of JSON."""


@dataclass(frozen=True)
class Answer:
    """The answer to a body.

    Attributes:
        content: JSON.
        version: of the bundle that answered.
        requests: one, or those of a list.
        probabilities: of the candidates of each request.
        ids: of the requests, as the log knows them.
    """

    content: bytes
    version: str
    requests: list[Request]
    probabilities: list[list[float]]
    ids: list[str]

    @property
    def candidates(self) -> int:
        """The number of candidates that were scored."""
        return sum(map(len, self.probabilities))

    def __str__(self) -> str:
        """Return the version, and what made the answer large or small."""
        longest = max((len(request.get("history") or []) for request in self.requests), default=0)
        parts = f"{len(self.requests)} requests, {self.candidates} candidates, histories of at most {longest}"
        return f"version {self.version[:12]}, {parts}"


def score(serving: Serving, body: bytes, named: bool = False, *, parts: str = "0") -> Answer:
    """Answer a request, or a list of requests.

    Args:
        serving: the bundle that answers.
        body: JSON.
        named: whether the answer carries an id of each request, by which the log knows it.
        parts: the query's `explain`: how many parts of the request, those with the largest effects, the answer names
            for each candidate.

    Raises:
        InputError: `parts` is not a number, the body is not JSON, a request is wrong, or there is too much to explain.
            The message names field and value, and of a list the number of the request, counted from 0.
    """
    most = _parts(parts)
    given = _parsed(body)
    scorer = serving.scorer
    listed = isinstance(given, list)
    requests = _objects(given) if listed else [_object(given)]
    if listed:
        _check_total(requests, scorer.limits.candidates)
    scores = scorer.score_many(requests) if listed else [scorer.score(given)]
    probabilities = [found.tolist() for found in scores]
    ids = [uuid4().hex for _ in requests]
    content = {"version": scorer.version, "probabilities": probabilities if listed else probabilities[0]}
    if most:
        why = _why(scorer, requests, most, len(body))
        content["why"] = why if listed else why[0]
    if named:
        content["request_id"] = ids if listed else ids[0]
    return Answer(to_json(content, inf_nan_mode="null"), scorer.version, requests, probabilities, ids)


def infer(serving: Serving, body: bytes, named: bool = False, *, model: str) -> Answer:
    """Answer a request in the form of the Open Inference Protocol, version 2.

    The input is one tensor `request` of type BYTES with one text, a request as JSON. The output is the tensor
    `probability` of type FP64, with a value for each candidate.

    Raises:
        InputError: the body has another form, or the request is wrong.
    """
    given = _parsed(body)
    expected = (
        f'expected {{"inputs": [{{"name": "{TENSOR}", "datatype": "BYTES", "shape": [1], "data": ["…"]}}]}}, '
        "with a request as text of JSON"
    )
    try:
        (tensor,) = given["inputs"]
        (text,) = tensor["data"]
        if (tensor["name"], tensor["datatype"]) != (TENSOR, "BYTES") or not isinstance(text, str):
            raise ValueError
    except (TypeError, KeyError, ValueError):
        raise InputError(f"inputs: {expected}") from None
    request = _object(_parsed(text.encode("utf-8", "surrogatepass")))
    scores = serving.scorer.score(request).tolist()
    output = {"name": "probability", "datatype": "FP64", "shape": [len(scores)], "data": scores}
    answer = {"model_name": model, "model_version": serving.scorer.version, "outputs": [output]}
    request_id = uuid4().hex
    if named:
        answer["parameters"] = {"request_id": request_id}
    if isinstance(given.get("id"), str):
        answer["id"] = given["id"]
    return Answer(to_json(answer), serving.scorer.version, [request], [scores], [request_id])


def _parsed(body: bytes) -> Any:
    """Return a value of JSON."""
    try:
        return from_json(body)
    except ValueError as error:
        raise InputError(f"the body is not JSON: {error}; expected a request, or a list of requests") from None


def _objects(given: list[Any]) -> list[Request]:
    for number, request in enumerate(given):
        if not isinstance(request, Mapping):
            raise RequestError(number, "expected an object with the key candidates")
    return given


def _check_total(requests: list[Request], most: int) -> None:
    """Refuse a list that would hold a thread for long after its answer is due, or whose answers would flood the log."""
    advice = f"expected at most {most:,} in all: send several lists, or raise --max-candidates"
    if len(requests) > most:
        raise InputError(f"{len(requests):,} requests in the list; {advice}")
    lists = [request.get("candidates") for request in requests]
    total = sum(len(candidates) for candidates in lists if isinstance(candidates, list))
    if total > most:
        raise InputError(f"{total:,} candidates in the list; {advice}")


def _why(scorer: Scorer, requests: list[Request], most: int, size: int) -> list[list[list[dict[str, Any]]]]:
    """Return, for each candidate of each request, the `most` parts with the largest effects.

    Args:
        size: the bytes of the body, each of which may be read again without each part.

    Raises:
        InputError: they take more scores than a request may hold candidates, or read more bytes than a body may have,
            and would hold a thread for too long.
    """
    scores = sum(cost(scorer, request) for request in requests)
    if scores > scorer.limits.candidates:
        raise InputError(
            f"explain: {most} takes {scores:,} scores, because each candidate is scored again without each part; "
            f"expected at most {scorer.limits.candidates:,}: send fewer candidates, or raise --max-candidates"
        )
    rounds = max((cost(scorer, one) // max(len(one["candidates"]), 1) for one in requests), default=0)
    if rounds * size > _MOST_READ * scorer.limits.request_bytes:
        raise InputError(
            f"explain: {most} reads a body of {size:,} bytes {rounds:,} times, once without each of its parts; "
            f"expected at most {_MOST_READ * scorer.limits.request_bytes:,} bytes in all: send less"
        )
    found = [explain(scorer, request) for request in requests]
    told = [replace(one, parts=[_brief(part) for part in one.parts]) for one in found]
    return [[one.strongest(place, most) for place in range(one.effects.shape[1])] for one in told]


def _brief(part: Mapping[str, Any]) -> dict[str, Any]:
    """Return a part whose value is cut if it is long, because the answer repeats it for each candidate."""
    return {
        key: value if len(to_json(value).decode()) <= MOST_SHOWN else shown(value, quotes=False)
        for key, value in part.items()
    }


def _parts(given: str) -> int:
    """Return the query's `explain`, a whole number from 0."""
    try:
        number = int(given)
    except ValueError:
        number = -1
    if number < 0:
        raise InputError(f"explain: {shown(given)}; expected a whole number from 0, e.g. ?explain=3")
    return number


def _object(given: Any) -> Request:
    if not isinstance(given, Mapping):
        raise InputError("expected an object with the key candidates, or a list of such objects")
    return given
