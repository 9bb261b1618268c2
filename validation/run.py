"""Run a suite: evaluate its expectations, write the report, and write the verdict file that lets later stages run.

Great Expectations takes 3-5 s to import, and then about 10 ms per expectation. Its context is created in memory,
because a file context rewrites its ids at every run and is corrupted by parallel tasks. A report depends on the judged
data, params.yaml and the user's own expectations, but not on the clock or the registry.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from typing import Any

import great_expectations as gx
import pandas as pd
from great_expectations import expectations as gxe
from great_expectations.core.batch_definition import BatchDefinition
from great_expectations.core.expectation_validation_result import ExpectationValidationResult
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.expectations.expectation import ColumnMapExpectation

from din.base.artifacts import hash_tree, write_bytes, write_json
from din.base.duckdb_errors import exhausted
from din.base.errors import GateClosed, InputError, Unavailable, is_of_this_machine
from din.base.names import Digest
from din.base.progress import progress
from din.base.workspace import Suite, Workspace
from din.contracts import expectations as contract
from din.contracts.verdicts import Expectation, ValidationReport
from din.params.reading import Params
from validation.expectations import Expected
from validation.own import Own
from validation.printing import failures
from validation.suite_data import SAMPLE, Rows, SuiteData

Detector = Callable[[Any], Iterable[Expected]]  # of the suite's data


@dataclass(frozen=True)
class Phases:
    """The phases of a suite, in order. A phase is judged only if all earlier ones are open, so it may rely on them.

    Attributes:
        data: opens the data that the suite judges.
        detectors: the functions of each phase, by the phase's name. Each yields expectations.
    """

    data: Callable[[Workspace, Params], SuiteData]
    detectors: Mapping[str, tuple[Detector, ...]]


def validate(workspace: Workspace, suite: Suite, phases: Phases, params: Params) -> None:
    """Judge the suite's directory and write its report, and its verdict file if the suite is open.

    Raises:
        GateClosed: a critical expectation failed or could not be evaluated. The report is written first.
        InputError: there is nothing to judge, or the user's own expectations can't be read.
        Unavailable: memory or disk space is too little.
    """
    own_file = getattr(params, f"validate_{suite}").expectations
    user_suite = Own(workspace.root / own_file) if own_file else None
    path = workspace.validation(suite)
    verdict = workspace.verdict(suite)
    directory = workspace.directory_of(suite)
    verdict.unlink(missing_ok=True)
    digest = Digest(hash_tree(directory))
    entries: list[Expectation] = []
    tables: dict[str, pd.DataFrame] = {}
    detectors = dict(phases.detectors)
    if user_suite:
        detectors["own"] = (lambda data: user_suite.expected(data, tables, {entry.name for entry in entries}),)
    unjudged = list(detectors)
    with (
        progress(len(unjudged), f"validating {suite}", "phase") as bar,
        closing(phases.data(workspace, params)) as data,
    ):
        while unjudged and not _failed(entries, "critical"):
            name = unjudged.pop(0)
            entries += _judge_phase(name, detectors[name], data, tables)
            bar.update()
    blocking = _failed(entries, "critical")
    warnings = _failed(entries, "warning")
    report = ValidationReport(
        verdict="closed" if blocking else "open",
        input=digest,
        params=contract.thresholds(suite, params),
        user_file=contract.digest_of_user_file(workspace, suite, params),
        judged={entry.name: entry.severity for entry in entries},
        expectations=entries,
    )
    write_json(path, report)
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


def _failed(entries: list[Expectation], severity: str) -> list[Expectation]:
    return [entry for entry in entries if not entry.success and entry.severity == severity]


def _judge_phase(
    name: str, detectors: tuple[Detector, ...], data: SuiteData, tables: dict[str, pd.DataFrame]
) -> list[Expectation]:
    expected: list[Expected] = []
    try:
        for detector in detectors:
            expected.extend(detector(data))
    except (InputError, Unavailable):
        raise
    except Exception as error:  # a phase that can't be evaluated closes the gate and reports why
        if is_of_this_machine(error):
            raise
        if unavailable := exhausted(error):
            raise unavailable from None
        return [*judge(expected, tables), _not_evaluated(name, error)]
    return judge(expected, tables)


def _not_evaluated(name: str, error: Exception) -> Expectation:
    return Expectation(
        name=f"{name}_evaluated",
        column=None,
        observed=None,
        threshold={},
        severity="critical",
        success=False,
        sample=[],
        advice="the data could not be judged, so the gate is closed; correct what the reason names",
        reason=f"{type(error).__name__}: {error}",
    )


def judge(expected: Sequence[Expected], tables: dict[str, pd.DataFrame]) -> list[Expectation]:
    """Evaluate expectations, and return their report entries in the same order.

    A failed entry has offending rows and advice. The columns of the expectations are added to `tables`.
    """
    results: dict[str, ExpectationValidationResult] = {}
    for table in dict.fromkeys(expectation.table for expectation in expected):
        group = [expectation for expectation in expected if expectation.table == table]
        _add(tables, table, group)
        results |= _validate(tables[table], group)
    return [_entry(expectation, results[expectation.name], tables[expectation.table].index) for expectation in expected]


def _add(tables: dict[str, pd.DataFrame], name: str, expected: Sequence[Expected]) -> None:
    joined = pd.concat(
        [*([tables[name]] if name in tables else []), *(expectation.columns for expectation in expected)], axis=1
    )
    tables[name] = joined.loc[:, ~joined.columns.duplicated()]


def _validate(table: pd.DataFrame, expected: Sequence[Expected]) -> dict[str, ExpectationValidationResult]:
    batch = _whole_frames().get_batch({"dataframe": table.reset_index()})
    suite = gx.ExpectationSuite("suite", expectations=[expectation.expectation for expectation in expected])
    outcome = batch.validate(suite, result_format="SUMMARY")
    return {result.expectation_config.meta["name"]: result for result in outcome.results}  # type: ignore[union-attr]


@cache
def _whole_frames() -> BatchDefinition:
    """Return the definition that makes a batch of a frame. Cached, as a context takes as long as ten expectations."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("frames").add_dataframe_asset("frame")
    return asset.add_batch_definition_whole_dataframe("whole")


def _entry(expected: Expected, result: ExpectationValidationResult, key: pd.Index) -> Expectation:
    expectation = expected.expectation
    details = result.result
    failure = {}
    if not result.success:
        failure["sample"] = [_plain(dict(row)) for row in _sample(expected, details, key)[:SAMPLE]]
        failure["advice"] = expectation.notes
        if reason := _reason(result.exception_info):
            failure["reason"] = reason
    return Expectation(
        name=expected.name,
        column=(expectation.meta or {}).get("column"),
        observed=_plain(details.get("observed_value", details.get("unexpected_count"))),
        threshold=_plain(_threshold(expectation)),
        severity=expectation.severity.value,
        success=bool(result.success),
        **failure,
    )


def _reason(raised: Mapping[str, Any]) -> str | None:
    """Return why an expectation could not be evaluated. The library states it once, or once per metric."""
    messages = [
        raised.get("exception_message"),
        *(metric["exception_message"] for metric in raised.values() if isinstance(metric, dict)),
    ]
    return next((message for message in messages if message), None)


def _threshold(expectation: gxe.Expectation) -> dict[str, Any]:
    """Return the bounds or the allowed values of `observed`."""
    asked = expectation.configuration.kwargs
    if isinstance(expectation, gxe.ExpectColumnValuesToBeInSet):
        return {"in": asked["value_set"]}
    if isinstance(expectation, ColumnMapExpectation):  # here, `observed` is the number of unexpected values
        return {"max": 0} if asked.get("mostly", 1) == 1 else {}
    return {key: asked[f"{key}_value"] for key in ("min", "max") if asked.get(f"{key}_value") is not None}


def _sample(expected: Expected, details: Mapping[str, Any], key: pd.Index) -> Rows:
    if expected.sample is not None:
        return expected.sample() if callable(expected.sample) else expected.sample
    columns = expected.columns
    if not details:  # it could not be evaluated
        return []
    if "partial_unexpected_index_list" in details:
        unexpected = key[details["partial_unexpected_index_list"]]
    else:
        asked = expected.expectation.configuration.kwargs
        low, high = (asked.get(f"{bound}_value") for bound in ("min", "max"))
        if asked.get("column") not in columns:
            return []
        value = columns[asked["column"]]
        if not pd.api.types.is_numeric_dtype(value):  # a user's own expectation of texts or times
            return []
        holds = value.between(-math.inf if low is None else low, math.inf if high is None else high)
        unexpected = columns.index[~holds]
    rows = columns.loc[unexpected[:SAMPLE]]
    return rows.reset_index(drop=rows.index.names == [None]).to_dict("records")


def _plain(value: Any) -> Any:
    """Return a JSON value: numpy values become Python values, NaN becomes null, infinities and times become text.

    Floats keep 12 digits: threads add in any order, so the last digits differ between runs of the same log.
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and math.isfinite(value):
        return int(value) if value.is_integer() else float(f"{value:.12g}")
    if isinstance(value, float) and math.isnan(value):
        return None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
