"""A hook of MkDocs: write the pages of parameters and reports, and turn links that leave docs/ into plain text."""

import re
from typing import Any

from mkdocs.structure.files import File, Files

from din import document_types
from din.params.reference import reference, schema_page
from din.serve.agreement import ParityReport
from din.stage import StageOutcome
from din.train.results import TrainingSummary

REPORTS = {
    "reports/gate.json": document_types.GateReport,
    "reports/evaluation.json": document_types.Evaluation,
    "reports/parity.json": ParityReport,
    "reports/validation/*.json": document_types.ValidationReport,
    "reports/training/summary.json": TrainingSummary,
    "reports/fetch.json": document_types.FetchReport,
    "models/bundle/facts.json": document_types.Facts,
    ".din/outcome/*.json": StageOutcome,
}


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages."""
    files.append(File.generated(config, "parameters.md", content=reference()))
    files.append(File.generated(config, "reports.md", content=schema_page(REPORTS)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Name files outside docs/ instead of linking to them, because the site does not hold them."""
    return re.sub(r"\[([^\]]*)\]\((?:\.\./|adr\)|examples/)[^)]*\)", r"`\1`", markdown)
