"""The wheel, in an environment of its own: from a CSV to a champion without this repository."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from made_up_logs import SHAPES, events

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")


def run(*command: str | Path, cwd: Path, **env: str) -> str:
    """Run a command and return its output; show it if the command fails."""
    done = subprocess.run(list(map(str, command)), cwd=cwd, env={**outside(), **env}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def outside() -> dict[str, str]:
    """Return the environment of a shell that knows nothing of this repository."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the `bin` of a virtual environment with the wheel, made from the source distribution."""
    folder = tmp_path_factory.mktemp("wheel")
    run(UV, "build", "--out-dir", folder / "dist", ROOT, cwd=folder)
    (wheel,) = (folder / "dist").glob("*.whl")
    run(UV, "venv", "--python", sys.executable, folder / "venv", cwd=folder)
    links = os.environ.get("PIP_FIND_LINKS")
    torch = {"UV_FIND_LINKS": links} if links else {"UV_TORCH_BACKEND": "cpu"}
    python = folder / "venv" / "bin" / "python"
    constraints = ROOT / "constraints.txt"
    run(
        UV, "pip", "install", "--python", python, "--constraint", constraints, f"{wheel}[train]", cwd=folder, **torch,
        UV_SYSTEM_CERTS="true",
    )  # fmt: skip
    return python.parent


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_from_a_csv_to_a_champion(environment: Path, tmp_path: Path) -> None:
    """A champion is made, the second run trains nothing again, and stages depend on the installed code."""
    path = f"{environment}{os.pathsep}{os.environ['PATH']}"
    name = SHAPES["german_shop"](tmp_path, events(rows=20_000, users=500))
    run("din", "init", "--events", name, "--yes", cwd=tmp_path, PATH=path)
    # All users of this log begin without a history, so histories of the last days are longer than in training.
    overlay = "gate: {min_calibration: 0.6, min_slice_calibration: 0.5}\nvalidate_predictions: {min_calibration: 0.5}\n"
    (tmp_path / "loose.yaml").write_text(overlay)
    run("din", "params", "apply", "loose.yaml", cwd=tmp_path, PATH=path)
    run("dvc", "repro", cwd=tmp_path, PATH=path)
    run("din", "promote", cwd=tmp_path, PATH=path)
    (record,) = (tmp_path / "registry" / "bestellungen" / "promotions").iterdir()
    assert json.loads(record.read_text())["action"] == "promote"
    code = json.loads((tmp_path / "reports/code/train.json").read_text())
    assert {"din/train/fit.py", "din/ops/native/din_ops.h"} <= code["files"].keys()
    assert "din-ctr" in code["packages"]
    settings = "from dags.checkout import Settings; print(Settings.from_env().repository)"
    assert run("python", "-c", settings, cwd=tmp_path, PATH=path).strip() == str(tmp_path.resolve())
    again = run("dvc", "repro", cwd=tmp_path, PATH=path)
    assert "Stage 'train' didn't change, skipping" in again
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")
    run(*git, "add", "-A", cwd=tmp_path)
    run(*git, "commit", "-qm", "init", cwd=tmp_path)
    assert run("din", "init", "--update", cwd=tmp_path, PATH=path).startswith("up to date")
