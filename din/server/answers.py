"""From the bytes of a body to the bytes of an answer, in one call that a thread makes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json, to_json

from din.errors import InputError
from din.serve.scorer import Request, RequestError
from din.server.deployment import Serving

TENSOR = "request"
"""The input of the Open Inference Protocol: requests as texts of JSON."""


@dataclass(frozen=True)
class Answer:
    """The answer to a body.

    Attributes:
        content: JSON.
        request: the request, if it was one alone.
        candidates: how many were scored.
    """

    content: bytes
    request: Request | None
    candidates: int


def score(serving: Serving, body: bytes) -> Answer:
    """Answer a request, or a list of requests.

    Raises:
        InputError: the body is not JSON, or a request is wrong. The message names field and value, and of a list the
            number of the request, counted from 0.
    """
    given = _parsed(body)
    scorer = serving.scorer
    if isinstance(given, list):
        requests = _objects(given)
        _check_total(requests, scorer.limits.candidates)
        many = [found.tolist() for found in scorer.score_many(requests)]
        content = to_json({"version": scorer.version, "probabilities": many})
        return Answer(content, None, sum(map(len, many)))
    scores = scorer.score(_object(given)).tolist()
    return Answer(to_json({"version": scorer.version, "probabilities": scores}), given, len(scores))


def infer(serving: Serving, body: bytes, model: str) -> Answer:
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
    if isinstance(given.get("id"), str):
        answer["id"] = given["id"]
    return Answer(to_json(answer), request, len(scores))


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
    """Refuse a list that would hold a thread for long after its answer is due."""
    lists = [request.get("candidates") for request in requests]
    total = sum(len(candidates) for candidates in lists if isinstance(candidates, list))
    if total > most:
        raise InputError(f"{total:,} candidates in the list; expected at most {most:,} in all: send several lists")


def _object(given: Any) -> Request:
    if not isinstance(given, Mapping):
        raise InputError("expected an object with the key candidates, or a list of such objects")
    return given
