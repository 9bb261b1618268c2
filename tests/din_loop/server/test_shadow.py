"""A challenger scores what the champion has answered, and no answer depends on it."""

import json
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import duckdb
import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prometheus_client import REGISTRY
from typer.testing import CliRunner

from din.bundle import Scorer
from din.bundle.bundle_writer import seal
from din.cli import app
from din_loop import served_log
from din_loop.server.deployment import Deployment
from tests.din_loop.served_world import World
from tests.helpers.code_blocks import of

REQUEST = {"user": {"user_id": 7}, "history": ["i4", "i5"], "candidates": ["i6", "i7"]}
LIST = [{"candidates": ["i1"]}, {"candidates": []}, {"candidates": ["i3", "i9", "i8"]}]
Serve = Callable[[Deployment], AbstractContextManager[httpx.Client]]


def rows(folder: Path) -> pa.Table:
    return pa.concat_tables(pq.read_table(path) for path in served_log.files(folder))


def figure(name: str, **labels: str) -> float:
    samples = [sample for metric in REGISTRY.collect() for sample in metric.samples if sample.name == name]
    return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


def wait_for(name: str, value: float, **labels: str) -> None:
    for _ in range(1000):
        if figure(name, **labels) >= value:
            return
        time.sleep(0.01)
    raise AssertionError(f"{name} is {figure(name, **labels)}; expected {value}")


def test_a_challenger_is_logged_apart(
    steady: World, serving: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The challenger's log holds the same requests, and readers of the server's own log never see its answers."""
    challenger = Scorer.open(steady.bundles[1])
    log = tmp_path / "served"
    names = ("din_shadow_scores_total", "din_shadow_difference_total")
    logged = [figure("din_logged_total", log=whose) for whose in ("champion", "challenger")]
    before = {name: figure(name, version=challenger.version) for name in names}
    with serving(steady.deploy(log=str(log), shadow=str(steady.bundles[1]))) as client:
        answers = [client.post("/v1/score", json=body).json() for body in (REQUEST, LIST)]
        assert client.get("/v2/health/ready").json()["shadow"] == {"version": challenger.version, "problem": None}
        wait_for(names[0], before[names[0]] + 6, version=challenger.version)
        assert figure("din_shadow_on") == 1
    assert [figure("din_logged_total", log=whose) for whose in ("champion", "challenger")] == [n + 4 for n in logged]
    champion = Scorer.open(steady.bundles[0])
    assert {answer["version"] for answer in answers} == {champion.version}
    requests = [REQUEST, *LIST]
    request_ids = [answers[0]["request_id"], *answers[1]["request_id"]]
    for folder, scorer in ((log, champion), (log / "shadow", challenger)):
        rows_by_id = {row["request_id"]: row for row in rows(folder).to_pylist()}
        assert list(rows_by_id) == request_ids
        assert {row["version"] for row in rows_by_id.values()} == {scorer.version}
        for name, request in zip(request_ids, requests, strict=True):
            np.testing.assert_allclose(rows_by_id[name]["probabilities"], scorer.score(request), atol=1e-6)
    means = [np.concatenate([scorer.score(request) for request in requests]) for scorer in (champion, challenger)]
    difference = figure(names[1], version=challenger.version) - before[names[1]]
    assert difference == pytest.approx(np.abs(means[1] - means[0]).sum(), abs=1e-5) and difference > 0.01
    monkeypatch.chdir(tmp_path)
    (query,) = (block.text for block in of("sql") if block.page.stem == "serving")
    ((served_version, shadow_version, count, _, far),) = duckdb.sql(query).fetchall()
    assert (served_version, shadow_version, count) == (champion.version[:12], challenger.version[:12], 6)
    assert far == pytest.approx(np.abs(means[1] - means[0]).mean(), abs=1e-6)


def test_a_challenger_of_the_registry(world: World, serving: Serve) -> None:
    """A record's number names it, and once it is promoted there is nothing to compare."""
    second = world.crown(1)
    world.crown(0)
    deployment = world.deploy(shadow="2")
    with serving(deployment) as client:
        scores = figure("din_shadow_scores_total")
        client.post("/v1/score", json=REQUEST)
        wait_for("din_shadow_scores_total", scores + 2)
        world.crown(1)
        deployment.follow()
        assert client.post("/v1/score", json=REQUEST).json()["version"] == second
        time.sleep(0.1)
    assert figure("din_shadow_scores_total") == scores + 2


def test_a_challenger_that_fails_or_hangs(steady: World, serving: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are given at once, and what it did not score is counted."""
    lost = {cause: figure("din_shadow_lost_total", cause=cause) for cause in ("failed", "dropped")}
    monkeypatch.setattr("din_loop.server.shadow._MOST", 3)
    hung = threading.Event()

    def hang(self: Scorer, requests: list[object], output: str = "probability") -> None:
        hung.wait(30)
        raise MemoryError("too large")

    with serving(steady.deploy(shadow=str(steady.bundles[1]))) as client:
        monkeypatch.setattr(Scorer, "score_many", hang)
        began = time.monotonic()
        for _ in range(8):
            assert client.post("/v1/score", json=REQUEST).status_code == 200
        assert time.monotonic() - began < 20
        assert figure("din_shadow_lost_total", cause="dropped") == lost["dropped"] + 5
        hung.set()
        wait_for("din_shadow_lost_total", lost["failed"] + 3, cause="failed")
        assert client.get("/v2/health/ready").json()["shadow"]["problem"] == "too large"


def test_a_restart_without_the_challenger(steady: World, serving: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """A process that can't open the challenger serves on, and says so."""
    with serving(steady.deploy(shadow="gone")) as client:
        assert client.post("/v1/score", json=REQUEST).status_code == 200
        shadow = client.get("/v2/health/ready").json()["shadow"]
        assert shadow["version"] is None and shadow["problem"].startswith("--shadow gone: ")
        assert figure("din_shadow_on") == 0
    assert shadow["problem"] in caplog.text


@pytest.mark.parametrize(("shadow", "line"), [("7", "no record 7; there are 1"), ("golden", "on request 4 of golden")])
def test_a_wrong_challenger(shadow: str, line: str, world: World, tmp_path: Path) -> None:
    """The command ends before it serves."""
    if shadow == "golden":
        path = world.bundles[1] / "golden.json"
        golden = json.loads(path.read_text())
        golden["probabilities"][4][0] += 0.001
        path.write_text(json.dumps(golden))
        seal(world.bundles[1])
        shadow = str(world.bundles[1])
    command = ["serve", "--registry", world.registry.uri, "--model", "log", "--shadow", shadow]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2 and f"--shadow {shadow}: " in done.stderr and line in done.stderr
