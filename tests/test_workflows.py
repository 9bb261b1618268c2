"""Rules of the files for GitHub and for pre-commit, and the scripts of the workflows, executed in a clone."""

import os
import re
import subprocess
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.helpers.workflows import execute, jobs
from tests.shards import REST, SHARDS, shard_of

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
OURS = sorted((ROOT / ".github/workflows").glob("*.yml"))
WORKFLOWS = [*OURS, ROOT / "din_start/init/template/workflow.yml"]
JOBS = [(path, name, job) for path in OURS for name, job in jobs(path).items()]
SCRIPTED = [
    pytest.param(job, event, id=f"{path.stem}-{name}-{event}")
    for path, name, job in JOBS
    for event in ("push", "schedule")
    if "steps" in job and "permissions" not in job and (event == "push" or event in str(job["steps"]))
    if "cibuildwheel" not in str(job["steps"])  # it needs containers of other machines
]


def load(path: Path) -> Any:
    """Return a document; YAML 1.2 reads the key `on` of a workflow as text."""
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))


def test_every_action_is_pinned_once() -> None:
    """An action is a commit, with its version beside it, and is the same commit in all files."""
    pins = defaultdict(set)  # a tag can be moved to code that reads a job's token; Dependabot skips the template
    for path in WORKFLOWS:
        for line in re.findall(r"uses: [^.].*", path.read_text()):
            match = re.fullmatch(r"uses: ([\w-]+/[\w-]+)@([0-9a-f]{40} # v\d+\.\d+\.\d+)", line)
            assert match, f"{path.name}: {line}"
            pins[match[1]].add(match[2])
    assert pins
    assert {action: found for action, found in pins.items() if len(found) > 1} == {}


def test_a_job_that_may_write_has_no_checkout() -> None:
    """Workflows may only read, and a job with more rights can't run the code of a pull request."""
    assert [load(path)["permissions"] for path in WORKFLOWS] == [{"contents": "read"}] * len(WORKFLOWS)
    privileged = [job for path in WORKFLOWS for job in jobs(path).values() if "permissions" in job]
    assert len(privileged) == 3
    assert [job for job in privileged for step in job["steps"] if "actions/checkout" in step.get("uses", "")] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_no_script_holds_an_expression(path: Path) -> None:
    """A title of a pull request that became part of a script could be a command."""
    scripts = [step["run"] for job in jobs(path).values() for step in job.get("steps", []) if "run" in step]
    assert scripts
    assert [script for script in scripts if "${{" in script] == []


def test_every_job_ends() -> None:
    """A job that hangs costs minutes, not the six hours of GitHub's default."""
    every = [(path.name, name, job) for path in WORKFLOWS for name, job in jobs(path).items()]
    assert [(path, name) for path, name, job in every if not {"timeout-minutes", "uses"} & job.keys()] == []


def test_every_slow_test_is_scheduled() -> None:
    """Each shard has a job, Spark one with Java, and `make test-slow` knows their names."""
    slow = jobs(ROOT / ".github/workflows/slow.yml")
    assert {*slow["shard"]["strategy"]["matrix"]["shard"], "spark"} == {*SHARDS, REST}
    assert [part for parts in SHARDS.values() for part in parts if not (ROOT / part).exists()] == []
    assert shard_of(ROOT / "tests/pipeline/test_pages.py") == "pages" and shard_of(Path(__file__)) == "installations"
    assert shard_of(ROOT / "tests/din/release/gates/test_pooling.py") == REST


def test_a_release_publishes_only_what_passed_every_test() -> None:
    """The job that publishes waits for the suite, the slow tests and the wheels."""
    release = jobs(ROOT / ".github/workflows/release.yml")
    called = {name: Path(release[name]["uses"]).name for name in release["publish"]["needs"] if "uses" in release[name]}
    assert sorted(called.values()) == ["ci.yml", "slow.yml"]
    assert sorted(release["publish"]["needs"]) == sorted({*called, "build", "wheels"})
    for name in called.values():
        assert "workflow_call" in load(ROOT / ".github/workflows" / name)["on"]


def test_the_oldest_and_the_newest_python_are_tested() -> None:
    """Tests run on both; everything else uses the oldest."""
    assert f">={PYTHONS[0]}" == PROJECT["requires-python"]
    assert jobs(ROOT / ".github/workflows/ci.yml")["test"]["strategy"]["matrix"]["python"] == [PYTHONS[0], PYTHONS[-1]]
    text = "".join(path.read_text() for path in [*WORKFLOWS, ROOT / "Containerfile"])
    assert set(re.findall(r'python-version: "(3[^"]*)"|/python:(3\.\d+)', text)) == {(PYTHONS[0], ""), ("", PYTHONS[0])}


def test_the_citation_is_this_release() -> None:
    """It states the version and the licence of pyproject.toml."""
    citation = load(ROOT / "CITATION.cff")
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])


def test_a_tag_names_the_version(tmp_path: Path) -> None:
    """The release stops at a tag that differs from pyproject.toml's version."""
    steps = jobs(ROOT / ".github/workflows/release.yml")["build"]["steps"]
    guard = {"steps": [step for step in steps if "GITHUB_REF_NAME" in step.get("run", "")]}
    version = PROJECT["version"]
    for tag, code in ((f"v{version}", 0), (f"v{version}1", 1), (f"v{version.replace('.', '')}", 1)):
        (ran,) = execute(guard, ROOT, tmp_path, os.environ | {"GITHUB_REF_NAME": tag})
        assert ran.code == code, tag


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("job", "event"), SCRIPTED)
def test_the_scripts_of_a_job_run(job: dict[str, Any], event: str, tmp_path: Path) -> None:
    """Every script succeeds in a fresh clone and leaves no file behind; of the tests, they only collect the names."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    env = os.environ | {"GITHUB_REF_NAME": f"v{PROJECT['version']}", "PYTEST_ADDOPTS": "--collect-only"}
    if any(step.get("run") in ("make wheel", "make mutants", "make test-spark") for step in job["steps"]):
        env["MAKEFLAGS"] = "--dry-run"  # tests/din_start/init/test_wheel.py runs the first, and the last needs Java
    ran = execute(job, clone, tmp_path, env, event)
    assert ran and ran[-1].code == 0, ran[-1].output[-4000:]
    status = subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True).stdout
    assert status == ("" if event == "push" else " M constraints.txt\n")
