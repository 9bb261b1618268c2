"""A bundle that the whole pipeline exports from a tiny log with every field kind, and small bundles without a model."""

import json
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from din.base.artifacts import hash_files, read_json, write_bytes, write_json
from din.base.workspace import SUITES, Workspace
from din.bundle.bundle_writer import seal
from din.bundle.export import export
from din.data.rawlog import RawLog, write
from din.data.rows import Rows
from din.features.reader import Features
from din.featurize.build import featurize
from din.model import artifact
from din.params.reading import Params
from din.release.registry.records import Record
from din.release.registry.registry import Registry
from din.train.fit import fit
from tests.factories import documents_of
from tests.helpers.made_once import made_once
from tests.helpers.settings import changed

START = 1_700_000_000_000_000
HOUR = 3_600_000_000
FIELDS = {
    "user": {"user_id": "id", "age": {"kind": "numeric", "buckets": 3}, "likes": "multi"},
    "item": {
        "category": "categorical",
        "tags": "multi",
        "price": "numeric",
        "year": {"kind": "numeric", "buckets": 3},
        "embedding": "vector",
    },
    "context": {"tab": "categorical", "hour": "numeric", "marks": "multi"},
    "behaviour": {"rating": "categorical", "watched": "numeric", "moods": "multi"},
}
LISTS = dict.fromkeys(("likes", "tags", "marks", "moods"), pa.list_(pa.string()))
TYPES = {**LISTS, "timestamp": pa.timestamp("us"), "price": pa.float64(), "watched": pa.float64()}
TYPES["embedding"] = pa.list_(pa.float64())
ITEMS, USERS = 30, 40
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


def random_log(seed: int = 0) -> RawLog:
    """Return a log with about ten events per user, equal times, some prior history, and missing values in all fields.

    Clicks depend on earlier behaviours with the candidate's category, so that a model has something to learn.
    """
    rng = random.Random(seed)

    def maybe(value: Any) -> Any:
        return None if rng.random() < 0.15 else value

    def some(prefix: str) -> Any:
        return maybe([f"{prefix}{rng.randrange(4)}" for _ in range(rng.randrange(4))])

    def past() -> dict[str, Any]:
        return {"rating": maybe(rng.randrange(1, 6)), "watched": maybe(rng.random() * 9), "moods": some("m")}

    events, history = [], []
    for user in range(USERS):
        for number in range(rng.randrange(3) if user % 3 == 0 else 0):
            time = maybe(START - HOUR)
            row = {"user_id": user, "item_id": f"i{rng.randrange(ITEMS)}", "timestamp": time, "sequence": number}
            history.append(row | past())
        seen: set[int] = set()
        for _ in range(rng.choice([1, 6, 12, 16])):
            item = rng.randrange(ITEMS)
            label = int(rng.random() < (0.9 if item % 4 in seen else 0.2))
            seen |= {item % 4} if label else set()
            event = {
                "user_id": user,
                "item_id": f"i{item}",
                "timestamp": START + rng.randrange(9) * HOUR,
                "label": label,
            }
            context = {"tab": maybe(rng.randrange(3)), "hour": maybe(float(rng.randrange(24))), "marks": some("k")}
            events.append(event | {"behaviour": rng.choice([label, 1])} | context | past())
    numbers = rng.sample(range(10_000), len(events))
    events = [event | {"sequence": number} for event, number in zip(events, sorted(numbers), strict=True)]
    vectors = random.Random(-1 - seed)
    items = [
        {"item_id": f"i{item}", "category": maybe(f"c{item % 4}"), "tags": some("t"), "price": maybe(item * 1.5)}
        | {"year": maybe(1990 + item), "embedding": vectors.choice([None, *5 * [[vectors.gauss(0, 1), item / 9, 0.5]]])}
        for item in range(2, ITEMS + 3)
    ]
    users = [{"user_id": user, "age": maybe(20 + user), "likes": some("l")} for user in range(0, USERS, 2)]
    parts = {"events": events, "history": history, "items": items, "users": users}
    return RawLog(**{name: part(name, rows) for name, rows in parts.items()}, fields=FIELDS, protocol="by_user")


def part(name: str, rows: list[dict[str, Any]]) -> Rows:
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    return Rows.of(name, {key: pa.array(values, TYPES.get(key)) for key, values in columns.items()})


def write_raw(log: RawLog, raw: Path) -> None:
    facts = write(log, raw, None)
    write_json(raw / "manifest.json", documents_of.raw_manifest(source="test", files=hash_files(raw)) | facts)


def built_once(factory: pytest.TempPathFactory, params: Params) -> Finished:
    """Return a finished export, made once per test run. No test may change it."""
    root = made_once(factory, "served", lambda root: build(root, params))
    return Finished(Workspace(root), _small(params))


def _small(params: Params) -> Params:
    small = {"embedding_dim": 4, "attention_hidden": (8,), "hidden": (8,), "epochs": 2, "batch_size": 32, "threads": 1}
    return replace(
        params,
        featurize=replace(params.featurize, max_history=6, min_count=2, shards=2, valid_fraction=0.2),
        train=changed(params.train, metric="auc", learning_rate=0.01, embedding_std=0.3, **small),
    )


def build(root: Path, params: Params, log: RawLog | None = None) -> Finished:
    """Run everything up to the exported bundle, on a random log unless one is given."""
    params = _small(params)
    here = Workspace(root)
    write_raw(log or random_log(), here.raw)
    featurize(here, params)
    features = Features(here.features)
    trained = fit(features, params.train)[0].finish()
    for place in (here.model, here.shipped):
        artifact.save(trained, params.train, features, place)
    write_json(here.evaluation, documents_of.evaluation())
    for suite in SUITES:
        write_bytes(here.verdict(suite), b"open\n")
    export(here, params)
    return Finished(here, params)


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
