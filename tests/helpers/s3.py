"""A store that speaks S3, played by moto, with one empty bucket, which fails on demand."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from threading import Lock, Thread
from typing import Any
from urllib.request import Request, urlopen

import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Response

BUCKET = "models"


@dataclass(frozen=True)
class Fault:
    """A fault, and the requests that it meets.

    Attributes:
        kind: answer (a status instead of the store's answer), landed (the same, after the store did its work), refuse
            (the connection closes at once), lose (it closes after the store did its work), truncate (it closes after
            half of the answer's body), delay (the store works after `seconds`).
        method: the method of the requests that it meets, or of all.
        part: a part of their path and query.
        status: the status of an answer.
        code: S3's name of the error in an answer.
        seconds: the length of a delay.
        times: the number of requests that fail; later ones pass.
    """

    kind: str
    method: str = ""
    part: str = ""
    status: int = 0
    code: str = "Fault"
    seconds: float = 0.0
    times: int = 1_000


class FaultyStore:
    """The store; `inject` sets its fault, and `requests` and `hits` count the requests and those that met it."""

    def __init__(self) -> None:
        self.requests = self.hits = 0
        self._store = DomainDispatcherApplication(create_backend_app)
        self._fault: Fault | None = None
        self._lock = Lock()
        self._one_by_one = Lock()  # a real store serialises conditional puts; moto might not
        self.server = make_server("127.0.0.1", 0, self, threaded=True, request_handler=_Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def inject(self, fault: Fault | None) -> None:
        """Set one fault, or none, and count from zero."""
        with self._lock:
            self._fault = fault
            self.requests = self.hits = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        """Answer a request. Its body is always read, since the server waits for the rest of it before it closes."""
        environ["wsgi.input"] = BytesIO(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
        fault = self._met(environ["REQUEST_METHOD"], f"{environ['PATH_INFO']}?{environ['QUERY_STRING']}")
        kind = fault.kind if fault else ""
        if fault:
            time.sleep(fault.seconds)
        if kind == "refuse":
            raise ConnectionResetError
        if kind != "answer":
            with self._one_by_one:
                answer = Response.from_app(self._store, environ)
        if kind == "lose":
            raise ConnectionResetError
        if fault and kind in ("answer", "landed"):
            answer = Response(f"<?xml version='1.0'?><Error><Code>{fault.code}</Code></Error>", fault.status)
        start_response(answer.status, list(answer.headers.items()))
        if environ["REQUEST_METHOD"] != "HEAD":
            yield answer.data[: len(answer.data) // 2] if kind == "truncate" else answer.data
        if kind == "truncate":
            raise ConnectionResetError

    def _met(self, method: str, place: str) -> Fault | None:
        with self._lock:
            self.requests += 1
            fault = self._fault
            if fault is None or self.hits == fault.times or fault.method not in method or fault.part not in place:
                return None
            self.hits += 1
            return fault


class _Handler(WSGIRequestHandler):
    def connection_dropped(self, error: BaseException, environ: dict[str, Any] | None = None) -> None:
        """Close the connection after a fault, too."""
        self.close_connection = True

    def log(self, *args: object) -> None:
        """Print nothing."""


@contextmanager
def store() -> Iterator[FaultyStore]:
    faulty = FaultyStore()
    Thread(target=faulty.server.serve_forever, args=(0.05,), daemon=True).start()
    urlopen(Request(f"{faulty.url}/{BUCKET}", method="PUT")).close()
    yield faulty
    faulty.server.shutdown()


def allow(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Set the environment of a permitted user."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
