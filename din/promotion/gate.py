"""Every condition for promotion, judged from reports and the registry, into reports/gate.json.

Fail-closed: what is missing, malformed or can't be computed is a closed gate with its reason. Costs hashing the
workspace's data, a few bootstraps, and on all but first runs scoring up to `gate.max_rows` test rows with the champion
(and with the anchor). It gives up a clock: the same workspace and registry give the same report.
"""

import math
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from din.artifacts import hash_tree, read_json, write_json
from din.bundle import verify_bundle
from din.errors import GateClosed, InputError
from din.metrics import Interval, bootstrap, paired_bootstrap, summary
from din.params import Params
from din.promotion.champion import FEATURES, RAW, Score, anchor, fair_rows, rolled_back, score_champion, until
from din.promotion.table import print_table
from din.promotion.verdict import Finding, Verdict, check, not_below, overall, within
from din.registry import FACTS, Record, Registry
from din.stage import STATE

BUNDLE, REPORTS = Path("models/bundle"), Path("reports")
PREDICTIONS, REPORT = REPORTS / "predictions", REPORTS / "gate.json"
UNTIL_GATE = "data_until"
"""The gate that `din promote --allow-older` waives."""
JUDGED = {"raw": RAW, "features": FEATURES, "predictions": PREDICTIONS}
_AGREED = ("rows", "auc", "gauc", "log_loss", "calibration_ratio")
_TOLERANCE = 1e-6


def gate(params: Params, score: Score = score_champion) -> None:
    """Judge the candidate in this workspace; write reports/gate.json and print the table of gates.

    Args:
        params: blocks `gate`, `promote` and `check_parity`.
        score: (bundle directory, test rows) to probabilities; what scores an earlier champion.

    Raises:
        GateClosed: the verdict is closed, or borderline (`approval: never`); the report is written before.
        InputError: the registry can't be read.
    """
    registry = Registry(params.promote.registry, params.model_name)
    history = registry.history()
    champion = history[-1] if history else None
    evidence = Evidence(params)
    gates = [check(*gate) for gate in [*_own_gates(evidence), *_comparisons(evidence, registry, history, score)]]
    verdict = overall(gates)
    report = {
        "verdict": verdict,
        "bundle": evidence.version_or_none(),
        "champion": {"number": champion.number, "version": champion.version} if champion else None,
        "metric": params.gate.metric,
        "gates": gates,
    }
    write_json(REPORT, report)
    print_gates(report)
    if verdict != "open":
        shut = [f"{g['name']}: {g['reason'] or g['verdict']}\n    {g['look']}" for g in gates if g["verdict"] != "open"]
        raise GateClosed("\n".join([f"{verdict}; the champion stays. To look closer:", *shut]), str(REPORT))


def print_gates(report: dict[str, Any]) -> None:
    """The gate table of a report."""
    columns = ("gate", "verdict", "observed", "threshold", "interval", "rows")
    rows = [[g["name"], g["verdict"], *(g.get(column) for column in columns[2:])] for g in report["gates"]]
    print_table(f"gate: {report['verdict']}", columns, rows)


class Evidence:
    """What this workspace says about its candidate; each part is read when first asked for, errors included."""

    def __init__(self, params: Params) -> None:
        self.params, self.limits = params, params.gate

    @cached_property
    def version(self) -> str:
        """Version of the candidate's bundle, all files verified."""
        return verify_bundle(BUNDLE)[0]

    @cached_property
    def facts(self) -> dict[str, Any]:
        """facts.json of the candidate's bundle."""
        return read_json(BUNDLE / FACTS)

    @cached_property
    def rows(self) -> pa.Table:
        """All test rows with their predictions."""
        return pq.read_table(PREDICTIONS / "test.parquet")

    @cached_property
    def sample(self) -> pa.Table:
        """At most `max_rows` test rows, whole users."""
        return self.draw(self.rows)

    def draw(self, rows: pa.Table) -> pa.Table:
        """At most `max_rows` of the rows, whole users drawn by the seed."""
        if len(rows) <= self.limits.max_rows:
            return rows
        _, user = np.unique(rows["user"].to_numpy(), return_inverse=True)
        order = np.random.default_rng(self.limits.seed).permutation(user.max() + 1)
        taken = order[np.cumsum(np.bincount(user)[order]) <= self.limits.max_rows]
        return rows.filter(pa.array(np.isin(user, taken)))

    def interval(self, metric: Any, rows: pa.Table, against: NDArray[np.float64] | None = None) -> Interval:
        """Of a metric of the predictions, or of its difference from other scores of the same rows."""
        labels, prediction, users = (rows[name].to_numpy() for name in ("label", "prediction", "user"))
        settings = (metric, self.limits.resamples, self.limits.confidence, self.limits.seed)
        if against is None:
            return bootstrap(labels, prediction, users, *settings)
        return paired_bootstrap(labels, prediction, against, users, *settings)

    def version_or_none(self) -> str | None:
        """The version where the bundle is sound."""
        try:
            return self.version
        except InputError:
            return None


Check = tuple[str, str, Callable[[], Finding]]


def _own_gates(evidence: Evidence) -> list[Check]:
    limits, show = evidence.limits, "python -m json.tool "
    evaluation, calibration = f"{show}{REPORTS / 'evaluation.json'}", (limits.min_calibration, limits.max_calibration)
    return [
        *(
            (f"validation_{name}", f"{show}{REPORTS / 'validation' / name}.json", partial(_validation, name, judged))
            for name, judged in JUDGED.items()
        ),
        ("evaluation", evaluation, partial(_evaluation, evidence)),
        ("min_auc", evaluation, partial(_limit, evidence, "auc", limits.min_auc)),
        ("min_gauc", evaluation, partial(_limit, evidence, "gauc", limits.min_gauc)),
        ("calibration", evaluation, partial(_limit, evidence, "calibration_ratio", *calibration)),
        ("parity", f"{show}{REPORTS / 'parity.json'}", partial(_parity, evidence)),
        ("bundle_mb", f"du -ah {BUNDLE}", partial(_size, evidence)),
    ]


def _comparisons(evidence: Evidence, registry: Registry, history: list[Record], score: Score) -> list[Check]:
    if not history:
        evaluation, metric = f"python -m json.tool {REPORTS / 'evaluation.json'}", evidence.limits.metric
        return [
            (f"{metric}_over_popularity", evaluation, partial(_floor, evidence, "popularity", within)),
            (f"{metric}_over_lr", evaluation, partial(_floor, evidence, "lr", not_below)),
        ]
    champion, show = history[-1], f"din registry show {history[-1].number}"
    against = partial(_against, evidence, registry, score)
    return [
        (UNTIL_GATE, show, partial(_until, evidence, registry, champion)),
        ("not_rolled_back", "din registry list", partial(_not_rolled_back, evidence, history)),
        ("champion_delta", show, lambda: against("champion", champion)),
        (
            "anchor_delta",
            "din registry list",
            lambda: against("anchor", anchor(registry, history, evidence.limits.metric)),
        ),
    ]


def _validation(name: str, judged: Path) -> Finding:
    report = read_json(REPORTS / "validation" / f"{name}.json")
    if report["input"] != (found := hash_tree(judged)):
        reason = f"the report judged another {judged} than the one here; run `dvc repro validate_{name}`"
        return Finding("closed", found[:12], str(report["input"])[:12], reason=reason)
    failed = [e["name"] for e in report["expectations"] if not e["success"] and e["severity"] == "critical"]
    if report["verdict"] != "open":
        return Finding("closed", report["verdict"], "open", reason=f"failed: {', '.join(failed) or 'see the report'}")
    return Finding("open", "open", "open")


def _evaluation(evidence: Evidence) -> Finding:
    """evaluation.json, the predictions and the bundle speak of one model."""
    evaluation = read_json(REPORTS / "evaluation.json")
    if evidence.facts["evaluation"] != evaluation:
        reason = "the bundle was exported with another evaluation.json; run `dvc repro export`"
        return Finding("closed", "differs", "same as the bundle's", reason=reason)
    rows, stated = evidence.rows, evaluation["test"]
    found = summary(*(rows[name].to_numpy() for name in ("label", "prediction", "user")))
    gap = float(np.max([abs(float(found[key]) - float(stated[key])) for key in _AGREED]))
    reason = None if gap <= _TOLERANCE else f"evaluation.json does not follow from {PREDICTIONS}; run `dvc repro`"
    return Finding("closed" if reason else "open", gap, _TOLERANCE, rows=len(rows), reason=reason)


def _limit(evidence: Evidence, metric: str, low: float, high: float = math.inf) -> Finding:
    interval = evidence.interval(metric, evidence.sample)
    threshold = low if math.isinf(high) else [low, high]
    return _finding(within(interval, low, high), interval, threshold, evidence.sample)


def _floor(evidence: Evidence, column: str, rule: Callable[[Interval, float], Verdict]) -> Finding:
    interval = evidence.interval(evidence.limits.metric, evidence.sample, evidence.sample[column].to_numpy())
    return _finding(rule(interval, 0.0), interval, 0.0, evidence.sample)


def _parity(evidence: Evidence) -> Finding:
    report, limit = read_json(REPORTS / "parity.json"), evidence.params.check_parity.atol_probability
    if report["bundle"] != evidence.version:
        reason = f"the report is about bundle {str(report['bundle'])[:12]}; run `dvc repro check_parity`"
        return Finding("closed", str(report["bundle"])[:12], evidence.version[:12], reason=reason)
    reason = None if report["verdict"] == "open" else report.get("reason") or "the paths disagree; see the report"
    verdict = "closed" if reason else "open"
    return Finding(verdict, report["max_abs_probability_diff"], limit, rows=report["cases"], reason=reason)


def _size(evidence: Evidence) -> Finding:
    names = verify_bundle(BUNDLE)[1]
    observed = sum((BUNDLE / name).stat().st_size for name in names) / 1e6
    limit = evidence.limits.max_bundle_mb
    return Finding("open" if observed <= limit else "closed", observed, limit)


def _until(evidence: Evidence, registry: Registry, champion: Record) -> Finding:
    ours, theirs = until(evidence.facts), until(registry.facts(champion.version))
    reason = None if ours >= theirs else "the champion saw newer data; `din promote --allow-older` overrules this gate"
    return Finding("closed" if reason else "open", str(ours), str(theirs), reason=reason)


def _not_rolled_back(evidence: Evidence, history: list[Record]) -> Finding:
    record = rolled_back(history).get(evidence.version)
    if record is None:
        return Finding("open", "no", "no")
    reason = f"{record.by} rolled this bundle back ({record.reason}); reinstate it with `din registry rollback`"
    return Finding("closed", f"in record {record.number}", "no", reason=reason)


def _against(evidence: Evidence, registry: Registry, score: Score, role: str, record: Record | None) -> Finding:
    """Candidate − an earlier champion on the test rows that the latter did not train on."""
    margin = evidence.limits.margin
    if record is None or record.version == evidence.version:
        reason = f"the {role} is the champion" if record is None else f"the {role} is this bundle"
        return Finding("open", 0.0, -margin, reason=reason)
    fair = fair_rows(evidence.facts, registry.facts(record.version), evidence.rows["timestamp"].to_numpy())
    rows = evidence.draw(evidence.rows.filter(pa.array(fair)))
    bundle = registry.fetch(record.version, STATE / "gate" / role)
    try:
        theirs = np.asarray(score(bundle, rows), np.float64)
    except Exception as error:  # an old bundle may fail in any way, and whichever it is, there is no comparison
        raise InputError(f"the {role} {record.version[:12]} can't score today's rows: {error!r}") from error
    if theirs.shape != (len(rows),):
        raise InputError(f"the {role} {record.version[:12]} gave {theirs.shape} probabilities for {len(rows)} rows")
    interval = evidence.interval(evidence.limits.metric, rows, theirs)
    return _finding(within(interval, -margin), interval, -margin, rows)


def _finding(verdict: Verdict, interval: Interval, threshold: Any, rows: pa.Table) -> Finding:
    reasons = {
        "open": None,
        "borderline": "the interval contains the threshold: too few rows to tell, or too close",
        "closed": "the interval lies outside the threshold",
    }
    undefined = np.isnan(interval.lower) or np.isnan(interval.upper)
    reason = "undefined: too few users, or one class only" if undefined else reasons[verdict]
    return Finding(verdict, interval.point, threshold, interval, len(rows), reason)
