"""Score a challenger on the requests that the champion has answered, off the path of the answer.

Answered bodies wait in a bounded queue, and one thread of each process scores them with the challenger. Whatever the
queue can't hold is dropped and counted, and so is whatever the challenger can't answer. The log of its answers has the
form of the server's own (`din_loop.served_log`), in the folder `shadow` below it, with the same ids of requests. So
nobody who reads the server's log mistakes a challenger's answer for one that a client received.
"""

import logging
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Self

import numpy as np

from din.base.errors import InputError, Unavailable
from din.bundle.contents import Verified, verify_bundle
from din.bundle.golden import difference, read_golden
from din.bundle.scorer import Scorer
from din.release.registry.cache import CACHE, open_fetched
from din.release.registry.registry import Registry
from din_loop.server import metrics
from din_loop.server.answer_log import AnswerLog
from din_loop.server.answers import Answer
from din_loop.server.settings import Settings

FOLDER = "shadow"
_LOG = logging.getLogger("din_loop.server")
_MOST = 256
"""The bodies that may wait."""
_MOST_BYTES = 120_000_000
"""The bytes that these bodies take once parsed; one larger body may wait alone."""


class Shadow:
    """The challenger of one process, and the log of its answers.

    Attributes:
        problem: why it could not answer a request, most recently.
    """

    def __init__(self, scorer: Scorer, log: AnswerLog | None = None) -> None:
        self.scorer = scorer
        self.problem: str | None = None
        self._lost = {cause: metrics.SHADOW_LOST.labels(scorer.version, cause) for cause in ("dropped", "failed")}
        self._log = log
        self._lock = threading.Lock()
        self._waiting: SimpleQueue[tuple[Answer, int] | None] = SimpleQueue()
        self._bodies = 0
        self._bytes = 0
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """Return the challenger that the options name, if they name one.

        Raises:
            InputError: there is no such record or folder, or its bundle is damaged, can't be opened here, or differs
                from PyTorch on its golden requests.
            Unavailable: the registry doesn't answer.
        """
        if settings.shadow is None:
            return None
        return cls(_opened(settings, settings.shadow), AnswerLog.of(settings, FOLDER, "challenger"))

    def start(self) -> None:
        """Start the thread."""
        if self._log:
            self._log.start()
        self._thread.start()

    def put(self, answer: Answer, size: int) -> None:
        """Score the requests of a body that takes `size` bytes soon, unless the challenger itself has answered them."""
        if answer.version == self.scorer.version:
            return
        with self._lock:
            fits = self._bodies < _MOST and (not self._bytes or self._bytes + size <= _MOST_BYTES)
            if fits:
                self._bodies += 1
                self._bytes += size
        if fits:
            self._waiting.put((answer, size))
        else:
            self._lost["dropped"].inc(len(answer.requests))

    def close(self) -> None:
        """Drop what waits, and end the thread and the log."""
        self._ended = True
        self._waiting.put(None)
        self._thread.join()
        if self._log:
            self._log.close()

    def _run(self) -> None:
        while (waiting := self._waiting.get()) is not None:
            answer, size = waiting
            try:
                if self._ended:
                    self._lost["dropped"].inc(len(answer.requests))
                else:
                    self._score(answer, size)
            except Exception as error:  # whatever a challenger raises, the next request is scored
                self._lost["failed"].inc(len(answer.requests))
                if self.problem is None:
                    _LOG.warning("the challenger can't answer a request: %s; others are only counted", error)
                self.problem = str(error) or type(error).__name__
            with self._lock:
                self._bodies -= 1
                self._bytes -= size

    def _score(self, answer: Answer, size: int) -> None:
        began = time.monotonic()
        probabilities = [scores.tolist() for scores in self.scorer.score_many(answer.requests)]
        seconds = time.monotonic() - began
        challenger, champion = (np.concatenate([[], *lists]) for lists in (probabilities, answer.probabilities))
        version = self.scorer.version
        metrics.SHADOW_SECONDS.labels(version).observe(seconds)
        metrics.SHADOW_SCORES.labels(version).inc(len(challenger))
        metrics.SHADOW_DIFFERENCE.labels(version).inc(float(np.abs(challenger - champion).sum()))
        metrics.SHADOW_PROBABILITY.labels(version, "challenger").inc(float(challenger.sum()))
        metrics.SHADOW_PROBABILITY.labels(version, "champion").inc(float(champion.sum()))
        if self._log:
            shadowed = replace(answer, version=version, probabilities=probabilities)
            self._log.put(self._log.drawn(shadowed), size)


@dataclass(frozen=True)
class Challenger:
    """The challenger of one process, as far as there is one.

    Attributes:
        shadow: None if the options name none, or if it is missing.
        missing_because: why it can't be opened.
    """

    shadow: Shadow | None = None
    missing_because: str | None = None


def _opened(settings: Settings, name: str) -> Scorer:
    """Return the bundle in a folder, or that of a record."""

    def use(bundle: Verified) -> Scorer:
        scorer = Scorer(bundle).within(settings.limits)
        if problem := difference(scorer, read_golden(bundle.directory)):
            raise InputError(problem)
        return scorer

    try:
        if Path(name).is_dir():
            return use(verify_bundle(Path(name)))
        registry = Registry(settings.registry, settings.model)
        return open_fetched(registry, registry.record(name).version, use, CACHE)
    except Unavailable:
        raise
    except Exception as error:  # onnxruntime raises many kinds
        raise InputError(f"--shadow {name}: {str(error) or type(error).__name__}") from error
