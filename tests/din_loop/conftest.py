"""Registries with a champion and another bundle, and servers on free ports."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn

from din.release.registry.cache import scorer_of
from din.release.registry.registry import Registry
from din_loop.replay import again
from din_loop.server import deployment, shadow
from din_loop.server.app import app
from din_loop.server.deployment import Deployment
from din_loop.server.run import challenger, options
from tests.din_loop.served_world import World, copied, make_another
from tests.factories.bundles import Finished


@pytest.fixture(scope="session")
def other(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return another bundle that no test changes."""
    return make_another(copied(finished.bundle, tmp_path_factory.mktemp("other") / "bundle"))


@contextmanager
def made(folder: Path, bundles: list[Path]) -> Iterator[World]:
    """Make a registry whose champion is the first of some bundles, with a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scorer_of, "__defaults__", (None, folder / "cache"))
        for module in (again, deployment, shadow):
            patch.setattr(module, "CACHE", folder / "cache")
        world = World(Registry(str(folder / "registry"), "log"), bundles)
        world.crown(0)
        yield world


@pytest.fixture
def world(finished: Finished, other: Path, tmp_path: Path) -> Iterator[World]:
    """Return a registry, and two bundles of which the second may be changed."""
    with made(tmp_path, [finished.bundle, copied(other, tmp_path / "other")]) as world:
        yield world


@pytest.fixture(scope="module")
def steady(finished: Finished, other: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Return a registry that no test changes."""
    with made(tmp_path_factory.mktemp("steady"), [finished.bundle, other]) as world:
        yield world


@pytest.fixture(scope="session")
def serving() -> Callable[[Deployment], object]:
    """Return a context manager that serves a deployment and gives a client of it."""

    @contextmanager
    def serve(deployment: Deployment) -> Iterator[httpx.Client]:
        served = app(deployment, challenger(deployment.settings))
        server = uvicorn.Server(uvicorn.Config(served, **options("127.0.0.1", 0), log_level="warning"))
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
