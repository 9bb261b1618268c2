"""Great Expectations suites for the raw log, the features and the predictions, and the gate over their reports.

A suite judges exactly one directory, and its report carries that directory's hash: `din gate` and `python -m validation
gate` recompute it, so a report about other data never opens anything.
"""

from pathlib import Path

from din.forms import Suite

REPORTS = Path("reports/validation")
INPUTS: dict[Suite, Path] = {
    "raw": Path("data/raw"),
    "features": Path("data/features"),
    "predictions": Path("reports/predictions"),
}


def report_path(suite: Suite) -> Path:
    """Where a suite's report lies, relative to the workspace."""
    return REPORTS / f"{suite}.json"
