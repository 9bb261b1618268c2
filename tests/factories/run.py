"""A finished miniature workspace, with a model small enough to be one JSON file.

Item i of 1000 is clicked with a rate that grows with i. A model sees i through its own noise, so less noise is a better
model. A bundle scores rows by itself, as a real one does.

Below the run are what judges it and crowns champions, and the fixtures of tests that need one.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from din.base.artifacts import MANIFEST, hash_files, hash_tree, read_json, write_json
from din.base.errors import GateClosed
from din.base.workspace import SUITES, Workspace
from din.bundle.contents import verify_bundle
from din.contracts.expectations import ALWAYS, thresholds
from din.metrics.summary import summary
from din.params.blocks import to_json
from din.params.reading import Params
from din.release.gates.gate import gate
from din.release.promote import promote
from din.release.registry.registry import Registry
from din.schema import parse_fields
from tests.factories import documents_of
from tests.helpers.settings import changed

USERS, PER_USER = 120, 10
DAY = 24 * 3600 * 1_000_000
_IMPRESSION = (
    "user", "item", "label", "history_start", "history_end", "timestamp", "sequence", "sampled",
)  # fmt: skip


def probabilities(noise: float, items: np.ndarray) -> np.ndarray:
    """Return the model's probabilities: the items' true logits with noise."""
    logit = (items / 1000 - 0.5) * 4 + noise * np.random.default_rng(int(noise * 1000)).normal(size=len(items))
    return 1 / (1 + np.exp(-logit))


def before_the_lesson(prediction: np.ndarray) -> np.ndarray:
    """Return the probabilities of a judged model whose shipped model gives these: slightly less sure of each row."""
    odds = prediction / (1 - prediction)
    return 1 - 1 / (1 + odds * np.exp(0.05 * np.random.default_rng(7).normal(size=len(prediction))))


def score(workspace: Workspace, bundle: Path, rows: pa.Table) -> np.ndarray:
    """Score rows with a bundle, in place of onnxruntime."""
    return probabilities(read_json(bundle / "model.json")["noise"], rows["item"].to_numpy())


def write_bundle(root: Path, facts: dict[str, Any], noise: float) -> str:
    (root / "manifest.json").unlink(missing_ok=True)
    write_json(root / "model.json", {"noise": noise})
    write_json(root / "vocab" / "item_id.json", list(range(5)))
    write_json(root / "facts.json", facts)
    write_json(root / "manifest.json", {"files": hash_files(root)})
    return verify_bundle(root).version


class Run:
    """A workspace as a run leaves it before the gate; edit `facts` or files, then call `bundle` or `judge`."""

    def __init__(self, here: Workspace, params: Params) -> None:
        self.here = here
        self.noise = 0.2
        self.params = params
        day = {"day": "2024-10-13", "rows": USERS * PER_USER, "auc": 0.7, "gauc": 0.7, "log_loss": 0.6, "loss": 0.6}
        self.days: list[dict[str, Any]] = [day]  # that the shipped model learned after it was judged
        after = {"after": "2024-10-12T00:00:00+00:00", "rows": USERS * PER_USER}
        self.crossfit: dict[str, Any] | None = {"folds": 4, **after}  # how this lesson was judged
        random = np.random.default_rng(5)
        items = random.integers(0, 1000, USERS * PER_USER)
        popularity = np.full(len(items), 0.5)
        self.rows: dict[str, np.ndarray] = {
            "user": np.repeat(np.arange(USERS, dtype=np.int32), PER_USER),
            "item": items.astype(np.int32),
            "label": (random.random(len(items)) < probabilities(0, items)).astype(np.int8),
            "sequence": np.arange(len(items)),
            "history_length": (np.arange(len(items)) % PER_USER).astype(np.int32),
            "timestamp": np.arange(len(items)) % PER_USER * DAY + 20_000 * DAY,
            "popularity": popularity + random.normal(size=len(items)) / 100,
            "lr": probabilities(2.0, items),
        }
        self.facts: dict[str, Any] = {
            "model_name": params.model_name,
            "protocol": dict(documents_of.PROTOCOL),
            "until": "2024-10-13",
            "params": {
                "data": params.data.window(),
                "featurize": to_json(params.featurize),
                "train": to_json(params.train),
            },
        }
        for folder in (here.raw, here.features):
            folder.mkdir(parents=True)
            (folder / "rows.txt").write_text(folder.name)
        write_json(here.raw / MANIFEST, documents_of.raw_manifest())
        self._write_features()
        self.finish()

    def _write_features(self) -> None:
        """Write what slices need: items with counts and categories, and a context of each test row, without history."""
        root, items = self.here.features, np.arange(1000, dtype=np.int32)
        nothing = np.zeros(USERS * PER_USER, np.int32)
        tables = {
            "items.parquet": {"value": items, "item_id": items, "category": items % 4},
            "users.parquet": {"value": [f"user {number}" for number in range(USERS)]},
            "vocab/item_id.parquet": {"value": items, "count": items},
            "vocab/category.parquet": {"value": list("abcd")},
            "vocab/tab.parquet": {"value": ["", "home", "search"]},
            "shards/00000/behaviours.parquet": {"item": items[:0], "timestamp": np.zeros(0, np.int64)},
            "shards/00000/test.parquet": {name: self.rows.get(name, nothing) for name in _IMPRESSION}
            | {"tab": (self.rows["sequence"] % 2 + 1).astype(np.int32)},
        }
        for name, columns in tables.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.table(columns), root / name)
        fields = parse_fields({"item": {"category": "categorical"}, "context": {"tab": "categorical"}})
        rows = {"item_id": len(items), "category": 4, "tab": 3}
        records = [field.to_json() | {"rows": rows[field.name]} for field in fields]
        counts = {"items": len(items), "users": USERS}
        write_json(root / "manifest.json", documents_of.features_manifest(fields=records, **counts))

    def finish(self, prediction: np.ndarray | None = None) -> str:
        """Write predictions, or the given ones, reports and bundle of the model, and return the bundle's version.

        The judged model's predictions are similar, or the same if there is no lesson.
        """
        if prediction is None:
            prediction = probabilities(self.noise, self.rows["item"])
        judged = before_the_lesson(prediction) if self.days else prediction
        here = self.here
        here.predictions.mkdir(parents=True, exist_ok=True)
        here.crossfit.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(self.rows | {"prediction": judged}), here.predictions / "test.parquet")
        rows = {name: column for name, column in self.rows.items() if name not in ("popularity", "lr")}
        rows |= {"prediction": prediction, "taught": prediction, "shipped": prediction}
        pq.write_table(pa.table(rows), here.crossfit / "predictions.parquet")
        test, popularity, lr = (
            summary(self.rows["label"], p, self.rows["user"]).model_dump()
            for p in (judged, self.rows["popularity"], self.rows["lr"])
        )
        for model, learned in ((here.model, []), (here.shipped, self.days)):
            write_json(model / "config.json", {"noise": self.noise, "learned": learned})
        write_json(here.fetch, documents_of.fetch_report())
        write_json(here.machine_of("train"), documents_of.machine())
        write_json(here.machine_of("evaluate"), documents_of.machine())
        write_json(here.machine_of("refit"), documents_of.machine())
        ranked = {name: popularity[name] for name in ("auc", "gauc")}
        evaluation = documents_of.evaluation(
            test=test,
            valid=test,
            floors={"popularity": ranked, "lr": lr},
            inputs={"features": hash_tree(here.features), "model": hash_tree(here.model)},
        )
        write_json(here.evaluation, evaluation)
        for suite in SUITES:
            expectations = [documents_of.expectation(always) for always in sorted(ALWAYS[suite])]
            report = {"verdict": "open", "input": hash_tree(here.directory_of(suite)), "expectations": expectations}
            report |= {"user_file": None, "judged": {entry["name"]: entry["severity"] for entry in expectations}}
            report["params"] = thresholds(suite, self.params)
            write_json(here.validation(suite), report)
        return self.bundle(evaluation)

    def become(self, noise: float) -> str:
        self.noise = noise
        return self.finish()

    def promote(self) -> None:
        gate(self.here, self.params, score)
        promote(self.here, self.params, by="ann", reason="nightly", score=score)

    def bundle(self, evaluation: dict[str, Any] | None = None) -> str:
        """Write the bundle of today's facts, and reports on its parity and on its refit."""
        here = self.here
        evaluation = evaluation or read_json(here.evaluation)
        places = {"raw": here.raw, "features": here.features, "model": here.model, "shipped": here.shipped}
        inputs = {name: hash_tree(place) for name, place in places.items()}
        facts = documents_of.facts(inputs=inputs, evaluation=evaluation) | self.facts
        version = write_bundle(here.bundle, facts, self.noise)
        judged = {name: inputs[name] for name in ("features", "model")}
        times = {name: facts[name] for name in ("judged_until", "seen_until")}
        written = {"shipped": inputs["shipped"], "predictions": hash_tree(here.crossfit)}
        lesson = {"days": self.days, "crossfit": self.crossfit}
        write_json(here.refit, documents_of.refit(inputs=judged, **written, **lesson, **times))
        write_json(here.parity, documents_of.parity(bundle=version))
        return version


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    """Change a JSON file; `change` returns the new value, or None after changing the old one in place."""
    value = json.loads(path.read_text())
    path.write_text(json.dumps(change(value) or value))


NEED_SCORES = {
    "champion_delta_auc",
    "champion_delta_gauc",
    "slice_delta",
    "prediction_drift",
    "champion_today",
}


def judge(workspace: Workspace, params, score=score, **settings) -> dict:
    """Run the gate and return its report for any verdict."""
    try:
        gate(workspace, params, score, **settings)
    except GateClosed as error:
        report = read_json(workspace.gate)
        assert error.report == workspace.gate and report["verdict"] != "open"
        for closed in shut(report):
            assert closed in str(error)  # the message names the closed gates
        return report
    report = read_json(workspace.gate)
    assert report["verdict"] == "open"
    return report


def set_gate(params, **settings) -> Params:
    return replace(params, gate=replace(params.gate, **settings))


def shut(report) -> list[str]:
    """Return the names of the gates that are not open."""
    return [g["name"] for g in report["gates"] if g["verdict"] != "open"]


def find(report, name) -> dict:
    return next(g for g in report["gates"] if g["name"] == name)


def crown(registry, run, **facts) -> str:
    """Make the run's bundle the champion, with some facts changed, and return its version."""
    run.facts |= facts
    version = run.bundle()
    registry.put_bundle(run.here.bundle)
    registry.append(version, registry.champion(), by="test", reason="crowned")
    return version


def challenge(registry, run, noise: float = 0.1, **facts) -> str:
    """Crown the run's bundle, then put a candidate with this noise in its place; return the champion's version."""
    version = crown(registry, run, **facts)
    run.become(noise)
    return version


def going_on(run: Run, params: Params, version: str, pin: str | None = None) -> Params:
    """Let the candidate continue the champion of a version, which params.yaml may abbreviate."""
    settings = {"start": "champion", "champion": version}
    run.facts["params"] |= {"train": run.facts["params"]["train"] | settings}
    run.finish()
    return replace(params, train=changed(params.train, **settings | {"champion": pin or version}))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def run(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, quick: Params) -> Run:
    monkeypatch.delenv("DIN_RUN_ID", raising=False)
    return Run(workspace, quick)


def for_a_small_log(params: Params) -> Params:
    """Return the parameters with a margin and slices for a small log."""
    return set_gate(params, margin=0.03, min_slice_rows=100, max_latency_ms=None, max_gain=0.5)


@pytest.fixture
def quick(params: Params) -> Params:
    return for_a_small_log(params)


@pytest.fixture
def registry(run: Run, quick: Params) -> Registry:
    return Registry.of(run.here, quick)


@pytest.fixture
def steps(run: Run, registry: Registry) -> Callable[..., list[str]]:
    """A namespace in which a champion was replaced by another one, both older than today's rows."""

    def play(noise: float, since: str = "2024-10-02", before: float = 0.2) -> list[str]:
        """Return the versions of two models with so much noise; the second has learned the log until noon of a day."""
        run.facts |= {"protocol": documents_of.PROTOCOL | {"name": "temporal"}}
        versions = []
        for run.noise, seen in ((before, "2024-10-01"), (noise, since)):
            run.finish()
            versions.append(crown(registry, run, seen_until=f"{seen}T12:00:00+00:00"))
        run.facts |= {"seen_until": "2024-10-13T12:00:00+00:00"}
        run.become(0.1)
        return versions

    return play
