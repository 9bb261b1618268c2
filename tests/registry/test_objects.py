"""The errors that an object store's faults become."""

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from typer.testing import CliRunner

from din import cli
from din.errors import InputError, Unavailable
from din.params import load
from din.registry import objects
from din.registry.objects import Objects
from din.workspace import Workspace

ROOT = Path(__file__).parents[2]
URI = "s3://models/ctr"


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int | None], None]]:
    """Return a store at URI that answers every request with one status, or with None a store where nobody listens."""

    class Handler(BaseHTTPRequestHandler):
        status = 200

        def reply(self) -> None:
            body = b"<Error><Code>NoSuchBucket</Code></Error>" if self.status == 404 else b""
            self.send_response(self.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST = reply

        def log_message(self, format: str, *args: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")

    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setattr(objects, "RETRY", {"max_retries": 0})

    def say(status: int | None) -> None:
        Handler.status = status or 200
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port if status else 1}")

    yield say
    server.shutdown()
    server.server_close()


OPERATIONS = {
    "read": lambda store: store.read("promotions/000001.json"),
    "keys": lambda store: store.keys("promotions"),
    "put": lambda store: store.put("bundles/x", b"1"),
    "create": lambda store: store.create("promotions/000001.json", b"1"),
    "delete": lambda store: store.delete("bundles/x"),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_store_that_does_not_answer_is_unavailable(operation: str, answer: Callable[[int | None], None]) -> None:
    """If nobody listens, or on an inner error or too many requests, one line names the place, and a retry may work."""
    for status in (None, 500, 503, 429):
        answer(status)
        with pytest.raises(Unavailable, match=rf"^{URI}/ads/\S+: .*; run it again once the object store answers$"):
            OPERATIONS[operation](Objects(URI, "ads"))


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_store_that_refuses_is_bad_input(operation: str, status: int, answer: Callable[[int | None], None]) -> None:
    """An unknown, forbidden or missing bucket is bad input, since a retry would end alike."""
    answer(status)
    with pytest.raises(InputError, match=f"^{URI}/ads/"):
        OPERATIONS[operation](Objects(URI, "ads"))


def test_deleting_a_missing_object_is_no_error(tmp_path: Path) -> None:
    """Another process may have removed it, or a retry finds its own first attempt; S3 alone says nothing then."""
    store = Objects(str(tmp_path), "ads")
    store.put("runs/x/y", b"1")
    store.delete("runs/x/y")
    store.delete("runs/x/y")
    assert store.keys("runs") == {}


@pytest.mark.parametrize(("status", "code"), [(None, 1), (503, 1), (403, 2)])
def test_commands_end_with_the_code_of_the_fault(
    status: int | None, code: int, answer: Callable[[int | None], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stages and short commands end with the code of the fault; a stage leaves it for runners, without a traceback."""
    monkeypatch.chdir(tmp_path)
    params = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(params.replace("registry: registry ", f"registry: {URI} "))
    (tmp_path / "dvc.yaml").write_bytes((ROOT / "dvc.yaml").read_bytes())
    assert load(tmp_path / "params.yaml").promote.registry == URI
    answer(status)
    for command in (["gate"], ["registry", "list"]):
        done = CliRunner().invoke(cli.app, command)
        assert done.exit_code == code, command
        assert "Traceback" not in done.stderr and "bug" not in done.stderr and URI in done.stderr
    assert json.loads((Workspace(tmp_path).outcome("gate")).read_text())["exit_code"] == code
