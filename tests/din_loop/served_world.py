"""A registry with a champion and another bundle that answers differently."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
from onnx import numpy_helper
from safetensors.numpy import load_file, save_file

from din.base.artifacts import write_json
from din.base.names import Version
from din.bundle.bundle_writer import seal
from din.bundle.golden import GOLDEN, read_golden
from din.bundle.limits import Limits
from din.bundle.scorer import Scorer
from din.release.registry.registry import Registry
from din_loop.server import answers
from din_loop.server.answer_log import AnswerLog
from din_loop.server.deployment import Deployment
from din_loop.server.settings import Settings
from tests.din_loop.served_days import Days
from tests.helpers.ports import free_port

Client = Callable[[dict[str, Any]], dict[str, Any]]
SAVED = "model/weights.safetensors"
LIMITS = Limits(candidates=1000, history=1000, request_mb=0.1)


@dataclass
class World:
    registry: Registry
    bundles: list[Path]

    @property
    def registry_folder(self) -> Path:
        return Path(self.registry.uri) / self.registry.model_name

    def crown(self, number: int) -> Version:
        version = self.registry.put_bundle(self.bundles[number])
        self.registry.append(version, self.registry.champion(), by="ann", reason="test")
        return version

    def deploy(self, **settings) -> Deployment:
        return Deployment(
            Settings(registry=self.registry.uri, model=self.registry.model_name, limits=LIMITS, **settings)
        )


def copied(source: Path, target: Path) -> Path:
    """Copy a bundle, whose files can't be written, to files that can."""
    return shutil.copytree(source, target, copy_function=shutil.copyfile)


def shift(graph: Path, factor: float = 0.5) -> None:
    """Make a graph another model: scale the weights of the MLP's last layer."""
    model = onnx.load(graph)
    (weights,) = (w for w in model.graph.initializer if w.name.startswith("model.head") and [*w.dims][:-1] == [1])
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * np.float32(factor), weights.name))
    onnx.save(model, graph)


def shift_saved(bundle: Path, factor: float = 0.5) -> None:
    """Make the saved model, which C kernels read, the same other model."""
    weights = load_file(bundle / SAVED)
    (name,) = (name for name, tensor in weights.items() if name.startswith("head") and tensor.shape[:-1] == (1,))
    weights[name] *= np.float32(factor)
    save_file(weights, bundle / SAVED)


def make_another(bundle: Path, factor: float = 0.5) -> Path:
    """Make a bundle another sound one: other weights, and golden requests with their probabilities."""
    for graph in ("request.onnx", "batch.onnx"):
        shift(bundle / graph, factor)
    shift_saved(bundle, factor)
    golden = read_golden(bundle)
    seal(bundle)
    scorer = Scorer.open(bundle)
    probabilities = [scorer.score(request).tolist() for request in golden.requests]
    write_json(bundle / GOLDEN, golden.model_copy(update={"probabilities": probabilities}))
    seal(bundle)
    return bundle


def serve(world: World, days: Days, folder: Path, client: Client = dict) -> None:
    """Let the champion answer what a client makes of each request, by the clock of the simulation."""
    deployment = world.deploy()
    now = 0.0
    log = AnswerLog(folder, clock=lambda: now)
    log.start()
    for shown, request in days.requests():
        now = shown.at
        body = json.dumps(client(request)).encode()
        log.put(log.drawn(answers.score(deployment.serving, body, named=True)), len(body))
    log.close()


@contextmanager
def running(
    registry: Registry, folder: Path, *options: str, program: tuple[str, ...] = ("-m", "din.cli")
) -> Iterator[tuple[httpx.Client, int]]:
    """Run `din serve` in a process of its own, whose output is in the file `printed`; give a client and the process.

    Args:
        program: how Python starts `din`.
    """
    port = free_port()
    place = ("--registry", registry.uri, "--model", registry.model_name, "--port", str(port))
    with (folder / "printed").open("w") as printed:
        environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}
        command = [sys.executable, *program, "serve", *place, *options]
        server = subprocess.Popen(command, env=environment, stdout=printed, stderr=printed)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            wait_until_ready(client, folder / "printed")
            yield client, server.pid
    finally:
        server.send_signal(signal.SIGTERM)
        code = server.wait(60)
    assert code in (0, -signal.SIGTERM, -signal.SIGKILL), (folder / "printed").read_text()


def wait_until_ready(client: httpx.Client, printed: Path) -> None:
    for _ in range(600):
        try:
            if client.get("/v2/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(printed.read_text())
