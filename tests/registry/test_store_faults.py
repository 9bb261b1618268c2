"""A registry on S3 (played by moto) whose network fails in every way."""

import itertools
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from faulty_proxy import Fault, FaultyProxy
from s3 import BUCKET

from din.artifacts import hash_files, write_json
from din.errors import InputError, Unavailable
from din.registry.objects import Objects
from din.registry.records import Record, StaleChampion
from din.registry.registry import Registry

URI = f"s3://{BUCKET}/ctr"
NAMES = (f"model{number}" for number in itertools.count())
PROMOTERS = 20


@pytest.fixture
def registry(proxy: FaultyProxy) -> Registry:
    """Return an empty registry in the store."""
    return Registry(URI, next(NAMES))


def bundle(root: Path, content: str = "one") -> Path:
    """Return a small bundle."""
    for name, text in {"facts.json": json.dumps({"is": content}), "vocab/a.txt": content * 2_000}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    write_json(root / "manifest.json", {"files": hash_files(root)})
    return root


def promote(registry: Registry, directory: Path) -> Record:
    """Store a bundle and make it the champion, unless it is already."""
    version = registry.put_bundle(directory)
    champion = registry.champion()
    if champion and champion.version == version:
        return champion
    return registry.append(version, champion, by="ann", reason="test")


def deliver(registry: Registry, target: Path) -> Path:
    """Fetch the champion's bundle."""
    champion = registry.champion()
    assert champion is not None
    return registry.fetch(champion.version, target)


ANSWERS = [(409, "ConditionalRequestConflict"), (412, "PreconditionFailed"), (429, "SlowDown"), (500, "InternalError"),
           (503, "SlowDown")]  # fmt: skip
REFUSALS = [(403, "AccessDenied"), (401, "Unauthorized"), (404, "NoSuchBucket")]
WRITES = {"a file of the bundle": "vocab", "the manifest": "manifest.json", "the record": "promotions/"}
READS = {"the log's listing": "promotions%2F", "the record": "promotions/0", "a file of the bundle": "vocab"}


def faults() -> Iterator[tuple[str, Fault, type[Exception]]]:
    """Return a description of each fault, the fault, and the error that it must end in if it lasts."""
    for (what, part), (method, moment) in itertools.chain(
        itertools.product(WRITES.items(), [("PUT", "write")]), itertools.product(READS.items(), [("GET", "read")])
    ):
        for status, code in ANSWERS:
            yield f"{status} to the {moment} of {what}", Fault("answer", method, part, status, code), Unavailable
        for status, code in REFUSALS:
            yield f"{code} to the {moment} of {what}", Fault("answer", method, part, status, code), InputError
        kinds = ["refuse", "lose", "delay", "landed" if moment == "write" else "truncate"]
        for kind in kinds:
            yield f"{kind} at the {moment} of {what}", Fault(kind, method, part, 500, seconds=0.8), Unavailable


def cases() -> Iterator[Any]:
    """Return every fault that lasts, and those that occur once; one-time errors are for the longer run."""
    for name, fault, expected in faults():
        yield pytest.param(fault, expected, id=f"always {name}")
        marks = [pytest.mark.slow] if fault.kind in ("answer", "delay") else []
        yield pytest.param(replace(fault, times=1), expected, id=f"once {name}", marks=marks)


@pytest.mark.parametrize(("fault", "expected"), list(cases()))
def test_a_fault_never_corrupts_and_a_rerun_completes(
    fault: Fault,
    expected: type[Exception],
    registry: Registry,
    proxy: FaultyProxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A promotion under a fault fails in one line that names the place, never doubles a record, and can be rerun."""
    promote(registry, bundle(tmp_path / "one"))
    second, target = bundle(tmp_path / "two", "two"), tmp_path / "delivered"
    proxy.inject(fault)
    try:
        with monkeypatch.context() as patched:
            if fault.kind == "delay":
                patched.setenv("AWS_READ_TIMEOUT", "400ms")
            struck = Registry(URI, registry.model_name)
        promote(struck, second)
        deliver(struck, target)
    except (InputError, Unavailable) as error:
        assert isinstance(error, expected)
        assert str(error).startswith(f"{URI}/{registry.model_name}/") and "\n" not in str(error)
        assert len(str(error)) < 800 and "<" not in str(error)
    else:
        assert fault.times == 1
    assert proxy.hits > 0
    proxy.inject(None)
    assert [record.number for record in registry.history()] in ([1], [1, 2])
    record = promote(registry, second)
    assert hash_files(deliver(registry, target)) == hash_files(second)
    assert [one.number for one in registry.history()] == [1, 2]
    assert registry.champion() == record and registry.verify() == []


@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_many_promoters_at_once(rounds: int, registry: Registry, tmp_path: Path) -> None:
    """If twenty promoters append after the same champion at once, one writes a record, and all others are stale."""
    versions = [registry.put_bundle(bundle(tmp_path / str(n), str(n))) for n in range(PROMOTERS)]
    for number in range(1, rounds + 1):
        champion = registry.champion()

        def attempt(n: int, champion: Record | None = champion) -> Record | None:
            try:
                return Registry(URI, registry.model_name).append(versions[n], champion, by=f"{n}", reason="race")
            except StaleChampion as stale:
                assert stale.exit_code == 3
                return None

        with ThreadPoolExecutor(PROMOTERS) as pool:
            won = [record for record in pool.map(attempt, range(PROMOTERS)) if record]
        assert len(won) == 1 and won[0] == registry.champion() and won[0].number == number
    assert [record.number for record in registry.history()] == list(range(1, rounds + 1))
    assert registry.verify() == []


@pytest.mark.parametrize("kind", ["lose", "landed"])
def test_promoters_whose_answers_get_lost(kind: str, registry: Registry, proxy: FaultyProxy, tmp_path: Path) -> None:
    """If the first answers get lost, each promoter still recognises its own record, and all others are stale."""
    version = registry.put_bundle(bundle(tmp_path / "b"))
    proxy.inject(Fault(kind, "PUT", "promotions/", 500, times=5))

    def attempt(n: int) -> Record | None:
        try:
            return Registry(URI, registry.model_name).append(version, None, by=f"{n}", reason="race")
        except (StaleChampion, Unavailable):
            return None

    with ThreadPoolExecutor(PROMOTERS) as pool:
        won = [record for record in pool.map(attempt, range(PROMOTERS)) if record]
    assert len(registry.history()) == 1
    assert won in ([], registry.history())


def test_a_conflict_without_an_object_is_unavailable(registry: Registry, proxy: FaultyProxy) -> None:
    """`create` returns False only if an object exists."""
    store = Objects(URI, registry.model_name)
    for status in (409, 412):
        proxy.inject(Fault("answer", "PUT", "promotions/", status, "Conflict"))
        with pytest.raises(Unavailable, match=f"{status}.*run it again"):
            store.create("promotions/000001.json", b"{}")
    proxy.inject(None)
    assert store.create("promotions/000001.json", b"{}")
    assert not store.create("promotions/000001.json", b"{}")
    proxy.inject(Fault("answer", "PUT", "promotions/", 409, "Conflict"))
    assert not store.create("promotions/000001.json", b"{}")


def test_a_missing_bucket_is_named(proxy: FaultyProxy, tmp_path: Path) -> None:
    """Reading and writing name the missing bucket and say what to do."""
    registry = Registry("s3://nowhere/ctr", "ads")
    for use in (registry.history, lambda: registry.put_bundle(bundle(tmp_path / "b"))):
        with pytest.raises(InputError, match="there is no bucket 'nowhere'; create it, or correct the registry's URI"):
            use()


def test_plain_http_that_was_not_allowed_says_so(proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the setting to change, and nothing is sent."""
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    with pytest.raises(InputError, match="the endpoint is plain http, which is refused unless AWS_ALLOW_HTTP=true"):
        Registry(URI, "ads").history()
    assert proxy.requests == []


def test_no_credentials_at_all_says_so(proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials in the environment or a machine's role, the message names the variables to set."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(InputError, match=r"no credentials: .* AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        Registry(URI, "ads").history()


def test_the_environment_sets_the_bounds(registry: Registry, proxy: FaultyProxy, monkeypatch: Any) -> None:
    """A slow answer within our bounds is awaited, unless AWS_READ_TIMEOUT is shorter."""
    proxy.inject(Fault("delay", "GET", "promotions", seconds=0.6))
    assert registry.history() == []
    monkeypatch.setenv("AWS_READ_TIMEOUT", "200ms")
    with pytest.raises(Unavailable, match="run it again"):
        Registry(URI, registry.model_name).history()


def test_reading_stops_at_the_limit(registry: Registry, proxy: FaultyProxy, tmp_path: Path) -> None:
    """An object larger than the limit is refused with place, limit and advice; one of exactly that size is read."""
    for place in (Objects(URI, registry.model_name), Objects(str(tmp_path / "r"), "ads")):
        place.put("runs/x/big", b"x" * 1_000_000)
        assert len(place.read("runs/x/big", most=1_000_000)) == 1_000_000
        with pytest.raises(InputError, match=r"runs/x/big: larger than 999,999 bytes"):
            place.read("runs/x/big", most=999_999)
