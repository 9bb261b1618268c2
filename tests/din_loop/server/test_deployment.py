"""The server follows promotions and rollbacks, and a bundle that is worse as a server never answers."""

import json
import os
import shutil
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil
import pytest
from prometheus_client import REGISTRY

from din.base.errors import InputError
from din.bundle import Limits, Scorer
from din.bundle.bundle_writer import seal
from din.bundle.golden import GOLDEN, read_golden
from din.bundle.scorer import Scores
from din.ops import backend
from din.release.registry.cache import _prune
from din.release.registry.records import Record
from din_loop.server import deployment as deployed
from din_loop.server import metrics, trial, trial_results
from din_loop.server.deployment import Deployment
from din_loop.server.trial import Objection, objection
from din_loop.server.trial_results import TrialResults
from tests.din_loop.served_world import SAVED, World, running
from tests.helpers.backends import needs_compiler

REQUEST = {"history": ["i4", "i5"], "candidates": ["i6", "i7"]}


@pytest.fixture
def deployment(world: World) -> Deployment:
    return world.deploy()


def test_a_promotion_and_a_rollback(world: World, deployment: Deployment) -> None:
    """The champion of each record answers, and no restart is needed."""
    first = deployment.serving
    second = world.crown(1)
    assert deployment.serving is first
    deployment.follow()
    assert deployment.serving.scorer.version == second
    assert not np.allclose(deployment.serving.scorer.score(REQUEST), first.scorer.score(REQUEST))
    world.registry.append(first.scorer.version, world.registry.champion(), by="ann", reason="bad", action="rollback")
    deployment.follow()
    assert (deployment.serving.record.number, deployment.serving.scorer.version) == (3, first.scorer.version)


def test_a_damaged_bundle(world: World, deployment: Deployment) -> None:
    """It is refused with its reason, the old one answers on, and stays open if the next record names it again."""
    first = deployment.serving
    damage(world, world.crown(1))
    for _ in range(2):
        deployment.follow()
        assert deployment.serving is first
        assert deployment.refused and "request.onnx" in deployment.refused.reason
    world.crown(0)
    deployment.follow()
    assert deployment.refused is None
    assert deployment.serving.record.number == 3
    assert deployment.serving.scorer is first.scorer


@pytest.mark.parametrize("name", ["request.onnx", "manifest.json"])
def test_a_pipe_in_a_stored_bundle(name: str, world: World, deployment: Deployment) -> None:
    """The watch does not wait for a writer. It names the file, and the old bundle answers on."""
    stored = world.registry_folder / "bundles" / world.crown(1) / name
    stored.unlink()
    os.mkfifo(stored)
    deployment.follow()
    assert deployment.refused and f"{name}: not a plain file" in deployment.refused.reason
    assert deployment.serving.record.number == 1


def refuse_long_requests(deployment: Deployment) -> None:
    """Let the next bundle refuse a request that was answered."""
    deployment.keep([{"candidates": ["i1"] * 900}], 20)
    deployment.settings = replace(deployment.settings, limits=Limits(candidates=2))


def damage(world: World, version: str) -> Callable[[], object]:
    """Damage a stored bundle, and return a function that heals it."""
    stored = world.registry_folder / "bundles" / version / "request.onnx"
    content = stored.read_bytes()
    stored.write_bytes(content[:-1])
    return lambda: stored.write_bytes(content)


def change_card(world: World, card: str) -> None:
    """Make the second bundle another version."""
    (world.bundles[1] / "MODEL_CARD.md").write_text(card)
    seal(world.bundles[1])


def test_a_damaged_bundle_that_heals(world: World) -> None:
    """It is fetched again after a while that grows, and answers once it is sound."""
    deployment = world.deploy(refresh=1000.0)
    heal = damage(world, world.crown(1))
    waits = []
    for _ in range(4):
        deployment.follow()
        refused = deployment.refused
        assert refused and refused.seconds_left and refused.wait - 60 < refused.seconds_left <= refused.wait
        waits.append(refused.wait)
        deployment.follow()
        assert deployment.refused is refused
        deployment.refused = replace(refused, until=time.monotonic())
    assert waits == [1000, 2000, 3600, 3600]
    heal()
    deployment.follow()
    assert deployment.refused is None and deployment.serving.record.number == 2


@pytest.mark.parametrize("cache", ["kept", "new", "a file"])
def test_a_start_while_the_champion_is_damaged(cache: str, world: World, serving) -> None:
    """The bundle before answers, whether or not this machine knows it, and the champion once it is sound."""
    first = world.deploy().serving.scorer.version
    heal = damage(world, world.crown(1))
    if cache != "kept":
        shutil.rmtree(deployed.CACHE)
    if cache == "a file":
        deployed.CACHE.touch()
    restarted = world.deploy(refresh=0.01)
    with serving(restarted) as client:
        assert client.post("/v1/score", json=REQUEST).json()["version"] == first
        health = client.get("/v2/health/ready").json()
        assert (health["ready"], health["record"], health["champion"], health["refused"]["record"]) == (True, 1, 2, 2)
        assert "request.onnx" in health["refused"]["reason"] and health["refused"]["again_in"] < 5
        assert "din_refusing 1.0" in client.get("/metrics").text
        heal()
        while restarted.serving.record.number != 2:
            time.sleep(0.01)
        assert client.get("/v2/health/ready").json()["refused"] is None


def test_a_start_while_the_registry_is_away(world: World, serving) -> None:
    """The bundle that answered last on this machine answers again, unless its hash is wrong."""
    first = world.deploy().serving.scorer.version
    away = world.registry_folder.rename(world.registry_folder.with_name("away"))
    restarted = world.deploy()
    with serving(restarted) as client:
        assert client.post("/v1/score", json=REQUEST).json()["version"] == first
        health = client.get("/v2/health/ready").json()
        assert (health["record"], health["champion"], health["registry"]["seconds_ago"]) == (1, None, None)
        assert "no champion" in health["registry"]["problem"]
    (deployed.CACHE / first / "request.onnx").write_bytes(b"another")
    with pytest.raises(InputError, match="no champion yet"):
        world.deploy()
    away.rename(world.registry_folder)
    restarted.follow()
    assert restarted.problem is None and restarted.champion == restarted.serving.record


def refusals(cause: str) -> float:
    count = REGISTRY.get_sample_value("din_refused_bundles_total", {"cause": cause})
    assert count is not None  # 0 before the first
    return count


def test_a_process_without_a_bundle_stops_at_once(world: World, tmp_path: Path) -> None:
    """One that can't open a bundle ends after `--refresh`, so that it is not started again at once, or when told to."""
    with running(world.registry, tmp_path, "--refresh", "300", "--processes", "2") as (_, server):
        damage(world, world.registry.history()[0].version)
        shutil.rmtree(tmp_path / "cache")
        for process in psutil.Process(server).children():
            if "spawn_main" in " ".join(process.cmdline()):
                process.kill()
        while (tmp_path / "printed").read_text().count("damaged") < 2:
            time.sleep(0.1)


def test_a_bundle_that_failed_its_trial_stays_refused(world: World, deployment: Deployment, monkeypatch) -> None:
    """A restart does not let it answer, and another process that took it goes back.

    It is tried anew under a new record, or with another release of a package.
    """
    before = refusals("refused before")
    other = world.deploy()
    world.crown(1)
    other.follow()
    assert other.serving.record.number == 2
    sound = deployment.settings
    refuse_long_requests(deployment)
    deployment.follow()
    for process in (deployment, Deployment(sound), other):
        process.follow()
        assert process.serving.record.number == 1
        assert process.refused and "900 entries" in process.refused.reason and process.refused.seconds_left is None
    assert refusals("refused before") == before + 2
    with monkeypatch.context() as patch:
        patch.setattr(trial_results, "_RUNTIME", "onnxruntime 99")
        assert Deployment(sound).serving.record.number == 2
    world.crown(1)
    other.follow()
    assert other.refused is None and other.serving.record.number == 3


def test_a_process_that_can_not_go_back_at_once(world: World, deployment: Deployment) -> None:
    """It drops a bundle that failed elsewhere as soon as it can fetch another one."""
    first, other = deployment.serving.scorer.version, world.deploy()
    world.crown(1)
    other.follow()
    refuse_long_requests(deployment)
    deployment.follow()
    shutil.rmtree(deployed.CACHE / first)
    bundles = world.registry_folder / "bundles"
    away = bundles.rename(bundles.with_name("away"))
    other.follow()
    assert other.refused and other.serving.record.number == 2
    away.rename(bundles)
    other.follow()
    assert other.refused and other.serving.record.number == 1


def test_a_version_that_failed_under_a_newer_record(world: World, deployment: Deployment) -> None:
    """No process falls back to it by its older record, until it has passed again."""
    world.crown(1)
    deployment.follow()
    sound = deployment.settings
    deployment = Deployment(sound)  # in which the first bundle is not open any more
    refuse_long_requests(deployment)
    world.crown(0)
    deployment.follow()
    assert deployment.refused and deployment.refused.record.number == 3
    change_card(world, "third")
    damage(world, world.crown(1))
    assert Deployment(sound).serving.record.number == 2
    world.crown(0)
    assert Deployment(sound).serving.record.number == 5
    change_card(world, "fourth")
    damage(world, world.crown(1))
    assert Deployment(sound).serving.record.number == 5


def test_processes_that_note_the_same_result(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """All of them succeed, as at a swap, and the file is whole all the time."""
    record = world.registry.required_champion()
    results = TrialResults(deployed.CACHE, "registry", "log")

    def note(_: int) -> list[Record]:
        results.add_passed(record)
        return results.passed()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(note, range(200))) == [[record]] * 200
    assert not caplog.records


def test_many_results(world: World) -> None:
    """A failure holds for good, and the newest records that passed are kept."""
    record = world.registry.required_champion()
    results = TrialResults(deployed.CACHE, "registry", "log")
    results.add_failed(record, "too slow")
    for number in range(2, 42):
        results.add_passed(replace(record, number=number, nonce=f"{number:032x}"))
    assert results.reason(record) == "too slow" and results.failed() == {record.version: 1}
    assert [record.number for record in results.passed()] == list(range(41, 9, -1))


def test_a_folder_of_another_user_in_the_cache() -> None:
    """It stays, and does not keep other old bundles from being removed."""
    is_root = os.geteuid() == 0
    with TemporaryDirectory() as folder:
        cache = Path(folder)
        cache.chmod(0o777)
        bundles = [cache / (digit * 64) for digit in "abcd"]
        for age, bundle in enumerate(bundles):
            (bundle / "sub").mkdir(parents=True)
            os.utime(bundle, (9 - age, 9 - age))
        bundles[3].chmod(0o777)
        bundles[2].chmod(0o555)
        if is_root:
            os.seteuid(65534)  # nobody, because root may remove all
        try:
            _prune(cache)
        finally:
            if is_root:
                os.seteuid(0)
        assert sorted(cache.iterdir()) == bundles[:3]


def test_a_rollback_at_the_start(world: World) -> None:
    """If its bundle is damaged, the one that was rolled back comes last."""
    first, second = world.crown(0), world.crown(1)
    change_card(world, "third")
    third = world.crown(1)
    rolled = world.registry.append(first, world.registry.champion(), by="ann", reason="bad", action="rollback")
    damage(world, first)
    assert world.deploy().serving.scorer.version == second
    damage(world, second)
    shutil.rmtree(deployed.CACHE)
    restarted = world.deploy()
    assert (restarted.serving.scorer.version, restarted.champion) == (third, rolled)


@pytest.mark.parametrize(
    ("spoil", "reason", "native"),
    [
        (lambda bundle: (bundle / "batch.onnx").write_bytes(b"of a later release"), "batch.onnx", False),
        pytest.param(
            lambda bundle: (bundle / SAVED).write_bytes(b"of a later release"), SAVED, True, marks=needs_compiler
        ),
        (lambda bundle: (bundle / GOLDEN).unlink(), "run `dvc repro export`", False),
    ],
)
def test_a_bundle_that_cannot_be_opened(
    spoil: Callable[[Path], object], reason: str, native: bool, world: World, deployment: Deployment, monkeypatch
) -> None:
    """A sound manifest over a model that can't be read here, or without golden requests, is refused too."""
    monkeypatch.setattr(backend, "scores", lambda: native)
    spoil(world.bundles[1])
    seal(world.bundles[1])
    world.crown(1)
    deployment.follow()
    assert deployment.refused and reason in deployment.refused.reason and deployment.serving.record.number == 1


def test_the_watch(world: World) -> None:
    """A thread follows the registry until it is stopped."""
    deployment = world.deploy(refresh=0.01)
    watch = threading.Thread(target=deployment.watch)
    watch.start()
    version = world.crown(1)
    while deployment.serving.scorer.version != version:
        assert watch.is_alive() and deployment.refused is None
        time.sleep(0.01)
    deployment.close()
    watch.join(10)
    assert not watch.is_alive()


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ("request.onnx", "request.onnx"),
        ("batch.onnx", "batch.onnx"),
        pytest.param(SAVED, "batch.onnx in C", marks=needs_compiler),
    ],
)
def test_a_model_that_differs_from_pytorch(file: str, named: str, world: World, serving, monkeypatch) -> None:
    """One file of another model is found with the golden requests, and the old bundle answers on."""
    monkeypatch.setattr(backend, "scores", lambda: file == SAVED)
    shutil.copy(world.bundles[0] / file, world.bundles[1] / file)
    seal(world.bundles[1])
    deployment = world.deploy()
    before = refusals("golden requests")
    world.crown(1)
    deployment.follow()
    assert refusals("golden requests") == before + 1
    with serving(deployment) as client:
        health = client.get("/v2/health/ready").json()
    assert health["record"] == 1 and f"{named} differs from PyTorch by" in health["refused"]["reason"]


def test_golden_requests(steady: World) -> None:
    """The tolerance is that of parity, and a request without an answer is named."""
    scorer = Scorer.open(steady.bundles[0])
    golden = read_golden(steady.bundles[0])

    def objection_to(change: float, **keys: object) -> Objection | None:
        changed = golden.model_copy(deep=True)
        changed.probabilities[7][0] += change
        changed.requests[7].update(keys)
        return objection(scorer, changed, None, [])

    assert objection_to(0.9e-5) is None
    for reason in (objection_to(2e-5), objection_to(float("nan"))):
        assert reason and reason.cause == "golden requests" and "on request 7 of golden.json" in reason.reason
    reason = objection_to(0.0, context={"colour": 1})
    assert reason and "a request of golden.json has no answer: request 7: context" in reason.reason
    assert objection(scorer.within(Limits(candidates=1)), golden, None, []) is None


def test_graphs_that_differ(steady: World) -> None:
    """A bundle whose two graphs differ on a recorded request is refused."""

    class Torn(Scorer):
        def both_of_many(self, requests):
            scores = super().both_of_many(requests)
            return [Scores.of_logits(score.logits + 0.1) for score in scores] if REQUEST in requests else scores

    torn = Torn.open(steady.bundles[0])
    reason = objection(torn, read_golden(steady.bundles[0]), Scorer.open(steady.bundles[0]), [REQUEST])
    assert reason and "its two graphs differ by 0.02" in reason.reason


def test_a_registry_that_is_away(world: World, deployment: Deployment) -> None:
    """The bundle answers on, the problem is named, and the registry is followed again when it is back."""
    away = world.registry_folder.rename(world.registry_folder.with_name("away"))
    at, seen_time = deployment.seen_at, metrics.SEEN._value.get()
    assert 0 <= time.time() - seen_time < 60
    deployment.follow()
    assert deployment.problem and (deployment.seen_at, metrics.SEEN._value.get()) == (at, seen_time)
    assert len(deployment.serving.scorer.score(REQUEST)) == 2
    away.rename(world.registry_folder)
    world.crown(1)
    deployment.follow()
    assert deployment.problem is None and deployment.serving.record.number == 2


def test_a_rollback_is_tried_without_recorded_requests(
    world: World, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes effect in all processes, though its bundle is slower and refuses what clients send now."""
    first = deployment.serving.record.version
    world.crown(1)
    deployment.follow()
    other = world.deploy()  # in which the first bundle is not open
    other.keep([REQUEST], 20)
    refuse_long_requests(other)
    monkeypatch.setattr(trial, "MOST_TIMES_SLOWER", 0.0)
    world.registry.append(first, world.registry.champion(), by="ann", reason="bad", action="rollback")
    for process in (other, deployment):
        process.follow()
        assert process.refused is None and process.serving.record.number == 3


def test_a_request_that_the_present_bundle_refuses(world: World, deployment: Deployment) -> None:
    """It does not count against the next bundle. The one before may have answered it while it was replaced."""
    deployment.keep([{"candidates": ["i1"] * 1200}], 20)
    world.crown(1)
    deployment.follow()
    assert deployment.refused is None and deployment.serving.record.number == 2


def test_a_slower_bundle(steady: World) -> None:
    """A bundle that takes several times as long is refused."""

    class Slow(Scorer):
        def score(self, request):
            for _ in range(9):
                super().score(request)
            return super().score(request)

    old = Scorer.open(steady.bundles[0])
    slow = Slow.open(steady.bundles[0])
    reason = objection(slow, read_golden(steady.bundles[0]), old, [REQUEST])
    assert reason and "times as long" in reason.reason


def test_the_way_back_needs_no_trial(world: World, deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where any bundle looks slow, a new one is refused, but not the one before, which goes when another is tried."""
    first = deployment.serving.scorer
    deployment.keep([REQUEST], 20)
    world.crown(1)
    deployment.follow()
    second = weakref.ref(deployment.serving.scorer)
    monkeypatch.setattr(trial, "MOST_TIMES_SLOWER", 0.0)
    world.crown(0)
    deployment.follow()
    assert deployment.serving.record.number == 3 and deployment.serving.scorer is first
    assert second()
    change_card(world, "third")
    world.crown(1)
    deployment.follow()
    assert deployment.refused and "times as long" in deployment.refused.reason
    assert deployment.serving.scorer is first and not second()


def test_the_recorded_requests(deployment: Deployment) -> None:
    """One of each body is kept, and the oldest go if there are many or they take much memory."""

    def kept() -> list[int]:
        return [request["candidates"][0] for request, _ in deployment._recorded]

    for number in range(40):
        deployment.keep([{"candidates": [number]}] * 3, 20)
    assert kept() == list(range(24, 40))
    deployment.keep([], 2)
    deployment.keep([{"candidates": [40]}], 59_999_980)
    assert kept() == [39, 40]
    deployment.keep([{"candidates": [41]}], 120_000_000)
    assert kept() == [41]


def test_a_bundle_that_refuses_a_request_of_a_list(world: World, serving) -> None:
    """A service that sends nothing but large lists has a trial too."""
    deployment = world.deploy()
    with serving(deployment) as client:
        requests = [{"candidates": ["i1"] * 20, "history": ["i" * 500] * 10}] * 15
        assert len(json.dumps(requests)) > 1 << 16
        assert client.post("/v1/score", json=requests).status_code == 200
        deployment.settings = replace(deployment.settings, limits=Limits(candidates=2))
        world.crown(1)
        deployment.follow()
        refused = client.get("/v2/health/ready").json()["refused"]
    assert "it does not answer a request that version" in refused["reason"]
