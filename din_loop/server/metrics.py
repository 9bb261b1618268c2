"""Figures for Prometheus. With several processes, a folder of `prometheus_client` joins theirs."""

import os
from contextlib import suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

ANSWERS = Counter("din_answers", "Answers to POST requests, to wrong routes, and after bugs, by status.", ["status"])
SCORES = Counter("din_scores", "Candidates that were scored, by the version that scored them.", ["version"])
SECONDS = Histogram("din_request_seconds", "Seconds from the head of a request to its answer.", buckets=_SECONDS)
SWAPS = Counter("din_swaps", "Champions that replaced another one, summed over processes.")
LOGGED = Counter("din_logged", "Answers in the log of the champion or of the challenger.", ["log"])
LOG_LOST = Counter("din_log_lost", "Answers that this log dropped: too many waited, or the disk failed.", ["log"])
REFUSED = Counter("din_refused_bundles", "Champions that were refused, by cause, summed over processes.", ["cause"])
SHADOW_ON = Gauge("din_shadow_on", "1 if a challenger is scored.", multiprocess_mode="livemin")
SHADOW_SECONDS = Histogram(
    "din_shadow_seconds", "Seconds of a challenger for the requests of a body.", ["version"], buckets=_SECONDS
)
SHADOW_SCORES = Counter("din_shadow_scores", "Candidates that a challenger scored.", ["version"])
SHADOW_PROBABILITY = Counter("din_shadow_probability", "The sum of their probabilities, by bundle.", ["version", "of"])
SHADOW_DIFFERENCE = Counter(
    "din_shadow_difference", "The sum of the absolute differences of these probabilities.", ["version"]
)
SHADOW_LOST = Counter("din_shadow_lost", "Requests that a challenger did not score.", ["version", "cause"])
RECORD = Gauge("din_record", "The number of the record whose bundle answers.", multiprocess_mode="livemin")
SEEN = Gauge("din_registry_seen_seconds", "When the registry answered, in Unix time.", multiprocess_mode="livemin")
REFUSING = Gauge("din_refusing", "1 while the registry's champion is refused.", multiprocess_mode="livemax")


def page() -> bytes:
    """Return the figures of this process, or of all processes if there are several, in Prometheus' text form."""
    if MULTIPROCESS_VARIABLE not in os.environ:
        return generate_latest()
    for path in Path(os.environ[MULTIPROCESS_VARIABLE]).glob("gauge_live*.db"):  # uvicorn tells of no dead process
        pid = int(path.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, PermissionError):  # it has ended, and another user's may have its number
            with suppress(FileNotFoundError):  # another call was faster
                multiprocess.mark_process_dead(pid)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return generate_latest(registry)
