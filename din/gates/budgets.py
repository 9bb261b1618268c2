"""Gates on the size of the bundle and the time of a request: within a budget, and not much above the champion's.

A time is measured in turns with something else in the same process, since a busy machine slows both.
"""

from collections.abc import Callable

from din.errors import InputError
from din.gates.evidence import Evidence
from din.gates.verdict import Finding
from din.registry.bundle import Verified

LATENCY = "latency_ms"
LATENCY_RATIO = "latency_ratio"
MEASURED = frozenset({LATENCY, LATENCY_RATIO})
"""The gates on measured times, which differ a little from one measurement to the next."""

Latency = Callable[[Verified, Verified | None], float]
"""See `measure_latency`."""


def measure_latency(bundle: Verified, other: Verified | None) -> float:
    """Return the time of a request, divided by that of another bundle or, for None, of the calibration workload."""
    from din.serve.latency import relative_time  # `max_latency_ms: null` needs no onnxruntime

    return relative_time(bundle, other)


def size(evidence: Evidence) -> Finding:
    """Judge the size of the bundle in MB."""
    return _within(evidence.limits.max_bundle_mb, _megabytes(evidence.bundle))


def size_ratio(evidence: Evidence, champion: Verified) -> Finding:
    """Judge the size of the bundle, divided by that of the champion's."""
    observed = _megabytes(evidence.bundle) / _megabytes(champion)
    reason = (
        f"the bundle is {observed:.1f} times as large as the champion's; if the model is meant to grow, raise "
        "gate.max_bundle_ratio"
    )
    return _within(evidence.limits.max_bundle_ratio, observed, reason)


def latency(evidence: Evidence, measure: Latency, limit: float) -> Finding:
    """Judge the time of a request in ms, on a machine that needs the nominal time for the calibration workload."""
    from din.serve.latency import NOMINAL_MS

    observed = round(NOMINAL_MS * _measured(measure, evidence.bundle, None), 1)  # further digits are noise
    reason = "one request takes too long: shorten featurize.max_history, or make train.model.hidden smaller"
    return _within(limit, observed, reason)


def latency_ratio(evidence: Evidence, champion: Verified, measure: Latency) -> Finding:
    """Judge the time of a request, divided by the champion's."""
    observed = round(_measured(measure, evidence.bundle, champion), 2)
    reason = (
        f"one request takes {observed:.2f} times as long as with the champion; if the model is meant to be slower, "
        "raise gate.max_latency_ratio"
    )
    return _within(evidence.limits.max_latency_ratio, observed, reason)


def _within(limit: float, observed: float, reason: str = "") -> Finding:
    """Return an open finding if a figure is within its limit, else a closed one with the reason."""
    if observed <= limit:
        return Finding("open", observed, limit)
    return Finding("closed", observed, limit, reason=reason)


def _megabytes(bundle: Verified) -> float:
    return sum((bundle.directory / name).stat().st_size for name in bundle.files) / 1e6


def _measured(measure: Latency, bundle: Verified, other: Verified | None) -> float:
    try:
        return measure(bundle, other)
    except Exception as error:  # a bundle that can't answer may fail in any way
        raise InputError(f"a request can't be answered: {error!r}") from error
