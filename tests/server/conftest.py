"""A registry with a champion and another bundle, and a server on a free port."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from serve_workspace import Finished, built_once
from served_world import World, copied, shift

from din.params import Params
from din.registry.registry import Registry
from din.serve.bundle import seal
from din.serve.scorer import Scorer
from din.server.app import app
from din.server.deployment import Deployment
from din.server.run import options


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, params: Params) -> Finished:
    """Return a finished export that no test changes."""
    return built_once(tmp_path_factory, params)


@pytest.fixture
def world(finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Return a registry whose champion is the first of two bundles; fetched bundles are kept apart from the user's."""
    monkeypatch.setattr(Scorer.from_registry.__func__, "__defaults__", (None, 1, tmp_path / "cache"))
    other = tmp_path / "other"
    copied(finished.bundle, other)
    for graph in ("request.onnx", "batch.onnx"):
        shift(other / graph)
    seal(other)
    world = World(Registry(str(tmp_path / "registry"), "log"), [finished.bundle, other])
    world.crown(0)
    return world


@pytest.fixture
def serving() -> Callable[[Deployment], object]:
    """Return a context manager that serves a deployment and gives a client of it."""

    @contextmanager
    def serve(deployment: Deployment) -> Iterator[httpx.Client]:
        server = uvicorn.Server(uvicorn.Config(app(deployment), **options("127.0.0.1", 0), log_level="warning"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()

    return serve
