"""The ways to score a request that the benchmark compares agree, and its load reaches a server."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from benchmarks import serving
from benchmarks.exported import products_alone
from benchmarks.load import loaded
from benchmarks.workload import WORKLOADS
from din.params.train import Train

LOG = replace(WORKLOADS[0], rows=100, items=500)


@pytest.mark.slow
def test_ours_and_pytorch_score_the_same_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way but `padded` gives PyTorch's logits, and every way has a time."""
    monkeypatch.setattr(serving, "CANDIDATES", (1, 70))
    monkeypatch.setattr(serving, "LENGTHS", (0, 100))
    monkeypatch.setattr(serving, "TO_THE_PRODUCTS", ((70, 100),))
    sizes = []
    for candidates, length, runs in serving.ways(replace(LOG, max_history=100)):
        sizes.append((candidates, length))
        expected = np.concatenate([logits.numpy() for logits in runs["request_torch_ms"]()])
        assert expected.shape == (candidates,)
        for way in ("request_raw_ms", "request_packed_ms", "request_onnx_ms"):
            assert np.allclose(runs[way]().logits, expected, rtol=0, atol=1e-6)
        assert ("products_ms" in runs) == ((candidates, length) == (70, 100))
        times = serving.in_turns(runs)
        assert times.keys() == runs.keys() and all((ms > 0).all() for ms in times.values())
    assert sizes == [(1, 0), (1, 100), (70, 0), (70, 100)]


def test_the_products_are_of_every_pair() -> None:
    """The pieces are small, equal, and together all pairs but at most one in each piece."""
    for candidates, length in ((1, 3), (500, 100), (500, 1000)):
        sizes = [len(outputs[0]) for outputs in products_alone(candidates, length, 8, Train(), threads=1)()]
        assert len(set(sizes)) == 1 and sizes[0] <= 2048
        assert 0 <= candidates * length - sum(sizes) < len(sizes)


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_wrk_sends_the_bodies_and_counts_refusals(tmp_path: Path) -> None:
    """Every body is sent, each connection pauses, and an answer of 503 counts as refused."""
    (tmp_path / "bodies").write_text('{"a": 1}\n{"a": 2}\n', encoding="utf-8")
    with answering() as (url, bodies):
        found = loaded(url, tmp_path / "bodies", 1, 2, 20, "even")
    assert {body["a"] for body in bodies} == {1, 2}
    assert 10 < found.answers <= len(bodies) and found.answers <= 2 * found.seconds / 0.02 + 2
    refused = sum(body["a"] == 2 for body in bodies)
    assert abs(found.refused - refused) <= 2 and found.lost == 0
    assert 0 < found.p50 <= found.p99


@contextmanager
def answering() -> Iterator[tuple[str, list[dict[str, int]]]]:
    """Serve HTTP, with 503 for the body `{"a": 2}`, and yield the address and the bodies that came."""
    bodies = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(503 if bodies[-1]["a"] == 2 else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", bodies
        server.shutdown()
