"""Refuse requests before the routes see them and before their bodies are read, so that a refusal costs little."""

from collections.abc import Callable

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from din.base.errors import shown
from din_loop.server import metrics
from din_loop.server.bodies import CLOSE, RETRY

BUSY = "too many requests wait already; try again in a second, or start more --processes"
_BODILESS = ("GET", "HEAD")


class Admission:
    """Pass requests on to `app`, unless one offers another protocol, or is for scores while the server is full."""

    def __init__(self, app: ASGIApp, is_full: Callable[[], bool]) -> None:
        self._app = app
        self._is_full = is_full
        self._busy = JSONResponse({"error": BUSY}, 503, RETRY)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as an ASGI application does."""
        answer = self._refusal(scope) if scope["type"] == "http" and scope["method"] not in _BODILESS else None
        if answer is None:
            await self._app(scope, receive, send)
        else:
            metrics.ANSWERS.labels(answer.status_code).inc()
            metrics.SECONDS.observe(0.0)
            await answer(scope, receive, send)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        offers = [value for name, value in scope["headers"] if name == b"upgrade"]
        if offers:  # the parser loses the body after such a head, or takes it for another request
            offer = shown(offers[0].decode("latin-1"))
            message = f"upgrade: {offer}; expected plain HTTP/1.1: put a proxy in front, as docs/serving.md says"
            return JSONResponse({"error": message}, 400, CLOSE)
        return self._busy if self._is_full() else None
