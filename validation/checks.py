# Great Expectations marks none of its public classes as exported:
# pyright: reportPrivateImportUsage=false
"""What a suite is made of: a Great Expectations expectation, with what a reader needs when it fails.

Great Expectations' pandas engine would have to hold a whole log to judge its rows, and lists only values, not rows. So
a suite counts offending rows over *all* data where that is cheap (DuckDB for the raw log, numpy for the shards) and
lets Great Expectations assert on the count; frames that fit are judged by it directly.
"""

from collections.abc import Iterable, Mapping, Sequence
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
        column: what it is about, for the report.
        expectation: the class, called with `arguments`.
        frame: what it judges; None = the one-row frame of all statistics, where `value` is the column `name`.
        threshold: what was asked for, JSON, for the report.
        advice: what to do when it fails.
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
    """A figure over all data that must lie in [minimum, maximum]; None or NaN is a failure, never a pass."""
    bounds = {"min": minimum, "max": maximum}
    return Check(
        name=name,
        column=column,
        # of the only row; unlike ExpectColumnValuesToBeBetween, the maximum of nothing fails
        expectation=gxe.ExpectColumnMaxToBeBetween,
        arguments={"column": name, "min_value": minimum, "max_value": maximum},
        threshold={key: bound for key, bound in bounds.items() if bound is not None},
        advice=advice,
        severity=severity,
        value=value,
        sample=sample,
    )


def none_of(name: str, offenders: Rows, *, advice: str, column: str | None = None) -> Check:
    """Expect no offenders; `offenders` is the complete list."""
    return statistic(name, len(offenders), maximum=0, column=column, advice=advice, sample=offenders)


def none_of_warning(name: str, offenders: Rows, *, advice: str) -> Check:
    """Expect no offenders, as a warning; `offenders` is the complete list."""
    return statistic(name, len(offenders), maximum=0, severity="warning", advice=advice, sample=offenders)


def files_match_manifest(root: Path, manifest: Mapping[str, Any], stage: str) -> Check:
    """Every file is the one that the stage wrote: none edited, added or lost. Reads all files once."""
    found, listed = hash_files(root), manifest["files"]
    found.pop(MANIFEST)
    changed = [
        {"file": str(root / path), "problem": problem}
        for path in sorted(found.keys() | listed.keys())
        if (problem := _difference(found.get(path), listed.get(path)))
    ]
    return none_of(
        "files_match_manifest",
        changed,
        advice=f"something other than its stage wrote below {root}: delete {root} and run `dvc repro {stage}`",
    )


def _difference(found: str | None, listed: str | None) -> str | None:
    if found == listed:
        return None
    return "missing" if found is None else "not in the manifest" if listed is None else "changed after it was written"


def schemas(paths: Iterable[Path]) -> tuple[dict[Path, pa.Schema], Check]:
    """The schemas of Parquet files from their footers, and the expectation that all could be read."""
    found, broken = {}, []
    for path in paths:
        try:
            found[path] = pq.read_schema(path)
        except (pa.ArrowException, OSError) as error:
            broken.append({"file": str(path), "problem": str(error).splitlines()[0]})
    advice = "the file is truncated, damaged or missing: delete its directory and run the stage that writes it again"
    return found, none_of("files_readable", broken, advice=advice)
