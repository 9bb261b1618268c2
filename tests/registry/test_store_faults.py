"""A registry on S3 (played by moto) whose connections fail. The simulation plays the faults of the store itself."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from s3 import BUCKET, Fault, FaultyStore

from din.artifacts import hash_files
from din.errors import Unavailable
from din.registry.records import Record, StaleChampion
from din.registry.registry import Registry
from tests.factories.bundles import bundle

URI = f"s3://{BUCKET}/ctr"
NAMES = (f"model{number}" for number in itertools.count())
PROMOTERS = 20


@pytest.fixture
def registry(faulty: FaultyStore) -> Registry:
    """Return an empty registry in the store."""
    return Registry(URI, next(NAMES))


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


WRITES = {"a file of the bundle": "vocab", "the manifest": "manifest.json", "the record": "promotions/"}
READS = {"the log's listing": "promotions%2F", "the record": "promotions/0", "a file of the bundle": "vocab"}


def faults() -> Iterator[Any]:
    """Return faults, some of them once and some lasting, at each read and write."""
    for method, places, kinds in (
        ("PUT", WRITES, (("lose", 1), ("landed", 1), ("refuse", 1_000))),
        ("GET", READS, (("truncate", 1), ("delay", 1_000))),
    ):
        for (kind, times), (what, part) in itertools.product(kinds, places.items()):
            fault = Fault(kind, method, part, 500, seconds=0.4 if kind == "delay" else 0, times=times)
            yield pytest.param(fault, id=f"{'once' if times == 1 else 'always'} {kind} at the {method} of {what}")


@pytest.mark.parametrize("fault", list(faults()))
def test_a_fault_never_corrupts_and_a_rerun_completes(
    fault: Fault, registry: Registry, faulty: FaultyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A promotion under a fault fails in one line that names the place, never doubles a record, and can be rerun."""
    promote(registry, bundle(tmp_path / "one", "one" * 2_000))
    second, target = bundle(tmp_path / "two", "two" * 2_000), tmp_path / "delivered"
    faulty.inject(fault)
    try:
        with monkeypatch.context() as patched:
            if fault.kind == "delay":
                patched.setenv("AWS_READ_TIMEOUT", "200ms")
            struck = Registry(URI, registry.model_name)
        promote(struck, second)
        deliver(struck, target)
    except Unavailable as error:
        assert str(error).startswith(f"{URI}/{registry.model_name}/") and "\n" not in str(error)
        assert len(str(error)) < 800 and "<" not in str(error)
    else:
        assert fault.times == 1
    assert faulty.hits > 0
    faulty.inject(None)
    assert [record.number for record in registry.history()] in ([1], [1, 2])
    record = promote(registry, second)
    assert hash_files(deliver(registry, target)) == hash_files(second)
    assert [one.number for one in registry.history()] == [1, 2]
    assert registry.champion() == record and registry.verify() == []


@pytest.mark.parametrize("kind", [None, "lose", "landed"])
def test_many_promoters_at_once(kind: str | None, registry: Registry, faulty: FaultyStore, tmp_path: Path) -> None:
    """One writes a record and all others are stale, even if the first answers get lost."""
    version = registry.put_bundle(bundle(tmp_path / "b"))
    faulty.inject(Fault(kind, "PUT", "promotions/", 500, times=5) if kind else None)

    def attempt(n: int) -> Record | None:
        try:
            return Registry(URI, registry.model_name).append(version, None, by=f"{n}", reason="race")
        except StaleChampion as stale:
            assert stale.exit_code == 3
        except Unavailable:
            assert kind
        return None

    with ThreadPoolExecutor(PROMOTERS) as pool:
        won = [record for record in pool.map(attempt, range(PROMOTERS)) if record]
    assert len(registry.history()) == 1
    assert won == registry.history() or (kind and not won)
