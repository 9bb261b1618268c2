"""Faults of a registry's log and bundles, and of a scorer's cache: each is named, and no other champion is named."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from din.base.artifacts import hash_files
from din.base.errors import GateClosed, InputError
from din.base.names import Version
from din.bundle.contents import verify_bundle
from din.params.reading import Params
from din.release.registry import commands
from din.release.registry.cache import scorer_of
from din.release.registry.registry import Registry
from tests.factories.bundles import built_once, bundle, crown
from tests.factories.documents_of import DIGEST
from tests.factories.run import edit

MODEL = "ads"


@dataclass(frozen=True)
class Log:
    """A registry of three records in a folder, with the versions of their bundles."""

    uri: Path
    versions: tuple[Version, ...]

    @property
    def registry(self) -> Registry:
        return Registry(str(self.uri), MODEL)

    @property
    def folder(self) -> Path:
        return self.uri / MODEL

    def record(self, number: int) -> Path:
        return self.folder / "promotions" / f"{number:06d}.json"

    def seal(self, number: int) -> Path:
        (path,) = (self.folder / "seals").glob(f"{number:06d}-*.json")
        return path

    def stored(self, number: int) -> Path:
        return self.folder / "bundles" / self.versions[number - 1]

    def update(self, at: int, /, **values: Any) -> None:
        edit(self.record(at), lambda record: record.update(values))

    def add_seal(self, number: int, digest: str) -> None:
        shutil.copyfile(self.record(1), self.folder / "seals" / f"{number:06d}-{digest}.json")

    def forge(self, number: int, **values: Any) -> None:
        """Append a record of the oldest version after the newest one."""
        forged = {"number": number, "version": self.versions[0]}
        record = json.loads(self.record(3).read_bytes()) | forged | values
        self.record(number).write_text(json.dumps(record))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Log:
    """Return a registry that no test changes."""
    root = tmp_path_factory.mktemp("sound")
    registry = Registry(str(root / "registry"), MODEL)
    versions = []
    for number in range(1, 4):
        files = registry.put_run(f"run-{number}", {"gate.json": b"{}"})
        made = bundle(root / str(number), str(number))
        versions.append(crown(registry, made, run_id=f"run-{number}", files=files).version)
    return Log(root / "registry", tuple(versions))


@pytest.fixture
def log(sound: Log, tmp_path: Path) -> Log:
    """Return a copy of the registry to damage."""
    return Log(shutil.copytree(sound.uri, tmp_path / "registry"), sound.versions)


def swapped(log: Log) -> None:
    """Exchange two records, and give each the number of its new place."""
    two, three = (log.record(number).read_bytes() for number in (2, 3))
    log.record(2).write_bytes(three)
    log.record(3).write_bytes(two)
    log.update(2, number=2)
    log.update(3, number=3)


def edited_in_the_middle(log: Log) -> None:
    """Put another version into the middle record, and its hash into the newest as parent; the seals stay."""
    log.update(2, version=log.versions[0])
    log.update(3, previous=log.versions[0], parent=sha256(log.record(2).read_bytes()).hexdigest())


def edited_and_sealed(log: Log) -> None:
    """Put another version into the newest record, and a seal of the edited record beside the old one."""
    log.update(3, version=log.versions[0])
    log.add_seal(3, sha256(log.record(3).read_bytes()).hexdigest())


def removed(log: Log, *areas: str) -> None:
    for area in areas:
        shutil.rmtree(log.folder / area)


Fault = tuple[Callable[[Log], object], str]
STOPS: dict[str, Fault] = {
    "another version": (lambda log: log.update(3, version=log.versions[0]), "000003.json: was changed after"),
    "a path for a version": (lambda log: log.update(3, version="../outside"), "version: expected 64 hex digits"),
    "a run above": (lambda log: log.update(3, run_id=".."), "000003.json: run_id"),
    "a file above": (lambda log: log.update(3, files={"../x": DIGEST}), "000003.json: files"),
    "a record that is cut off": (lambda log: os.truncate(log.record(3), 90), "000003.json: not a JSON document"),
    "the oldest in the newest's place": (
        lambda log: shutil.copyfile(log.record(1), log.record(3)),
        "000003.json: holds record 1",
    ),
    "first record removed": (lambda log: log.record(1).unlink(), "000001.json: missing"),
    "middle record removed": (lambda log: log.record(2).unlink(), "000002.json: missing"),
    "newest record removed": (lambda log: log.record(3).unlink(), "000003.json: missing"),
    "all records removed": (lambda log: removed(log, "promotions"), "000001.json: missing"),
    "first record and its seal removed": (
        lambda log: (log.record(1).unlink(), log.seal(1).unlink()),
        "000001.json: missing",
    ),
    "two records swapped and renumbered": (swapped, "000002.json: was changed"),
    "the newest again as the next": (
        lambda log: shutil.copyfile(log.record(3), log.record(4)),
        "000004.json: holds record 3",
    ),
    "a record after a gap": (lambda log: log.forge(10), "000004.json: missing"),
    "a next record with another parent": (
        lambda log: log.forge(4, previous=log.versions[2], parent=DIGEST),
        "000004.json: names",
    ),
    "a next record with another champion before": (
        lambda log: log.forge(4, previous=DIGEST, parent=sha256(log.record(3).read_bytes()).hexdigest()),
        "000004.json: names",
    ),
    "edited in the middle, parents mended": (edited_in_the_middle, "000002.json: was changed"),
    "newest edited, sealed again": (edited_and_sealed, "000003.json: was changed"),
    "a seal of a record that is not there": (lambda log: log.add_seal(4, DIGEST), "000004.json: missing"),
}
FOUND: dict[str, Fault] = {
    "records and seals removed": (lambda log: removed(log, "promotions", "seals"), "log of promotions is empty"),
    "an older seal removed": (lambda log: log.seal(2).unlink(), "000002.json: has no seal"),
    "a seal emptied": (lambda log: log.seal(3).write_bytes(b""), "seals/000003"),
    "a stored file changed": (lambda log: (log.stored(2) / "vocab/a.txt").write_text("x"), "a.txt: damaged"),
    "a stored file deleted": (lambda log: (log.stored(2) / "vocab/a.txt").unlink(), "a.txt: "),
    "another manifest": (
        lambda log: shutil.copyfile(log.stored(1) / "manifest.json", log.stored(3) / "manifest.json"),
        "manifest.json: damaged",
    ),
    "a stored bundle deleted": (lambda log: shutil.rmtree(log.stored(3)), "manifest.json: "),
    "a run's file edited": (lambda log: next(log.folder.rglob("gate.json")).write_text("[]"), "gate.json: damaged"),
}
ODD_KEYS = ("promotions/sub/000002.json", "promotions/2.json", "promotions/0000004.json", "promotions/٠٠٠٠٠٤.json",
            "promotions/latest", "promotions/a\\b.json", "seals/000004-abc.json")  # fmt: skip


@pytest.mark.parametrize("fault", STOPS)
def test_a_faulty_log_is_named_and_stops_everybody(fault: str, log: Log) -> None:
    """Nobody gets another champion, and nothing can be appended or rolled back."""
    plant, says = STOPS[fault]
    previous = log.registry.champion()
    plant(log)
    registry = log.registry
    before = hash_files(log.uri)
    with pytest.raises(GateClosed) as found:
        commands.verify(registry.uri, MODEL)
    assert says in str(found.value) and len(str(found.value)) < 2_000
    for call in (
        registry.history,
        lambda: registry.rollback(1, by="eve", reason="why not"),
        lambda: registry.append(log.versions[0], previous, by="eve", reason="first again"),
    ):
        with pytest.raises((InputError, GateClosed)):
            call()
    try:
        champion = registry.champion()
    except InputError:
        pass
    else:
        assert champion is not None and (champion.number, champion.version) == (3, log.versions[2])
    assert hash_files(log.uri) == before


@pytest.mark.parametrize("fault", FOUND)
def test_damage_is_found_by_verify(fault: str, log: Log) -> None:
    """Even where nobody has read the damaged file yet."""
    plant, says = FOUND[fault]
    plant(log)
    with pytest.raises(GateClosed) as found:
        commands.verify(str(log.uri), MODEL)
    assert says in str(found.value)


@pytest.mark.parametrize("name", ["vocab/a.txt", "manifest.json"])
def test_a_damaged_bundle_is_not_fetched(name: str, log: Log, tmp_path: Path) -> None:
    """Nothing is left where it was to go."""
    (log.stored(3) / name).write_text("{}")
    with pytest.raises(InputError, match="damaged"):
        log.registry.fetch(log.registry.record(3).version, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


@pytest.mark.parametrize("key", [*ODD_KEYS, "no seal"])
def test_an_odd_key_does_no_harm(key: str, log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is reported and ignored, and the next champion is appended."""
    if key == "no seal":
        log.seal(3).unlink()
    else:
        (log.folder / key).parent.mkdir(exist_ok=True)
        shutil.copyfile(log.record(1), log.folder / key)
    commands.verify(str(log.uri), MODEL)
    assert ("has no seal yet" if key == "no seal" else key) in capsys.readouterr().out
    champion = log.registry.champion()
    assert champion is not None and champion.version == log.versions[-1]
    record = crown(log.registry, bundle(tmp_path / "next", "next"))
    assert log.registry.history()[-1] == record and record.number == 4


def test_another_models_damage_stops_nobody(log: Log) -> None:
    """Each namespace is a log of its own."""
    other = log.uri / "other/promotions"
    other.mkdir(parents=True)
    (other / "000001.json").write_text("[]")
    commands.verify(str(log.uri), MODEL)
    with pytest.raises(GateClosed, match=r"other/promotions/000001\.json"):
        commands.verify(str(log.uri))


CACHES: dict[str, Callable[[Path, Path], object]] = {
    "a changed file": lambda place, outside: (place / "facts.json").write_text("{}"),
    "a file more": lambda place, outside: (place / "more").touch(),
    "another bundle in its place": lambda place, outside: (shutil.rmtree(place), bundle(place)),
    "a link to a sound copy": lambda place, outside: (shutil.rmtree(place), place.symlink_to(outside)),
    "a link to nothing": lambda place, outside: (shutil.rmtree(place), place.symlink_to("nowhere")),
    "a file in its place": lambda place, outside: (shutil.rmtree(place), place.touch()),
    "a file for the cache": lambda place, outside: (shutil.rmtree(place.parent), place.parent.touch()),
}


@pytest.mark.parametrize("fault", CACHES)
def test_a_faulty_cache_serves_the_recorded_version(
    fault: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, params: Params
) -> None:
    """Nothing in a cache is trusted, a link is not followed, and an unusable cache is bypassed."""
    outside = shutil.copytree(built_once(tmp_path_factory, params).bundle, tmp_path / "outside")
    registry, cache = Registry(str(tmp_path / "registry"), MODEL), tmp_path / "cache"
    record = crown(registry, outside)
    scorer_of(registry.uri, MODEL, cache=cache)
    CACHES[fault](cache / record.version, outside)
    before = hash_files(outside)
    assert scorer_of(registry.uri, MODEL, cache=cache).version == record.version
    assert hash_files(outside) == before
    if not cache.is_file():
        assert verify_bundle(cache / record.version).version == record.version
        assert not (cache / record.version).is_symlink()
