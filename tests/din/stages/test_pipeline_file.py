"""The reader of dvc.yaml that commands, reports and schedulers share: DVC's own edges, and errors that name the key."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from dvc.exceptions import DvcException
from dvc.repo import Repo
from ruamel.yaml import YAML

from din.base.errors import InputError
from din.stages import pipeline

ROOT = Path(__file__).parents[3]
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"dvc\.yaml: not found"),
        ("stages: [", r"dvc\.yaml: not valid YAML"),
        ("desc: 2026-02-30", r"dvc\.yaml: not valid YAML: line 1, column 7: not a valid timestamp: '2026-02-30'"),
        ("[]", r"dvc\.yaml: expected a mapping"),
        ("stages: {}", r"dvc\.yaml: no stages"),
        ("stages: {a b: {cmd: x}}", "'a b'.*letters"),
        ("stages: {a: {cmd: []}}", "'a'.*'cmd'.*a command"),
        ("stages: {a: {cmd: 'din ${x}'}}", r"'a'.*'cmd'.*\$\{x\}.*templating"),
        ("stages: {a: {foreach: [1], do: {cmd: x}}}", "'a'.*'foreach'.*write the stages out"),
        ("stages: {a: {cmd: x, dep: [o]}}", "'a'.*'dep' is unknown.*cmd, wdir, deps"),
    ],
)
def test_a_malformed_file_is_named_down_to_its_key(text: str | None, message: str, tmp_path: Path) -> None:
    """The message holds the stage, the key, the value, and the expectation."""
    if text is not None:
        (tmp_path / "dvc.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        pipeline.read(tmp_path / "dvc.yaml")


def test_paths_start_at_the_root_and_keys_are_of_their_file() -> None:
    """Outs include metrics, parameters of other files are no keys of params.yaml, and `wdir` is part of each path."""
    text = """
        stages:
          own: {cmd: [x, 'y'], wdir: sub, deps: [a], outs: [b: {cache: false}], metrics: [c], params: [k, p.yaml: [m]]}
          gate: {cmd: z, always_changed: true, meta: {packages: [onnx]}}
    """
    own, gate = pipeline.parse(text).values()
    assert (own.command, own.deps, own.outs) == ("x\ny", ("sub/a",), ("sub/b", "sub/c"))
    assert (own.params, own.parameter_files) == (("k",), ("sub/params.yaml", "sub/p.yaml"))
    assert (gate.always_changed, own.always_changed, gate.meta) == (True, False, {"packages": ["onnx"]})
