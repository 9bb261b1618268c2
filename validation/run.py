"""Run a suite: Great Expectations judges, the report records the findings, and the verdict file lets later stages run.

Great Expectations takes 3-5 s to import, and then about 10 ms per expectation. Its context is in memory and made in
code, because a file context rewrites its ids at every run and is corrupted by parallel tasks. A report depends only on
the judged data and on params.yaml, not on a clock or the registry.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

import great_expectations as gx
import pandas as pd
from great_expectations.core.batch_definition import BatchDefinition
from great_expectations.core.expectation_validation_result import ExpectationValidationResult
from great_expectations.data_context.types.base import ProgressBarsConfig

from din import reports
from din.artifacts import hash_tree, write_bytes, write_json
from din.errors import GateClosed, InputError
from din.params import Params
from din.progress import progress
from din.workspace import Suite, Workspace
from validation.checks import SAMPLE, Check, Rows
from validation.printing import failures

Phase = Callable[[Workspace, Params], Iterable[Check]]


def validate(workspace: Workspace, suite: Suite, phases: tuple[Phase, ...], params: Params) -> None:
    """Judge the suite's directory and write its report, and its verdict file if the suite is open.

    Args:
        workspace: the workspace with the directory and the report.
        suite: the suite.
        phases: judged in order. A phase runs only if all earlier ones are open, so it may rely on them.
        params: the parameters with the thresholds.

    Raises:
        GateClosed: a critical expectation failed or could not be evaluated. The report is written nevertheless.
        InputError: there is nothing to judge.
    """
    path = workspace.validation(suite)
    verdict = workspace.verdict(suite)
    directory = workspace.judged(suite)
    verdict.unlink(missing_ok=True)
    judged = hash_tree(directory)
    entries: list[dict[str, Any]] = []
    unjudged = list(phases)
    with progress(len(phases), f"validating {suite}", "phase") as bar:
        while unjudged and not _failed(entries, "critical"):
            entries += _judge_phase(unjudged.pop(0), workspace, params)
            bar.update()
    blocking = _failed(entries, "critical")
    warnings = _failed(entries, "warning")
    report = {"verdict": "closed" if blocking else "open", "input": judged, "params": reports.thresholds(suite, params)}
    write_json(path, report | {"expectations": entries})
    if blocking:
        later = "\nLater expectations depend on these and were not evaluated." if unjudged else ""
        raise GateClosed(
            f"closed: {len(blocking)} of {len(entries)} expectations on {directory} failed\n\n"
            f"{failures(blocking + warnings)}{later}\nThe full report is {path}.",
            path,
        )
    if warnings:
        print(f"{failures(warnings)}\n")
    held = len(entries) - len(warnings)
    print(f"validate_{suite}: open, {held} of {len(entries)} expectations on {directory} hold; see {path}")
    write_bytes(verdict, b"open\n")


def _failed(entries: list[dict[str, Any]], severity: str) -> list[dict[str, Any]]:
    return [entry for entry in entries if not entry["success"] and entry["severity"] == severity]


def _judge_phase(phase: Phase, workspace: Workspace, params: Params) -> list[dict[str, Any]]:
    checks: list[Check] = []
    try:
        checks.extend(phase(workspace, params))
    except InputError:
        raise
    except Exception as error:  # a phase that can't be evaluated is closed and says why
        return [*judge(checks), _not_evaluated(phase.__name__, error)]
    return judge(checks)


def _not_evaluated(name: str, error: Exception) -> dict[str, Any]:
    return {
        "name": f"{name}_evaluated",
        "column": None,
        "observed": None,
        "threshold": {},
        "severity": "critical",
        "success": False,
        "sample": [],
        "advice": "the data could not be judged, so the gate is closed; correct what the reason names",
        "reason": f"{type(error).__name__}: {error}",
    }


def judge(checks: list[Check]) -> list[dict[str, Any]]:
    """Return the report entries of checks, in their order, with offending rows and advice for those that fail."""
    statistics = pd.DataFrame({c.name: [c.value] for c in checks if c.frame is None}, dtype="float64")
    frames = {id(c.frame): c.frame for c in checks if c.frame is not None}
    groups = [(statistics, [c for c in checks if c.frame is None])]
    groups += [(frame, [c for c in checks if c.frame is frame]) for frame in frames.values()]
    results = {name: result for frame, group in groups if group for name, result in _expect(frame, group).items()}
    return [_entry(check, results[check.name]) for check in checks]


def _expect(frame: pd.DataFrame, checks: list[Check]) -> dict[str, ExpectationValidationResult]:
    batch = _whole_frames().get_batch({"dataframe": frame})
    expectations = [c.expectation(**c.arguments, severity=c.severity, meta={"name": c.name}) for c in checks]
    found = batch.validate(gx.ExpectationSuite("suite", expectations=expectations), result_format="SUMMARY")
    return {result.expectation_config.meta["name"]: result for result in found.results}  # type: ignore[union-attr]


@cache
def _whole_frames() -> BatchDefinition:
    """Return what turns a frame into a batch. It is made once, because a context takes as long as ten expectations."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("frames").add_dataframe_asset("frame")
    return asset.add_batch_definition_whole_dataframe("whole")


def _entry(check: Check, result: ExpectationValidationResult) -> dict[str, Any]:
    found = result.result
    entry = {
        "name": check.name,
        "column": check.column,
        "observed": _plain(found.get("observed_value", found.get("unexpected_count"))),
        "threshold": _plain(check.threshold),
        "severity": check.severity,
        "success": bool(result.success),
    }
    if not result.success:
        rows = check.sample or _unexpected_rows(check, found)
        entry["sample"] = [_plain(dict(row)) for row in rows[:SAMPLE]]
        entry["advice"] = check.advice
        if reason := result.exception_info.get("exception_message"):
            entry["reason"] = reason
    return entry


def _unexpected_rows(check: Check, found: Mapping[str, Any]) -> Rows:
    if check.frame is None:
        return []
    return check.frame.loc[found.get("partial_unexpected_index_list", [])[:SAMPLE]].to_dict("records")


def _plain(value: Any) -> Any:
    """Return a JSON value: numpy values become Python's, NaN becomes null, and infinities and times become text."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return value if math.isfinite(value) and not value.is_integer() else _whole(value)
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _whole(value: float) -> int | str:
    return int(value) if math.isfinite(value) else str(value)
