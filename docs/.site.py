"""A hook of MkDocs: begin with the README, write what the code says of itself, and unlink what the site lacks."""

import posixpath
import re
from importlib import import_module
from inspect import getdoc
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from din.bundle.agreement import ParityReport
from din.contracts.facts import Evaluation, Facts
from din.contracts.manifests import FetchReport
from din.contracts.verdicts import GateReport, ValidationReport
from din.stages.stage import StageOutcome
from din.train.results import TrainingSummary
from din_start.params.reference import reference, schema_page

REPORTS = {
    "reports/gate.json": GateReport,
    "reports/evaluation.json": Evaluation,
    "reports/parity.json": ParityReport,
    "reports/validation/*.json": ValidationReport,
    "reports/training/summary.json": TrainingSummary,
    "reports/fetch.json": FetchReport,
    "models/bundle/facts.json": Facts,
    ".din/outcome/*.json": StageOutcome,
}

ABSENT = ("log.md", "adr", "params.schema.json")
"""Files and folders of docs/ that are not pages of the site."""


def on_config(config: Any) -> Any:
    """Add the decisions to the navigation, in the order of their numbers."""
    decisions = sorted((Path(config.docs_dir) / "adr").glob("*.md"))
    config.nav.append({"Decisions": [f"adr/{path.name}" for path in decisions]})
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the README as the home page, and the generated pages."""
    readme = Path(config.docs_dir).parent / "README.md"
    files.append(File.generated(config, "index.md", content=_seen_from_docs(readme.read_text(encoding="utf-8"))))
    files.append(File.generated(config, "parameters.md", content=reference()))
    files.append(File.generated(config, "reports.md", content=schema_page(REPORTS)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Write the lists of expectations, and name files that the site does not hold instead of linking to them."""
    folder = posixpath.dirname(page.file.src_uri)

    def named(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link[2]))
        is_absent = target in ABSENT or target.startswith(("../", "examples/"))
        return f"`{link[1]}`" if is_absent else link[0]

    markdown = re.sub(r"<!-- expectations: (.*) -->", _expectations, markdown)
    return re.sub(r"\[([^\]]*)\]\(([^)#:]*)[^)]*\)", named, markdown)


def _seen_from_docs(readme: str) -> str:
    """Return the README with its links as they are from the folder of the pages."""
    return re.sub(r"\]\((?!https?:|#)(docs/)?", lambda link: "](" if link[1] else "](../", readme)


def _expectations(mark: re.Match[str]) -> str:
    """Return what a suite, or some of its phases, expects: the docstrings of the detectors."""
    suite, *phases = mark[1].split()
    detectors = import_module(f"validation.{suite}").PHASES.detectors
    return "\n\n".join(getdoc(detector) or "" for phase in phases or detectors for detector in detectors[phase])
