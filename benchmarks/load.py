"""Load `din serve` with wrk, at shares of its capacity.

Each connection of wrk waits for its answer. With random pauses between answers and requests, many connections behave
like the users of a site: requests come independently of each other, and keep coming while others wait.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness import table
from benchmarks.measure import seconds
from din.base.artifacts import read_json, write_json
from din.base.errors import InputError
from din.bundle.bundle_writer import seal
from din.bundle.contents import SIGNATURE
from din.bundle.scorer import Scorer
from din.release.registry.cache import scorer_of
from din.release.registry.registry import Registry

CANDIDATES = 100
SHARES = (0.5, 1, 2, 5)
SIZES = ((50, 50), (500, 100), (2_000, 1_000))
"""The requests that overload the server: candidates and behaviours."""
OVERLOADS = (2, 5, 10)
_CONNECTIONS = 256
_TIMED = 500
_LUA = Path(__file__).with_name("load.lua")
_RUNNING = re.compile(r"running on (http://\S+)\s")


class Answers(NamedTuple):
    """The result of one run of wrk.

    Attributes:
        answers: the number of answers, refusals among them.
        seconds: the duration of the run.
        refused: the number of answers with an error status; under load, 503 or 504.
        lost: the number of requests without an answer.
        p50: the median latency of all answers, in milliseconds.
        p99: their 99th percentile.
    """

    answers: int
    seconds: float
    refused: int
    lost: int
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.answers / self.seconds

    @property
    def goodput(self) -> float:
        """Answers with scores per second."""
        return (self.answers - self.refused) / self.seconds


def wrk() -> str:
    """Return the path of wrk.

    Raises:
        InputError: it is not installed.
    """
    path = shutil.which("wrk")
    if path is None:
        raise InputError("wrk: not found; install it, e.g. with `apt install wrk` or `brew install wrk`")
    return path


def load_table(scorer: Scorer, registry: str, model: str, time: int) -> str:
    """Serve a registry's champion, load the server, and return the table.

    Args:
        scorer: the champion.
        time: the seconds of each load.

    Raises:
        InputError: wrk is missing, or the server ended or never answered.
    """
    requests = some_requests(scorer, CANDIDATES, scorer.max_history)
    alone = [seconds(partial(scorer.score, request)) for request in islice(cycle(requests), _TIMED)]
    p50, p99 = 1e3 * np.percentile(alone, (50, 99))
    with TemporaryDirectory() as folder, serving(registry, model, Path(folder) / "log") as url:
        bodies = Path(folder) / "bodies.jsonl"
        bodies.write_text("".join(f"{json.dumps(request)}\n" for request in requests), encoding="utf-8")
        load = partial(loaded, url, bodies, time)
        full = load(4, 0, "even")
        loads = {
            "capacity: four connections without a pause": full,
            "half: one connection that pauses as long as `Scorer` takes": load(1, p50, "even"),
        }
        for share in SHARES:
            loads[f"{share:g}× at random"] = load(_CONNECTIONS, 1e3 * _CONNECTIONS / full.rate / share, "random")
    head = ["load", "answers/s", "of capacity", "refused (503, 504)", "p50, ms", "p99, ms", "p99 to the scorer's own"]
    rows = [["`Scorer` alone", "", "", "", f"{p50:.1f}", f"{p99:.1f}", ""]]
    for name, measured in loads.items():
        counts = [
            f"{measured.rate:.0f}",
            f"{measured.rate / full.rate:.2f}×",
            f"{measured.refused / measured.answers:.0%}",
        ]
        rows.append([name, *counts, f"{measured.p50:.1f}", f"{measured.p99:.1f}", f"{measured.p99 / p99:.2f}×"])
    title = f"**`din serve` under load, {CANDIDATES} candidates, {scorer.max_history} behaviours**"
    return f"{title}\n\n{table(head, rows)}"


def goodput_table(registry: str, model: str, time: int) -> str:
    """Overload a server, each load for some seconds, and return the table of its goodput as a share of its capacity.

    The capacity is measured before and after each load, so that other load on the machine hits both.
    """
    rows = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        long = longer_history(Registry(registry, model), folder)
        scorer = scorer_of(long.uri, model, cache=folder / "cache")
        with serving(long.uri, model, folder / "log") as url:
            load = partial(loaded, url, folder / "bodies", time)
            for size in SIZES:
                lines = (f"{json.dumps(request)}\n" for request in some_requests(scorer, *size))
                (folder / "bodies").write_text("".join(lines), encoding="utf-8")
                full = [load(2, 0, "even").goodput]
                shares = []
                for overload in OVERLOADS:
                    overloaded = load(_CONNECTIONS, 1e3 * _CONNECTIONS / full[-1] / overload, "random")
                    full.append(load(2, 0, "even").goodput)
                    shares.append(f"{overloaded.goodput / np.mean(full[-2:]):.2f}×")
                rows.append([*(f"{count:,}" for count in size), f"{np.mean(full):.1f}", *shares])
    head = ["candidates", "behaviours", "capacity, answers/s", *(f"goodput at {overload}×" for overload in OVERLOADS)]
    return table(head, rows)


def longer_history(registry: Registry, folder: Path) -> Registry:
    """Return a registry in a folder with the champion of another one, which now reads the longest of `SIZES`."""
    bundle = registry.fetch(registry.required_champion().version, folder / "bundle")
    longest = max(behaviours for _, behaviours in SIZES)
    write_json(bundle / SIGNATURE, read_json(bundle / SIGNATURE) | {"max_history": longest})
    seal(bundle)
    long = Registry(str(folder / "registry"), registry.model_name)
    long.append(long.put_bundle(bundle), None, by="benchmarks", reason="overload")
    return long


def some_requests(scorer: Scorer, candidates: int, behaviours: int, count: int = 200) -> list[dict[str, Any]]:
    """Return requests of known users and random known items."""
    random = np.random.default_rng(0)
    example = scorer.example(max(1_000, behaviours))
    users = [*scorer.users] or [None]

    def drawn(key: str, size: int) -> list[Any]:
        return random.choice(example[key], size).tolist()

    return [
        example
        | {
            "user": {"user_id": user},
            "history": drawn("history", behaviours),
            "candidates": drawn("candidates", candidates),
        }
        for user in random.choice(users, count).tolist()
    ]


def loaded(url: str, bodies: Path, time: int, connections: int, pause_ms: float, spacing: str) -> Answers:
    """Send requests to a server for some seconds. benchmarks/load.lua explains the last arguments.

    Raises:
        InputError: no answer came.
    """
    line = [wrk(), "-t1", f"-c{connections}", f"-d{time}s", "--timeout", "10s", "-s", str(_LUA), f"{url}/v1/score"]
    script = ["--", str(bodies), f"{pause_ms}", spacing]
    done = subprocess.run([*line, *script], stdout=subprocess.PIPE, text=True, check=True)
    result = Answers(*json.loads(done.stdout.rpartition("RESULT ")[2]))
    if not result.answers:
        raise InputError(f"{url}: no answer in {time} s; load it for longer")
    return result


@contextmanager
def serving(registry: str, model: str, log: Path) -> Iterator[str]:
    """Serve a registry's champion, write what the server logs to a file, and yield the address.

    Raises:
        InputError: the server ended.
    """
    options = ("--registry", registry, "--model", model, "--port", "0", "--slow-ms", "60000")
    line = [sys.executable, "-m", "din.cli", "serve", *options]
    with log.open("w") as file, subprocess.Popen(line, stderr=file) as server:
        try:
            while not (running := _RUNNING.search(log.read_text())):
                if server.poll() is not None:
                    raise InputError(f"din serve ended before it answered: {log.read_text().strip()}")
                sleep(0.1)
            yield running[1]
        finally:
            server.terminate()
