"""The gate over the reports, and the command line."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from din.base.artifacts import read_json
from din.base.errors import GateClosed, InputError
from din.base.workspace import SUITES
from din.params.reading import Params
from tests.validation.planting import HERE, RAW, day, judge, limits, put, seal
from validation.__main__ import app
from validation.ci_gate import gate

Build = Callable[..., tuple[Path, Params]]
Enter = Callable[..., Params]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def judged_once(build: Build, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Params]:
    """Return a workspace with three open reports, and its parameters."""
    root, params = build("temporal")
    copy = shutil.copytree(root, tmp_path_factory.mktemp("judged") / "workspace")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(copy)
        for suite in SUITES:
            judge(suite, params)
    return copy, params


@pytest.fixture
def judged(judged_once: tuple[Path, Params], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Copy the judged workspace, make the copy the current directory and return its parameters."""
    root, params = judged_once
    monkeypatch.chdir(shutil.copytree(root, tmp_path / "workspace"))
    return params


def test_equal_inputs_give_equal_reports(workspace: Enter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Judging twice gives equal bytes, and nothing is asked of the network."""
    params = workspace("temporal")

    def refuse(*_: object) -> None:
        raise AssertionError("a validation opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    put(day(0), "label", 3, 2)
    seal(RAW)
    contents = []
    for _ in range(2):
        judge("raw", params)
        contents.append(HERE.validation("raw").read_bytes())
    assert contents[0] == contents[1]


def test_each_suite_can_close_the_gate(judged: Params) -> None:
    """Thresholds other than today's, data judged earlier, and a missing report each close the gate."""
    (HERE.directory_of("features") / "more.txt").write_text("x")
    HERE.validation("predictions").unlink()
    with pytest.raises(GateClosed, match="closed: raw, features, predictions") as closed:
        gate(HERE, limits(judged, "validate_raw", min_rows=7))
    words = " ".join(str(closed.value).split())
    assert "other thresholds: min_rows" in words and "is about another data/features" in words
    assert "run `dvc repro validate_predictions`" in words


def test_the_summary_for_ci(judged: Params, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The Markdown summary is appended, open or closed, with failed expectations and their examples."""
    summary = tmp_path / "summary.md"
    summary.write_text("# before\n")
    gate(HERE, judged, summary)
    assert "validation gate: open" in capsys.readouterr().out
    put(day(0), "label", 3, 2)
    seal(RAW)
    judge("raw", judged)
    with pytest.raises(GateClosed):
        gate(HERE, judged, summary)
    text = summary.read_text()
    assert text.startswith("# before\n### Validation: open\n")
    assert "### Validation: closed" in text and "| raw | closed |" in text and "label_0_or_1" in text


def test_a_summary_that_cannot_be_written(judged: Params, tmp_path: Path) -> None:
    """It is bad input that names the file, but a closed gate stays closed."""
    summary = tmp_path / "missing" / "summary.md"
    message = f"--markdown {summary}: No such file"
    with pytest.raises(InputError, match=message):
        gate(HERE, judged, summary)
    HERE.validation("raw").unlink()
    with pytest.raises(GateClosed, match=message):
        gate(HERE, judged, summary)


def test_the_gate_loads_no_great_expectations() -> None:
    """The gate does not load Great Expectations, so that it starts fast."""
    code = "import sys, validation.__main__, validation.ci_gate; sys.exit('great_expectations' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}).returncode == 0


@pytest.mark.parametrize("name", [*SUITES, "gate"])
def test_the_wrong_folder_is_left_as_it_is(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without params.yaml is bad input, and nothing is written there."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [name])
    assert done.exit_code == 2 and done.stderr.startswith("params.yaml: not found; go to the root")
    assert list(tmp_path.iterdir()) == []


def test_the_command_line(workspace: Enter, params: Params) -> None:
    """The commands exit 0 for open, 3 for closed and 2 for bad input, without a traceback.

    A closed gate prints observed value, threshold, an offending row and advice.
    """
    workspace("temporal")
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text())
    open_ = CliRunner().invoke(app, ["raw"])
    assert (open_.exit_code, open_.stderr) == (0, "")
    assert "validate_raw: open" in open_.stdout

    put(day(0), "label", 3, 2)
    seal(RAW)
    done = CliRunner().invoke(app, ["raw"])
    assert (done.exit_code, done.stdout) == (3, "")
    assert "Traceback" not in done.stderr
    assert all(word in done.stderr for word in ("label_0_or_1", "= 0", '"label": 2', "fetch.table.label"))
    outcome = read_json(Path(".din/outcome/validate_raw.json"))
    assert (outcome["exit_code"], outcome["report"]) == (3, "reports/validation/raw.json")

    assert CliRunner().invoke(app, ["gate"]).exit_code == 3

    (RAW / "manifest.json").unlink()
    refused = CliRunner().invoke(app, ["raw"])
    assert refused.exit_code == 2
    assert "manifest.json" in refused.stderr and "Traceback" not in refused.stderr
