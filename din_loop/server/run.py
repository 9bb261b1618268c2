"""The processes of `din serve`: one alone, or several below uvicorn's supervisor, which starts a dead one again."""

import asyncio
import os
import socket
import sys
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn
from httptools import HttpParserCallbackError, HttpParserUpgrade
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from din.base.errors import InputError
from din_loop.server import metrics
from din_loop.server.answer_log import AnswerLog
from din_loop.server.app import app
from din_loop.server.deployment import Deployment
from din_loop.server.metrics import FOLDER
from din_loop.server.settings import Settings
from din_loop.server.shadow import Shadow

_HEAD_SECONDS = 10.0
"""The time in which the head of a request must arrive. A client that sends a byte a minute must not stay connected."""
_IDLE_SECONDS = 75.0
"""The time that a connection waits for its next request. Load balancers keep idle connections for 60 seconds by
default, and lose a request that they send while the server closes the connection."""
_HEAD_BYTES = 64_000
"""The bytes that may arrive in a row without completing a head or belonging to a body: one longer head, or trailers."""
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_CONNECTIONS = 1000
"""The open connections of a process. A new one beyond them is closed at once."""
_DRAIN_SECONDS = 30
"""The time for requests that have begun when a signal ends the server."""
_HUNG_SECONDS = 60
"""The time without a sign of life after which the supervisor kills a process. On a busy machine, the imports of a new
process take longer than uvicorn's 5 seconds, and so may a step of opening a large bundle."""


class Impatient(HttpToolsProtocol):
    """uvicorn's protocol, which closes a connection whose next request does not begin in time, or in few bytes."""

    _timer: asyncio.TimerHandle | None = None
    _head = 0
    _advanced = False
    _data = b""
    _again = b""

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request, or close a connection too many."""
        super().connection_made(transport)
        if len(self.connections) > _CONNECTIONS:
            transport.abort()
            metrics.CLOSED.labels("too many").inc()
            return
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Stop waiting if a request has begun, and close the connection if its head is too long."""
        self._advanced = False
        self._again = data
        while self._again:
            self._data, self._again = self._again, b""
            super().data_received(self._data)
        self._data = b""
        begun = self.cycle is not None and not self.cycle.response_complete
        self._head = 0 if self._advanced else self._head + len(data)
        too_long = self._head > _HEAD_BYTES
        if begun or too_long:
            self._stop_waiting()
        else:
            self._wait()
        if too_long:
            if not begun:
                self.transport.write(_TOO_LARGE)
            self.transport.close()
            metrics.CLOSED.labels("long head").inc()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        super().connection_lost(exc)
        self._stop_waiting()

    def on_headers_complete(self) -> None:
        """Note that a head was complete."""
        self._advanced = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Note that bytes belonged to a body."""
        self._advanced = True
        super().on_body(body)

    def _should_upgrade(self) -> bool:
        return self._get_upgrade() is not None

    def handle_websocket_upgrade(self) -> None:
        """Have a request read again without its offer of another protocol, which Java's client makes with each request.

        httptools takes all that follows the head for the other protocol, so the body would be lost.
        """
        upgrade = sys.exception()
        assert isinstance(upgrade, HttpParserUpgrade) and self.parser
        (end,) = upgrade.args  # of the head
        version = self.parser.get_http_version().encode()
        kept = [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        first = b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)
        self._again = b"\r\n".join([first, *kept, b"\r\n"]) + self._data[end:]

    def send_400_response(self, msg: str) -> None:
        """Name the cause, which uvicorn does not. The only one of uvicorn's own is a target without a path."""
        error = sys.exception()
        cause = "the target has no path" if isinstance(error, HttpParserCallbackError) else error
        super().send_400_response(f"{msg.removesuffix('.')}: {cause}")

    def _wait(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_HEAD_SECONDS, self._give_up)

    def _stop_waiting(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection of a client that does not read its answer, or wait for the next request."""
        if self.transport.get_write_buffer_size():
            self._close()
        else:
            self.timeout_keep_alive_task = self.loop.call_later(_IDLE_SECONDS - _HEAD_SECONDS, self._close)

    def on_response_complete(self) -> None:
        """Cut off a connection that its answer ends, if its client does not read it."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._close()

    def _close(self) -> None:
        """Close the connection, and cut it off later if its client has not read the answer by then."""
        self.transport.close()
        asyncio.get_running_loop().call_later(_HEAD_SECONDS, self.transport.abort)

    def _give_up(self) -> None:
        self._timer = None
        if self.cycle is None or self.cycle.response_complete:
            self._close()
            metrics.CLOSED.labels("slow head").inc()


def options(host: str, port: int) -> dict[str, Any]:
    """Return the options of uvicorn for an address."""
    return {
        "host": host,
        "port": port,
        "http": Impatient,
        "timeout_keep_alive": _HEAD_SECONDS,  # until `Impatient` sees whether the client has read its answer
        "timeout_graceful_shutdown": _DRAIN_SECONDS,
        "timeout_worker_healthcheck": _HUNG_SECONDS,
        "access_log": False,
        "server_header": False,
    }


def serve(settings: Settings, host: str, port: int, processes: int) -> None:
    """Serve until a signal ends the process. Requests that have begun are answered.

    Raises:
        InputError: there is no champion, it or the challenger can't be opened, or the log can't be written,
            or nothing can listen at the address.
        Unavailable: the registry doesn't answer.
    """
    if processes == 1:
        served = app(Deployment(settings), Shadow.of(settings))
        _check_address(host, port)
        uvicorn.run(served, **options(host, port))
        return
    Deployment(settings)  # a wrong registry, bundle, challenger or log is an error before any process starts
    Shadow.of(settings)
    AnswerLog.of(settings)
    _check_address(host, port)
    settings.hand_over()
    with TemporaryDirectory() as folder:
        os.environ[FOLDER] = folder
        uvicorn.run("din_loop.server.app:create", factory=True, workers=processes, **options(host, port))


def _check_address(host: str, port: int) -> None:
    """Refuse an address where uvicorn would end with 3, the exit code of a closed gate."""
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        raise InputError(
            f"--host {host} --port {port}: {error.strerror}; expected a free port at an address of this machine: "
            "choose another, or stop what listens there"
        ) from None
