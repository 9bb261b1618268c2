"""The command line if packages are missing."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from stages import exit_code
from typer.testing import CliRunner

from din import cli
from din.workspace import Workspace

ROOT = Path(__file__).parent.parent
# the import of a package fails as if it were not installed
LACKING = "import sys; sys.modules[{package!r}] = None; sys.argv[1:] = {arguments!r}; import runpy; runpy.run_module({module!r}, run_name='__main__')"  # noqa: E501  # one line of code


@pytest.mark.parametrize(
    ("module", "arguments", "package", "name"),
    [
        ("din.cli", ["fetch"], "fsspec", "fetch"),
        ("din.cli", ["featurize"], "ibis", "featurize"),
        ("din.cli", ["train"], "torch", "train"),
        ("din.cli", ["export"], "onnx", "export"),
        ("din.cli", ["judge"], "torch", "judge"),
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


def test_a_look_at_the_source_without_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads as `fetch` does, so it needs the extra of the stages."""
    for module in [name for name in sys.modules if name.startswith("din.sources")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.setattr(cli, "HERE", Workspace(ROOT))
    done = CliRunner().invoke(cli.app, ["source"])
    assert done.exit_code == 2
    assert "pip install 'din-ctr[train]'" in done.stderr


def test_scoring_without_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scoring names the smaller extra."""
    for module in [name for name in sys.modules if name.startswith("din.serve")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    done = CliRunner().invoke(cli.app, ["score", "--input", "-", "--bundle", "nowhere"])
    assert done.exit_code == 2
    assert "pip install 'din-ctr[serve]'" in done.stderr


def test_a_user_without_a_name_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an arbitrary uid, as in some pods, neither a variable nor a passwd entry names the user."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)  # nobody's uid
    assert cli.user() == "4000000000"


def test_a_missing_module_of_our_own_is_a_bug(tmp_path: Path) -> None:
    """If one of our own modules is missing, no extra would help."""
    assert exit_code(Workspace(tmp_path), "x", lambda: importlib.import_module("din.nowhere")) == 1
