"""Whatever is sent to `din serve`, it answers or says in one line what is wrong, in bounded time and memory."""

import gzip
import http.client
import json
import re
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from din.bundle import Scorer
from tests.din_loop.served_world import World, running
from tests.helpers.strategies import REQUESTS, faulty

SOUND = {"user": {"user_id": 3, "age": 30}, "history": ["i4", "i5"], "candidates": ["i6", "i7"]}
MOST_CHARACTERS = 1_500
GROWTH_MB = 150
"""The memory that a server may gain from faulty messages. Most of them have a few hundred bytes."""
PEAK_MB = 2_000
"""The most memory of a server with the largest bodies: parsed, one of 16 MB needs up to 700 MB."""
PLACES = (
    r"(request \d+: )?([a-z_]+: |a request: |expected an object|the probability is not a number; a numeric value)"
    r"|the body is not JSON: |the body of [\d.]+ MB holds so many values|[\d,]+ requests in the list; "
)
"""How the line of a 422 begins."""

INFER = REQUESTS.map(
    lambda request: {"inputs": [{"name": "request", "datatype": "BYTES", "data": [json.dumps(request)]}]}
)
SCORE = (REQUESTS | st.lists(REQUESTS, max_size=3)).flatmap(faulty) | st.binary(max_size=50)
BODIES = {"/v1/score": SCORE, "/v1/score?explain=1": SCORE, "/v2/models/log/infer": INFER.flatmap(faulty)}
METHODS = ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PRI", "BREW", "post", ""]
TARGETS = ["/v1/score?explain=2", "/v1/score?explain=NaN", "/v1/score?explain=%ff&a=%00", "/v1/score?b", "/v1/score/"]
TARGETS += ["/v1/model", "/v2/health/ready", "/metrics", "//v1/score", "/v1/%73core", "*", "http://x/v1/score"]
TARGETS += ["http://[::1", "/%ff%00", "/../..", "/\xe9", "/" + "a" * 10_000, "", "?", "x:99999999"]
NAMES = ["Host", "Content-Length", "Transfer-Encoding", "Content-Encoding", "Content-Type", "Expect", "Connection"]
NAMES += ["Upgrade", "Sec-WebSocket-Key", "X-A", "\xff", "", "a b", "a:b", "A" * 10_000]
VALUES = ["0", "-1", "+2", "1e3", "0x2", "9" * 30, "2, 3", "chunked", "gzip", "identity", "gzip, chunked"]
VALUES += ["100-continue", "upgrade", "websocket", "h2c", "close", "[::1", "a/b?#@:", "", "\xff\xfe", "a\x00b"]
VALUES += ["b" * 10_000]
HEADERS = st.tuples(
    st.sampled_from(NAMES), st.sampled_from(VALUES) | st.text(st.characters(codec="latin-1"), max_size=9)
)
WEBSOCKET = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Key", "eA=="), ("Host", "y")]
SIZES = ["-1", "zz", "f" * 40, "0;" + "x" * 9]


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Draw an HTTP message: mostly a POST of a faulty request, and otherwise one with an odd head or odd framing."""
    target = draw(st.sampled_from(sorted(BODIES)))
    body = draw(BODIES[target])
    method, headers, framing = "POST", [], "length"
    match draw(st.integers(0, 11)):
        case 0:
            method = draw(st.sampled_from(METHODS))
        case 1:
            target = draw(st.sampled_from(TARGETS))
        case 2 | 3:
            headers = draw(st.lists(HEADERS, min_size=1, max_size=3))
        case 4:
            headers = draw(st.lists(st.sampled_from(WEBSOCKET), min_size=1, unique=True))
        case 5:
            framing = draw(st.sampled_from(["less", "none", "chunks", *SIZES]))
        case 6:
            headers, body = [("Content-Encoding", "gzip")], gzip.compress(body, mtime=0)
    if framing in ("length", "less"):
        headers += [("Content-Length", str(len(body) // (1 + (framing == "less"))))]
    elif framing != "none":
        headers += [("Transfer-Encoding", "chunked")]
        size = f"{len(body):x}" if framing == "chunks" else framing
        body = b"%s\r\n%s\r\n0\r\n\r\n" % (size.encode(), body)
    lines = [f"{method} {target} HTTP/1.1", "Host: x", *(f"{name}: {value}" for name, value in headers), "\r\n"]
    return "\r\n".join(lines).encode("latin-1") + body


@pytest.fixture
def server(steady: World, tmp_path: Path) -> Iterator[tuple[httpx.Client, int]]:
    """Return a client of a server, and its process. At the end it answers rightly, and has printed no traceback.

    The server may hold as many connections as the system allows, although it was started with few.
    """
    few, most = 256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, most))
    with running(steady.registry, tmp_path, "--timeout", "60", "--log", str(tmp_path / "served")) as (client, process):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        assert int(re.findall(r"open files\s+(\d+)", Path(f"/proc/{process}/limits").read_text())[0]) == most
        yield client, process
        expected = Scorer.open(steady.bundles[0]).score(SOUND).tolist()
        assert client.post("/v1/score", json=SOUND).json()["probabilities"] == expected
    printed = (tmp_path / "printed").read_text()
    assert "Traceback" not in printed, printed


def memory_mb(process: int, kind: str = "VmRSS") -> float:
    """Return the resident memory of a process, or the most that it has ever had, `VmHWM`."""
    return int(re.findall(rf"{kind}:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())[0]) / 1e3


@pytest.mark.hypothesis  # 2,000 of them in `make test-slow`
def test_messages(server: tuple[httpx.Client, int]) -> None:
    """Any message is answered with 200 or 4xx, which says what is wrong in one short line; memory does not grow."""
    client, process = server
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]

    @settings(max_examples=2 * settings.default.max_examples, suppress_health_check=checks)
    @given(message=messages())
    def check(message: bytes) -> None:
        with socket.create_connection((client.base_url.host, client.base_url.port), timeout=60) as connection:
            connection.sendall(message)
            answer = http.client.HTTPResponse(connection, method=message.split(b" ")[0].decode())
            answer.begin()
            check_answer(answer.status, answer.read())

    client.post("/v1/score", json=SOUND)
    before = memory_mb(process)
    check()
    assert memory_mb(process) - before < GROWTH_MB


def check_answer(status: int, body: bytes) -> None:
    assert status == 200 or 400 <= status < 500, (status, body)
    if status == 400 and body.startswith(b"I"):
        assert body == b"Invalid HTTP request received."
    elif status != 200 and body:  # no answer to HEAD has one
        error = json.loads(body)["error"]
        assert error.isprintable() and len(error) <= MOST_CHARACTERS
        assert status != 422 or re.match(PLACES, error), error


MB16 = 15_900_000
HUGE = {
    "a million candidates": (b'{"candidates": [' + b"1," * 999_999 + b"1]}", "candidates: 1,000,000 entries"),
    "a million behaviours": (
        b'{"candidates": [], "history": [' + b"1," * 999_999 + b"1]}",
        "history: 1,000,000 entries",
    ),
    "millions of requests": (b"[" + b"{}," * (MB16 // 3) + b"{}]", "so many values"),
    "a million keys": (
        b'{"candidates": [], ' + b",".join(b'"%d":1' % n for n in range(10**6)) + b"}",
        "so many values",
    ),
    "millions of levels": (b"[" * MB16, "so many values"),
    "millions of levels of objects": (b'{"a":' * (MB16 // 5), "so many values"),
    "millions of digits": (b'{"candidates": [' + b"1" * MB16 + b"]}", "number out of range"),
    "millions of decimals": (b'{"candidates": [], "user": {"age": 0.' + b"1" * MB16 + b"}}", None),
    "a long id": (b'{"candidates": ["' + b"x" * MB16 + b'"]}', None),
    "a long key": (b'{"' + b"x" * MB16 + b'": 1}', "unknown key 'xxx"),
    "a long list of tags": (b'{"candidates": [{"tags": [' + b"1," * 2_000_000 + b"1]}]}", None),
    "a long vector": (b'{"candidates": [{"embedding": [' + b"1," * 2_000_000 + b"1]}]}", "embedding: "),
    "one key many times": (b"{" + b'"candidates": [],' * 200_000 + b'"candidates": []}', None),
    "many lists": (b"[" + b"[]," * 900_000 + b"[]]", "request 0: expected an object"),
    "many keys": (b'{"candidates": [], ' + b",".join(b'"%d":1' % n for n in range(240_000)) + b"}", "unknown key '0'"),
    "half of a character": (b'{"candidates": ["' + b"\\ud83d" * 2_000_000 + b'"]}', "lone leading surrogate"),
    "more than 16 MB": (b" " * 16_000_001, "the body is larger than 16 MB"),
}


@pytest.mark.slow
def test_huge_bodies(server: tuple[httpx.Client, int]) -> None:
    """A body up to the limit is answered, or refused with the cause, and memory stays bounded."""
    client, process = server
    client.timeout = 60
    for _ in range(3):
        for name, (body, says) in HUGE.items():
            answer = client.post("/v1/score", content=body)
            assert (answer.status_code == 200) is (says is None), (name, answer.text[:MOST_CHARACTERS])
            check_answer(answer.status_code, answer.content)
            assert (says or "") in answer.text, name
    assert memory_mb(process, "VmHWM") < PEAK_MB
