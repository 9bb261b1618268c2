"""Faults of a registry's log, seals and bundles, and of the cache of a scorer."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.factories.run import edit
from tests.faults.planting_artifacts import A_FEW, BROKEN, flip, nested, swap

DIGEST = "0" * 64


@dataclass(frozen=True)
class Log:
    """A registry of three records in a folder, and a scorer's cache that holds the champion.

    Attributes:
        versions: the versions of the three records, oldest first.
        foreign: the version of a bundle in another namespace.
        outside: a folder with a copy of each bundle, which no command may touch.
    """

    uri: Path
    model: str
    cache: Path
    outside: Path
    versions: tuple[str, ...]
    foreign: str

    @property
    def folder(self) -> Path:
        """The folder of the namespace."""
        return self.uri / self.model

    def record(self, number: int) -> Path:
        """Return the file of a record."""
        return self.folder / "promotions" / f"{number:06d}.json"

    def seal(self, number: int) -> Path:
        """Return the file of a record's seal."""
        (path,) = (self.folder / "seals").glob(f"{number:06d}-*.json")
        return path

    def stored(self, number: int) -> Path:
        """Return the folder of a record's bundle."""
        return self.folder / "bundles" / self.versions[number - 1]

    @property
    def cached(self) -> Path:
        """The champion's place in the cache."""
        return self.cache / self.versions[-1]


@dataclass(frozen=True)
class LogFault:
    """A fault of a registry.

    Attributes:
        says: a word that `din registry verify` reports, as damage, or if `stops` is False as a remark.
        stops: whether readers refuse, or go on with the records as they were.
    """

    name: str
    plant: Callable[[Log], object]
    says: str
    stops: bool = True

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class CacheFault:
    """A fault of the cache, which the scorer repairs or bypasses."""

    name: str
    plant: Callable[[Log], object]
    cache: Callable[[Log], Path] = lambda log: log.cache
    """The cache that the scorer is given."""

    def __str__(self) -> str:
        return self.name


def _set(at: int, /, **values: Any) -> Callable[[Log], None]:
    return lambda log: edit(log.record(at), lambda record: record.update(values))


def _renumber(log: Log) -> None:
    """Exchange two records, and give each the number of its new place."""
    swap(log.record(2), log.record(3))
    for number in (2, 3):
        edit(log.record(number), lambda record, number=number: record.update(number=number))


def _forge(log: Log, number: int, name: str = "", **values: Any) -> None:
    """Append a forged record after the newest one."""
    record = json.loads(log.record(3).read_bytes()) | {"number": number} | values
    path = log.folder / "promotions" / (name or f"{number:06d}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))


def _odd(name: str, area: str = "promotions") -> Callable[[Log], None]:
    def plant(log: Log) -> None:
        path = log.folder / area / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(log.record(1), path)

    return plant


def _seal(log: Log, number: int, digest: str) -> None:
    (log.folder / "seals" / f"{number:06d}-{digest}.json").write_bytes(log.record(1).read_bytes())


def _edit_and_seal(log: Log) -> None:
    """Put another version into the newest record, and a seal of the edited record beside the old one."""
    _set(3, version=log.versions[0])(log)
    _seal(log, 3, sha256(log.record(3).read_bytes()).hexdigest())


def _chain_edited(log: Log) -> None:
    """Put another version into the middle record, and its hash into the newest as parent; the seals stay."""
    _set(2, version=log.versions[0])(log)
    _set(3, previous=log.versions[0], parent=sha256(log.record(2).read_bytes()).hexdigest())(log)


VERSIONS = {
    "another stored version": lambda log: log.versions[0],
    "another namespace's version": lambda log: log.foreign,
    "a version that nobody stored": lambda log: DIGEST,
    "two dots": lambda log: "..",
    "nothing": lambda log: "",
    "an absolute path": lambda log: str(log.outside),
    "a path up": lambda log: f"../{log.outside.name}",
    "null": lambda log: None,
    "a list": lambda log: [log.versions[2]],
    "a newline at the end": lambda log: f"{log.versions[2]}\n",
    "its start": lambda log: log.versions[2][:12],
}

RECORDS = [
    *(LogFault(f"version is {what}", lambda log, value=value: _set(3, version=value(log))(log), "000003.json")
      for what, value in VERSIONS.items()),
    LogFault("the version before is another", lambda log: _set(2, version=log.versions[2])(log), "000002.json"),
    *(LogFault(f"newest record {how}", lambda log, broken=broken: broken.plant(log.record(3)), "000003.json")
      for how, broken in BROKEN.items()),
    LogFault("newest record of 100 MB", lambda log: os.truncate(log.record(3), 100_000_000), "larger than"),
    LogFault("another previous", _set(3, previous=DIGEST), "000003.json"),
    LogFault("another parent", _set(3, parent=DIGEST), "000003.json"),
    LogFault("no parent", _set(3, parent=None), "000003.json"),
    LogFault("a number of 2", _set(3, number=2), "000003.json"),
    LogFault("a number that is text", _set(3, number="3"), "number"),
    LogFault("a number of 300 digits", _set(3, number=10**300), "000003.json"),
    LogFault("an action that is none", _set(3, action="delete"), "action"),
    LogFault("a run above", _set(3, run_id=".."), "run_id"),
    LogFault("a run's file above", _set(3, files={"../x": DIGEST}), "000003.json"),
    LogFault("a run's file that is missing", _set(3, files={"promoted-x/y": DIGEST}), "000003.json"),
    LogFault("files of 500 names", _set(3, files={f"f{n}": "x" for n in range(500)}), "files"),
    LogFault("a name with an escape", _set(3, by="eve\x1b[2J"), "by: "),
    LogFault("a reason of two lines", _set(3, reason="one\u2028two"), "reason: "),
    LogFault("a reason of 1 MB", _set(3, reason="x" * 1_000_000), "reason"),
    LogFault("a reason in another's words", _set(3, reason="as agreed"), "000003.json"),
    LogFault("another time", _set(3, at="2020-01-01T00:00:00+00:00"), "000003.json"),
    LogFault("a time without zone", _set(3, at="2024-01-01T00:00:00"), "at"),
    LogFault("a nonce that is none", _set(3, nonce="x"), "nonce"),
]  # fmt: skip
"""Faults of one record."""

CHAIN = [
    LogFault("newest overwritten by the oldest", lambda log: shutil.copyfile(log.record(1), log.record(3)), "000003"),
    LogFault("oldest overwritten by the newest", lambda log: shutil.copyfile(log.record(3), log.record(1)), "000001"),
    *(LogFault(f"record {number} removed", lambda log, number=number: log.record(number).unlink(), f"00000{number}")
      for number in (1, 2, 3)),
    LogFault("all records removed", lambda log: shutil.rmtree(log.folder / "promotions"), "000001.json: missing"),
    LogFault("records and seals removed, bundles left", lambda log: (
        shutil.rmtree(log.folder / "promotions"), shutil.rmtree(log.folder / "seals")), "log of promotions is empty"),
    LogFault("first record and its seal removed", lambda log: (
        log.record(1).unlink(), log.seal(1).unlink()), "000001.json: missing"),
    LogFault("two records swapped and renumbered", _renumber, "000002"),
    LogFault("newest again as the next", lambda log: shutil.copyfile(
        log.record(3), log.record(4)), "000004.json: holds record 3"),
    LogFault("a record after a gap", lambda log: _forge(log, 10), "000004.json: missing"),
    LogFault("a next record with another parent", lambda log: _forge(
        log, 4, version=log.versions[0], previous=log.versions[2], parent=DIGEST), "000004"),
    LogFault("the newest as a link outside", lambda log: (
        shutil.copyfile(log.record(1), log.uri / "elsewhere.json"), log.record(3).unlink(),
        log.record(3).symlink_to(log.uri / "elsewhere.json")), "000003"),
    LogFault("chain edited in the middle, parents mended", _chain_edited, "000002"),
    LogFault("newest edited, sealed again beside its seal", _edit_and_seal, "000003"),
    LogFault("newest's seal for another hash", lambda log: (
        log.seal(3).unlink(), _seal(log, 3, DIGEST)), "000003"),
    LogFault("a second seal of the newest", lambda log: _seal(log, 3, DIGEST), "000003"),
    LogFault("a seal of a record that is not there", lambda log: _seal(log, 4, DIGEST), "000004.json: missing"),
]  # fmt: skip
"""Faults of the log as a whole."""

FOUND_BY_VERIFY = [
    LogFault("an older seal removed", lambda log: log.seal(2).unlink(), "000002.json: has no seal"),
    LogFault("the newest's seal emptied", lambda log: log.seal(3).write_bytes(b""), "seals/000003"),
    *(LogFault(f"a stored {name}: a bit flipped",
               lambda log, name=name: flip(log.stored(3) / name, 100), f"{name}: damaged")
      for name in ("request.onnx", "facts.json")),
    LogFault("a stored file deleted", lambda log: (log.stored(3) / "batch.onnx").unlink(), "batch.onnx"),
    LogFault("two stored files swapped", lambda log: swap(
        log.stored(3) / "batch.onnx", log.stored(3) / "request.onnx"), "batch.onnx"),
    LogFault("a stored manifest deleted", lambda log: (log.stored(3) / "manifest.json").unlink(), "manifest.json"),
    *(LogFault(f"a stored manifest {how}",
               lambda log, broken=broken: broken.plant(log.stored(3) / "manifest.json"), "manifest.json")
      for how, broken in A_FEW.items()),
    LogFault("a stored manifest of another bundle", lambda log: shutil.copyfile(
        log.stored(1) / "manifest.json", log.stored(3) / "manifest.json"), "manifest.json: damaged"),
    LogFault("another bundle in its place", lambda log: (
        shutil.rmtree(log.stored(3)), shutil.copytree(log.stored(1), log.stored(3))), "manifest.json: damaged"),
    LogFault("a stored bundle deleted", lambda log: shutil.rmtree(log.stored(3)), "manifest.json"),
    LogFault("a run's file edited", lambda log: flip(next((log.folder / "runs").rglob("gate.json"))), "gate.json"),
]  # fmt: skip
"""Faults below a sound chain: `verify` finds each; a reader that needs the damaged file refuses."""

REMARKS = [
    *(LogFault(f"an odd key {name}", _odd(name), name, stops=False)
      for name in ("sub/000002.json", "000002.txt", "2.json", "0000004.json", "latest", "٠٠٠٠٠٤.json", "a\\b.json")),
    *(LogFault(f"an odd seal {name}", _odd(name, "seals"), name, stops=False)
      for name in ("000004-abc.json", f"sub/000004-{DIGEST}.json", f"4-{DIGEST}.json")),
    LogFault("the newest's seal removed", lambda log: log.seal(3).unlink(), "has no seal yet", stops=False),
    LogFault("a half-written record", lambda log: (
        log.folder / "promotions/000004.json#1").write_text("half"), "", stops=False),
    LogFault("a file more in a stored bundle", lambda log: (log.stored(3) / "extra.bin").touch(), "", stops=False),
    LogFault("a bundle that no record names", lambda log: shutil.copytree(
        log.stored(1), log.folder / "bundles" / DIGEST), "", stops=False),
    LogFault("another namespace's log is damaged", lambda log: (
        log.uri / "other/promotions/000001.json").write_bytes(nested(10_000)), "", stops=False),
]  # fmt: skip
"""Odd things that stop nobody."""


def _put(log: Log, place: Path, number: int = 3) -> None:
    """Put a copy of a record's bundle into a place of the cache."""
    if place.exists():
        shutil.rmtree(place)
    shutil.copytree(log.outside / str(number), place)


def _link(place: Path, target: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
    place.symlink_to(target)


def _only(log: Log, make: Callable[[Path], object]) -> None:
    """Replace the cached bundle by something else."""
    shutil.rmtree(log.cached)
    make(log.cached)


def _unusable(log: Log, make: Callable[[Path], object]) -> None:
    """Replace the whole cache by something else."""
    shutil.rmtree(log.cache)
    make(log.cache)


CACHE = [
    CacheFault("another bundle in its place", lambda log: _put(log, log.cached, 1)),
    CacheFault("another bundle under another name", lambda log: _put(log, log.cache / "latest", 1)),
    CacheFault("a link to another bundle", lambda log: _link(log.cached, log.outside / "1")),
    CacheFault("a link to a sound copy", lambda log: _link(log.cached, log.outside / "3")),
    CacheFault("a link to nothing", lambda log: _link(log.cached, Path("nowhere"))),
    CacheFault("a file in its place", lambda log: _only(log, Path.touch)),
    *(CacheFault(f"{name}: a bit flipped", lambda log, name=name: flip(log.cached / name, 50))
      for name in ("request.onnx", "signature.json", "manifest.json")),
    CacheFault("two graphs swapped", lambda log: swap(log.cached / "request.onnx", log.cached / "batch.onnx")),
    CacheFault("a file missing", lambda log: (log.cached / "signature.json").unlink()),
    CacheFault("a file more", lambda log: (log.cached / "extra").touch()),
    CacheFault("a folder is a link", lambda log: _link(log.cached / "vocab", log.outside / "3/vocab")),
    *(CacheFault(f"manifest {how}", lambda log, broken=broken: broken.plant(log.cached / "manifest.json"))
      for how, broken in A_FEW.items()),
    CacheFault("a leftover of a killed fetch", lambda log: (
        shutil.copytree(log.outside / "1", log.cache / "tmpx" / f".tmp-new-{log.versions[2]}"),
        shutil.rmtree(log.cached))),
    CacheFault("the cache is missing", lambda log: shutil.rmtree(log.cache)),
    CacheFault("the cache is a file", lambda log: _unusable(log, Path.touch)),
    CacheFault("the cache's parent is a file", lambda log: None, lambda log: log.record(1) / "cache"),
    CacheFault("nobody can write where the cache is", lambda log: None, lambda log: Path("/proc/din")),
]  # fmt: skip
"""Faults of what a scorer keeps."""
