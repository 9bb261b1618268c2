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
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness import table
from benchmarks.measure import seconds
from din.errors import InputError
from din.serve.scorer import Scorer

CANDIDATES = 100
SHARES = (0.5, 1, 2, 5)
_CONNECTIONS = 256
_TIMED = 500
_LUA = Path(__file__).with_name("load.lua")
_RUNNING = re.compile(r"running on (http://\S+)")


class Answers(NamedTuple):
    """What wrk saw: answers, seconds, answers with an error, lost requests, and percentiles of all answers in ms."""

    answers: int
    seconds: float
    refused: int
    lost: int
    p50: float
    p99: float


def wrk() -> str:
    """Return the path of wrk.

    Raises:
        InputError: it is not installed.
    """
    found = shutil.which("wrk")
    if found is None:
        raise InputError("wrk: not found; install it, e.g. with `apt install wrk` or `brew install wrk`")
    return found


def load_table(scorer: Scorer, registry: str, model: str, time: int) -> str:
    """Serve a registry's champion, load the server, and return the table.

    Args:
        scorer: the champion.
        time: the seconds of each load.

    Raises:
        InputError: wrk is missing, or the server ended.
    """
    requests = some_requests(scorer)
    alone = [seconds(partial(scorer.score, request)) for request in islice(cycle(requests), _TIMED)]
    p50, p99 = 1e3 * np.percentile(alone, (50, 99))
    rows = [["`Scorer` alone", "", "", f"{p50:.1f}", f"{p99:.1f}", ""]]
    with TemporaryDirectory() as folder, serving(registry, model) as url:
        bodies = Path(folder) / "bodies.jsonl"
        bodies.write_text("".join(f"{json.dumps(request)}\n" for request in requests), encoding="utf-8")

        def add(name: str, connections: int, pause_ms: float, spacing: str) -> Answers:
            found = loaded(url, bodies, time, connections, pause_ms, spacing)
            rate, refused = f"{found.answers / found.seconds:.0f}", f"{found.refused / found.answers:.0%}"
            rows.append([name, rate, refused, f"{found.p50:.1f}", f"{found.p99:.1f}", f"{found.p99 / p99:.2f}×"])
            return found

        full = add("capacity: four connections without a pause", 4, 0, "even")
        add("half: one connection that pauses as long as `Scorer` takes", 1, p50, "even")
        for share in SHARES:
            add(
                f"{share:g}× at random",
                _CONNECTIONS,
                1e3 * _CONNECTIONS * full.seconds / full.answers / share,
                "random",
            )
    head = ["load", "answers/s", "refused (503, 504)", "p50, ms", "p99, ms", "p99 to the scorer's own"]
    title = f"**`din serve` under load, {CANDIDATES} candidates, {scorer.max_history} behaviours**"
    return f"{title}\n\n{table(head, rows)}"


def some_requests(scorer: Scorer, count: int = 200) -> list[dict[str, Any]]:
    """Return requests of known users and random known items, with histories as long as the model reads."""
    random = np.random.default_rng(0)
    example = scorer.example(max(1_000, scorer.max_history))
    users = [*scorer.users] or [None]

    def some(size: int) -> list[str]:
        return random.choice(example["candidates"], size).tolist()

    return [
        example | {"user": {"user_id": user}, "history": some(scorer.max_history), "candidates": some(CANDIDATES)}
        for user in random.choice(users, count).tolist()
    ]


def loaded(url: str, bodies: Path, time: int, connections: int, pause_ms: float, spacing: str) -> Answers:
    """Send requests to a server for some seconds. benchmarks/load.lua explains the last arguments."""
    line = [wrk(), "-t1", f"-c{connections}", f"-d{time}s", "--timeout", "10s", "-s", str(_LUA), f"{url}/v1/score"]
    script = ["--", str(bodies), f"{pause_ms}", spacing]
    done = subprocess.run([*line, *script], stdout=subprocess.PIPE, text=True, check=True)
    return Answers(*json.loads(done.stdout.rpartition("RESULT ")[2]))


@contextmanager
def serving(registry: str, model: str) -> Iterator[str]:
    """Serve a registry's champion, and yield the address.

    Raises:
        InputError: the server ended.
    """
    options = ("--registry", registry, "--model", model, "--port", "0", "--slow-ms", "60000")
    line = [sys.executable, "-m", "din.cli", "serve", *options]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            running = next(filter(None, map(_RUNNING.search, server.stderr)), None)
            if running is None:
                raise InputError("din serve ended before it answered; run it by hand to see why")
            yield running[1]
        finally:
            server.terminate()
