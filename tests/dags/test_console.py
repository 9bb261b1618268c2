"""One process that runs the commands of a task."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dags.console import Console
from din.process import CommandFailed, checkout_environment, environment

ROOT = Path(__file__).parents[2]


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    """Return a console in a git repository that is one of DVC too."""
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    subprocess.run([Path(sys.executable).with_name("dvc"), "init", "--quiet"], cwd=tmp_path, check=True)
    (tmp_path / ".dvc" / "config").write_text((ROOT / ".dvc" / "config").read_text())
    console = Console(tmp_path, environment())
    yield console
    console.close()


def pipeline(root: Path, command: str) -> None:
    """Write a pipeline of one stage, `one`, which writes the file `out`."""
    (root / "dvc.yaml").write_text(f"stages: {{one: {{cmd: {command}, outs: [out]}}}}")


def test_output_comes_line_by_line_with_the_exit_code(console: Console, tmp_path: Path) -> None:
    """The output of a command's own children is passed on, and the last line may end without a newline."""
    pipeline(tmp_path, "touch out; echo hello; printf end")
    shown: list[str] = []
    done = console.run(["dvc", "repro"], shown.append)
    assert done.code == 0 and "hello" in shown and "hello\n" in done.output
    pipeline(tmp_path, "touch out; exit 7")
    assert console.run(["dvc", "repro"], shown.append).code == 255


STAGE = """
import json
import os
import signal
import sys
from pathlib import Path

import colorsys


def main():
    seen = {"parent": os.getppid(), "loaded": "colorsys" in sys.modules, "stage": os.environ["DVC_STAGE"]}
    Path("out").write_text(json.dumps(seen))
    if sys.argv[1] == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def checkout(console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the console's repository with a package `din` whose code `din.code` can follow, and with no shell."""
    shutil.copytree(ROOT / "din", tmp_path / "din", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__init__", "stages"):
        (tmp_path / "din" / "cli" / f"{name}.py").write_text(STAGE)
    monkeypatch.setattr(console, "_env", checkout_environment(tmp_path, SHELL="/bin/false"))
    return tmp_path


def test_a_stage_is_a_fork_of_the_process(console: Console, checkout: Path) -> None:
    """It has the environment that DVC gives it, and fails with its own exit code or signal. No thread is left."""
    parents = set()
    for argument, code, told in (("0", 0, ""), ("3", 255, "exited with 3"), ("crash", 255, "exited with -9")):
        pipeline(checkout, f"din {argument}")
        done = console.run(["dvc", "repro"], print)
        assert (done.code, told in done.output) == (code, True)
        seen = json.loads((checkout / "out").read_text())
        assert seen["loaded"] and seen["stage"] == "one"
        parents.add(seen["parent"])
    assert console._process  # the test looks at it
    assert parents == {console._process.pid}
    assert len([*Path(f"/proc/{console._process.pid}/task").iterdir()]) == 1


def test_a_stage_of_another_command_runs_in_a_shell(console: Console, checkout: Path) -> None:
    """DVC starts any other command than a plain one of the checkout, here with a shell that fails."""
    for command in ("din 0 && din 0", "echo"):
        pipeline(checkout, command)
        assert "exited with 1" in console.run(["dvc", "repro"], print).output


def test_a_query_returns_standard_output_alone(console: Console) -> None:
    """It raises an error with the command, its exit code and its message."""
    assert console.query(["din", "--version"]).startswith("din ")
    with pytest.raises(CommandFailed, match=r"`din registry take x y` exited 2: .*params\.yaml") as caught:
        console.query(["din", "registry", "take", "x", "y"])
    assert caught.value.code == 2
    with pytest.raises(CommandFailed, match=r"`dvc pull nowhere` exited [\s\S]*'nowhere'"):
        console.query(["dvc", "pull", "nowhere"])


CLI = """
import os
import sys


def main():
    if sys.argv[1] == "bug":
        raise ValueError("mine")
    if sys.argv[1] == "crash":
        os.abort()
    sys.exit(int(sys.argv[1]))
"""


def test_din_comes_from_the_checkout(tmp_path: Path) -> None:
    """It keeps its exit codes, and after a bug, which shows its traceback, or a crash the next command runs."""
    (tmp_path / "din").mkdir()
    (tmp_path / "din" / "__init__.py").touch()
    (tmp_path / "din" / "cli.py").write_text(CLI)
    console = Console(tmp_path, checkout_environment(tmp_path))
    ended = {argument: console.run(["din", argument], print) for argument in ("3", "bug", "2", "crash", "1", "0")}
    console.close()
    codes = {argument: done.code for argument, done in ended.items()}
    assert codes == {"3": 3, "bug": 1, "2": 2, "crash": -signal.SIGABRT, "1": 1, "0": 0}
    assert "ValueError: mine" in ended["bug"].output


def test_a_killed_process_fails_its_command_alone(console: Console, tmp_path: Path) -> None:
    """The killed command has the exit code of its signal, and the next one runs in a new process."""
    pipeline(tmp_path, "kill -9 $PPID; echo late > out")
    assert console.run(["dvc", "repro"], print).code == -signal.SIGKILL
    assert console.run(["din", "--version"], print).code == 0
    process = console._process  # the test kills it between two commands
    assert process
    process.kill()
    process.wait()
    assert console.run(["din", "--version"], print).code == -signal.SIGKILL
    assert console.run(["din", "--version"], print).code == 0


def test_an_interrupt_kills_the_whole_group(console: Console, tmp_path: Path) -> None:
    """If the caller is interrupted, neither the command nor its children go on."""
    pipeline(tmp_path, "echo $$; sleep 60; echo late > out")

    def interrupt(line: str) -> None:
        if line.isdigit():
            pids.append(int(line))
            raise KeyboardInterrupt

    pids: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        console.run(["dvc", "repro"], interrupt)
    console.close()
    for _ in range(100):
        if not Path(f"/proc/{pids[0]}").exists():
            return
        time.sleep(0.1)
    raise AssertionError(f"process {pids[0]} goes on")


def test_what_it_holds_is_free_once_it_is_closed(tmp_path: Path) -> None:
    """The process inherits file descriptors, e.g. of a lock, and `close` waits for its end."""
    reading, writing = os.pipe()
    console = Console(tmp_path, environment(), [writing])
    console.run(["din", "--version"], print)
    os.close(writing)
    os.set_blocking(reading, False)
    with pytest.raises(BlockingIOError):  # somebody may still write
        os.read(reading, 1)
    console.close()
    assert os.read(reading, 1) == b""
    os.close(reading)
