"""A repository of `din init` with all five examples of plugins at once: one run of its DAG, and then its champion."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
import pytest

from din.base.artifacts import sha256_file
from din.bundle.agreement import ATOL_PROBABILITY
from din.release.registry.registry import Registry, list_models
from tests.din_loop.served_world import running
from tests.helpers.ports import free_port

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
FILES = ("logarithm.py", "sqlite.py", "transformer.py", "concentration.py", "expectations.yaml")
GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")
QUERY = "SELECT user_id, item_id, shown_at, clicked, price FROM events ORDER BY shown_at"
NOW = 1_767_225_600
REQUEST = {
    "user": {"user_id": 7},
    "history": [{"item_id": item, "timestamp": NOW - 3600} for item in (1, 2)],
    "candidates": [3, 4, 5],
    "context": {"price": 20},
    "time": NOW,
}
CHANGES = {
    "plugins": [f"plugins/{name}" for name in FILES if name.endswith(".py")],
    "fetch": {"source": "sqlite", "options": {"path": "clicks.db", "query": QUERY}},
    "validate_raw": {"expectations": "plugins/expectations.yaml"},
    "validate_predictions": {"calibration": [0.5, 2.0]},  # little trained on little
    "featurize": {"fields": {"context": {"price": "logarithm"}}},
    "train": {
        "model": {
            "name": "transformer",
            "options": {"heads": 2, "length": 10},
            "embedding_dim": 4,
            "attention_hidden": [8],
            "hidden": [16],
        },
        "learning": {"epochs": 12, "learning_rate": 0.01},
        "compute": {"threads": 1},
    },
    "gate": {
        "options": {"concentration": {"max_share": 0.9}},
        "calibration": [0.5, 2.0],
        "slice_calibration": [0.3, 3.0],
        "max_latency_ms": None,
    },
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def run(folder: Path, *command: str | Path, code: int = 0, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, and check its exit code."""
    env = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"} | options.pop("env", {})
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=env, **options)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def write_log(folder: Path) -> None:
    """Write a small log, as a database and as the file that `din init` is given. Middling prices are clicked most."""
    random = np.random.default_rng(0)
    rows = 8000
    price = np.exp(random.uniform(0, 8, rows))
    columns = {
        "user_id": random.integers(0, 400, rows),
        "item_id": random.integers(0, 50, rows),
        "shown_at": 1_700_000_000 + np.sort(random.integers(0, 10 * 86_400, rows)),
        "clicked": (random.random(rows) < np.where(abs(np.log(price) - 4) < 2, 0.5, 0.1)).astype(int),
        "price": price.round(2),
    }
    pyarrow.csv.write_csv(pyarrow.table(columns), folder / "clicks.csv")
    with sqlite3.connect(folder / "clicks.db") as database:
        database.execute("CREATE TABLE events (user_id, item_id, shown_at, clicked, price)")
        listed = (column.tolist() for column in columns.values())
        database.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", zip(*listed, strict=True))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository whose params.yaml names all plugins, after a run of its DAG has promoted a champion."""
    folder = tmp_path_factory.mktemp("plugins") / "repository"
    folder.mkdir()
    write_log(folder)
    run(folder, "din", "init", "clicks.csv")
    for name in FILES:
        shutil.copy(ROOT / "examples/plugins" / name, folder / "plugins")
    (folder / "plugins.yaml").write_text(json.dumps(CHANGES))
    run(folder, "din", "params", "apply", "plugins.yaml")
    run(folder, "make", "lint", "test")
    run(folder, *GIT, "add", "-A")
    run(folder, *GIT, "commit", "-qm", "plugins")
    home = folder.parent / "airflow"
    airflow = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    run(folder, "airflow", "db", "migrate", env=airflow)
    run(folder, "airflow", "dags", "test", "din_ctr", env=airflow)
    return folder


def score(repository: Path, *options: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Score a request outside of the repository."""
    command = ["din", "score", "--registry", repository / "registry", "--input", "-", *options]
    return run(repository.parent, *command, code=code, input=json.dumps(REQUEST))


def test_the_run_promoted_what_the_plugins_made(repository: Path) -> None:
    """The record's bundle has the plugin's model and kind, and gate and expectations of the plugins were judged."""
    (path,) = (repository / "registry").glob("*/promotions/*.json")
    version = json.loads(path.read_text())["version"]
    bundle = path.parents[1] / "bundles" / version
    assert json.loads((bundle / "facts.json").read_text())["model"] == "transformer"
    signature = json.loads((bundle / "signature.json").read_text())
    assert {field["kind"] for field in signature["fields"]} == {"id", "logarithm"}
    assert signature["plugins"] == {"din_plugins.logarithm": sha256_file(repository / "plugins/logarithm.py")}
    (reports,) = (repository / "registry").glob("*/runs/*/reports")
    gates = {entry["name"]: entry["verdict"] for entry in json.loads((reports / "gate.json").read_text())["gates"]}
    assert gates["concentration"] == "open"
    judged = json.loads((reports / "validation/raw.json").read_text())["expectations"]
    assert {"enough_rows", "no_robots"} <= {entry["name"] for entry in judged}


def test_a_process_that_scores_needs_the_kind_alone(repository: Path) -> None:
    """Without the file, the bundle is refused by name and digest. The plugin's model is in the graphs."""
    refused = score(repository, code=2).stderr
    digest = sha256_file(repository / "plugins/logarithm.py")
    assert f"needs the plugin logarithm.py with sha256 {digest}, which is not loaded; name its file" in refused
    (answer,) = score(repository, "--plugin", repository / "plugins/logarithm.py").stdout.splitlines()
    assert len(json.loads(answer)["probabilities"]) == 3


def test_each_process_of_a_server_loads_the_plugin(repository: Path, tmp_path: Path) -> None:
    """It answers as `din score` does, and without the plugin it does not start."""
    place = repository / "registry"
    registry = Registry(str(place), *list_models(str(place)))
    file = repository / "plugins/logarithm.py"
    with running(registry, tmp_path, "--processes", "2", "--plugin", str(file)) as (client, _):
        answers = [client.post("/v1/score", json=REQUEST).json()["probabilities"] for _ in range(4)]
    (answer,) = score(repository, "--plugin", file).stdout.splitlines()
    assert answers == [pytest.approx(json.loads(answer)["probabilities"], rel=0, abs=ATOL_PROBABILITY)] * 4
    refused = run(tmp_path, "din", "serve", "--registry", place, "--port", str(free_port()), code=2)
    assert "needs the plugin logarithm.py" in refused.stderr
