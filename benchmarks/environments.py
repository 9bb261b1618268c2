"""A virtual environment for each peer, with pinned versions that still install and run, and one for Spark."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
HOME = ROOT / ".bench"
TORCH = "torch>=2.9,<2.14"
PEERS = {
    "fuxictr": ["fuxictr==2.3.10", "setuptools<81"],
    # RecBole 1.2.1 needs numpy 1 and other packages of that time
    "recbole": ["recbole==1.2.1", "numpy<2", "pandas<3", "scipy<1.14", "scikit-learn<1.7", "setuptools<81"],
}

SPARK = ["--constraint", str(ROOT / "constraints.txt"), f"{ROOT}[train,spark]", "psutil"]


class InstallError(Exception):
    """A peer or Spark can't be installed. The message has the last lines of the installer's output."""


def python_of(name: str) -> str:
    """Return the interpreter of a peer or of "spark". Create its environment first if it is missing or out of date.

    Raises:
        InstallError: the installer failed.
    """
    home = HOME / name
    packages = SPARK if name == "spark" else PEERS[name]
    wanted = "\n".join([sys.version, TORCH, *packages])
    ready = home / "requirements.txt"
    if not ready.exists() or ready.read_text() != wanted:
        print(f"installing {name} into {home}", flush=True)
        shutil.rmtree(home, ignore_errors=True)
        _install(home, [TORCH, *packages])
        ready.write_text(wanted)
    return str(home / "bin/python")


def _install(home: Path, packages: list[str]) -> None:
    _run([sys.executable, "-m", "venv", str(home)])
    python = str(home / "bin/python")
    if uv := shutil.which("uv"):
        torch = [] if os.environ.get("UV_FIND_LINKS") else ["--torch-backend=cpu"]  # as in the Makefile
        _run([uv, "pip", "install", "--quiet", "--python", python, *torch, *packages])
    else:
        _run([python, "-m", "pip", "install", "--quiet", *packages])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise InstallError("\n".join((done.stdout + done.stderr).strip().splitlines()[-5:]))
