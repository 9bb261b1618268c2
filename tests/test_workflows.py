"""Rules of the workflows for GitHub, of the Containerfile and of releases."""

import re
import tomllib
from collections import defaultdict
from pathlib import Path

from ruamel.yaml import YAML
from workflows import jobs

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
WORKFLOWS = [*sorted((ROOT / ".github/workflows").glob("*.yml")), ROOT / "din/init/template/workflow.yml"]


def test_every_action_is_pinned_once() -> None:
    """An action is a commit, with its version beside it, and is the same commit in all files."""
    pins = defaultdict(set)  # a tag can be moved to code that reads a job's token; Dependabot skips the template
    for path in WORKFLOWS:
        for line in re.findall(r"uses: .*", path.read_text()):
            match = re.fullmatch(r"uses: ([\w-]+/[\w-]+)@([0-9a-f]{40} # v\d+\.\d+\.\d+)", line)
            assert match, f"{path.name}: {line}"
            pins[match[1]].add(match[2])
    assert pins
    assert {action: found for action, found in pins.items() if len(found) > 1} == {}


def test_no_job_gives_its_rights_to_a_pull_request() -> None:
    """A job with more rights than reading has no checkout, no title becomes part of a script, and every job ends."""
    assert [YAML(typ="safe").load(path)["permissions"] for path in WORKFLOWS] == [{"contents": "read"}] * len(WORKFLOWS)
    found = [job for path in WORKFLOWS for job in jobs(path).values()]
    privileged = [job for job in found if "permissions" in job]
    assert len(privileged) == 3
    assert [job for job in privileged for step in job["steps"] if "actions/checkout" in step.get("uses", "")] == []
    assert [step for job in found for step in job["steps"] if "${{" in step.get("run", "")] == []
    assert [job for job in found if "timeout-minutes" not in job] == []


def test_the_oldest_and_the_newest_python_are_tested() -> None:
    """Tests run on both; everything else uses the oldest."""
    assert f">={PYTHONS[0]}" == PROJECT["requires-python"]
    assert jobs(ROOT / ".github/workflows/ci.yml")["test"]["strategy"]["matrix"]["python"] == [PYTHONS[0], PYTHONS[-1]]
    text = "".join(path.read_text() for path in [*WORKFLOWS, ROOT / "Containerfile"])
    assert set(re.findall(r'python-version: "(3[^"]*)"|/python:(3\.\d+)', text)) == {(PYTHONS[0], ""), ("", PYTHONS[0])}


def test_the_image_gets_all_that_the_package_needs() -> None:
    """The Containerfile copies each package, and each file of the root that the template of `din init` links to."""
    copied = re.findall(r"^COPY (.+) \S+$", (ROOT / "Containerfile").read_text(), re.M)
    links = [path.resolve() for path in (ROOT / "din/init/template").rglob("*") if path.is_symlink()]
    needed = {path.relative_to(ROOT).as_posix() for path in links}
    assert len(needed) > 2
    assert {*needed, "dags", "din", "validation", "pyproject.toml", "constraints.txt"} <= set(" ".join(copied).split())


def test_the_citation_is_this_release() -> None:
    """It states the version and the licence of pyproject.toml."""
    citation = YAML(typ="safe").load(ROOT / "CITATION.cff")
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
