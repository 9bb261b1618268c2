"""The processes of `din serve`: one alone, or several below uvicorn's supervisor, which starts a dead one again."""

import logging
import multiprocessing
import os
import resource
import signal
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn
from starlette.applications import Starlette

from din import plugins
from din.base.errors import InputError, Unavailable
from din_loop.server.answer_log import AnswerLog
from din_loop.server.app import app
from din_loop.server.deployment import Deployment
from din_loop.server.metrics import MULTIPROCESS_VARIABLE
from din_loop.server.settings import Settings
from din_loop.server.shadow import Challenger, Shadow

_LOG = logging.getLogger("din_loop.server")
_IDLE_SECONDS = 75
"""The time that a connection waits for its next request. Proxies and load balancers keep idle connections for 60
seconds by default, and lose a request that they send while the server closes the connection."""
_DRAIN_SECONDS = 30
"""The time for requests that have begun when a signal ends the server."""
_HUNG_SECONDS = 60
"""The time without a sign of life after which the supervisor kills a process. On a busy machine, the imports of a new
process take longer than uvicorn's 5 seconds, and so may a step of opening a large bundle."""


def options(host: str, port: int) -> dict[str, Any]:
    """Return the options of uvicorn for an address."""
    return {
        "host": host,
        "port": port,
        "http": "httptools",
        "ws": "none",
        "timeout_keep_alive": _IDLE_SECONDS,
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
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS has a lower limit of its own
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each connection is a file, and 1,024 are soon idle
    if processes == 1:
        served = app(Deployment(settings), Challenger(Shadow.of(settings)))
        _check_address(host, port)
        uvicorn.run(served, **options(host, port))
        return
    Deployment(settings)  # a wrong registry, bundle, challenger or log is an error before any process starts
    Shadow.of(settings)
    AnswerLog.of(settings)
    _check_address(host, port)
    settings.hand_over()
    with TemporaryDirectory() as folder:
        os.environ[MULTIPROCESS_VARIABLE] = folder
        uvicorn.run("din_loop.server.run:create", factory=True, workers=processes, **options(host, port))


def create() -> Starlette:
    """Return the server of one of the processes that `din serve` started.

    A process that can't open the champion ends after a while, and the supervisor starts it again. Without a supervisor,
    e.g. if the system killed it for its memory, it ends too: it would keep the port from the next `din serve`.
    """
    settings = Settings.handed_over()
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    # Until there is something to drain, a signal ends the process at once; uvicorn's handlers would let it sleep on.
    handlers = {stop: signal.signal(stop, signal.SIG_DFL) for stop in (signal.SIGINT, signal.SIGTERM)}
    try:
        plugins.load_files(map(Path, settings.plugins))
        server = app(Deployment(settings), challenger(settings))
    except (InputError, Unavailable) as error:
        _LOG.error("%s", error)
        time.sleep(settings.refresh)
        raise SystemExit(1) from None
    for stop, handler in handlers.items():
        signal.signal(stop, handler)
    return server


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def challenger(settings: Settings) -> Challenger:
    """Return the challenger. A process that starts again serves without one that has gone since the command began."""
    try:
        return Challenger(Shadow.of(settings))
    except (InputError, Unavailable) as error:
        _LOG.error("%s; no challenger is scored", error)
        return Challenger(missing_because=str(error))


def _check_address(host: str, port: int) -> None:
    """Refuse an address where uvicorn would end with 3, the exit code of a closed gate."""
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        raise InputError(
            f"--host {host} --port {port}: {error.strerror}; expected a free port at an address of this machine: "
            "choose another, or stop what listens there"
        ) from None
