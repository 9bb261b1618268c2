"""examples/kubernetes/nginx.conf keeps slow, idle and hostile clients away from a real `din serve`."""

import contextlib
import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from din.bundle import Scorer
from tests.din_loop.served_world import World, running, wait_until_ready
from tests.helpers.ports import free_port

CONFIGURATION = Path(__file__).parents[3] / "examples/kubernetes/nginx.conf"
CONNECTIONS = 60
"""The worker's connections, instead of thousands."""
CHANGES = {
    "worker_connections 4096": f"worker_connections {CONNECTIONS}",
    " 10s": " 1s",
    "listen 8080": "listen {port}",
}
HEAD = b"POST /v1/score HTTP/1.1\r\nHost: x\r\n"
REQUEST = b'{"candidates": [67]}'

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is missing: apt install nginx"),
]


@pytest.fixture(scope="module")
def clients(steady: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """Return a client of nginx, and one of the server behind it."""
    folder = tmp_path_factory.mktemp("proxy")
    text = CONFIGURATION.read_text(encoding="utf-8")
    port = free_port()
    with running(steady.registry, folder) as (server, _):
        changes = CHANGES | {"127.0.0.1:8000": f"127.0.0.1:{server.base_url.port}", "/tmp/": f"{folder}/"}
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new.format(port=port))
        configuration = folder / "nginx.conf"
        configuration.write_text(text)
        with (folder / "nginx").open("w") as printed:
            command = [
                "nginx",
                "-e",
                "stderr",
                "-c",
                configuration,
                "-g",
                "user root;",
            ]  # root starts it here
            process = subprocess.Popen(command, stderr=printed)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                wait_until_ready(client, folder / "nginx")
                yield client, server
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture
def connect(clients: tuple[httpx.Client, httpx.Client]) -> Iterator[Callable[[], socket.socket]]:
    """Return a function that connects to nginx. The connections are closed at the end."""
    port = clients[0].base_url.port
    with contextlib.ExitStack() as stack:

        def connected() -> socket.socket:
            return stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))

        yield connected


def received(connection: socket.socket) -> bytes:
    """Return all that arrives until the connection ends."""
    answer = bytearray()
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(1 << 20):
            answer += piece
    return bytes(answer)


def answers(server: httpx.Client) -> dict[str, float]:
    """Return how many requests the server has answered, by status."""
    counts = re.findall(r'^din_answers_total\{status="(\d+)"\} (\S+)', server.get("/metrics").text, re.MULTILINE)
    return {status: float(count) for status, count in counts}


def test_answers_are_those_of_the_server(clients: tuple[httpx.Client, httpx.Client], steady: World) -> None:
    """Scores and errors come from the server, and nginx words as it does that a body is too large."""
    scorer = Scorer.open(steady.bundles[0])
    answer = clients[0].post("/v1/score", content=REQUEST).json()
    assert answer["probabilities"] == scorer.score(json.loads(REQUEST)).tolist()
    for body, says in [(b"3", "expected an object"), (b" " * 16_000_000, "not JSON")]:
        answer = clients[0].post("/v1/score", content=body)
        assert answer.status_code == 422 and says in answer.json()["error"]
    before = answers(clients[1])
    answer = clients[0].post("/v1/score", content=b" " * 16_000_001)
    assert answer.status_code == 413 and answer.json()["error"].startswith("the body is larger than 16 MB; ")
    assert answers(clients[1]) == before


@pytest.mark.parametrize("at_once", [0, 5, 20])
@pytest.mark.parametrize("protocol", ["websocket", "h2c"])
def test_an_offer_of_another_protocol(protocol: str, at_once: int, connect: Callable[[], socket.socket]) -> None:
    """Java's client offers HTTP/2 with each request. The server does not see it, and reads the body."""
    connection = connect()
    head = HEAD + f"Connection: Upgrade\r\nUpgrade: {protocol}\r\nContent-Length: {len(REQUEST)}\r\n\r\n".encode()
    for _ in range(2):
        connection.sendall(head + REQUEST[:at_once])
        time.sleep(0.1)
        connection.sendall(REQUEST[at_once:])
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "sent", [b"", HEAD, HEAD + b"Content-Length: 20\r\n\r\n{"], ids=["nothing", "half a head", "half a body"]
)
def test_a_slow_request(
    sent: bytes, clients: tuple[httpx.Client, httpx.Client], connect: Callable[[], socket.socket]
) -> None:
    """The proxy closes the connection of a slow request, and the server never sees the request."""
    before = answers(clients[1])
    connection = connect()
    connection.sendall(sent)
    assert received(connection)[:13] in (b"", b"HTTP/1.1 408 ")
    assert answers(clients[1]) == before


@pytest.mark.parametrize("line", [b"a: " + b"b" * 996 + b"\r\n", b"c" * 1000], ids=["many headers", "a long header"])
def test_a_long_head(line: bytes, connect: Callable[[], socket.socket]) -> None:
    """The proxy refuses an endless head before the client has sent all of it."""
    connection = connect()
    connection.sendall(HEAD + 70 * line)
    assert connection.recv(4096).startswith(b"HTTP/1.1 400 ")


def test_many_idle_connections(
    clients: tuple[httpx.Client, httpx.Client], connect: Callable[[], socket.socket]
) -> None:
    """Idle connections make room for new ones, whether or not they have sent a request before."""
    for _ in range(2 * CONNECTIONS):
        connect()
        connection = connect()
        connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert clients[0].post("/v1/score", content=REQUEST).status_code == 200


def test_a_client_that_reads_no_answer(
    clients: tuple[httpx.Client, httpx.Client], connect: Callable[[], socket.socket]
) -> None:
    """The connection ends once the answers fill nginx's buffers. The server never sees the other requests."""
    body = json.dumps({"candidates": [67] * 10_000}).encode()
    before = answers(clients[1])["200"]
    with contextlib.suppress(ConnectionError, TimeoutError):
        connect().sendall(200 * (HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body))
    time.sleep(3)
    assert 0 < answers(clients[1])["200"] - before < 200
    assert clients[0].post("/v1/score", content=REQUEST).status_code == 200
