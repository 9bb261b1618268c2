"""Workers with a checkout and a home each, of one repository, and a log that grows by CSV files."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.dags.daily_log import FIRST, DailyLog, days, table
from tests.pipeline.workspace import SMALL, Workspace

PYTHON = Path(sys.executable)


class World:
    """A repository, a DVC remote and a registry that all workers share."""

    def __init__(self, root: Path) -> None:
        self.root, self.registry = root, root / "registry"
        (root / "origin").mkdir(parents=True)
        origin = Workspace(root / "origin", SMALL | table("log"))
        self.commit = origin.git("rev-parse", "HEAD")

    def worker(self, name: str, days: int = 18) -> "Worker":
        """Make a named checkout of the repository with the first days of the log in it."""
        checkout = self.root / name
        subprocess.run(["git", "clone", "--quiet", str(self.root / "origin"), str(checkout)], check=True)
        worker = Worker(self, checkout)
        worker.see(days)
        return worker

    def record(self, run_id: str) -> Path:
        """Return the folder of a run's record."""
        return self.registry / "table" / "runs" / run_id

    def champions(self) -> list[str]:
        """Return the promoted versions, one for each promotion."""
        paths = sorted((self.registry / "table" / "promotions").glob("*.json"))
        return [json.loads(path.read_text())["version"] for path in paths]


class Worker:
    """`python -m dags` in one checkout, with default settings except for what the workers share."""

    def __init__(self, world: World, checkout: Path) -> None:
        self.world, self.checkout = world, checkout
        self.home = checkout / ".din" / "runs"
        self.log = DailyLog(checkout / "log", days=20, users=1000)

    def see(self, count: int) -> None:
        """Write the first days of the log, each as a file."""
        for day in days(FIRST, count):
            self.log.land(day)

    def start(self, *arguments: str, run: Mapping[str, Any] | None = None) -> "subprocess.Popen[str]":
        """Start a command in a process group of its own."""
        shared = {"DIN_DVC_REMOTE": str(self.world.root / "remote"), "DIN_REGISTRY": str(self.world.registry)}
        process = subprocess.Popen(
            [str(PYTHON), "-m", "dags", *arguments],
            cwd=self.checkout,
            env=os.environ | shared | {"PYTHONPATH": str(self.checkout)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stdin
        process.stdin.write(json.dumps(run or {}))
        process.stdin.close()
        process.stdin = None
        return process

    def call(self, *arguments: str, run: Mapping[str, Any] | None = None, code: int = 0) -> tuple[Any, str]:
        """Run a command to its end, and return its JSON (None if it prints none) and its log."""
        process = self.start(*arguments, run=run)
        out, told = process.communicate()
        assert process.returncode == code, told
        return json.loads(out) if out.strip() else None, told

    def stages(self, run: Mapping[str, Any], *names: str) -> None:
        """Run stages that must succeed."""
        for name in names:
            assert self.call("stage", name, run=run)[0]["exit_code"] == 0

    def folder(self, run_id: str) -> Path:
        """Return the workspace of a run."""
        return self.home / "workspaces" / run_id
