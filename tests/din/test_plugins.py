"""Tests of plugins: the files that are loaded, and the errors for others."""

import sys
from pathlib import Path

import pytest

from din import plugins
from din.base.artifacts import write_bytes
from din.base.errors import InputError
from din.base.workspace import Workspace
from din.data import SOURCES, rows
from din.params.train import Train
from din.stages import code
from din.stages.pipeline import Stage, stages_of
from din_logs.movielens import MovieLens
from din_logs.publisher import Publisher
from din_report.advice import ADVICE

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("file", ["missing.py", "../outside.py", "text.txt"])
def test_only_python_files_of_the_repository_are_loaded(tmp_path: Path, file: str) -> None:
    """A file that is missing, of another kind or outside the repository is refused by name."""
    root = tmp_path / "repository"
    root.mkdir()
    (root / "text.txt").write_text("")
    (tmp_path / "outside.py").write_text("")
    with pytest.raises(InputError, match=f"plugins: {file}: not found; expected a Python file below"):
        plugins.load([file], root)


def test_two_plugins_have_two_names(tmp_path: Path) -> None:
    """A module is known by the name of its file alone, so the second would replace the first."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.py").touch()
    plugins.load(["a/model.py", "a/model.py"], tmp_path)
    with pytest.raises(InputError, match=r"b/model.py: \S+a/model.py has the same name; rename"):
        plugins.load(["a/model.py", "b/model.py"], tmp_path)


@pytest.mark.parametrize(
    ("source", "message"),
    [("VALUE = 1\nVALUE.heads\n", "py:2: AttributeError: 'int'"), ("def :\n", "py:1: SyntaxError: ")],
)
def test_a_broken_plugin_names_its_line(tmp_path: Path, source: str, message: str) -> None:
    """Somebody who writes a plugin sees the line and the error, without a traceback."""
    (tmp_path / "broken.py").write_text(source)
    with pytest.raises(InputError, match=f"broken.{message}"):
        plugins.load(["broken.py"], tmp_path)


def test_old_names_of_modules(tmp_path: Path) -> None:
    """A plugin that imports modules by the names they had before gets the same modules, and a warning."""
    (tmp_path / "older.py").write_text(
        "from din.artifacts import sha256_file\nfrom din.errors import InputError\nfrom din.gates import GATES\n"
        "from din.gates.case import Case\nfrom din.gates.findings import Finding, decide\n"
        "from din.params import Train\nfrom din.params.search import OneOf\nfrom din.report.advice import ADVICE\n"
        "from din.sources import SOURCES, rows\nfrom din.sources.rawlog import TIME, RawLog\n"
        "from din.sources.publisher import Publisher\nfrom din.data.movielens import MovieLens\n"
    )
    with pytest.warns(FutureWarning, match=r"din\.sources is now din\.data; write that in your plugin"):
        plugins.load(["older.py"], tmp_path)
    older = sys.modules["din_plugins.older"]
    assert older.SOURCES is SOURCES and older.rows is rows and older.InputError is InputError
    assert older.Train is Train and older.ADVICE is ADVICE
    assert older.Publisher is Publisher and older.MovieLens is MovieLens
    stage = stages_of(Workspace(ROOT))["fetch"]
    assert "plugins/older.py" in code.code_of(stage, [tmp_path / "older.py"]).files


def test_a_plugin_is_loaded_again_only_if_it_changed(tmp_path: Path) -> None:
    """Reading the parameters twice runs a plugin once; an edit runs it again."""
    file = tmp_path / "counted.py"
    runs = tmp_path / "runs"
    file.write_text(f"with open({str(runs)!r}, 'a') as f:\n    f.write('x')\n")
    plugins.load(["counted.py"], tmp_path)
    plugins.load(["counted.py"], tmp_path)
    assert runs.read_text() == "x"
    file.write_text(file.read_text() + "# edited\n")
    plugins.load(["counted.py"], tmp_path)
    assert runs.read_text() == "xx"


def test_a_plugin_counts_for_the_stages_whose_seam_it_imports(tmp_path: Path) -> None:
    """A new model trains again, and does not fetch again; a comment in it changes nothing."""
    stages = stages_of(Workspace(ROOT))
    model = tmp_path / "transformer.py"
    model.write_text("from din.model import MODELS\nimport torch\nHEADS = 1\n")
    touched = [name for name in ("fetch", "featurize", "train", "export") if _files(stages[name], model)]
    assert touched == ["train", "export"]
    before = _files(stages["train"], model)
    model.write_text("# A comment.\n" + model.read_text())
    assert _files(stages["train"], model) == before
    model.write_text(model.read_text().replace("HEADS = 1", "HEADS = 2"))
    assert _files(stages["train"], model) != before


@pytest.mark.parametrize("line", ["import din.model", "from din import model", "import din.model.din"])
def test_a_plugin_counts_however_it_imports_the_seam(line: str, tmp_path: Path) -> None:
    plugin = tmp_path / "transformer.py"
    plugin.write_text(f"{line}\n")
    assert _files(stages_of(Workspace(ROOT))["train"], plugin)


def test_a_neighbour_counts_as_its_plugin_does(tmp_path: Path) -> None:
    """An edit of it loads the plugin again and changes the digests of stages; a bundle of the old code refuses it."""
    block = tmp_path / "block.py"
    block.write_text("from . import size\nHEADS = size.HEADS\n")
    (tmp_path / "size.py").write_text("HEADS = 1\n")
    (tmp_path / "width.py").write_text("")
    (tmp_path / "unused.py").write_text("raise ValueError\n")
    plugin = tmp_path / "tower.py"
    plugin.write_text(
        "from din.model import MODELS\nfrom din_plugins import width\nfrom din_plugins.block import HEADS\n"
    )
    train = stages_of(Workspace(ROOT))["train"]
    plugins.load(["tower.py"], tmp_path)
    before = _files(train, plugin)
    assert before.keys() == {"plugins/tower.py", "plugins/block.py", "plugins/size.py", "plugins/width.py"}
    needed = plugins.digest_of("din_plugins.tower")
    plugins.require(needed, "bundle")
    (tmp_path / "size.py").write_text("HEADS = 2\n")
    assert _files(train, plugin) != before
    plugins.load(["tower.py"], tmp_path)
    assert sys.modules["din_plugins.tower"].HEADS == 2
    with pytest.raises(InputError, match=r"needs the plugin size.py with sha256 \w+, but size.py here has"):
        plugins.require(needed, "bundle")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("from . import attention", r":1: `from . import attention`: expected a file attention.py in this folder"),
        ("X = (", r":1: SyntaxError: '\(' was never closed; correct it"),
        ("import block", r":1: ModuleNotFoundError: .* with a dot: `from .NAME import …`"),
        ("from plugins.block import X", r":1: ModuleNotFoundError: .* with a dot: `from .NAME import …`"),
        ("from .mutual import X", r":1: ModuleNotFoundError: .*; mutual.py and wrong.py import each other; move"),
    ],
)
def test_a_wrong_import_of_a_neighbour_names_the_right_one(tmp_path: Path, line: str, message: str) -> None:
    """Somebody who writes a plugin sees the line, and what to write instead."""
    folder = tmp_path / "plugins"
    for name, text in {"block": "X = 1", "mutual": "from .wrong import X", "wrong": line}.items():
        write_bytes(folder / f"{name}.py", text.encode())
    with pytest.raises(InputError, match=message):
        plugins.load(["plugins/wrong.py"], tmp_path)


def test_a_gate_of_a_plugin_counts_for_the_gate_alone(tmp_path: Path) -> None:
    """So do the modules of the built-in gates, which are imported by name."""
    stages = stages_of(Workspace(ROOT))
    gate = tmp_path / "concentration.py"
    gate.write_text("from din.release.gates import GATES\n")
    assert [name for name, stage in stages.items() if stage.command and _files(stage, gate)] == ["gate"]
    assert {"din/release/gates/candidate.py", "din/release/gates/slices.py"} <= code.code_of(
        stages["gate"]
    ).files.keys()


def test_a_kind_counts_for_every_stage_that_reads_fields(tmp_path: Path) -> None:
    """Each of them encodes or looks up values."""
    stages = stages_of(Workspace(ROOT))
    kind = tmp_path / "logarithm.py"
    kind.write_text("from din.kinds import KINDS\n")
    touched = {name for name, stage in stages.items() if stage.command and _files(stage, kind)}
    assert touched >= {"validate_raw", "featurize", "validate_features", "train", "evaluate", "export", "gate"}


def _files(stage: Stage, plugin: Path) -> dict[str, str]:
    """Return the digests that a plugin adds to a stage."""
    return {path: digest for path, digest in code.code_of(stage, [plugin]).files.items() if "plugins/" in path}
