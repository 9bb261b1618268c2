"""`din serve` as it runs in production: several processes, under load, while champions come and go."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
from served_world import World, copied

from din.serve import Scorer
from din.serve.bundle_writer import seal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SECONDS = 60
URL = "http://127.0.0.1:{port}"
REQUESTS = [
    {"user": {"user_id": user}, "history": [f"i{item}" for item in range(user)], "candidates": ["i6", "i7", f"i{user}"]}
    for user in range(12)
]


class Client(threading.Thread):
    """Sends requests until it is stopped, and notes each answer that its version would not give."""

    def __init__(self, port: int, expected: dict[str, list[list[float]]], seed: int) -> None:
        super().__init__(daemon=True)
        self._url = URL.format(port=port)
        self._expected = expected
        self._draw = random.Random(seed)
        self.ended = False
        self.answers: Counter[str] = Counter()
        self.wrong: list[object] = []
        self.lost = 0

    def run(self) -> None:
        client = httpx.Client(base_url=self._url, timeout=30)
        while not self.ended:
            number = self._draw.randrange(len(REQUESTS))
            try:
                answer = client.post("/v1/score", json=REQUESTS[number])
            except httpx.TransportError:  # its process was killed
                self.lost += 1
                client = httpx.Client(base_url=self._url, timeout=30)
                continue
            told = answer.json()
            if answer.status_code != 200 or told["probabilities"] != self._expected[told["version"]][number]:
                self.wrong.append((answer.status_code, number, told))
            else:
                self.answers[told["version"]] += 1


def test_a_soak(world: World, tmp_path: Path) -> None:
    """Every answer is the one of the version that it names, through swaps, damage, a lost registry and a kill."""
    expected = {}
    for bundle in world.bundles:
        scorer = Scorer.open(bundle)
        expected[scorer.version] = [scorer.score(request).tolist() for request in REQUESTS]
    port = 18_000 + os.getpid() % 1000
    command = [sys.executable, "-m", "din.cli", "serve", "--registry", world.registry.uri, "--port", str(port)]
    log = (tmp_path / "log").open("w+")
    server = subprocess.Popen(
        [*command, "--processes", "2", "--refresh", "0.1", "--timeout", "20"],
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
        stdout=log,
        stderr=log,
    )
    try:
        clients = [Client(port, expected, seed) for seed in range(4)]
        wait_until_ready(port, log)
        for client in clients:
            client.start()
        records = champions_come_and_go(world, tmp_path, time.monotonic() + SECONDS)
        world.crown(2)  # a new process can't open it, and falls back
        killed = a_process_of(server.pid)
        os.kill(killed, signal.SIGKILL)
        time.sleep(5)
        for client in clients:
            client.ended = True
        for client in clients:
            client.join()
        answers = sum((client.answers for client in clients), Counter())
        lost = sum(client.lost for client in clients)
        print(f"{answers.total()} answers, {records} records, {lost} lost to the kill")
        assert [wrong for client in clients for wrong in client.wrong] == []
        assert lost <= len(clients)  # each had one request under way
        assert set(answers) == set(expected) and min(answers.values()) > 100
        assert a_process_of(server.pid) != killed
    finally:
        server.send_signal(signal.SIGTERM)
        code = server.wait(60)
    log.seek(0)
    printed = log.read()
    assert code in (0, -signal.SIGTERM), printed
    assert "Traceback" not in printed, printed


def champions_come_and_go(world: World, folder: Path, end: float) -> int:
    """Crown the two bundles in turns, a damaged one now and then, and take the registry away; return the records."""
    damaged = folder / "damaged"
    copied(world.bundles[0], damaged)
    (damaged / "request.onnx").write_bytes(b"no graph")
    seal(damaged)
    world.bundles.append(damaged)
    number = 0
    while time.monotonic() < end:
        number += 1
        world.crown(2 if number % 10 == 0 else number % 2)
        time.sleep(0.3)
        if number % 25 == 0:
            away = world.registry_folder.rename(world.registry_folder.with_name("away"))
            time.sleep(1)
            away.rename(world.registry_folder)
    return number


def wait_until_ready(port: int, log) -> None:
    for _ in range(600):
        try:
            if httpx.get(URL.format(port=port) + "/v2/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    log.seek(0)
    raise AssertionError(log.read())


def a_process_of(supervisor: int) -> int:
    """Return the process that the supervisor started first and that answers requests."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    serving = [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return int(serving[0])


def test_a_wrong_registry_starts_nothing(tmp_path: Path) -> None:
    """The command ends with one line and exit code 2, with one process and with several."""
    assert shutil.which("din")
    for processes in ("1", "2"):
        command = ["din", "serve", "--registry", str(tmp_path), "--model", "log", "--processes", processes]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2
        assert "no champion yet" in done.stderr and len(done.stderr.splitlines()) == 1
