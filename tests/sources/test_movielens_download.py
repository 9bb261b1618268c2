"""The download of MovieLens-100k, from a server on loopback."""

import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from din.sources import movielens

CONTENT = bytes(range(256)) * 1000


class Publisher(BaseHTTPRequestHandler):
    """Sends the content, or at /cut only half of the promised bytes."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: len(CONTENT) // 2] if self.path == "/cut" else CONTENT)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def publisher() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Publisher)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_download_is_stored_whole(publisher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive holds the publisher's bytes."""
    monkeypatch.setattr(movielens, "URL", f"{publisher}/ml-100k.zip")
    movielens._from_publisher(tmp_path)
    assert (tmp_path / movielens.ARCHIVES[0]).read_bytes() == CONTENT


def test_a_download_that_breaks_off_leaves_nothing(
    publisher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that ends early is an error, and neither the archive nor a part of it stays."""
    monkeypatch.setattr(movielens, "URL", f"{publisher}/cut")
    with pytest.raises(http.client.IncompleteRead):
        movielens._from_publisher(tmp_path)
    assert list(tmp_path.iterdir()) == []
