"""A workspace for tests of the whole pipeline: the tracked files as a fresh repository, on a small simulated log.

Its parameters are the defaults, since those of params.yaml are for another protocol.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

from ruamel.yaml import YAML

from din_start.params.defaults import defaults

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent
SMALL = {
    "fetch.source": "simulate",
    "fetch.simulate.users": 1000,
    "fetch.simulate.items": 300,
    "fetch.simulate.categories": 20,
    "train.model.embedding_dim": 8,
    "train.model.attention_hidden": [16],
    "train.model.hidden": [32, 16],
    "train.learning.epochs": 4,
    "train.compute.checkpoint_minutes": 0.01,
    "train.compute.threads": 1,
    "gate.max_latency_ms": None,
}


class Workspace:
    def __init__(self, root: Path, params: dict[str, Any] = SMALL) -> None:
        self.root = root
        tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in filter(None, tracked.split("\0")):
            if (ROOT / name).exists() and name != "dvc.lock":
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, root / name)
        (root / "params.yaml").write_text(defaults(), encoding="utf-8")
        self.set(params)
        self.git("init", "-q")
        self.commit("test")

    @classmethod
    def at(cls, root: Path) -> Self:
        """Return an existing folder as a workspace."""
        workspace = cls.__new__(cls)
        workspace.root = root
        return workspace

    def copy(self, to: Path) -> Self:
        """Return a copy of the workspace, including DVC's cache, to change."""
        shutil.copytree(self.root, to, symlinks=True)
        return self.at(to)

    def git(self, *arguments: str) -> str:
        command = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", *arguments]
        return subprocess.run(command, cwd=self.root, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)

    def set(self, values: dict[str, Any]) -> None:
        """Change keys of params.yaml, as `dvc exp run -S` would."""
        yaml, path = YAML(), self.root / "params.yaml"
        params = yaml.load(path.read_text())
        for key, value in values.items():
            *blocks, name = key.split(".")
            block = params
            for part in blocks:
                block = block[part]
            block[name] = value
        with path.open("w") as file:
            yaml.dump(params, file)

    def run(self, *command: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment here, to its end; `variables` are of its environment."""
        return subprocess.run(
            [str(BIN / command[0]), *command[1:]],
            cwd=self.root,
            env=self.env() | variables,
            capture_output=True,
            text=True,
            input=stdin,
        )

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a command in a process group of its own."""
        log = (self.root / "run.log").open("ab")
        return subprocess.Popen(
            [str(BIN / command[0]), *command[1:]],
            cwd=self.root,
            env=self.env(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def env(self) -> dict[str, str]:
        return os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}

    def json(self, path: str) -> Any:
        return json.loads((self.root / path).read_text())

    def lock(self) -> str:
        return (self.root / "dvc.lock").read_text()

    def version(self) -> str:
        return self.json("reports/gate.json")["bundle"]

    def running(self) -> str | None:
        """Return the stage that the last started command is running, according to its log."""
        log = self.root / "run.log"
        if not log.exists() or self.stage_pid() is None:
            return None
        begun = re.findall(r"Running stage '(\w+)'", log.read_text())
        return begun[-1] if begun else None

    def stage_pid(self) -> int | None:
        """Return the running process that last took the stage lock, or None if it has ended."""
        try:
            pid = int((self.root / ".din/stage.lock").read_text())
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, ValueError):  # there is no lock, no number in it, or no such process
            return None
        return pid if state not in "ZX" else None


def wait_for(condition, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def kill(process: subprocess.Popen[bytes], workspace: Workspace, victim: str) -> None:
    if victim == "group":
        os.killpg(process.pid, signal.SIGKILL)
    elif victim == "dvc":
        os.kill(process.pid, signal.SIGKILL)
    elif (pid := workspace.stage_pid()) is not None:
        os.kill(pid, signal.SIGKILL)
    process.wait()
