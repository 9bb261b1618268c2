"""An HTTP proxy on loopback, before an object store, that injects one fault at a time."""

import http.client
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread


@dataclass(frozen=True)
class Fault:
    """A fault, and the requests that it meets.

    Attributes:
        kind: answer (a status, nothing forwarded), landed (forwarded, but answered with a status), refuse (the
            connection closes, nothing forwarded), lose (forwarded, then the connection closes), truncate (half of the
            answer's body, then the connection closes), delay (forwarded after `seconds`).
        method: the method of the requests that it meets.
        part: a part of their path and query.
        status: the status of an answer.
        code: S3's name of the error in an answer.
        seconds: the length of a delay.
        times: the number of requests that fail; later ones pass.
    """

    kind: str
    method: str
    part: str
    status: int = 0
    code: str = "Fault"
    seconds: float = 0.0
    times: int = 1_000


class FaultyProxy:
    """The proxy at `url`; `inject` sets the next fault, and `requests` are the (method, path) pairs that it saw."""

    def __init__(self, host: str, port: int) -> None:
        self.upstream = (host, port)
        self.requests: list[tuple[str, str]] = []
        self.hits = 0
        self._fault: Fault | None = None
        self._left = 0
        self._lock = Lock()
        self.creating = Lock()  # a real store serialises conditional puts; moto might not
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def inject(self, fault: Fault | None) -> None:
        """Set one fault, or none, and forget the requests seen."""
        with self._lock:
            self._fault, self._left, self.hits = fault, fault.times if fault else 0, 0
            self.requests.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault that this request meets, and count it."""
        with self._lock:
            self.requests.append((method, path))
            fault = self._fault
            if fault is None or not self._left or fault.method != method or fault.part not in path:
                return None
            self._left -= 1
            self.hits += 1
            return fault

    @contextmanager
    def running(self) -> Iterator["FaultyProxy"]:
        """Serve in threads while the context lasts."""
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore errors: clients that disconnect and a store that stops are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    owner: FaultyProxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.owner.take(self.command, self.path)
        kind = fault.kind if fault else "none"
        if fault and kind == "delay":
            time.sleep(fault.seconds)
        if kind == "refuse":
            self._close()
            return
        if fault and kind == "answer":
            self._send(fault.status, {}, _error(fault))
            return
        status, headers, content = self._forwarded(body)
        if kind == "lose":
            self._close()
        elif fault and kind == "landed":
            self._send(fault.status, {}, _error(fault))
        elif kind == "truncate":
            self._send(status, headers, content, len(content) // 2)
            self._close()
        else:
            self._send(status, headers, content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _answer

    def _forwarded(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(*self.owner.upstream, timeout=60)
        try:
            with self.owner.creating if "If-None-Match" in self.headers else nullcontext():
                connection.request(self.command, self.path, body, dict(self.headers))
                answer = connection.getresponse()
                content = answer.read()
            return answer.status, dict(answer.getheaders()), content
        finally:
            connection.close()

    def _send(self, status: int, headers: dict[str, str], content: bytes, stop: int | None = None) -> None:
        self.send_response(status)
        kept = {name: value for name, value in headers.items() if name.lower() not in _OWN}
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(content))
        for name, value in {**kept, "Content-Length": length}.items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(ConnectionError):  # after a delay the client may have disconnected
            self.wfile.write(b"" if self.command == "HEAD" else content[:stop])
            self.wfile.flush()

    def _close(self) -> None:
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Print no log."""


_OWN = ("content-length", "transfer-encoding", "connection", "date", "server")


def _error(fault: Fault) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{fault.code}</Code><Message>injected</Message></Error>".encode()
