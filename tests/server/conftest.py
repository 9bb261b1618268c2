"""A registry with a champion and another bundle, and a server on a free port."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import onnx
import pytest
import uvicorn
from onnx import numpy_helper
from serve_workspace import Finished, built_once

from din.params import Params
from din.registry.registry import Registry
from din.serve.bundle import seal
from din.serve.limits import Limits
from din.serve.scorer import Scorer
from din.server.app import app
from din.server.deployment import Deployment
from din.server.run import options
from din.server.settings import Settings

LIMITS = Limits(candidates=1000, history=1000, request_mb=0.1)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, params: Params) -> Finished:
    """Return a finished export that no test changes."""
    return built_once(tmp_path_factory, params)


@dataclass
class World:
    """A registry, and two bundles that answer differently."""

    registry: Registry
    bundles: list[Path]

    @property
    def registry_folder(self) -> Path:
        return Path(self.registry.uri) / self.registry.model_name

    def crown(self, number: int) -> str:
        """Make a bundle the champion, and return its version."""
        version = self.registry.put_bundle(self.bundles[number])
        self.registry.append(version, self.registry.champion(), by="ann", reason="test")
        return version

    def deploy(self, **settings) -> Deployment:
        return Deployment(Settings(self.registry.uri, self.registry.model_name, limits=LIMITS, **settings))


@pytest.fixture
def world(finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Return a registry whose champion is the first of two bundles; fetched bundles are kept apart from the user's."""
    monkeypatch.setattr("din.serve.scorer.CACHE", tmp_path / "cache")
    monkeypatch.setattr(Scorer.from_registry.__func__, "__defaults__", (None, 1, tmp_path / "cache"))
    other = tmp_path / "other"
    copied(finished.bundle, other)
    for graph in ("request.onnx", "batch.onnx"):
        shift(other / graph)
    seal(other)
    world = World(Registry(str(tmp_path / "registry"), "log"), [finished.bundle, other])
    world.crown(0)
    return world


def copied(source: Path, target: Path) -> None:
    target.mkdir()
    for path in source.rglob("*"):
        if path.is_dir():
            (target / path.relative_to(source)).mkdir(parents=True, exist_ok=True)
        else:
            (target / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            (target / path.relative_to(source)).write_bytes(path.read_bytes())


def shift(graph: Path) -> None:
    """Make a graph another model: scale its largest weights."""
    model = onnx.load(graph)
    weights = max(
        (w for w in model.graph.initializer if w.data_type == onnx.TensorProto.FLOAT), key=lambda w: len(w.raw_data)
    )
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * 0.5, weights.name))
    onnx.save(model, graph)


@pytest.fixture
def serving() -> Callable[[Deployment], object]:
    """Return a context manager that serves a deployment and gives a client of it."""

    @contextmanager
    def serve(deployment: Deployment) -> Iterator[httpx.Client]:
        server = uvicorn.Server(uvicorn.Config(app(deployment), **options("127.0.0.1", 0), log_level="warning"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield client
        server.should_exit = True
        thread.join()

    return serve
