"""The bundle that answers now, and the watch that replaces it.

A watch looks at the registry again and again. It fetches and verifies a new champion, tries it, and then replaces one
reference. Requests that have begun keep the bundle that they began with, so no answer mixes two, and the old one goes
with its last request. A rollback is a new record, so it takes effect in the same way. A bundle that is damaged or fails
its trial is refused until there is another record, and the old one answers on.
"""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from din.errors import InputError, Unavailable
from din.facts import Facts
from din.registry.records import Record
from din.registry.registry import Registry
from din.serve.scorer import Request, Scorer
from din.server import metrics
from din.server.settings import Settings
from din.server.trial import objection

_LOG = logging.getLogger("din.server")
_RECORDED = 16
_RECORDED_BYTES = 8_000_000
"""The bytes of the bodies whose requests are kept for trials, except for a newest one that is larger."""


@dataclass(frozen=True)
class Serving:
    """A bundle that answers, the record that made it the champion, and the bundle's facts."""

    scorer: Scorer
    record: Record
    facts: Facts


@dataclass(frozen=True)
class Refusal:
    """A champion of the registry that does not answer here, and why."""

    record: Record
    reason: str


class Deployment:
    """The bundle that answers, replaced by the registry's champions.

    Raises:
        InputError: there is no champion, or it can't be opened.
        Unavailable: the registry doesn't answer.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._registry = Registry(settings.registry, settings.model)
        self._recorded: deque[tuple[Request, int]] = deque(maxlen=_RECORDED)
        self._stop = threading.Event()
        record = self._registry.required_champion()
        self._see()
        self.problem: str | None = None
        self.refused: Refusal | None = None
        self.serving = self._tried(record, None)
        metrics.RECORD.set(record.number)

    @property
    def registry_age(self) -> float:
        """The seconds since the registry answered; why it has not since is `problem`."""
        return time.monotonic() - self.seen_at

    def keep(self, requests: Sequence[Request], size: int) -> None:
        """Keep one of the answered requests of a body of `size` bytes for the trial of the next bundle."""
        if requests:
            self._recorded.append((random.choice(requests), size))
            while len(self._recorded) > 1 and sum(one for _, one in self._recorded) > _RECORDED_BYTES:
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
            record = self._registry.champion()
            if record is None:
                raise InputError(f"{self._registry.name}: the log of promotions is empty; it had a champion before")
        except Exception as error:  # also one that nobody foresaw: a watch that has died looks like a quiet registry
            self.problem = str(error) or type(error).__name__
        else:
            self._see()
            self.problem = None
            if self.refused and self.refused.record != record:
                self.refused = None
            if record != self.serving.record and self.refused is None:
                self._try(record)
        metrics.REFUSING.set(self.refused is not None)

    def _see(self) -> None:
        """Note that the registry has answered."""
        self.seen_at = time.monotonic()
        metrics.SEEN.set_to_current_time()

    def _try(self, record: Record) -> None:
        """Replace the bundle that answers, or refuse the new one."""
        serving = self.serving
        if record.version == serving.scorer.version:
            self._replace(replace(serving, record=record))
            return
        try:
            self._replace(self._tried(record, serving.scorer))
        except Unavailable as error:
            self.problem = str(error)
        except InputError as error:
            self.refused = Refusal(record, str(error))
            metrics.REFUSED.inc()

    def _replace(self, serving: Serving) -> None:
        self.serving = serving
        metrics.RECORD.set(serving.record.number)
        metrics.SWAPS.inc()

    def _tried(self, record: Record, old: Scorer | None) -> Serving:
        """Return the bundle of a record, open and warm.

        Raises:
            InputError: it is damaged, fails its trial, or can't be opened here, e.g. by an older onnxruntime.
            Unavailable: the registry doesn't answer.
        """
        settings = self.settings
        at = f"{self._registry.name}: record {record.number}"
        try:
            scorer = Scorer.from_registry(settings.registry, settings.model, record.number).within(settings.limits)
            facts = self._registry.facts(record.version)
            reason = objection(scorer, old, [request for request, _ in list(self._recorded)])
        except (InputError, Unavailable):
            raise
        except Exception as error:  # onnxruntime raises many kinds, and the watch must outlive them
            raise InputError(f"{at}: {str(error) or type(error).__name__}") from error
        if reason:
            raise InputError(f"{at}: {reason}")
        return Serving(scorer, record, facts)
