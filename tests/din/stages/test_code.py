"""Tests of the dependencies of each stage that `din code` finds in the source."""

import ast
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import grimp
import pytest

from din.base.artifacts import read_json
from din.base.errors import InputError
from din.base.workspace import Workspace
from din.params.reading import load
from din.plugins import PACKAGES
from din.release.gates import evidence
from din.stages import code
from din.stages.pipeline import stages_of

ROOT = Path(__file__).parents[3]
STAGES = stages_of(Workspace(ROOT))
BLOCKS = {block for stage in STAGES.values() for block in (key.partition(".")[0] for key in stage.params)}


def test_every_class_of_seams_is_followed() -> None:
    """The digest of a stage follows seams to the modules that they import by name."""
    names = (kind for package in PACKAGES for kind in _seams_of(package))
    assert set(code._SEAMS) == {"Seam", *names}


def _seams_of(package: str) -> list[str]:
    """Return the subclasses of `Seam` that the files of a package define."""
    files = (ROOT / package).rglob("*.py")
    nodes = (node for file in files for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ClassDef))
    return [node.name for node in nodes if any(ast.unparse(base).startswith("Seam[") for base in node.bases)]


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("din", "validation", cache_dir=None, exclude_type_checking_imports=True)


@pytest.mark.parametrize("stage", sorted(STAGES.keys() - {"code"}))
def test_every_stage_depends_on_its_code(stage: str) -> None:
    """Each stage has its own file of `reports/code/` as a dependency, and no path into the source."""
    deps = STAGES[stage].deps
    assert [dep for dep in deps if dep.startswith("reports/code/")] == [f"reports/code/{stage}.json"]
    assert [dep for dep in deps if (ROOT / dep).exists() and dep.startswith(("din", "validation", "dags"))] == []


@pytest.mark.parametrize("stage", sorted(STAGES.keys() - {"code"}))
def test_closures_hold_what_grimp_finds(stage: str, graph: grimp.ImportGraph) -> None:
    """With every block of parameters read, nothing that the command imports is missing."""
    command = code.imports_of_command(STAGES[stage].command) & graph.modules
    expected = command.union(*map(graph.find_upstream_modules, command))
    assert len(expected) > 10
    assert expected - code.closure(command, BLOCKS) == set()


def test_files_are_written_for_the_stages_that_ask(tmp_path: Path) -> None:
    """A stage without the dependency may run any command; one with it must run a command of this repository."""
    workspace = Workspace(tmp_path)
    own = "  own: {cmd: ./own.sh}\n"
    fetch = "  fetch: {cmd: din fetch, params: [data, fetch], deps: [reports/code/fetch.json]}\n"
    workspace.pipeline.write_text(f"stages:\n{own}{fetch}")
    code.write_code(workspace, load(ROOT / "params.yaml"))
    assert [path.name for path in workspace.code.iterdir()] == ["fetch.json"]
    found = read_json(workspace.code_of("fetch"))
    assert {"din/data/fetch.py", "din/params/fetch.py", "din/stages/pipeline.py"} < found["files"].keys()
    assert "din/params/gate.py" not in found["files"]
    assert found["packages"]["pyarrow"] == version("pyarrow")
    assert "torch" not in found["packages"]
    workspace.pipeline.write_text("stages:\n  own: {cmd: ./own.sh, deps: [reports/code/own.json]}\n")
    with pytest.raises(InputError, match=r"'./own.sh': expected din COMMAND"):
        code.write_code(workspace, load(ROOT / "params.yaml"))


def test_a_file_of_expectations_is_a_dependency(tmp_path: Path) -> None:
    """Another content has another digest, only the stage that reads the file depends on it, and it must exist."""
    workspace = Workspace(tmp_path)
    stages = "".join(
        f"  validate_{suite}: {{cmd: python -m validation {suite}, deps: [reports/code/validate_{suite}.json]}}\n"
        for suite in ("raw", "features")
    )
    workspace.pipeline.write_text(f"stages:\n{stages}")
    params = load(ROOT / "params.yaml")
    params = replace(params, validate_raw=replace(params.validate_raw, expectations="mine.yaml"))
    found = []
    for content in ("a", "b"):
        (tmp_path / "mine.yaml").write_text(content)
        code.write_code(workspace, params)
        found.append(read_json(workspace.code_of("validate_raw"))["files"]["mine.yaml"])
    assert found[0] != found[1]
    assert "mine.yaml" not in read_json(workspace.code_of("validate_features"))["files"]
    (tmp_path / "mine.yaml").unlink()
    with pytest.raises(InputError, match=r"mine\.yaml: not found; name an existing file in params\.yaml"):
        code.write_code(workspace, params)


def test_a_bundle_states_versions_that_export_depends_on() -> None:
    """An upgrade of any package that facts.json names makes `export` run again."""
    source = ast.parse((ROOT / "din/bundle/bundle_writer.py").read_text())
    assigned = {ast.unparse(node.targets[0]): node.value for node in source.body if isinstance(node, ast.Assign)}
    stated = set(ast.literal_eval(assigned["_PACKAGES"]))
    assert stated <= code.code_of(STAGES["export"]).packages.keys()


PYTHON = """
'''A module.'''
LIMIT = 1
'''What it limits.'''

class Gate:
    '''A gate.'''

    limit: Annotated[float, Ge(0), Doc("Smallest AUC.")] = 0.5

    async def judge(self):
        '''Judge.'''
        return "# not a comment"  # a comment
"""


C = r"""#include "a.h" // the header
/* two
   lines */ char *at = "/* \" // */";

int a = 1; // 'one'
char b = '"';
"""


def test_comments_and_docstrings_do_not_count() -> None:
    """Python and C keep what runs, strings that look like comments among it; a parameter's doc is a docstring."""
    kept = code._without_docstrings(ast.parse(PYTHON))
    assert kept.split("\n") == [
        "LIMIT = 1", "",
        "class Gate:", "    limit: Annotated[float, Ge(0), Doc()] = 0.5", "",
        "    async def judge(self):", "        return '# not a comment'",
    ]  # fmt: skip
    assert code._without_comments(C).split("\n") == [
        '#include "a.h"', 'char *at = "/* \\" // */";', "int a = 1;", "char b = '\"';"
    ]  # fmt: skip


def test_a_digest_changes_with_what_runs_and_not_with_a_comment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comment in an imported module doesn't change the digest, and refuses no promotion. A statement does both."""
    monkeypatch.setattr(code, "_ROOT", tmp_path)
    digests = []
    for line in ("", "# a comment", "PLANTED = 1"):
        room = tmp_path / "room"
        room.mkdir(exist_ok=True)
        (room / "__init__.py").touch()
        (room / "top.py").write_text("from room import below\n")
        (room / "below.py").write_text(f"{line}\n")
        code._path.cache_clear()
        code._module.cache_clear()
        digests.append(code.digest(["room.top"], [], packages=("room",)))
    code._path.cache_clear()
    code._module.cache_clear()
    assert digests[0] == digests[1] != digests[2]


def test_the_gate_depends_on_everything_that_judges() -> None:
    """Parity, the suites and all built-in gates count, so a change of any after the gate refuses the promotion."""
    judges = {"din.bundle.parity", "din.release.gates.slices", "din.train.crossfit", "validation.expectations"}
    assert judges <= code.closure(evidence._JUDGES, BLOCKS)
