"""Read workflows of GitHub Actions, and execute their scripts as a runner does."""

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

_EVENT = re.compile(r"github\.event_name == '(\w+)'")


@dataclass(frozen=True)
class Ran:
    """A script that was executed, with its exit code and all that it printed."""

    script: str
    code: int
    output: str


def jobs(path: Path) -> dict[str, Any]:
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))["jobs"]


def execute(
    job: Mapping[str, Any], folder: Path, runner: Path, env: Mapping[str, str], event: str = "push"
) -> list[Ran]:
    """Run the scripts of a job one after another. Actions are left out.

    Of a matrix, the first values are taken. Other expressions are not evaluated.

    Args:
        job: after a script that failed, only those with the condition `!cancelled()` run.
        folder: the checkout.
        runner: an existing folder for what steps tell the runner, such as directories of the PATH.
        env: the runner's variables. The job and its steps add their own.
        event: what started the workflow; steps for other events are left out.
    """
    told = {"GITHUB_PATH": str(runner / "path"), "GITHUB_STEP_SUMMARY": str(runner / "summary.md")}
    (runner / "path").touch()
    done: list[Ran] = []
    for step in job["steps"]:
        condition = step.get("if", "")
        wanted = _EVENT.search(condition)
        failed = any(ran.code for ran in done)
        if "run" not in step or (wanted and wanted[1] != event) or (failed and "!cancelled()" not in condition):
            continue
        path = {"PATH": os.pathsep.join([*(runner / "path").read_text().split(), env["PATH"]])}
        ran = subprocess.run(
            ["bash", "-e", "-c", step["run"]],
            cwd=folder,
            env={**env, **told, **path, **_env_of(job), **step.get("env", {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        done.append(Ran(step["run"], ran.returncode, ran.stdout))
    return done


def _env_of(job: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables of a job, with the first values of its matrix."""
    matrix = job.get("strategy", {}).get("matrix", {})
    first = {f"${{{{ matrix.{name} }}}}": values[0] for name, values in matrix.items()}
    return {name: first.get(value, value) for name, value in job.get("env", {}).items()}
