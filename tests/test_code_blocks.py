"""The code blocks of the pages: a reader can copy them."""

import json
import os
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from textwrap import indent
from typing import Any

import numpy as np
import pytest
import torch

from din.base.workspace import Workspace
from din.bundle import Scorer
from din.data.rawlog import RawLog
from din.features.reader import Features
from din.ops.constants import EPSILON
from din.ops.dice import Dice
from din.params.overlays import edit
from din.params.reading import Params, plain
from din.stages import pipeline
from din_logs.movielens import FIELDS
from din_start.tiny_run import START, part
from tests.factories.bundles import build, crown
from tests.helpers.code_blocks import ENDINGS, EXCLUDED, ROOT, Block, execute, of, shell_blocks, statements
from tests.helpers.command_lines import parsed
from tests.helpers.settings import changed

PART = re.compile(r"\s+(?:&&|\|)\s+|;\s+")


def commands(text: str) -> Iterator[str]:
    """Yield each command of a block, without what precedes it on its line."""
    for line in text.splitlines():
        code, _, _ = line.partition(" # ")
        for command in PART.split(code.removeprefix("$ ").strip()):
            if re.match(r"(din|dvc|make|python) \S", command):
                yield command


COMMANDS = [(str(block), line) for block in of("", "bash") for line in commands(block.text)]


@pytest.mark.parametrize(("place", "line"), COMMANDS)
def test_a_command_exists(place: str, line: str) -> None:
    """Parsers accept it; a target of make, a module and a stage exist."""
    program, *words = line.split()
    if program == "make":
        assert f"\n{words[0]}:" in (ROOT / "Makefile").read_text(encoding="utf-8")
    elif program == "din" or words[:2] == ["-m", "validation"]:
        parsed(line)
    elif program == "python":
        assert words[0] != "-m" or find_spec(words[1])
    elif words[0] == "repro":
        stages = {word for word in words[1:] if word not in ("-f", "-s")}
        assert stages <= set(pipeline.stages_of(Workspace(ROOT)))


@pytest.mark.parametrize("block", of("yaml"), ids=str)
def test_parameters_are_valid(block: Block) -> None:
    """A block of whole parameters is accepted by `din params apply`, and any other is YAML."""
    shipped = (ROOT / "params.yaml").read_text(encoding="utf-8")
    overlay: Any = plain(block.text, block)
    if isinstance(overlay, dict) and set(overlay) <= set(plain(shipped, "params.yaml")):
        edit(shipped, overlay, block)


@pytest.fixture
def kernels(features_once: Features, params: Params) -> dict[str, Any]:
    """The names that docs/kernels.md supposes: small features, and what Dice reads."""
    tiny = changed(params.train, embedding_dim=4, attention_hidden=(8,), hidden=(8,), epochs=1)
    s = torch.randn(50, 3, generator=torch.Generator().manual_seed(1))
    given = {"features": features_once, "params": replace(params, train=tiny)}
    return given | {"torch": torch, "EPSILON": EPSILON, "s": s, "alpha": torch.tensor([0.0, 0.3, -0.2])}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory, params: Params) -> Path:
    """Return a folder with a promoted bundle that has the fields of MovieLens-100k."""
    rng = random.Random(1)
    events, items, users = [], [], []
    for item in range(1, 100):
        items.append({"item_id": item, "genres": ["Drama", "War"][: rng.randrange(3)], "year": 1950 + item % 50})
    for user in range(1, 60):
        users.append({"user_id": user, "gender": "FM"[user % 2], "age": user % 80, "occupation": "writer"})
        for _ in range(10):
            stars = rng.randrange(1, 6)
            row = {"user_id": user, "item_id": rng.randrange(1, 100), "timestamp": START + len(events), "rating": stars}
            events.append(row | {"sequence": len(events), "label": int(stars >= 4), "behaviour": 1})
    parts = {"events": part("events", events), "items": part("items", items), "users": part("users", users)}
    finished = build(tmp_path_factory.mktemp("films"), params, RawLog(**parts, fields=FIELDS, protocol="by_user"))
    crown(finished.registry, finished.bundle)
    finished.here.params.write_bytes((ROOT / "params.yaml").read_bytes())
    return finished.here.root


@pytest.fixture
def serving(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Let docs/serving.md find its bundle in the current folder."""
    monkeypatch.chdir(films)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return {}


@pytest.fixture
def airflow(tmp_path: Path) -> dict[str, Any]:
    """Two markets of docs/airflow.md, and the name that a file of DAGs imports."""
    from dags.airflow_dag import render

    (tmp_path / "markets").mkdir()
    for market in ("de", "fr"):
        (tmp_path / f"markets/{market}.yaml").write_text(f"promote: {{model_name: {market}}}\n")
    for name in ("dvc.yaml", "params.yaml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    return {"render": render, "ROOT": tmp_path}


@pytest.mark.parametrize("block", of("python"), ids=str)
def test_python_runs(block: Block, request: pytest.FixtureRequest) -> None:
    """It runs with the names that its page supposes, and an activation that it returns is that of Dice."""
    supposed = block.page.stem in ("airflow", "kernels", "serving")
    names = request.getfixturevalue(block.page.stem) if supposed else {}
    text = block.text.replace("s3://models/ctr", "registry")  # tests/din/release/registry reads from buckets
    exec(f"def body():\n{indent(text, '    ')}\nreturned = body()", names)
    if names["returned"] is not None:
        dice = Dice(3)
        dice.alpha.data = names["alpha"]
        torch.testing.assert_close(names["returned"], dice(names["s"]))


def test_a_graph_without_this_package(serving: dict[str, Any]) -> None:
    """Plain onnxruntime gives the scorer's probabilities to the request of docs/serving.md, also of an unknown item."""
    (block,) = [block for block in of("python") if "import onnxruntime" in block.text]
    exec(block.text, serving)
    expected = Scorer.open("models/bundle", native=False).score(serving["request"])
    np.testing.assert_array_equal(serving["probabilities"], expected)
    assert "din" not in re.findall(r"\w+", block.text) and len(set(expected)) == 3


@pytest.mark.parametrize("block", of("c"), ids=str)
def test_c_is_that_of_the_sources(block: Block) -> None:
    """Each line is one of a native source; a page may leave lines out."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "din/ops/native").glob("*.[ch]")]
    lines = {line.strip() for source in sources for line in source.splitlines()}
    assert {line.strip() for line in block.text.splitlines()} <= lines


@pytest.mark.parametrize("block", [block for block in shell_blocks() if "din score --input" in block.text], ids=str)
def test_requests_are_scored(block: Block, films: Path) -> None:
    """The request of the README and that of docs/serving.md get one probability for each candidate."""
    (request,) = of("json")
    (films / "requests.jsonl").write_text(json.dumps(json.loads(request.text)))
    printed = execute(block, films, os.environ)
    assert len(json.loads(printed.splitlines()[-1])["probabilities"]) == 3


def test_no_command_is_in_a_block_of_another_kind() -> None:
    """Every block with a command is executed, however it begins."""
    assert [str(block) for block in of("", "bash") if any(commands(block.text)) and block not in shell_blocks()] == []


def test_every_exception_is_of_a_statement() -> None:
    """A reason not to execute goes when the last statement that it excuses has gone, and so does an exit code."""
    found = {statement for block in shell_blocks() for statement in statements(block)}
    assert [pattern for pattern in EXCLUDED if not any(re.match(pattern, one) for one in found)] == []
    assert set(ENDINGS) <= found


@pytest.mark.parametrize(
    "text", ["false && true\ntrue", "true\nfor i in 1 2; do\n  false\ndone", "set -e\nfalse\ntrue"]
)
def test_a_statement_that_fails_is_found(text: str, tmp_path: Path) -> None:
    """An exit code other than 0 fails, also in the middle of a line, a loop or a block."""
    with pytest.raises(AssertionError, match="page:1: exit code"):
        execute(Block(Path("page"), 1, "", text), tmp_path, os.environ)


@pytest.mark.parametrize("text", ["set -e\ntrue", "sleep 600 &\ntrue"])
def test_a_block_ends_well(text: str, tmp_path: Path) -> None:
    """Also one with `set -e`, or with a command in the background, which does not outlive it."""
    execute(Block(Path("page"), 1, "", text), tmp_path, os.environ)
