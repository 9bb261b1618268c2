"""The description of the routes in OpenAPI's form, from the signature of the bundle that answers."""

from typing import Any

from din.bundle.scorer import Scorer
from din.kinds import OneId
from din.schema import ITEM_ID, TIMESTAMP, USER_ID, Group
from din_loop.server.settings import Settings

_ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}


def description(scorer: Scorer, settings: Settings) -> dict[str, Any]:
    """Return the OpenAPI document of the server. Its example is a request that the bundle answers."""
    errors = {
        "400": "the request was cut off",
        "408": "the body came too slowly",
        "413": "the body is too large",
        "415": "the body is compressed",
        "422": "the request is wrong; the message names field and value",
        "503": "too many requests wait; see Retry-After",
        "504": "no answer in time",
    }
    request = _request(scorer, settings)
    one_or_list = {"oneOf": [request, {"type": "array", "items": request}]}
    answer = {
        "type": "object",
        "required": ["version", "probabilities"],
        "properties": {
            "version": {"type": "string", "description": "the sha256 of the bundle that answered"},
            "probabilities": {
                "type": "array",
                "description": "in the order of the candidates; a list of lists for a list",
            },
            "why": {
                "type": "array",
                "description": "for each candidate, the parts of the request with the largest effects on its logit, "
                "largest first; a list of such lists for a list; only with explain",
            },
            "request_id": {"description": "the request's id in the server's log; only with --log"},
        },
    }
    explain = {
        "name": "explain",
        "in": "query",
        "description": "how many parts of the request to name for each candidate, those with the largest effects on "
        f"its score; each candidate is scored again without each part, at most {settings.limits.candidates:,} scores",
        "schema": {"type": "integer", "minimum": 0, "default": 0},
    }
    answered = {
        "version": scorer.version,
        "probabilities": [0.62],
        "why": [[{"history": 1, ITEM_ID: 302, "effect": 0.31}, {"user": USER_ID, "value": 196, "effect": -0.12}]],
    }
    score = {
        "summary": "Score the candidates of one request, or of a list of requests",
        "parameters": [explain],
        "requestBody": {"required": True, "content": _json(one_or_list, scorer.example())},
        "responses": {"200": {"description": "the probabilities of a click", "content": _json(answer, answered)}}
        | {status: {"description": text, "content": _json(_ERROR)} for status, text in errors.items()},
    }
    reads = {
        "/v1/model": "The bundle that answers, its record, its fields and an example",
        "/v2/health/live": "Whether the process lives",
        "/v2/health/ready": "Which bundle answers, and what hinders a newer one",
        "/metrics": "Figures for Prometheus",
    }
    paths: dict[str, Any] = {"/v1/score": {"post": score}}
    for path, text in reads.items():
        paths[path] = {"get": {"summary": text, "responses": {"200": {"description": text}}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Click-through rates of {settings.model}", "version": scorer.version},
        "paths": paths,
    }


def _request(scorer: Scorer, settings: Settings) -> dict[str, Any]:
    """Return the schema of a request."""

    def of(*groups: Group, known_by: str | None = None) -> dict[str, Any]:
        fields = {field.name: field.form.request_schema for field in scorer.fields if field.group in groups}
        id_field = {known_by: OneId.request_schema} if known_by else {}
        return {"type": "object", "properties": id_field | fields, "additionalProperties": False}

    def listed(entry: dict[str, Any], most: int) -> dict[str, Any]:
        return {"type": "array", "maxItems": most, "items": entry}

    item = {"anyOf": [OneId.request_schema, of(Group.ITEM, known_by=ITEM_ID)]}
    behaviour = of(Group.ITEM, Group.BEHAVIOUR, known_by=ITEM_ID)
    behaviour["properties"][TIMESTAMP] = {"type": ["number", "null"]}
    time: dict[str, Any] = {"description": "seconds since 1970 (UTC)"}
    if scorer.reads_ages:
        required = ["candidates", "time"]
        past = behaviour | {"required": [TIMESTAMP]}
        time["type"] = "number"
    else:
        required = ["candidates"]
        past = {"anyOf": [OneId.request_schema, behaviour]}
        time["type"] = ["number", "null"]
    properties = {
        "user": of(Group.USER, known_by=USER_ID),
        "history": listed(past, max(settings.limits.history, scorer.max_history)),
        "candidates": listed(item, settings.limits.candidates),
        "context": of(Group.CONTEXT),
        "time": time,
    }
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


def _json(schema: dict[str, Any], example: Any = None) -> dict[str, Any]:
    content = {"schema": schema} | ({} if example is None else {"example": example})
    return {"application/json": content}
