"""A virtual environment for each peer, with pinned versions that still install and run."""

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


class InstallError(Exception):
    """A peer can't be installed. The message has the last lines of the installer's output."""


def python_of(peer: str) -> str:
    """Return the peer's interpreter. Create its environment first if it is missing or out of date.

    Raises:
        InstallError: the installer failed.
    """
    home = HOME / peer
    wanted = "\n".join([sys.version, TORCH, *PEERS[peer]])
    ready = home / "requirements.txt"
    if not ready.exists() or ready.read_text() != wanted:
        print(f"installing {peer} into {home}", flush=True)
        shutil.rmtree(home, ignore_errors=True)
        _install(home, [TORCH, *PEERS[peer]])
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
