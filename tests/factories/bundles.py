"""A bundle that the whole pipeline exports from a tiny log with every field kind, and small bundles without a model."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from din.base.artifacts import hash_files, read_json, write_json
from din.base.workspace import Workspace
from din.bundle.bundle_writer import seal
from din.data.rawlog import RawLog
from din.features.reader import Features
from din.params.reading import Params
from din.release.registry.records import Record
from din.release.registry.registry import Registry
from din_start import tiny_run
from din_start.tiny_run import FIELDS as FIELDS
from din_start.tiny_run import random_log as random_log
from din_start.tiny_run import small
from din_start.tiny_run import write_raw as write_raw
from tests.factories import documents_of
from tests.helpers.made_once import made_once

HISTORY = [{"item_id": "i3", "rating": 4, "watched": 2.5, "moods": ["m1"]}, "i7", {"item_id": "i9", "rating": 1}]
REQUEST = {
    "user": {"user_id": 4, "age": 31, "likes": ["l1", "l2"]},
    "history": HISTORY,
    "candidates": ["i3", "i11", {"item_id": "i12", "price": 3}],
    "context": {"tab": 2, "hour": 13, "marks": ["k0"]},
}


@dataclass(frozen=True)
class Finished:
    """A workspace with a raw log, features, a model, a bundle and the reports that export reads."""

    here: Workspace
    params: Params

    @property
    def raw(self) -> Path:
        return self.here.raw

    @property
    def features(self) -> Features:
        return Features(self.here.features)

    @property
    def bundle(self) -> Path:
        return self.here.bundle

    @property
    def registry(self) -> Registry:
        return Registry(self.here.located(self.params.promote.registry), self.params.model_name)

    def parity(self) -> dict[str, Any]:
        return read_json(self.here.parity)

    def reseal(self) -> str:
        """Make the manifest agree with the bundle's present files, and return the new version."""
        return seal(self.bundle)


def built_once(factory: pytest.TempPathFactory, params: Params) -> Finished:
    """Return a finished export, made once per test run. No test may change it."""
    root = made_once(factory, "served", lambda root: build(root, params))
    return Finished(Workspace(root), small(params))


def build(root: Path, params: Params, log: RawLog | None = None) -> Finished:
    """Run everything up to the exported bundle, on a random log unless one is given."""
    here = Workspace(root)
    write_raw(log or random_log(), here.raw)
    tiny_run.build(here, small(params))
    return Finished(here, small(params))


def bundle(root: Path, content: str = "one", **files: str) -> Path:
    """Write a small bundle with a nested and an empty file."""
    facts = json.dumps(documents_of.facts(model=content))
    for name, text in {"facts.json": facts, "vocab/a.txt": content, "empty": "", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "manifest.json").unlink(missing_ok=True)
    write_json(root / "manifest.json", {"files": hash_files(root)})
    return root


def crown(registry: Registry, directory: Path, **settings) -> Record:
    return registry.append(registry.put_bundle(directory), registry.champion(), by="ann", reason="test", **settings)
