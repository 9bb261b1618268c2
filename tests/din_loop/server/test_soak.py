"""`din serve` as it runs in production: several processes, under load, while champions come and go.

`SOAK_SECONDS=600 pytest -m slow tests/din_loop/server/test_soak.py` takes ten minutes, and swaps a thousand times.
"""

import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest

from din.base.names import Version
from din.bundle import Scorer
from din.bundle.bundle_writer import seal
from din_loop import served_log
from tests.din_loop.served_world import SAVED, World, copied, make_another, running

SECONDS = float(os.environ.get("SOAK_SECONDS", "60"))
SWAPS = round(SECONDS / 600 * 1000)
OTHERS = max(2, round(SECONDS / 600 * 20))
QUIET = SECONDS / 10
"""The seconds without a new champion at the beginning, and those without a registry in the middle."""
LEAK_MB = 200
"""A growth that is a leak: each bundle has 0.1 MB."""
PAUSE = 0.02
"""The seconds that a client pauses after an answer, so that the load is not all that the server can take."""
REQUESTS = [
    {"user": {"user_id": user}, "history": [f"i{item}" for item in range(user)], "candidates": ["i6", "i7", f"i{user}"]}
    for user in range(12)
]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(5 * SECONDS + 600)]

Expected = dict[str, list[list[float]]]
"""The probabilities of each version for each of the requests."""


class Client(threading.Thread):
    """Sends requests until it is stopped, and notes each answer that its version would not give.

    Attributes:
        answers: the number of right answers of each version.
        wrong: other answers, and answers of unknown versions.
        lost: the requests whose connection ended without an answer.
    """

    def __init__(self, url: httpx.URL, expected: Expected, seed: int) -> None:
        super().__init__(daemon=True)
        self._url = url
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
            time.sleep(PAUSE)
            content = answer.json()
            expected = self._expected.get(content.get("version"))
            if expected is None or content["probabilities"] != expected[number]:
                self.wrong.append((answer.status_code, number, content))
            else:
                self.answers[content["version"]] += 1


class Load:
    """Four clients at once."""

    def __init__(self, url: httpx.URL, expected: Expected) -> None:
        self.clients = [Client(url, expected, seed) for seed in range(4)]

    def start(self) -> None:
        for client in self.clients:
            client.start()

    def stop(self) -> None:
        for client in self.clients:
            client.ended = True
        for client in self.clients:
            client.join()

    def answers(self) -> Counter[str]:
        return sum((client.answers for client in self.clients), Counter())


class Champions:
    """The registry's champions, seen from outside."""

    def __init__(self, world: World, load: Load) -> None:
        self._registry = world.registry
        self._load = load
        self.records = 0

    def crown(self, version: Version) -> None:
        self._registry.append(version, self._registry.champion(self.records), by="ann", reason="test")
        self.records += 1

    def swap(self, version: Version) -> None:
        """Crown a bundle, again if its trial was disturbed by the load, and wait until it answers."""
        for _ in range(20):
            before = self._load.answers()[version]
            self.crown(version)
            end = time.monotonic() + 3
            while time.monotonic() < end:
                time.sleep(0.05)
                if self._load.answers()[version] > before:
                    return
        raise AssertionError(f"{version} never answered")

    def come_and_go(self, pair: Sequence[Version], others: Sequence[Version], damaged: Version) -> None:
        """Crown two bundles in turns, half of `SWAPS` times, and between them others and a damaged one."""
        began = time.monotonic()
        extra = [*others, damaged]
        every = SWAPS // 2 // len(extra)
        for number in range(SWAPS // 2):
            self.swap(pair[number % 2])
            if number % every == every - 1 and extra:
                version = extra.pop()
                if version == damaged:
                    self.crown(version)
                    time.sleep(1)  # to be refused
                else:
                    self.swap(version)
            due = began + (SECONDS / 2 - QUIET) * (number + 1) / (SWAPS // 2)
            time.sleep(max(0.0, due - time.monotonic()))
        assert not extra


def test_a_soak(world: World, tmp_path: Path) -> None:
    """Every answer is the one of the version that it names, through swaps, damage, a lost registry and a kill.

    The log holds them, and memory stays flat.
    """
    pair, others = [*world.bundles], other_bundles(world, tmp_path)
    expected = {}
    for bundle in [*pair, *others]:
        scorer = Scorer.open(bundle)
        expected[scorer.version] = [scorer.score(request).tolist() for request in REQUESTS]
    stored = [world.registry.put_bundle(bundle) for bundle in [*pair, *others]]
    damaged = damaged_bundle(world, tmp_path)
    options = ["--processes", "2", "--refresh", "0.1", "--timeout", "20", "--log", str(tmp_path / "served")]
    with running(world.registry, tmp_path, *options) as (client, server):
        load = Load(client.base_url, expected)
        champions = Champions(world, load)
        began = time.monotonic()
        load.start()
        time.sleep(QUIET)
        sizes = [memory_mb(server)]
        champions.come_and_go(stored[:2], stored[2::2], damaged)
        sizes.append(memory_mb(server))
        away = world.registry_folder.rename(world.registry_folder.with_name("away"))
        time.sleep(QUIET)
        away.rename(world.registry_folder)
        champions.come_and_go(stored[:2], stored[3::2], damaged)
        sizes.append(memory_mb(server))
        swaps = figure(client, "din_swaps_total")
        refused = figure(client, "din_refused_bundles_total")
        champions.crown(damaged)  # a new process can't open it, and falls back
        killed = a_process_of(server)
        os.kill(killed, signal.SIGKILL)
        time.sleep(5)
        load.stop()
        seconds = time.monotonic() - began
        answers = load.answers()
        lost = sum(client.lost for client in load.clients)
        assert [wrong for client in load.clients for wrong in client.wrong] == []
        assert lost <= len(load.clients)  # each had one request under way
        assert set(answers) == set(expected)
        assert swaps >= SWAPS and refused > 0
        assert max(sizes) - sizes[0] < LEAK_MB
        assert a_process_of(server) != killed
    printed = (tmp_path / "printed").read_text()
    assert "Traceback" not in printed, printed
    rows = logged(tmp_path / "served", expected)
    assert rows >= answers.total() - 2 * answers.total() / seconds  # a kill loses at most a second


def other_bundles(world: World, folder: Path) -> list[Path]:
    """Return champions that answer only once."""
    bundles = []
    for number in range(OTHERS):
        bundle = copied(world.bundles[0], folder / f"other{number}")
        bundles.append(make_another(bundle, 0.6 + number / 50))
    return bundles


def damaged_bundle(world: World, folder: Path) -> Version:
    """Store a bundle without a graph. Other damages are refused in test_deployment.py."""
    bundle = copied(world.bundles[0], folder / "damaged")
    for name in ("request.onnx", SAVED):
        (bundle / name).write_bytes(b"no graph")
    seal(bundle)
    return world.registry.put_bundle(bundle)


def logged(folder: Path, expected: Expected) -> int:
    """Return the number of answers in the log, of which each is that of the version that it names."""
    count = 0
    for path in served_log.files(folder):
        for row in pq.ParquetFile(path).read(["version", "user_id", "probabilities"]).to_pylist():
            assert row["probabilities"] == expected[row["version"]][int(row["user_id"])]
            count += 1
    return count


def figure(client: httpx.Client, name: str) -> float:
    """Return a figure of all processes, summed over its labels."""
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


def processes_of(supervisor: int) -> list[int]:
    """Return the processes that answer requests, in the order in which they were started."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def a_process_of(supervisor: int) -> int:
    """Return the process that the supervisor started first and that answers requests."""
    return processes_of(supervisor)[0]


def memory_mb(supervisor: int) -> int:
    """Return the resident memory of the processes that answer requests."""
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in processes_of(supervisor)]
    return round(sum(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6)


def test_a_supervisor(world: World, tmp_path: Path) -> None:
    """It does not kill a process that is busy for a while. If it is killed itself, its processes free their port."""
    with running(world.registry, tmp_path, "--processes", "2") as (client, server):
        processes = processes_of(server)
        os.kill(processes[0], signal.SIGSTOP)
        time.sleep(8)
        os.kill(processes[0], signal.SIGCONT)
        time.sleep(1)
        assert processes_of(server) == processes
        os.kill(server, signal.SIGKILL)
        end = time.monotonic() + 60
        with pytest.raises(httpx.TransportError):
            while time.monotonic() < end:
                client.get("/v2/health/live", headers={"Connection": "close"})
                time.sleep(0.1)


def test_a_wrong_registry_starts_nothing(tmp_path: Path) -> None:
    """The command ends with one line and exit code 2, with one process and with several."""
    assert shutil.which("din")
    for processes in ("1", "2"):
        command = ["din", "serve", "--registry", str(tmp_path), "--model", "log", "--processes", processes]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2
        assert "no champion yet" in done.stderr and len(done.stderr.splitlines()) == 1
