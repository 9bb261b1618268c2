"""The server answers as the scorer does, refuses what is wrong in one line, and never hangs."""

import contextlib
import gzip
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import jsonschema
import numpy as np
import pytest
from typer.testing import CliRunner

from din.base.errors import MOST_SHOWN
from din.bundle import Scorer
from din.cli import app
from din_loop.explain import explain
from din_loop.server import bodies
from tests.helpers.code_blocks import Block, of, statements

PAST = ["i4", {"item_id": "i5", "rating": 4}]
REQUEST = {"user": {"user_id": 3, "age": 30}, "history": PAST, "candidates": ["i6", 7]}


@pytest.fixture(scope="module")
def client(steady, serving) -> Iterator[httpx.Client]:
    with serving(steady.deploy(timeout=25)) as client:
        yield client


@pytest.fixture(scope="module")
def scorer(steady) -> Scorer:
    return Scorer.open(steady.bundles[0])


@pytest.mark.parametrize("request_", [REQUEST, {"candidates": []}, {"candidates": ["unknown"], "context": None}])
def test_one_request(request_, client: httpx.Client, scorer: Scorer) -> None:
    """The answer holds the scorer's probabilities and the bundle's version."""
    answer = client.post("/v1/score", json=request_)
    assert answer.status_code == 200
    assert answer.json() == {"version": scorer.version, "probabilities": scorer.score(request_).tolist()}


def test_many_requests(client: httpx.Client, scorer: Scorer) -> None:
    """A list is answered by a list for each request."""
    requests = [REQUEST, {"candidates": ["i1"]}, {"candidates": []}]
    answer = client.post("/v1/score", json=requests).json()
    assert answer["probabilities"] == [scores.tolist() for scores in scorer.score_many(requests)]
    assert client.post("/v1/score", json=[]).json()["probabilities"] == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives a thread a priority of its own")
def test_answers_come_first(client: httpx.Client) -> None:
    """The thread that tries new bundles has a lower priority than those that answer."""
    watches = [thread.native_id for thread in threading.enumerate() if thread.name == "watch"]
    assert watches
    usual = os.getpriority(os.PRIO_PROCESS, os.getpid())
    for watch in watches:
        while os.getpriority(os.PRIO_PROCESS, watch or 0) <= usual:  # it may not have begun yet
            time.sleep(0.01)


def test_why_a_score(client: httpx.Client, scorer: Scorer) -> None:
    """`?explain=2` adds the scorer's own explanation of each candidate, and changes nothing else."""
    requests = [REQUEST, {"candidates": ["i1"]}, {"candidates": []}]
    explanations = [explain(scorer, request) for request in requests]
    whys = [
        [explanation.strongest(place, 2) for place in range(explanation.effects.shape[1])]
        for explanation in explanations
    ]
    assert [len(why) for why in whys[0]] == [2, 2]
    for sent, why in [(REQUEST, whys[0]), (requests, whys)]:
        plain = client.post("/v1/score", json=sent).json()
        assert client.post("/v1/score?explain=2", json=sent).json() == plain | {"why": why}
        assert client.post("/v1/score?explain=0", json=sent).json() == plain
    answer = client.post("/v1/score?explain=99", content=b'{"user": {"age": NaN}, "candidates": [1]}')
    assert {"user": "age", "value": None, "effect": 0.0} in answer.json()["why"][0]


def test_too_much_to_explain(client: httpx.Client, scorer: Scorer) -> None:
    """A request takes one score for each candidate with all parts, and one without each, also if it has none."""
    long = {"history": ["i1"] * (scorer.max_history + 3), "candidates": []}
    for request in [REQUEST, {"candidates": []}, long]:
        scores = 1 + len(explain(scorer, request).parts)
        most = 1000 // scores
        short = request | {"candidates": ["i1"]}
        many = request | {"candidates": ["i1"] * most}
        for fits, beyond in [
            (many, many | {"candidates": ["i1"] * (most + 1)}),
            ([short] * most, [short] * (most + 1)),
        ]:
            assert client.post("/v1/score?explain=1", json=fits).status_code == 200
            answer = client.post("/v1/score?explain=1", json=beyond)
            assert (answer.status_code, client.post("/v1/score", json=beyond).status_code) == (422, 200)
            assert answer.json()["error"].startswith(f"explain: 1 takes {scores * (most + 1):,} scores")
        assert client.post("/v1/score?explain=1", json=[request | {"candidates": []}] * (most + 1)).status_code == 422
    assert client.post("/v1/score?explain=1", json=[]).json()["why"] == []


def test_an_explanation_grows_no_request(client: httpx.Client) -> None:
    """A long value is cut, not repeated for each candidate, and a large body is not read again and again."""
    request = {"user": {"user_id": "u" * 10_000}, "candidates": [*range(50)]}
    answer = client.post("/v1/score?explain=9", json=request)
    assert answer.status_code == 200 and len(answer.content) < 200_000
    (value,) = {part["value"] for parts in answer.json()["why"] for part in parts if part.get("user") == "user_id"}
    assert len(value) <= MOST_SHOWN
    large = {"user": {"user_id": "u" * 90_000}, "candidates": [1]}
    answer = client.post("/v1/score?explain=1", json=large)
    assert answer.status_code == 422 and "reads a body of 90," in answer.json()["error"]


@pytest.mark.parametrize("number", ["", "-1", "2.5", "all", "9" * 5000])
def test_a_wrong_number_of_parts(number: str, client: httpx.Client) -> None:
    """The message names the value, and what was expected."""
    answer = client.post(f"/v1/score?explain={number}", json=REQUEST)
    assert answer.status_code == 422
    assert re.fullmatch(rf"explain: '{number[:9]}.*; expected a whole number from 0, .*", answer.json()["error"])


@pytest.mark.parametrize(("path", "valid"), [("/v1/score", "explain"), ("/v2/models/log/infer", "none")])
def test_an_unknown_parameter_of_the_query(path: str, valid: str, client: httpx.Client) -> None:
    """A typo is named, with the parameters that exist."""
    answer = client.post(f"{path}?explian=3", json=REQUEST)
    assert answer.status_code == 422
    assert answer.json() == {"error": f"query: 'explian' is unknown; valid: {valid}"}


CALLS = [block for block in of("") if block.page.stem == "serving" and block.text.startswith("curl ")]


@pytest.mark.parametrize("block", CALLS, ids=str)
def test_calls_of_the_page(block: Block, client: httpx.Client) -> None:
    """The server answers each call of docs/serving.md, and explains where it is asked to."""
    for call in statements(block):
        at = f"{client.base_url.host}:{client.base_url.port}"
        command = call.replace("curl -s", "curl -sSf").replace("localhost:8000", at)
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
        assert done.returncode == 0, done
        assert ("why" in json.loads(done.stdout)) is ("explain" in call)


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 422, "not JSON"),
        (b"[" * 30_000, 422, "not JSON"),
        (b"3", 422, "expected an object"),
        (b"[3]", 422, "request 0"),
        (b'[{"candidates": []}, {"candidates": 4}]', 422, "request 1: candidates: 4"),
        (b'{"candidats": []}', 422, "unknown key 'candidats'"),
        (b'{"candidates": [1], "user": {"age": "31"}}', 422, "age: '31'"),
        (b'{"candidates": [1], "context": []}', 422, "context: []; expected an object"),  # or the log loses contexts
        (b'{"candidates": [' + b"1, " * 1000 + b"1]}", 422, "1,001 entries"),
        (b"[" + b", ".join([b'{"candidates": [1, 2, 3]}'] * 400) + b"]", 422, "1,200 candidates in the list"),
        (
            b"[" + b", ".join([b'{"candidates": []}'] * 1001) + b"]",
            422,
            "1,001 requests in the list; expected at most 1,000",
        ),
        (b" " * 100_001, 413, "larger than 0.1 MB"),
    ],
)
def test_a_wrong_body(body: bytes, status: int, says: str, client: httpx.Client) -> None:
    """One line names what is wrong, and the server answers on."""
    answer = client.post("/v1/score", content=body)
    assert answer.status_code == status
    assert says in answer.json()["error"] and "\n" not in answer.json()["error"]
    assert client.post("/v1/score", json=REQUEST).status_code == 200


def test_a_wrong_route(client: httpx.Client) -> None:
    """Unknown paths and methods are errors in JSON too."""
    before = [figure(client, f'din_answers_total{{status="{status}"}}') for status in (404, 405)]
    assert client.get("/v1/scores").json() == {"error": "Not Found"}
    assert client.get("/v1/score").status_code == 405
    assert client.post("/v1/score/", json=REQUEST).status_code == 404  # no redirect to the Host of the request
    after = [figure(client, f'din_answers_total{{status="{status}"}}') for status in (404, 405)]
    assert np.subtract(after, before).tolist() == [2, 1]


@pytest.mark.parametrize("path", ["/v1/score", "/nowhere"])
@pytest.mark.parametrize("offer", ["Upgrade\r\nUpgrade: websocket", "Upgrade\r\nUpgrade: h2c", "close\r\nUpgrade: h2c"])
def test_an_offer_of_another_protocol(offer: str, path: str, client: httpx.Client) -> None:
    """It is refused at once, because the body is lost, and the rest of the body is not read as a request."""
    with connected(client) as connection:
        body = b"GET /v1/model HTTP/1.1\r\n\r\n"
        head = f"POST {path} HTTP/1.1\r\nConnection: {offer}\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1 ") == 1
    assert f"upgrade: '{offer.split()[-1]}'; expected plain HTTP/1.1".encode() in answer


def test_no_http(client: httpx.Client) -> None:
    """A head that is not HTTP is answered with 400."""
    with connected(client) as connection:
        connection.sendall(b"POST /v1/score HTTP/1.1\r\nContent-Length: 1e3\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 400 ")


def figure(client: httpx.Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return float(next((line.split()[-1] for line in lines if line.startswith(name)), 0))


def test_a_compressed_body(client: httpx.Client) -> None:
    """It is refused as such."""
    body = gzip.compress(json.dumps(REQUEST).encode())
    answer = client.post("/v1/score", content=body, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["error"][:23]) == (415, "content-encoding: 'gzip")


@pytest.mark.parametrize(
    ("kind", "origin", "status"),
    [
        ("text/plain;charset=UTF-8", "https://elsewhere.example", 415),
        ("Text/Plain", None, 415),
        ("application/x-www-form-urlencoded", "https://elsewhere.example", 415),
        (None, "null", 415),
        ("application/x-www-form-urlencoded", None, 200),
        ("application/json", "https://elsewhere.example", 200),
    ],
)
def test_the_type_of_a_body(kind: str | None, origin: str | None, status: int, client: httpx.Client) -> None:
    """A body that any web page may send without asking is refused. Those of curl and JSON clients are scored."""
    headers = {name: value for name, value in {"Content-Type": kind, "Origin": origin}.items() if value}
    answer = client.post("/v1/score", content=json.dumps(REQUEST), headers=headers)
    assert answer.status_code == status
    assert status == 200 or "; expected application/json" in answer.json()["error"]


def test_an_endless_body_is_not_read(client: httpx.Client) -> None:
    """A body without a length ends at the limit."""

    def endless() -> Iterator[bytes]:
        while True:
            yield b" " * 10_000

    with contextlib.suppress(httpx.WriteError):  # the server may close before the client reads the answer
        assert client.post("/v1/score", content=endless()).status_code == 413
    assert client.get("/v2/health/live").json() == {"live": True}


def test_many_large_bodies_at_once(steady, serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies beyond the memory for all of them are refused, and their bytes are given back."""
    monkeypatch.setattr(bodies, "_MOST_BYTES", 1000)
    with serving(steady.deploy()) as client:
        for _ in range(3):
            large = client.post("/v1/score", content=b" " * 1001)
            assert (large.status_code, large.headers["retry-after"]) == (503, "1")
            assert client.post("/v1/score", json=REQUEST).status_code == 200


def test_a_slow_body(steady, serving) -> None:
    """A body that does not arrive in time is answered with 408."""
    with serving(steady.deploy(timeout=0.2)) as client, connected(client) as connection:
        connection.sendall(b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
        assert b" 408 " in connection.recv(4096).split(b"\r\n")[0]


def test_busy_and_late(steady, serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread scores one request, one more may wait, and the next gets 503. Both get 504 in time.

    A thread keeps its place until it is done, and a request that waited too long is never scored. Meanwhile the server
    lives, but is not ready.
    """
    score, release, scored = Scorer.score, threading.Event(), []

    def slow(self, request):
        scored.append(request["user"]["user_id"])
        release.wait(30)
        return score(self, request)

    with serving(steady.deploy(queue=1, timeout=1)) as client, ThreadPoolExecutor() as pool:
        monkeypatch.setattr(Scorer, "score", slow)

        def post(user: int) -> int:
            answer = client.post("/v1/score", json=REQUEST | {"user": {"user_id": user}})
            assert ("retry-after" in answer.headers) is (answer.status_code != 200)
            return answer.status_code

        first = pool.submit(post, 1)
        while not scored:
            time.sleep(0.01)
        second = pool.submit(post, 2)
        time.sleep(0.2)
        assert (post(3), first.result(), second.result(), post(4)) == (503, 504, 504, 503)
        ready = client.get("/v2/health/ready")
        assert (ready.status_code, ready.json()["ready"]) == (503, False)
        assert client.get("/v2/health/live").status_code == 200
        release.set()
        while (status := post(5)) == 503:
            time.sleep(0.01)
        assert (status, scored) == (200, [1, 5])
        assert client.get("/v2/health/ready").json()["ready"] is True


@pytest.mark.parametrize("processes", ["1", "2"])
def test_an_address_that_is_taken(processes: str, steady) -> None:
    """The command says so, and does not end as a closed gate would."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        place = ["--registry", steady.registry.uri, "--model", steady.registry.model_name, "--port", port]
        done = CliRunner().invoke(app, ["serve", *place, "--processes", processes])
    assert done.exit_code == 2 and f"--host 127.0.0.1 --port {port}: Address already in use" in done.stderr


def connected(client: httpx.Client) -> socket.socket:
    connection = socket.create_connection((client.base_url.host, client.base_url.port))
    connection.settimeout(10)
    return connection


def test_the_open_inference_protocol(client: httpx.Client, scorer: Scorer) -> None:
    """One text of JSON goes in, and one tensor of probabilities comes out."""
    tensor = {"name": "request", "datatype": "BYTES", "shape": [1], "data": [json.dumps(REQUEST)]}
    answer = client.post("/v2/models/log/infer", json={"id": "7", "inputs": [tensor]}).json()
    (output,) = answer["outputs"]
    assert (answer["id"], answer["model_version"], output["shape"]) == ("7", scorer.version, [2])
    assert output["data"] == scorer.score(REQUEST).tolist()
    long = client.post("/v2/models/log/infer", json={"id": 101 * "7", "inputs": [tensor]})
    assert (long.status_code, long.json()) == (422, {"error": "id: 101 characters; expected at most 100"})
    metadata = client.get("/v2/models/log").json()
    assert (metadata["inputs"][0]["name"], metadata["outputs"][0]["name"]) == ("request", output["name"])


@pytest.mark.parametrize(
    "inputs",
    [
        None,
        [],
        [{}],
        [{"name": "request", "datatype": "FP32", "shape": [1], "data": ["{}"]}],
        [{"name": "request", "datatype": "BYTES", "shape": [2], "data": ["{}"]}],
    ],
)
def test_a_wrong_tensor(inputs, client: httpx.Client) -> None:
    """The message shows the form."""
    answer = client.post("/v2/models/log/infer", json={"inputs": inputs})
    assert answer.status_code == 422 and '"datatype": "BYTES"' in answer.json()["error"]


def test_what_answers(client: httpx.Client, scorer: Scorer) -> None:
    """The model's page names version, record and fields, and its example is answered."""
    page = client.get("/v1/model").json()
    assert (page["version"], page["record"]["number"], page["max_history"]) == (scorer.version, 1, scorer.max_history)
    assert page["fields"]["price"] == {"group": "item", "kind": "numeric"}
    assert client.post("/v1/score", json=page["example"]).status_code == 200
    assert page["example"]["user"]["user_id"] not in scorer.users
    assert client.get("/v2/health/ready").json()["version"] == scorer.version


def test_the_description(client: httpx.Client) -> None:
    """The schema accepts the example and refuses what the server refuses."""
    post = client.get("/openapi.json").json()["paths"]["/v1/score"]["post"]
    described = post["requestBody"]["content"]["application/json"]
    for value, valid in [(described["example"], True), ([REQUEST], True), ({"candidates": [1], "usr": {}}, False)]:
        assert jsonschema.Draft202012Validator(described["schema"]).is_valid(value) is valid
        assert (client.post("/v1/score", json=value).status_code == 200) is valid
    answer = post["responses"]["200"]["content"]["application/json"]
    explained = client.post("/v1/score?explain=1", json=described["example"]).json()
    assert explained.keys() == answer["example"].keys()
    for value, valid in [(answer["example"], True), (explained, True), ({"version": "", "why": []}, False)]:
        assert jsonschema.Draft202012Validator(answer["schema"]).is_valid(value) is valid
    (parameter,) = post["parameters"]
    assert (parameter["name"], parameter["in"], parameter["schema"]["minimum"]) == ("explain", "query", 0)


def test_figures(client: httpx.Client, scorer: Scorer) -> None:
    """Answers are counted by status, and candidates by version."""
    scored = f'din_scores_total{{version="{scorer.version}"}}'
    before = [figure(client, name) for name in ('din_answers_total{status="422"}', scored)]
    client.post("/v1/score", content=b"3")
    client.post("/v1/score", json=REQUEST)
    after = [figure(client, name) for name in ('din_answers_total{status="422"}', scored)]
    assert np.subtract(after, before).tolist() == [1, 2]
    assert figure(client, "din_record ") == 1


def test_a_bug_is_counted(steady, serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is answered with one line, and counted once."""
    with serving(steady.deploy()) as client:
        monkeypatch.setattr(Scorer, "score", lambda *_: 1 / 0)
        before = figure(client, 'din_answers_total{status="500"}')
        answer = client.post("/v1/score", json=REQUEST, headers={"Connection": "close"})
        assert (answer.status_code, answer.json()["error"].split(";")[0]) == (500, "a bug: ZeroDivisionError")
        assert figure(client, 'din_answers_total{status="500"}') == before + 1


def test_a_slow_request_is_logged_with_its_steps(steady, serving, caplog: pytest.LogCaptureFixture) -> None:
    """One line has the time of each step, and the next request within a second adds none."""
    with serving(steady.deploy(slow=0.0)) as client:
        for _ in range(2):
            client.post("/v1/score", json=REQUEST)
    (line,) = [record.getMessage() for record in caplog.records if "slow request" in record.getMessage()]
    steps = "slow request: .* ms in all, body .* ms, wait .* ms, score .* ms"
    of = f"version {Scorer.open(steady.bundles[0]).version[:12]}, 1 requests, 2 candidates, histories of at most 2"
    assert re.fullmatch(f"{steps}, {of}; status 200", line)
