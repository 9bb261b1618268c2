"""The parameters, and each plugin that they name, on a tiny log."""

import subprocess
import sys
from pathlib import Path

import pytest

from din.params.reading import load

ROOT = Path(__file__).parent.parent
PLUGINS = load(ROOT / "params.yaml").plugins


@pytest.mark.parametrize("file", PLUGINS)
def test_plugin_works(file: str) -> None:
    """All that the file registers runs, and its scores are equal in PyTorch, the graph and the scorer."""
    command = [sys.executable, "-m", "din.cli", "plugin", "check", file]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
