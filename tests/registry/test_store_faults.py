"""A registry on S3 (played by moto) whose connections fail. The simulation plays the faults of the store itself."""

import itertools
from pathlib import Path

import pytest
from s3 import BUCKET, Fault, FaultyStore

from din.artifacts import hash_files
from din.errors import Unavailable
from din.registry.objects import Refused
from din.registry.records import Record
from din.registry.registry import Registry
from tests.factories.bundles import bundle

URI = f"s3://{BUCKET}/ctr"
NAMES = (f"model{number}" for number in itertools.count())


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


FAULTS = [
    Fault("lose", "PUT", "manifest.json", 500, times=1),
    Fault("landed", "PUT", "promotions/", 500, times=1),
    Fault("refuse", "PUT", "vocab", 500, times=1_000),
    Fault("truncate", "GET", "vocab", 500, times=1),
    Fault("delay", "GET", "promotions%2F", 500, seconds=0.4, times=1_000),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.kind} at the {fault.method}")
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


def test_an_expired_token_is_no_damage(registry: Registry, faulty: FaultyStore, tmp_path: Path) -> None:
    """If it expires while `verify` reads the records, nothing is known about them."""
    promote(registry, bundle(tmp_path / "b"))
    faulty.inject(Fault("answer", "GET", "promotions/0", 403, "ExpiredToken"))
    with pytest.raises(Refused):
        registry.verify()
