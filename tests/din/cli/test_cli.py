"""The command lines: help, errors, and missing packages."""

import importlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from din import cli
from din.base.commandline import examples
from din.base.workspace import Workspace
from din.stages import pipeline
from tests.helpers.command_lines import PARSERS, parsed
from tests.helpers.stages import exit_code

ROOT = Path(__file__).parents[3]
GATES = r"  options: {}(?= *# limits of gates)"
# the import of a package fails as if it were not installed
LACKING = "import sys; sys.modules[{package!r}] = None; sys.argv[1:] = {arguments!r}; import runpy; runpy.run_module({module!r}, run_name='__main__')"  # noqa: E501  # one line of code


@pytest.mark.parametrize("name", PARSERS)
def test_every_help_has_examples_that_its_parser_accepts(name: str) -> None:
    """Each example fits in 80 columns and is accepted as it is written; a command shows itself at least once."""
    first, *lines = (PARSERS[name].epilog or "").splitlines()
    assert first + "\n" + "\n".join(lines) == examples(*(line.strip() for line in lines))
    assert all(len(line) < 80 for line in lines)
    stages = pipeline.stages_of(Workspace(ROOT))
    named = set()
    for line in (line.strip() for line in lines):
        words = line.split()
        if words[0] == "dvc":
            assert words[1] != "repro" or words[2] in {*stages, "&&"}
        else:
            named.add(parsed(line))
    assert hasattr(PARSERS[name], "commands") or name in named


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "din.cli", *arguments], capture_output=True, text=True)


def test_the_help_imports_no_command() -> None:
    """`din --help` and completion load neither documents nor any package that a stage needs."""
    program = "import sys, din.cli; print({'pydantic', 'yaml', 'numpy', 'obstore', 'torch'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_version() -> None:
    """`--version` names the package's version and Python's."""
    done = run("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["din", "0.1.0", "(Python", f"{sys.version.split()[0]})"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bogus"], "din: no such command 'bogus'; `din --help`"),
        (
            ["registry", "rollback", "2", "--reason", "x", "--champion", "0"],
            "din registry rollback: invalid value for '--champion': Input should be greater than or equal to 1",
        ),
        (
            ["registry", "gc", "--days", "-1"],
            "din registry gc: invalid value for '--days': Input should be greater than or equal to 0, got '-1'",
        ),
        (
            ["registry", "gc", "--days", "nan"],
            "din registry gc: invalid value for '--days': Input should be less than or equal to 36500, got 'nan'",
        ),
        (
            ["serve", "--refresh", "inf"],  # no thread could wait as long
            "din serve: invalid value for '--refresh': Input should be less than or equal to 86400, got 'inf'",
        ),
        (
            ["registry", "rollback", "2", "--reason", "x", "--registry", ""],
            "din registry rollback: invalid value for '--registry': is empty; give a value, or leave the option out",
        ),
    ],
)
def test_wrong_arguments_are_one_line(arguments: list[str], message: str) -> None:
    """The line names the command, the mistake, and where to look; the exit code is 2."""
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


WITHIN = ["status", "train", "train --dry-run", "fetch --dry-run", "params apply x.yaml", "promote"]


@pytest.mark.parametrize("command", WITHIN)
def test_the_wrong_folder_is_bad_input(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One message says where to run the command and how to begin a repository, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.app, command.split())
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr == (
        "params.yaml: not found; go to the root of your repository, or begin one with `din init FILE`\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_run_needs_its_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with parameters and no stages is refused by the commands about a run as a whole."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.app, ["gate"])
    assert done.exit_code == 2 and "dvc.yaml: not found; go to the root of your repository" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


@pytest.mark.parametrize(
    ("line", "wrong", "message"),
    [
        (r"    name: din ", "    name: dien ", "train.model.name: 'dien' is not a model; there are din, base, lr"),
        (
            r"  fields: null",
            "  fields: {user: {age: int}}",
            "featurize.fields.user.age: 'int' is not a kind of field; there are id, categorical",
        ),
        (GATES, "  options: {min_aux: {}}", "gate.options: 'min_aux' is not a gate; there are "),
        (GATES, "  options: {min_auc: {least: 1}}", "gate.options.min_auc: least: expected nothing here"),
    ],
)
def test_a_wrong_name_is_told_before_the_first_stage(
    line: str, wrong: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends `din fetch`, and not the stage that needs it, an hour later."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "params.yaml").read_text()
    Path("params.yaml").write_text(re.sub(line, wrong, text, count=1))
    done = CliRunner().invoke(cli.app, ["fetch"])
    assert done.exit_code == 2
    assert message in done.stderr


@pytest.mark.parametrize(
    ("module", "arguments", "package", "name"),
    [
        ("din.cli", ["train"], "torch", "train"),
        ("validation", ["raw"], "great_expectations", "validate_raw"),
    ],
)
def test_a_stage_without_its_packages(
    module: str, arguments: list[str], package: str, name: str, tmp_path: Path
) -> None:
    """A missing package is exit 2, one message names the extra to install, and runners find an outcome."""
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    code = LACKING.format(package=package, arguments=arguments, module=module)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert f"{name}: the package {package!r} is not installed" in done.stderr
    assert "pip install 'din-ctr[train]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads((tmp_path / f".din/outcome/{name}.json").read_text())["exit_code"] == 2


@pytest.mark.parametrize(
    ("command", "package", "modules", "extra"),
    [
        ("score --input - --bundle nowhere", "onnxruntime", "din.bundle", "serve"),
        ("tune", "optuna", "din_tune.", "tune"),
    ],
)
def test_another_command_without_its_packages(
    command: str, package: str, modules: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scoring and tuning name extras of their own."""
    for module in [name for name in sys.modules if name.startswith(modules)]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.chdir(ROOT)
    done = CliRunner().invoke(cli.app, command.split())
    assert done.exit_code == 2
    assert f"the package '{package}" in done.stderr
    assert f"pip install 'din-ctr[{extra}]'" in done.stderr


def test_a_missing_module_of_our_own_is_a_bug(tmp_path: Path) -> None:
    """If one of our own modules is missing, no extra would help."""
    assert exit_code(Workspace(tmp_path), "x", lambda: importlib.import_module("din.nowhere")) == 1
