"""Gates on the size of the bundle and the latency of a request: within a budget, and not far above the champion's.

Latencies are relative: two workloads take turns in the same process, so that a busy machine slows both alike.
"""

from din.base.errors import InputError, is_of_this_machine
from din.bundle.contents import SIGNATURE, Verified
from din.release.gates import GATES
from din.release.gates.case import Case, show_record
from din.release.gates.findings import Finding, decide

LATENCY = "latency_ms"
LATENCY_RATIO = "latency_ratio"
MEASURED = frozenset({LATENCY, LATENCY_RATIO})
"""The gates on measured latencies, which vary slightly between measurements."""


def measure_latency(bundle: Verified, other: Verified | None) -> float:
    """Return the latency of a request relative to another bundle's or, for None, to the calibration workload."""
    from din.bundle.latency import relative_time  # `max_latency_ms: null` needs no onnxruntime

    return relative_time(bundle, other)


def _is_timed(case: Case) -> bool:
    return case.limits.max_latency_ms is not None


@GATES.register(
    "bundle_mb", model="shipped", command=lambda case: f"du -ah {case.workspace.relative(case.workspace.bundle)}"
)
def bundle_mb(case: Case) -> Finding:
    """Judge the size of the bundle in MB."""
    observed = _megabytes(case.evidence.bundle)
    limit = case.limits.max_bundle_mb
    return decide(observed <= limit, observed, limit, "the bundle is larger than gate.max_bundle_mb permits")


@GATES.register("bundle_ratio", model="shipped", run="later", compares=True, equal=1.0, command=show_record)
def bundle_ratio(case: Case) -> Finding:
    """Judge the size of the bundle against the champion's."""
    observed = _megabytes(case.evidence.bundle) / _megabytes(case.champion.bundle)
    reason = f"the bundle is {observed:.1f} times as large as the champion's; if it may be, raise gate.max_bundle_ratio"
    return decide(observed <= case.limits.max_bundle_ratio, observed, case.limits.max_bundle_ratio, reason)


@GATES.register(
    LATENCY,
    model="shipped",
    applies=_is_timed,
    command=lambda case: case.evidence.show(case.workspace.bundle / SIGNATURE),
)
def latency_ms(case: Case) -> Finding:
    """Judge the latency of a request in ms, scaled to a machine that runs the calibration workload in nominal time."""
    from din.bundle.latency import NOMINAL_MS

    limit = case.limits.max_latency_ms
    assert limit is not None
    observed = round(NOMINAL_MS * _measured(case, None), 1)  # further digits are noise
    reason = "one request takes too long: shorten featurize.max_history, or make train.model.hidden smaller"
    return decide(observed <= limit, observed, limit, reason)


@GATES.register(
    LATENCY_RATIO, model="shipped", run="later", applies=_is_timed, compares=True, equal=1.0, command=show_record
)
def latency_ratio(case: Case) -> Finding:
    """Judge the latency of a request against the champion's."""
    limit = case.limits.max_latency_ratio
    observed = round(_measured(case, case.champion.bundle), 2)
    reason = f"one request takes {observed:.2f} times the champion's time; if it may, raise gate.max_latency_ratio"
    return decide(observed <= limit, observed, limit, reason)


def _megabytes(bundle: Verified) -> float:
    return sum((bundle.directory / name).stat().st_size for name in bundle.files) / 1e6


def _measured(case: Case, other: Verified | None) -> float:
    bundle = case.evidence.bundle
    try:
        return case.latency(bundle, other)
    except Exception as error:  # a broken bundle can raise anything
        if is_of_this_machine(error):
            raise
        raise InputError(f"a request can't be answered: {error!r}") from error
