"""The commands of the pages, executed in the order of the pages.

Blocks with `din init` run in a folder with nothing but a log, and blocks with `din score --input` in
tests/test_code_blocks.py. All others run in a copy of a finished run, one for each page. `GIVEN` makes what a page
assumes that its reader has.
"""

import csv
import json
import random
import re
import shutil
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from din.bundle.bundle_writer import seal
from din.release.registry.registry import Registry
from tests.helpers.code_blocks import BLOCKS, execute, shell_blocks, shown
from tests.pipeline.workspace import ROOT, Workspace
from tests.validation import planting

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

INIT = [block for block in shell_blocks() if "din init" in block.text]
OTHERS = [block for block in shell_blocks() if block not in INIT and "din score --input" not in block.text]
BY_PAGE = {page.name: list(found) for page, found in groupby(OTHERS, lambda block: block.page)}
UNCALIBRATED = {
    "validate_predictions.calibration": [0.4, 1.4],  # little trained on little
    "gate.calibration": [0.4, 3.0],
    "gate.slice_calibration": [0.3, 4.0],
}


def write_clicks(path: Path, names: dict[str, str]) -> None:
    """Write a log of three days, in which each user likes three categories, with these names for its columns."""
    draw = random.Random(7)
    rows = []
    for user in range(800):
        liked = draw.sample(range(10), 3)
        for _ in range(25):
            category = draw.choice(liked) if draw.random() < 0.4 else draw.randrange(10)
            click = draw.random() < (0.6 if category in liked else 0.15)
            row = {"user": f"u{user}", "item": f"A{category}{draw.randrange(20):02}", "category": category}
            row["time"] = (datetime(2024, 5, 6, tzinfo=UTC) + timedelta(seconds=draw.randrange(3 * 86_400))).isoformat()
            rows.append(row | {"click": int(click), "rating": draw.choice([4, 5] if click else [1, 2, 3])})
    rows.sort(key=lambda row: row["time"])
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names.values())
        writer.writerows([row[key] for key in names] for row in rows)


def the_block(page: str, beginning: str) -> str:
    (text,) = (block.text for block in BLOCKS if block.page.name == page and block.text.startswith(beginning))
    return text


def commit(workspace: Workspace) -> None:
    """Commit everything, and name the branch as the pages do."""
    workspace.commit("finished")
    workspace.git("branch", "-M", "main")


def an_own_log(workspace: Workspace) -> None:
    """Lay the page's log, but longer, beside the page's parameters as an overlay."""
    names = {"user": "uid", "item": "sku", "time": "ts", "click": "clicked"}
    assert the_block("bring-your-own-log.md", "uid,").startswith(",".join(names.values()) + "\n")
    more = {"category": "category", "rating": "rating"}
    write_clicks(workspace.root / "clicks.csv", names | more)
    (workspace.root / "my-log.yaml").write_text(the_block("bring-your-own-log.md", "fetch:\n  source: table"))
    by_user = {"featurize.protocol": "by_user", "fetch.table.items_from_events": ["category"]}
    workspace.set(by_user | UNCALIBRATED)
    commit(workspace)


def a_daily_champion(workspace: Workspace) -> None:
    """Split by days, and go on from the champion as the page says."""
    (workspace.root / "daily.yaml").write_text(the_block("daily.md", "train:\n  start: champion"))
    assert workspace.run("din", "params", "apply", "daily.yaml").returncode == 0
    workspace.set({"featurize.protocol": "temporal", "promote.model_name": "daily", **UNCALIBRATED})


def seventeen_records(workspace: Workspace) -> None:
    """Append promotions, of the finished run and of another bundle in turns."""
    registry = Registry(str(workspace.root / "registry"), "simulate")
    first = registry.champion()
    assert first
    other = shutil.copytree(workspace.root / "models/bundle", workspace.root / "other")
    (other / "MODEL_CARD.md").write_text("another one\n")
    seal(other)
    versions = [registry.put_bundle(other), first.version]
    for number in range(2, 18):
        latest = registry.champion()
        version = versions[number % 2 == 0]
        registry.append(version, latest, by="ann", reason="a test", run_id=first.run_id, files=first.files)


def a_record_to_repeat(workspace: Workspace) -> None:
    """Give the run, the version and the commit of record 12 the names that they have on the page."""
    commit(workspace)
    seventeen_records(workspace)
    registry = workspace.root / "registry"
    record = Registry(str(registry), "simulate").record("12")
    (folder,) = (registry / "simulate/runs" / str(record.run_id)).glob("promoted-*")
    shutil.copytree(folder, registry / "MODEL/runs/RUN/promoted-HASH")
    shutil.copytree(registry / "simulate/bundles" / record.version, registry / "MODEL/bundles/VERSION")
    workspace.git("tag", "COMMIT", json.loads((folder / "git.json").read_text())["commit"])


def one_wrong_label(workspace: Workspace) -> None:
    raw = workspace.root / "data/raw"
    planting.put(min(raw.glob("events/*/*.parquet")), "label", 3, 2)
    planting.seal(raw)


def two_kept_runs(workspace: Workspace) -> None:
    """Keep the dvc.lock of two runs in the registry, and push what was written."""
    commit(workspace)
    yaml = YAML()
    for run, unfinished in (("RUN", "export"), ("ANOTHER", "check_parity")):
        lock = yaml.load(workspace.lock())
        del lock["stages"][unfinished]
        kept = workspace.root / "registry/MODEL/runs" / run
        kept.mkdir(parents=True)
        yaml.dump(lock, kept / "dvc.lock")
    assert workspace.run("dvc", "remote", "add", "--local", "--default", "runs", "../remote").returncode == 0
    assert workspace.run("dvc", "push").returncode == 0


def an_environment(workspace: Workspace) -> None:
    """Make the environment of the tests that of the checkout."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 8000)) == 0:
            pytest.skip("the page's server needs port 8000, and another one has it")
    (workspace.root / ".venv").symlink_to(sys.prefix)


def an_overlay_for_spark(workspace: Workspace) -> None:
    """Lay the page's overlay and a table of requests beside the log, where Spark and Java are installed."""
    if not (find_spec("pyspark") and shutil.which("java")):
        pytest.skip("Spark needs pyspark and Java")
    (workspace.root / "spark.yaml").write_text(the_block("spark.md", "featurize:"))
    (workspace.root / "requests").mkdir()
    requests = {"day": ["2026-01-31"] * 2, "user_id": [1, 2], "request": ['{"candidates": [1, 2]}'] * 2}
    pq.write_table(pa.table(requests), workspace.root / "requests/0.parquet")


def a_plugin(workspace: Workspace) -> None:
    """Lay an example's file where the page has it."""
    (workspace.root / "plugins").mkdir()
    shutil.copy(ROOT / "examples/plugins/transformer.py", workspace.root / "plugins")


def a_load_generator(workspace: Workspace) -> None:
    if not shutil.which("wrk"):
        pytest.skip("the load of a server needs wrk")


GIVEN: dict[str, Callable[[Workspace], None]] = {
    "bring-your-own-log.md": an_own_log,
    "daily.md": a_daily_champion,
    "gates.md": seventeen_records,
    "operations.md": a_record_to_repeat,
    "plugins.md": a_plugin,
    "results.md": a_load_generator,
    "spark.md": an_overlay_for_spark,
    "start.md": an_environment,
    "tuning.md": commit,
    "validation.md": one_wrong_label,
    "workers.md": two_kept_runs,
}


@pytest.mark.parametrize("page", BY_PAGE)
def test_the_commands_of_a_page(page: str, promoted: Workspace, tmp_path: Path) -> None:
    """Every statement ends with exit code 0 or with the one that its page announces, and prints what its page shows."""
    workspace = promoted.copy(tmp_path / "workspace")
    GIVEN.get(page, lambda _: None)(workspace)
    shared = {"DIN_REPOSITORY": str(workspace.root), "DIN_DVC_REMOTE": str(tmp_path / "remote")}
    shared["DIN_REGISTRY"] = str(workspace.root / "registry")
    for block in BY_PAGE[page]:
        printed = execute(block, workspace.root, workspace.env() | shared)
        if block.is_session:
            assert shown(block).search("\n".join(map(str.rstrip, printed.splitlines()))), printed


def test_the_findings_of_the_doctor(promoted: Workspace, tmp_path: Path) -> None:
    """The doctor still looks for what its page shows."""
    printed = promoted.copy(tmp_path / "workspace").run("din", "doctor", "--json").stdout
    found = {finding["name"] for finding in json.loads(printed)}
    names = re.findall(r"^(?:ok|warning) +(.+?)  ", the_block("command-line.md", "ok "), re.M)
    assert len(names) == 3 and set(names) <= found


def test_the_commands_of_a_newcomer(tmp_path: Path) -> None:
    """They lead from a CSV to a champion, repeated they change nothing, and a release merges with what it wrote."""
    workspace = Workspace.at(tmp_path / "shop")
    workspace.root.mkdir()
    names = {"user": "visitor", "item": "sku", "time": "shown_at", "category": "category", "rating": "rating"}
    write_clicks(workspace.root / "clicks.csv", names | {"click": "clicked"})
    for block in INIT:
        execute(block, workspace.root, workspace.env())
        commit(workspace)
    assert Registry(str(workspace.root / "registry"), "shop").champion()
