"""The bundle that answers now, and the watch that replaces it.

A watch looks at the registry again and again. It fetches and verifies a new champion, tries it, and then replaces one
reference. Requests that have begun keep the bundle that they began with, so no answer mixes two. The old one stays open
until another bundle is tried. A rollback is a new record, so it takes effect in the same way, but recorded requests
can't stop it. A rollback to the bundle that is still open needs no trial.

A bundle that fails its trial is refused by all processes of this machine, also after a restart, until there is another
record or another release of a package. One that can't be opened is refused by this process, and tried again later.
Meanwhile the old bundle keeps answering. A process that has none falls back to the newest bundle that has answered on
this machine, or to an older record of the log.
"""

import contextlib
import logging
import math
import random
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from din.base import documents
from din.base.errors import InputError, Unavailable
from din.bundle.contents import FACTS, Verified
from din.bundle.golden import Golden, read_golden
from din.bundle.scorer import Request, Scorer
from din.contracts.facts import Facts
from din.release.registry.cache import CACHE, note_use, open_fetched
from din.release.registry.records import Record
from din.release.registry.registry import Registry
from din_loop.server import metrics
from din_loop.server.settings import Settings
from din_loop.server.trial import Cause, objection
from din_loop.server.trial_results import TrialResults, by_preference

_LOG = logging.getLogger("din_loop.server")
_RECORDED = 16
_RECORDED_BYTES = 60_000_000
"""The memory that the bodies whose requests are kept for trials may take, except for a newest one that takes more."""
_LONGEST_WAIT = 3600.0
"""The most seconds until a bundle that could not be opened is tried again."""
_FALLBACKS = 4
"""The bundles that a process tries to fall back to: each may have to be fetched."""


class _TrialError(InputError):
    """A bundle has failed its trial, here or in another process of this machine."""

    def __init__(self, reason: str, cause: Cause = Cause.EARLIER) -> None:
        super().__init__(reason)
        self.cause = cause


@dataclass(frozen=True)
class Serving:
    """A bundle that answers, the record that made it the champion, and the bundle's facts."""

    scorer: Scorer
    record: Record
    facts: Facts


@dataclass(frozen=True)
class Refusal:
    """A champion of the registry that does not answer here, and why.

    Attributes:
        wait: the seconds until the bundle is tried again; infinite if it failed its trial.
        until: when it is tried again, on the monotonic clock.
    """

    record: Record
    reason: str
    wait: float
    until: float

    @property
    def seconds_left(self) -> float | None:
        """The seconds until the bundle is tried again, or None if it is not."""
        return max(0.0, round(self.until - time.monotonic(), 1)) if math.isfinite(self.until) else None


class Deployment:
    """The bundle that answers, replaced by the registry's champions.

    Raises:
        InputError: there is no champion, or neither it nor another bundle can be opened.
        Unavailable: the registry doesn't answer, and no bundle of it has answered on this machine.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._registry = Registry(settings.registry, settings.model)
        self._results = TrialResults(CACHE, settings.registry, settings.model)
        self._recorded: deque[tuple[Request, int]] = deque(maxlen=_RECORDED)
        self._before: Serving | None = None
        self._stop = threading.Event()
        self.champion: Record | None = None
        self.seen_at: float | None = None
        self.problem: str | None = None
        self.refused: Refusal | None = None
        for cause in Cause:
            metrics.REFUSED.labels(cause)  # 0 from the start, or `increase` would not see the first refusal
        self.serving = self._first()
        self._results.add_passed(self.serving.record)
        metrics.RECORD.set(self.serving.record.number)
        metrics.REFUSING.set(self.refused is not None)

    @property
    def registry_age(self) -> float | None:
        """The seconds since the registry answered, or None if it has not; `problem` says why it has not since."""
        return None if self.seen_at is None else time.monotonic() - self.seen_at

    def keep(self, requests: Sequence[Request], size: int) -> None:
        """Keep one of the answered requests of a body that takes `size` bytes for the trial of the next bundle."""
        if requests:
            self._recorded.append((random.choice(requests), size))
            while len(self._recorded) > 1 and sum(size for _, size in self._recorded) > _RECORDED_BYTES:
                self._recorded.popleft()

    def watch(self) -> None:
        """Follow the registry until `close` is called."""
        while not self._stop.wait(self.settings.refresh):
            self.follow()

    def close(self) -> None:
        """End `watch`."""
        self._stop.set()

    def follow(self) -> None:
        """Look at the registry once, and let its champion answer from now on, unless it is refused."""
        try:
            self._follow(self._look())
        except (InputError, Unavailable) as error:
            self.problem = str(error)
        except Exception as error:  # an unexpected one: a watch that has died looks like a quiet registry
            self.problem = str(error) or type(error).__name__
            _LOG.exception("a look at the registry failed; the bundle answers on")
        note_use(self.serving.scorer.version, CACHE)
        metrics.REFUSING.set(self.refused is not None)

    def _look(self) -> Record:
        """Return the registry's champion.

        Raises:
            InputError: there is none, or the log of promotions is damaged.
            Unavailable: the registry doesn't answer.
        """
        self.champion = self._registry.required_champion(self.champion.number if self.champion else 0)
        self.seen_at = time.monotonic()
        self.problem = None
        metrics.SEEN.set_to_current_time()
        return self.champion

    def _first(self) -> Serving:
        """Return the champion's bundle, or another one if it can't answer."""
        try:
            champion = self._look()
            if reason := self._results.reason(champion):
                raise _TrialError(reason)
            return self._opened(champion)
        except (InputError, Unavailable) as error:
            if self.champion and isinstance(error, InputError):
                self._refuse(self.champion, error)
            else:
                self.problem = str(error)
            if fallback := next(self._fallbacks(), None):
                _LOG.error("%s; record %d answers instead", error, fallback.record.number)
                return fallback
            raise

    def _follow(self, champion: Record) -> None:
        if self.refused and self.refused.record != champion:
            self.refused = None
        if self.refused is None and (reason := self._results.reason(champion)):  # in another process of this machine
            self._refuse(champion, _TrialError(reason))
        if self.refused and self.serving.scorer.version == champion.version:  # what failed there answers here
            if fallback := next(self._fallbacks(), None):
                self._replace(fallback)
        elif self.serving.record != champion and (self.refused is None or time.monotonic() >= self.refused.until):
            self._try(champion)

    def _try(self, champion: Record) -> None:
        """Replace the bundle that answers, or refuse the new one. One that is still open is not tried again."""
        still_open = [
            serving
            for serving in (self.serving, self._before)
            if serving and serving.record.version == champion.version
        ]
        old = None if champion.action == "rollback" else self.serving.scorer  # something worse sets no standard
        try:
            new = replace(still_open[0], record=champion) if still_open else self._opened(champion, old)
        except InputError as error:
            self._refuse(champion, error)
        else:
            self.refused = None
            self._replace(new)

    def _replace(self, serving: Serving) -> None:
        if serving.scorer is not self.serving.scorer:
            self._before = self.serving
        self.serving = serving
        self._results.add_passed(serving.record)
        metrics.RECORD.set(serving.record.number)
        metrics.SWAPS.inc()

    def _refuse(self, champion: Record, error: InputError) -> None:
        wait = min(2 * self.refused.wait, _LONGEST_WAIT) if self.refused else self.settings.refresh
        if isinstance(error, _TrialError):
            wait = math.inf
            self._results.add_failed(champion, str(error))
        if not self.refused:
            metrics.REFUSED.labels(error.cause if isinstance(error, _TrialError) else Cause.NOT_OPENED).inc()
        self.refused = Refusal(champion, str(error), wait, time.monotonic() + wait)

    def _fallbacks(self) -> Iterator[Serving]:
        """Yield bundles that can answer instead of the champion's, the best first."""
        log = passed = self._results.passed()
        failed = self._results.failed()
        if self.champion:
            failed[self.champion.version] = self.champion.number
            with contextlib.suppress(InputError, Unavailable):
                log = self._registry.history()[::-1]
        for record in islice(by_preference(log, passed, failed), _FALLBACKS):
            with contextlib.suppress(InputError, Unavailable):
                yield self._opened(record)

    def _opened(self, record: Record, old: Scorer | None = None) -> Serving:
        """Return the bundle of a record, open and warm.

        Raises:
            InputError: it is damaged, fails its trial, or can't be opened here, e.g. by an older onnxruntime.
            Unavailable: the registry doesn't answer.
        """
        at = f"{self._registry.name}: record {record.number}"
        self._before = None  # two bundles are in memory, not three

        def serving(bundle: Verified) -> tuple[Serving, Golden]:
            scorer = Scorer(bundle).within(self.settings.limits)
            facts = documents.read(Facts, bundle.directory / FACTS)
            return Serving(scorer, record, facts), read_golden(bundle.directory)

        try:
            new, golden = open_fetched(self._registry, record.version, serving, CACHE)
            recorded = [request for request, _ in list(self._recorded)]
            problem = objection(new.scorer, golden, old, recorded)
        except (InputError, Unavailable):
            raise
        except Exception as error:  # onnxruntime raises many kinds, and the watch must outlive them
            raise InputError(f"{at}: {str(error) or type(error).__name__}") from error
        if problem:
            raise _TrialError(f"{at}: {problem.reason}", problem.cause)
        return new
