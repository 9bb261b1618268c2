"""The stages of dvc.yaml: DVC's own edges, and errors that name stage and key."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from dvc.exceptions import DvcException
from dvc.repo import Repo
from ruamel.yaml import YAML

from din import pipeline
from din.errors import InputError

ROOT = Path(__file__).parent.parent.parent
Edges = dict[str, set[str]]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")


def planned(text: str) -> Edges:
    return {name: set(stage.upstream) for name, stage in pipeline.parse(text).items()}


def of_dvc(repository: Repo) -> Edges:
    """Return the edges that DVC builds for the dvc.yaml of this repository."""
    repository._reset()  # DVC has no other way to read the file again
    graph = repository.index.graph
    return {node.name: {other.name for _, other in graph.out_edges(node)} for node in graph.nodes}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repo]:
    """Return an empty repository without git."""
    with Repo.init(str(tmp_path_factory.mktemp("dvc")), no_scm=True) as repository:
        yield repository


def test_the_pipeline_has_dvcs_edges(repository: Repo) -> None:
    """In the committed dvc.yaml, every stage waits for the same stages as in DVC."""
    text = (ROOT / "dvc.yaml").read_text()
    Path(repository.root_dir, "dvc.yaml").write_text(text)
    assert planned(text) == of_dvc(repository)
    assert sum(map(len, planned(text).values())) > len(planned(text))


def random_pipeline(seed: int) -> dict[str, Any]:
    """Draw stages in random order over few nested paths, with equal, inner and outer deps, and also invalid ones."""
    chance = Random(seed)
    folders = [f"{a}/{b}" for a in ("d", "d2", "e") for b in ("x", "xy", "z")]
    paths = ["d", "e", *folders, *(f"{folder}/{leaf}" for folder in folders for leaf in "pq"), "params.yaml", "q.yaml"]

    def stage() -> dict[str, Any]:
        outs = chance.sample(paths, chance.choice((0, 1, 1, 2)))
        rest = [path for path in paths if path not in outs]
        body = {
            "cmd": chance.choice(("true", ["true", "false"])),
            "deps": [chance.choice(("", "./", "d/../")) + path for path in chance.sample(rest, chance.randint(0, 3))],
            chance.choice(("outs", "metrics", "plots")): [
                chance.choice((path, {path: {"cache": False}})) for path in outs
            ],
            "params": chance.choice(([], ["train"], [{"q.yaml": ["a"]}], [{"q.yaml": None}])),
        }
        if chance.random() < 0.2:
            body |= {"wdir": "d"}
        if chance.random() < 0.1:
            body |= {chance.choice(("frozen", "always_changed", "depends")): True}
        return {key: value for key, value in body.items() if value}

    return {"stages": {f"s{i}": stage() for i in range(chance.randint(1, 5))}}


def test_random_pipelines_have_dvcs_edges(repository: Repo) -> None:
    """In 200 random files, the edges are DVC's wherever DVC accepts the file."""
    Path(repository.root_dir, "d").mkdir(exist_ok=True)
    accepted = 0
    for seed in range(200):
        document = random_pipeline(seed)
        with Path(repository.root_dir, "dvc.yaml").open("w") as file:
            YAML().dump(document, file)
        with contextlib.suppress(DvcException):
            expected = of_dvc(repository)
            assert planned(Path(repository.root_dir, "dvc.yaml").read_text()) == expected, (seed, document)
            accepted += 1
    assert 50 < accepted < 180


GOOD = {"a": {"cmd": "x", "outs": ["o"]}, "b": {"cmd": "x", "deps": ["o"], "outs": ["p"]}}


def changed(**keys: object) -> dict[str, Any]:
    return {"stages": GOOD | {"b": GOOD["b"] | keys}}


@pytest.mark.parametrize(
    ("document", "names"),
    [
        ([], ["dvc.yaml", "mapping"]),
        ({}, ["no stages"]),
        ({"stages": {"b": "din b"}}, ["'b'", "din b"]),
        ({"stages": {"b c": {"cmd": "x"}}}, ["'b c'", "letters"]),
        ({"stages": {"b": {}}}, ["'b'", "'cmd'", "missing"]),
        (changed(cmd=[]), ["'b'", "cmd"]),
        (changed(cmd="din ${x}"), ["'b'", "'cmd'", "${x}", "templating"]),
        (changed(foreach=[1], do={}), ["'b'", "'foreach'", "write the stages out"]),
        (changed(dep=["o"]), ["'b'", "'dep'", "unknown", "cmd, wdir, deps"]),
        (changed(deps="o"), ["'b'", "deps", "array", "'o'"]),
        (changed(outs=[7]), ["'b'", "outs.0", "7"]),
    ],
)  # fmt: skip
def test_a_malformed_file_is_named_down_to_its_key(document: object, names: list[str], tmp_path: Path) -> None:
    """The message holds the stage, the key, the value, and the expectation."""
    with (tmp_path / "dvc.yaml").open("w") as file:
        YAML().dump(document, file)
    with pytest.raises(InputError) as raised:
        pipeline.read(tmp_path / "dvc.yaml")
    assert [name for name in names if name not in str(raised.value)] == []
