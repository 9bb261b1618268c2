"""Stages and commands in forks of one process, and what is left if one of the processes is killed."""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil
import pytest
from workspace import wait_for  # tests/pipeline

from dags import forks
from din.pipeline import stages_of
from din.process import BIN, checkout_environment
from din.workspace import Workspace

ROOT = Path(__file__).parents[2]
STAGE = """
import json
import os
import signal
import sys
from pathlib import Path

import colorsys


def main():
    threads = len([*Path(f"/proc/{os.getppid()}/task").iterdir()])
    seen = {"parent": os.getppid(), "threads": threads, "loaded": "colorsys" in sys.modules}
    Path("out").write_text(json.dumps(seen | {"stage": os.environ["DVC_STAGE"]}))
    print("hello")
    print("end", end="", file=sys.stderr)
    if sys.argv[1] == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if sys.argv[1] == "bug":
        raise ValueError("mine")
    sys.exit(int(sys.argv[1]))
"""
DRIVER = """
import json, sys
from pathlib import Path

if __name__ == "__main__":
    from dags import forks
    from dags.outs import Outs

    outs = Outs(Path.cwd())
    forks.preload(sys.argv[1:])
    for command in sys.argv[1:]:
        Path("dvc.yaml").write_text(f"stages: {{one: {{cmd: {command}, outs: [out]}}}}")
        done = outs.reproduce("one")
        seen = json.loads(Path("out").read_text()) if Path("out").exists() else {}
        print("done", json.dumps([done.code, done.output, seen]), flush=True)
"""


@pytest.mark.slow
def test_whatever_is_preloaded_can_be_imported() -> None:
    """Each module of each stage is imported, or lacks the package of an extra; anything else ends the fork server."""
    modules = forks.imports(stage.command for stage in stages_of(Workspace(ROOT)).values())
    assert {"din.featurize.on_spark", "din.train.fit", "validation.raw"} <= modules
    for name in modules:
        with contextlib.suppress(ImportError):
            import_module(name)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository of DVC with a package `din` whose command this file defines."""
    tmp_path = tmp_path_factory.mktemp("checkout")
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    subprocess.run([BIN / "dvc", "init", "--quiet"], cwd=tmp_path, check=True)
    (tmp_path / ".dvc" / "config").write_text((ROOT / ".dvc" / "config").read_text())
    for package in ("din", "dags"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "din" / "cli" / "__init__.py").write_text(STAGE)
    (tmp_path / "din" / "cli" / "stages.py").write_text("import colorsys\n")
    return tmp_path


def start(checkout: Path, *commands: str) -> "subprocess.Popen[str]":
    """Start a process that reproduces a stage of each command in turn."""
    return subprocess.Popen(
        [sys.executable, "-P", "-c", DRIVER, *commands],
        cwd=checkout,
        env=checkout_environment(checkout, SHELL="/bin/sh"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def reproduced(checkout: Path, *commands: str) -> list[Any]:
    """Return exit code, output, and the content of the file `out` of each command."""
    process = start(checkout, *commands)
    printed, _ = process.communicate()
    assert process.returncode == 0, printed
    return [json.loads(line[5:]) for line in printed.splitlines() if line.startswith("done ")]


COMMANDS = {
    "done": "din 0",
    "gate": "din 3",
    "crash": "din crash",
    "bug": "din bug",
    "shell": "'echo $((1 + 1)); echo {} > out; exit 7'",
    "both": "'din 0 && din 0; echo {} > out'",
    "missing": "din 0, deps: [missing]",
}


def test_stages_are_forks_of_one_process(checkout: Path) -> None:
    """A stage finds its modules loaded, has DVC's environment, and leaves no thread in the process.

    A command that is not a plain one of the checkout runs in a shell, and its output and exit code are kept in the same
    way. If DVC itself refuses a stage, its message takes the place of the output.
    """
    done = dict(zip(COMMANDS, reproduced(checkout, *COMMANDS.values()), strict=True))
    code = {name: code for name, (code, _, _) in done.items()}
    output = {name: output for name, (_, output, _) in done.items()}
    assert code == dict.fromkeys(COMMANDS, 1) | {"done": 0, "both": 0}
    assert output["done"] == output["gate"] == output["crash"] == "hello\nend"
    assert "ValueError: mine" in output["bug"]
    assert (output["shell"], output["both"]) == ("2\n", "hello\nendhello\nend")
    assert "failed to reproduce 'one': " in output["missing"] and "missing" in output["missing"]
    forks = [done[name][2] for name in ("done", "gate", "crash", "bug")]
    assert all(one["loaded"] and one["stage"] == "one" and one["threads"] == 1 for one in forks)
    assert len({one["parent"] for one in forks}) == 1


def test_a_killed_parent_does_not_end_a_stage(checkout: Path) -> None:
    """If the process that forks is killed, the stage ends its work, so that nothing is left half, and counts as failed.

    So does the stage if the process that waits for it is killed.
    """
    command = "'sleep 1; kill -9 $PPID; sleep 1; echo {} > out'"
    assert reproduced(checkout, command)[0][0] == 1
    (checkout / "out").unlink()
    process = start(checkout, "'sleep 2; echo {} > out'")
    wait_for(lambda: psutil.Process(process.pid).children(recursive=True)[2:])
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    wait_for((checkout / "out").exists)
