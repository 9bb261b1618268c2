"""The steps of the Containerfile, executed without a container: in folders below a temporary root."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def instructions() -> Iterator[tuple[str, str]]:
    """Yield each instruction of the Containerfile with its arguments."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Containerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    for line in text.replace("\\\n", "").splitlines():
        name, _, arguments = line.partition(" ")
        yield name, arguments


def copy(sources: list[str], target: Path) -> None:
    """Copy as the instruction COPY does: files into a folder, the content of a folder, links as links."""
    for source in sources:
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, target)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_image_holds_the_pipeline(tmp_path: Path) -> None:
    """The copied files are enough to install, and then to begin a repository. Packages of Debian are left out."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "usr"], check=True)
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    env["PATH"] = f"{tmp_path / 'usr/bin'}{os.pathsep}{env['PATH']}"
    folder = tmp_path
    for name, arguments in instructions():
        if name == "WORKDIR":
            folder = tmp_path / arguments.lstrip("/")
            folder.mkdir()
        elif name == "COPY":
            *sources, target = arguments.split()
            copy(sources, folder / target)
        elif name in ("ENV", "ARG"):
            variable, _, value = arguments.partition("=")
            env[variable] = value
            if links := env.get("PIP_FIND_LINKS"):  # wheels of torch for this machine, as in the Makefile
                env |= {"UV_FIND_LINKS": links, "UV_SYSTEM_CERTS": "true"}
                env.pop("UV_TORCH_BACKEND", None)
        elif name == "RUN" and "apt-get" not in arguments:
            subprocess.run(["sh", "-c", arguments], cwd=folder, env=env, check=True)
        elif name == "CMD":
            subprocess.run(json.loads(arguments), cwd=folder, env=env, check=True)
    shutil.rmtree(tmp_path / "source")
    log = [sys.executable, ROOT / "tests/din_start/init/made_up_logs.py"]
    subprocess.run(log, cwd=folder, check=True)
    for command in ("din init --events bestellungen.csv", "dvc stage list", "python -m validation --help"):
        subprocess.run(command.split(), cwd=folder, env=env, check=True)
