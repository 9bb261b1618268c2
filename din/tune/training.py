"""One training of `din tune`, in this process or another one."""

import contextlib
import hashlib
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from typing_extensions import override

from din import plugins
from din.artifacts import atomic_path
from din.errors import InputError
from din.features.reader import Features
from din.metrics.estimates import Estimate, Metric, estimate
from din.params import Params, Train, to_json
from din.train.checkpoint import Progress
from din.train.compute import computing
from din.train.fit import fit_learner
from din.train.predict import predict
from din.workspace import Workspace

T = TypeVar("T")
FAILURES = (InputError, RuntimeError, MemoryError)
"""Errors that may come from the values of one trial alone, so that other trials can still succeed."""


def run(features: Path, settings: Train, after_epoch: Callable[[Progress], bool]) -> Progress:
    """Train by epochs without checkpoints, print nothing, and return the progress.

    Raises:
        InputError: the loss is not finite, features are missing or damaged, or the metric is undefined.
    """
    with computing(settings.compute) as compute, _silent():
        return fit_learner(Features(features), settings, compute=compute, after_epoch=after_epoch)[1]


def run_once(workspace: Workspace, study: str, settings: Train, seconds: float) -> Estimate:
    """Train and judge validation rows, or return what an earlier run of the same study and settings has kept.

    Args:
        seconds: end the training after the epoch in which they pass. Such a training is not kept.

    Raises:
        Diverged: the loss is not finite.
        InputError: features are missing or damaged, or the metric is undefined.
    """
    text = json.dumps([study, to_json(settings)])
    kept = workspace.tuning / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz"
    if kept.exists():
        with np.load(kept) as file:
            return Estimate(float(file["value"]), file["users"], file["influence"], file["tells"])
    began = time.monotonic()
    with computing(settings.compute) as compute, _silent():
        features = Features(workspace.features)
        learner, _ = fit_learner(
            features, settings, compute=compute, after_epoch=lambda _: time.monotonic() - began > seconds
        )
        found = predict(learner.trained, features, "valid", compute=compute)
        metric: Metric = settings.learning.metric
        judged = estimate(metric, found.rows["label"], found.probabilities, found.rows["user"])
    if time.monotonic() - began <= seconds:
        with atomic_path(kept) as temporary, temporary.open("wb") as file:
            np.savez(file, **vars(judged))
    return judged


@contextlib.contextmanager
def executor(workspace: Workspace, params: Params, jobs: int) -> Iterator[Executor]:
    """Yield an executor of trainings: with one job this process, else as many others, which end with this one."""
    if jobs == 1:
        yield _Here()
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(workspace, params))
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    pool.shutdown()


class _Here(Executor):
    """Calls at once, and raises at once."""

    @override
    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        done: Future[T] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


def _begin(workspace: Workspace, params: Params) -> None:
    """Import plugins in a new process, leave Ctrl-C to its parent, and end it when its parent ends for any reason."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
    plugins.load(params.plugins, workspace.root)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield
