"""The Open Inference Protocol, version 2, which KServe speaks: another form of requests and answers, and its routes.

The input is one tensor `request` of type BYTES with one text, a request as JSON. The output is the tensor `probability`
of type FP64, with a value for each candidate.
"""

from collections.abc import Awaitable, Callable
from functools import partial

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from din.base.errors import InputError
from din_loop.server.answers import Answer, Answering, as_request, parsed, request_id
from din_loop.server.deployment import Serving

_TENSOR = "request"
_LONGEST_ID = 100
"""The characters of a client's own id, which its answer repeats: a client that reads none must not fill the memory."""

Endpoint = Callable[[Request], Awaitable[Response]]


def routes(
    model: str,
    serving: Callable[[], Serving],
    answered: Callable[[Request, Answering], Awaitable[Response]],
    ready: Endpoint,
) -> list[Route]:
    """Return the routes of the protocol, except those of the server's health.

    Args:
        serving: returns the bundle that answers now.
        answered: lets a thread answer a request, within the limits of the server.
        ready: says whether the server is ready, and so whether its model is.
    """

    async def describe_server(_: Request) -> Response:
        return JSONResponse({"name": "din-ctr", "version": serving().scorer.version, "extensions": []})

    async def describe_model(_: Request) -> Response:
        return JSONResponse(
            {
                "name": model,
                "versions": [serving().scorer.version],
                "platform": "din-ctr",
                "inputs": [{"name": _TENSOR, "datatype": "BYTES", "shape": [1]}],
                "outputs": [{"name": "probability", "datatype": "FP64", "shape": [-1]}],
            }
        )

    async def answer_tensors(request: Request) -> Response:
        return await answered(request, partial(infer, model=model))

    place = f"/v2/models/{model}"
    return [
        Route("/v2", describe_server),
        Route(place, describe_model),
        Route(f"{place}/ready", ready),
        Route(f"{place}/infer", answer_tensors, methods=["POST"]),
    ]


def infer(serving: Serving, body: bytes, named: bool = False, *, model: str) -> Answer:
    """Answer a request in the form of the protocol. Arguments as in `answers.score`.

    Raises:
        InputError: the body has another form, or the request is wrong.
    """
    content = parsed(body)
    try:
        (tensor,) = content["inputs"]
        (text,) = tensor["data"]
        form = (tensor["name"], tensor["datatype"], tensor["shape"])
        if form != (_TENSOR, "BYTES", [1]) or not isinstance(text, str):
            raise ValueError
    except (TypeError, KeyError, ValueError):
        raise InputError(
            f'inputs: expected {{"inputs": [{{"name": "{_TENSOR}", "datatype": "BYTES", "shape": [1], "data": '
            '["…"]}]}, with a request as text of JSON'
        ) from None
    id_of_client = content.get("id")
    if isinstance(id_of_client, str) and len(id_of_client) > _LONGEST_ID:
        raise InputError(f"id: {len(id_of_client):,} characters; expected at most {_LONGEST_ID}")
    request = as_request(parsed(text.encode("utf-8", "surrogatepass")))
    probabilities = serving.scorer.score(request).tolist()
    version = serving.scorer.version
    output = {"name": "probability", "datatype": "FP64", "shape": [len(probabilities)], "data": probabilities}
    answer = {"model_name": model, "model_version": version, "outputs": [output]}
    name = request_id()
    if named:
        answer["parameters"] = {"request_id": name}
    if isinstance(id_of_client, str):
        answer["id"] = id_of_client
    return Answer(to_json(answer), version, [request], [probabilities], [name])
