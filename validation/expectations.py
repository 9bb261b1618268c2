# Great Expectations marks none of its public classes as exported:
# pyright: reportPrivateImportUsage=false
"""The parts of a suite: expectations of Great Expectations, with the advice and sample rows that explain a failure.

To judge rows, the pandas engine of Great Expectations would have to hold the whole log in memory, and it reports only
values, not rows. A suite therefore counts offending rows over *all* data where that is cheap (DuckDB for the raw log,
numpy for the shards), and lets Great Expectations assert on the count. It judges frames that fit into memory directly.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from great_expectations import expectations as gxe

from din.artifacts import MANIFEST, hash_files

SAMPLE = 5

Rows = Sequence[Mapping[str, Any]]
Severity = Literal["critical", "warning"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One named expectation.

    Attributes:
        name: unique in its suite, stable between releases.
        column: the judged column, for the report.
        expectation: the class, called with `arguments`.
        arguments: the arguments of the expectation.
        threshold: the demanded values as JSON, for the report.
        advice: what to do if it fails.
        severity: critical | warning.
        frame: the judged frame. None for the one-row frame of all statistics, where `value` is in the column `name`.
        value: the figure of a statistic.
        sample: some offending rows.
    """

    name: str
    column: str | None
    expectation: type[gxe.Expectation]
    arguments: Mapping[str, Any]
    threshold: Mapping[str, Any]
    advice: str
    severity: Severity = "critical"
    frame: pd.DataFrame | None = None
    value: float | None = None
    sample: Rows = ()


def statistic(
    name: str,
    value: float | None,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    column: str | None = None,
    advice: str,
    severity: Severity = "critical",
    sample: Rows = (),
) -> Check:
    """Expect a figure over all data to lie in [minimum, maximum]; None and NaN fail."""
    bounds = {"min": minimum, "max": maximum}
    return Check(
        name=name,
        column=column,
        # The frame has one row. Unlike ExpectColumnValuesToBeBetween, this expectation fails if the value is missing.
        expectation=gxe.ExpectColumnMaxToBeBetween,
        arguments={"column": name, "min_value": minimum, "max_value": maximum},
        threshold={key: bound for key, bound in bounds.items() if bound is not None},
        advice=advice,
        severity=severity,
        value=value,
        sample=sample,
    )


def graded(
    critical: tuple[str, float],
    warning: tuple[str, float],
    value: float | None,
    *,
    column: str | None = None,
    advice: str,
    sample: Rows = (),
) -> Iterator[Check]:
    """Expect a figure to be at most a critical limit, and as a warning, at most a lower one; each has a name."""
    limits: tuple[tuple[tuple[str, float], Severity], ...] = ((critical, "critical"), (warning, "warning"))
    for (name, maximum), severity in limits:
        yield statistic(name, value, maximum=maximum, column=column, advice=advice, severity=severity, sample=sample)


def none_of(
    name: str, offenders: Rows, *, advice: str, column: str | None = None, severity: Severity = "critical"
) -> Check:
    """Expect no offenders; `offenders` is the complete list."""
    return statistic(name, len(offenders), maximum=0, column=column, advice=advice, severity=severity, sample=offenders)


def files_match_manifest(root: Path, manifest: Mapping[str, Any], stage: str) -> Check:
    """Expect that no file was edited, added or lost since the stage wrote them. Reads all files once."""
    found = hash_files(root)
    listed = manifest["files"]
    found.pop(MANIFEST)
    changed = [
        {"file": str(root / path), "problem": problem}
        for path in sorted(found.keys() | listed.keys())
        if (problem := _difference(found.get(path), listed.get(path)))
    ]
    return none_of(
        "files_match_manifest",
        changed,
        advice=f"the files below {root} are not as their stage wrote them: delete {root} and run `dvc repro {stage}`",
    )


def _difference(found: str | None, listed: str | None) -> str | None:
    if found == listed:
        return None
    if found is None:
        return "missing"
    return "not in the manifest" if listed is None else "changed after it was written"


def schemas(paths: Iterable[Path]) -> tuple[dict[Path, pa.Schema], Check]:
    """Read the schemas of Parquet files from their footers; also return the expectation that all could be read."""
    found = {}
    broken = []
    for path in paths:
        try:
            found[path] = pq.read_schema(path)
        except (pa.ArrowException, OSError) as error:
            broken.append({"file": str(path), "problem": str(error).splitlines()[0]})
    advice = "the file is truncated, damaged or missing: delete its directory and run the stage that writes it again"
    return found, none_of("files_readable", broken, advice=advice)
