"""Faults of the bundle in models/bundle after the gate, made by a disk, a person or an attacker."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from din.artifacts import sha256_file
from tests.factories.run import edit
from tests.faults.finished_run import BUNDLE, EVALUATION, FACTS, MANIFEST, PARITY, Site, seal
from tests.faults.planting_artifacts import A_FEW, BROKEN, flip

MODEL, VOCABULARY = BUNDLE / "model.json", BUNDLE / "vocab/item_id.json"
DIGEST = "0" * 64


@dataclass(frozen=True)
class Fault:
    """A fault of a finished run.

    Attributes:
        plant: changes the files in the current directory, or the site's parameters.
        says: a word that the refusal of `din promote` contains.
        closes: a word of the gate's reason when it runs again, or None if it may open.
    """

    name: str
    plant: Callable[[Site], object]
    says: str
    closes: str | None = ""

    def __str__(self) -> str:
        return self.name


def _linked(path: Path, target: Path) -> None:
    """Replace a file or folder by a link."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    path.symlink_to(target)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _replace_by(path: Path, make: Callable[[Path], object]) -> None:
    _remove(path)
    make(path)


def _add(name: str, text: str = "x") -> None:
    path = BUNDLE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _list(name: str, digest: object = DIGEST) -> None:
    edit(MANIFEST, lambda manifest: manifest["files"].update({name: digest}))


def _sealed(change: Callable[[], object]) -> None:
    change()
    seal()


def _better_facts() -> None:
    edit(FACTS, lambda facts: facts["evaluation"]["test"].update(auc=0.99))


def _pointed(change: Callable[[], object]) -> None:
    """Change a file, seal the bundle, and let the parity report name the new version."""
    _sealed(change)
    edit(PARITY, lambda report: report.update(bundle=sha256_file(MANIFEST)))


def _outside(site: Site) -> Path:
    return site.outside / "bundle"


FILES = [
    *(
        Fault(f"{name}: a bit flipped", lambda s, name=name: flip(BUNDLE / name), name)
        for name in ("model.json", "facts.json", "vocab/item_id.json")
    ),
    Fault("manifest: last bit flipped", lambda s: flip(MANIFEST), "manifest.json"),
    Fault("a file emptied", lambda s: MODEL.write_bytes(b""), "model.json"),
    Fault("a file deleted", lambda s: MODEL.unlink(), "model.json"),
    Fault("facts deleted", lambda s: FACTS.unlink(), "facts.json"),
    Fault("the manifest deleted", lambda s: MANIFEST.unlink(), "manifest.json"),
    Fault("a folder deleted", lambda s: shutil.rmtree(BUNDLE / "vocab"), "item_id.json"),
    Fault("the bundle deleted", lambda s: shutil.rmtree(BUNDLE), "manifest.json"),
    Fault("a file added", lambda s: _add("extra.bin"), "extra.bin"),
    Fault("a file added below", lambda s: _add("vocab/deep/extra"), "vocab/deep/extra"),
    Fault("a file is a folder", lambda s: _replace_by(MODEL, Path.mkdir), "model.json"),
    Fault("a file is a pipe", lambda s: _replace_by(MODEL, os.mkfifo), "model.json"),
    Fault("a file is a link", lambda s: _linked(MODEL, _outside(s) / "model.json"), "symbolic link"),
    Fault("the manifest is a link", lambda s: _linked(MANIFEST, _outside(s) / "manifest.json"), "symbolic link"),
    Fault("the bundle is a link", lambda s: _linked(BUNDLE, _outside(s)), "symbolic link"),
    Fault("an added link to a folder", lambda s: (BUNDLE / "link").symlink_to(s.outside), "symbolic link"),
]
"""The files are not what the manifest says, or are no plain files."""

NAMES = {
    "with NUL": "a\0b",
    "with an escape above ASCII": "a\x9b2Jb",
    "with two dots": "../outside/precious.json",
    "absolute": "/etc/passwd",
    "hidden": ".ssh/x",
    "of 5,000 characters": "x" * 5_000,
    "of itself": "manifest.json",
}

MANIFESTS = [
    *(Fault(f"manifest {how}", lambda s, broken=broken: broken.plant(MANIFEST), broken.says)
      for how, broken in BROKEN.items()),
    *(Fault(f"manifest names a file {how}", lambda s, name=name: _list(name), "manifest.json")
      for how, name in NAMES.items()),
    Fault("manifest of 100 MB", lambda s: os.truncate(MANIFEST, 100_000_000), "larger than"),
    Fault("manifest names a missing file", lambda s: _list("missing.bin"), "missing.bin"),
    Fault("manifest with another hash", lambda s: _list("model.json"), "model.json"),
    Fault("manifest without a file", lambda s: edit(
        MANIFEST, lambda m: {"files": {name: m["files"][name] for name in m["files"] if name != "model.json"}}),
        "model.json"),
    Fault("manifest without files", lambda s: edit(MANIFEST, lambda m: {"files": {}}), "facts.json"),
    Fault("manifest's files a number", lambda s: edit(MANIFEST, lambda m: {"files": 3}), "files"),
    Fault("a hash in capitals", lambda s: _list("model.json", "AB" * 32), "64 hex digits"),
    Fault("manifest reformatted", lambda s: MANIFEST.write_text(json.dumps(json.loads(MANIFEST.read_text()))), "about"),
]  # fmt: skip
"""The manifest is not one, or names what no bundle may hold."""

SEALED = [
    Fault("another model, sealed", lambda s: _sealed(lambda: MODEL.write_text('{"noise": 0.0}')), "about", "parity"),
    Fault("better facts, sealed, parity pointed", lambda s: _pointed(_better_facts), "about", "evaluation"),
    Fault("another namespace, sealed, parity pointed", lambda s: _pointed(
        lambda: edit(FACTS, lambda f: f.update(model_name="other"))), "about", "made_from"),
    Fault("another log's, sealed, parity pointed", lambda s: _pointed(
        lambda: edit(FACTS, lambda f: f["inputs"].update(raw=DIGEST))), "about", "validation_raw"),
    Fault("other parameters, sealed, parity pointed", lambda s: _pointed(
        lambda: edit(FACTS, lambda f: f["params"]["train"]["learning"].update(epochs=99))),
        "about", "train.learning.epochs"),
    Fault("a file less, sealed", lambda s: _sealed(VOCABULARY.unlink), "about", "parity"),
    Fault("a file more, sealed", lambda s: _sealed(lambda: _add("extra.bin")), "about", "parity"),
    Fault("without facts, sealed", lambda s: _sealed(FACTS.unlink), "about", "facts.json"),
    Fault("facts with a day of another form, sealed", lambda s: _sealed(
        lambda: edit(FACTS, lambda f: f.update(until="yesterday"))), "about", "until"),
    *(Fault(f"facts {how}, sealed", lambda s, broken=broken: _sealed(lambda: broken.plant(FACTS)), "about", broken.says)
      for how, broken in A_FEW.items()),
    Fault("the other run's bundle", lambda s: (shutil.rmtree(BUNDLE), shutil.copytree(s.other / BUNDLE, BUNDLE)),
          "about", "evaluation"),
    Fault("the other run's bundle and evaluation", lambda s: (
        shutil.rmtree(BUNDLE), shutil.copytree(s.other / BUNDLE, BUNDLE),
        shutil.copyfile(s.other / EVALUATION, EVALUATION)), "about", "evaluation"),
]  # fmt: skip
"""The bundle is one, but not the one that was judged."""
