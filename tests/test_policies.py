"""Rules of the repository, as tests."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Collection
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import grimp
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

from din.contracts.verdicts import GateEntry, GateReport
from din.data.rawlog import RawLog
from din.release.gates import Traits
from din.train.predict import COLUMNS
from tests.helpers.command_lines import PARSERS

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
STAGES = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_every_stage_is_described_and_cached(stage: str) -> None:
    """Every stage has a `desc`, and no `cache: false`, which would keep DVC's run-cache from restoring the stage."""
    assert STAGES[stage]["desc"].endswith(".")
    for output in (*STAGES[stage].get("outs", []), *STAGES[stage].get("metrics", [])):
        assert not isinstance(output, dict) or all(options.get("cache", True) for options in output.values())


def test_params_blocks_are_the_stages_that_have_any() -> None:
    """Every block that dvc.yaml names is in params.yaml, and every block is named by a stage.

    A stage depends on the code of a plugin instead (`din.stages.code`), and no output depends on who is notified.
    """
    blocks = set(YAML(typ="safe").load((ROOT / "params.yaml").read_text()))
    used = {block.split(".")[0] for stage in STAGES.values() for block in stage.get("params", [])}
    assert used == blocks - {"plugins", "notify"}


def test_every_command_is_documented() -> None:
    """Each `din` command appears in the README or a page of docs/, and so does each group but `params` as a whole."""
    commands = {name for name in PARSERS if name.startswith("din ")} - {"din params"}
    commands = {name if name.startswith("din params ") else " ".join(name.split()[:2]) for name in commands}
    pages = (ROOT / "README.md").read_text() + "".join(path.read_text() for path in (ROOT / "docs").rglob("*.md"))
    assert len(commands) > 10
    assert [name for name in sorted(commands) if name not in pages] == []


def test_links_between_pages_resolve() -> None:
    """Every relative link of the README and docs/ names an existing file, and a heading of it or none."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    links = {
        (page, *link) for page in pages for link in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text())
    }
    missing = [f"{page.name}: {file}" for page, file, _ in links if not (page.parent / file).exists()]
    unknown = [
        f"{page.name}: {file}#{heading}"
        for page, file, heading in links
        if heading and heading not in anchors(page.parent / file if file else page)
    ]
    assert len(links) > 100
    assert sorted(missing) == sorted(unknown) == []


@cache
def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)", page.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", text, flags=re.ASCII).lower().replace(" ", "-") for text in headings}


def test_pages_named_in_the_code_exist() -> None:
    """Messages, comments and parameters name pages and examples that are there."""
    outside = (":!tests", ":!*.md", ":!docs/*.json")
    command = ["git", "grep", "-hoE", r"docs/[a-zA-Z0-9/_-]+\.(md|yaml|json)", "--", *outside]
    named = set(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split())
    assert len(named) > 10
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_keys_of_the_gate_report_exist() -> None:
    """Each key that docs/gates.md names beside `reports/gate.json` is a field of the report or of its entries."""
    paragraphs = (ROOT / "docs" / "gates.md").read_text().split("\n\n")
    named = {key for text in paragraphs if "reports/gate.json" in text for key in re.findall(r"`([a-z_]+)`", text)}
    assert "missed_days" in named
    assert named <= GateReport.model_fields.keys() | GateEntry.model_fields.keys()


@pytest.mark.parametrize("names", [RawLog.__dataclass_fields__, Traits.__dataclass_fields__, COLUMNS])
def test_the_page_of_plugins_names_every_part(names: Collection[str]) -> None:
    """The page covers a source's result, a gate's traits, and the columns of the test rows that a gate reads."""
    named = set(re.findall(r"\w+", "".join((ROOT / "docs/plugins.md").read_text().split("\n## A source")[1:])))
    assert set(names) - named == set()


def test_nothing_names_a_machine() -> None:
    """No tracked file holds an absolute path of a developer's machine."""
    pattern = "|".join((r"/ho" + "me/", "/ro" + "ot/", "/us" + "r/lib/python"))
    found = subprocess.run(["git", "grep", "-nE", pattern], cwd=ROOT, capture_output=True, text=True)
    assert found.stdout == ""


def test_every_imported_package_is_declared() -> None:
    """A package that only another package requires may disappear with it."""
    declared = set().union(*map(packages, PROJECT["optional-dependencies"]))
    provided = providers()
    tracked = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    sources = [ROOT / name for name in tracked.stdout.split() if not name.startswith(("benchmarks/peers/", "setup.py"))]
    imported = {(module, path) for path in sources if path.exists() for module in third_party_imports(path)}
    missing = {
        f"{path.relative_to(ROOT)}: {module}"
        for module, path in imported
        if module in provided
        and not provided[module] & declared
        and module != "airflow"  # a namespace of many packages
    }
    assert imported
    assert sorted(missing) == []


def test_a_command_needs_no_more_than_its_extra() -> None:
    """A worker with this extra alone runs the command, as `din_monitor` runs `din watch`."""
    rooms = ("din", "din_logs", "din_loop", "din_report", "din_start", "din_tune")
    graph = grimp.build_graph(*rooms, include_external_packages=True, exclude_type_checking_imports=True)
    provided = providers()
    extras = {
        "din_loop.replay.replay": "train",
        "din_loop.watch.watch": "train",
        "din_report.write": "train",
        "din_tune.tuning": "tune",
    }
    for name, extra in extras.items():
        needed = graph.find_upstream_modules(name) & provided.keys()
        assert [module for module in sorted(needed) if not provided[module] & packages(extra)] == [], name


def packages(extra: str) -> set[str]:
    """Return the packages that an extra installs, with those of the extras that it names."""
    found = set()
    for entry in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"][extra]]:
        one = Requirement(entry)
        found.add(canonicalize_name(one.name))
        if one.name == "din-ctr":
            found |= set().union(*map(packages, one.extras))
    return found


def providers() -> dict[str, set[str]]:
    """Return the packages that provide each module that can be imported."""
    return {module: set(map(canonicalize_name, names)) for module, names in packages_distributions().items()}


def third_party_imports(path: Path) -> set[str]:
    """Return the top-level packages that a file imports, without the standard library."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return {name.split(".")[0] for name in names} - sys.stdlib_module_names
