"""The wheel, in an environment of its own: from a CSV to a champion and a pull request without this repository."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.helpers.workflows import execute, jobs

ROOT = Path(__file__).parents[3]
GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def run(repository: Path, *command: str, env: Mapping[str, str]) -> str:
    """Run a command in the repository and return its output."""
    return subprocess.run(command, cwd=repository, env=env, stdout=subprocess.PIPE, text=True, check=True).stdout


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the repository, with a champion, that `make wheel` leaves beside the wheel's environment."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(["make", "wheel", f"WORK={folder}"], cwd=ROOT, check=True)
    return folder / "repository"


@pytest.fixture(scope="module")
def outside() -> dict[str, str]:
    """Return the environment of a shell that knows nothing of this repository."""
    ours = ("PYTHONPATH", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if name not in ours}


def test_from_a_csv_to_a_champion(repository: Path, outside: dict[str, str]) -> None:
    """A champion is made, the second run trains nothing again, and stages depend on the installed code."""
    env = outside | {"PATH": f"{repository.parent / 'venv/bin'}{os.pathsep}{outside['PATH']}"}
    (record,) = (repository / "registry" / "bestellungen" / "promotions").iterdir()
    assert json.loads(record.read_text())["action"] == "promote"
    code = json.loads((repository / "reports/code/train.json").read_text())
    assert {"din/train/fit.py", "din/ops/native/din_ops.h"} <= code["files"].keys()
    assert "din-ctr" in code["packages"]
    settings = "from dags.checkout import WorkerSettings; print(WorkerSettings.from_env().repository)"
    assert run(repository, "python", "-c", settings, env=env).strip() == str(repository.resolve())
    assert "Stage 'train' didn't change, skipping" in run(repository, "dvc", "repro", env=env)
    run(repository, *GIT, "add", "-A", env=env)
    run(repository, *GIT, "commit", "-qm", "init", env=env)
    assert run(repository, "din", "init", "--update", env=env).startswith("up to date")


def test_a_pull_request_is_judged(repository: Path, outside: dict[str, str], tmp_path: Path) -> None:
    """The workflow lists the open gates of a candidate, fails for one with a closed gate, and comments either way."""
    gh = tmp_path / "gh"  # in place of GitHub: notes how it was called
    gh.write_text('#!/bin/sh\necho "$@" >> "$0.called"\n')
    gh.chmod(0o755)
    env = outside | {"PATH": f"{tmp_path}{os.pathsep}{outside['PATH']}"}
    env["UV_CONSTRAINT"] = str(ROOT / "constraints.txt")  # as for the champion, so that the candidate is the same model
    workflow = jobs(repository / ".github/workflows/ctr.yml")
    judge, comment = workflow["judge"], workflow["comment"]
    if links := env.get("PIP_FIND_LINKS"):  # wheels of torch for this machine, as in the Makefile
        judge["env"] = {"UV_FIND_LINKS": links, "UV_SYSTEM_CERTS": "true"}
    ran = execute(judge, repository, tmp_path, env)
    assert [one.code for one in ran] == [0] * 5, ran[-1].output
    gates = repository / "gates.md"
    assert "### Validation: open" in gates.read_text()
    assert "### Gate: open" in gates.read_text()
    gates.unlink()

    (repository / "closed.yaml").write_text("gate: {min_auc: 0.9}\n")
    del judge["steps"][2:4]  # the environment is there, and its lint and tests have passed
    judge["steps"][2]["run"] = f"din params apply closed.yaml\n{judge['steps'][2]['run']}"
    ran = execute(judge, repository, tmp_path, env)
    assert [one.code == 0 for one in ran] == [False, True, True], ran[0].output
    assert "### Gate: closed" in gates.read_text()
    assert "\n    min_auc: " in gates.read_text()
    assert (tmp_path / "summary.md").read_text().endswith(gates.read_text())

    (ran,) = execute(comment, repository, tmp_path, env)
    assert ran.code == 0, ran.output
    url = "${{ github.event.pull_request.html_url }}"
    assert (tmp_path / "gh.called").read_text() == f"pr comment {url} --body-file gates.md\n"
