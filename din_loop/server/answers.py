"""From the bytes of a body to the bytes of an answer, in one call that a thread makes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from pydantic_core import from_json, to_json

from din.base.errors import InputError
from din.bundle.scorer import Request, RequestError
from din_loop.server import explanations
from din_loop.server.deployment import Serving


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


Answering = Callable[[Serving, bytes, bool], Answer]
"""A form of requests and answers, such as `score`: from the bundle, the body, and whether requests are named."""


def score(serving: Serving, body: bytes, named: bool = False, *, explain: str = "0") -> Answer:
    """Answer a request, or a list of requests.

    Args:
        serving: the bundle that answers.
        body: JSON.
        named: whether the answer carries an id of each request, by which the log knows it.
        explain: how many parts of the request, those with the largest effects, the answer names for each candidate.

    Raises:
        InputError: `explain` is not a number, the body is not JSON, a request is wrong, or there is too much to
            explain. The message names field and value, and of a list the number of the request, counted from 0.
    """
    most_parts = explanations.most_parts(explain)
    content = parsed(body)
    scorer = serving.scorer
    is_list = isinstance(content, list)
    requests = _as_requests(content) if is_list else [as_request(content)]
    if is_list:
        _check_total(requests, scorer.limits.candidates)
    scores = scorer.score_many(requests) if is_list else [scorer.score(requests[0])]
    probabilities = [each.tolist() for each in scores]
    ids = [request_id() for _ in requests]
    of_requests: dict[str, list[Any]] = {"probabilities": probabilities}
    if most_parts:
        of_requests["why"] = explanations.why(scorer, requests, most_parts, len(body))
    if named:
        of_requests["request_id"] = ids
    answer = {"version": scorer.version} | {key: of if is_list else of[0] for key, of in of_requests.items()}
    return Answer(to_json(answer, inf_nan_mode="null"), scorer.version, requests, probabilities, ids)


def parsed(body: bytes) -> Any:
    """Return a value of JSON."""
    try:
        return from_json(body)
    except ValueError as error:
        raise InputError(f"the body is not JSON: {error}; expected a request, or a list of requests") from None


def as_request(value: Any) -> Request:
    """Return a value that is an object. The scorer checks the rest."""
    if not isinstance(value, Mapping):
        raise InputError("expected an object with the key candidates, or a list of such objects")
    return value


def request_id() -> str:
    """Return a new id, by which the log knows a request."""
    return uuid4().hex


def _as_requests(values: list[Any]) -> list[Request]:
    for number, value in enumerate(values):
        if not isinstance(value, Mapping):
            raise RequestError(number, "expected an object with the key candidates")
    return values


def _check_total(requests: list[Request], most: int) -> None:
    """Refuse a list that would hold a thread for long after its answer is due, or whose answers would flood the log."""
    advice = f"expected at most {most:,} in all: send several lists, or raise --max-candidates"
    if len(requests) > most:
        raise InputError(f"{len(requests):,} requests in the list; {advice}")
    lists = [request.get("candidates") for request in requests]
    total = sum(len(candidates) for candidates in lists if isinstance(candidates, list))
    if total > most:
        raise InputError(f"{total:,} candidates in the list; {advice}")
