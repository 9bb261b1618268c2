"""One training of `din tune`, in this process or another one."""

import contextlib
import io
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from typing_extensions import override

from din import plugins
from din.base.errors import InputError
from din.base.workspace import Workspace
from din.features.reader import Features
from din.metrics.estimates import Estimate, Metric, estimate
from din.params.reading import Params
from din.params.train import Train
from din.train.checkpoint import Progress
from din.train.compute import computing
from din.train.fit import fit
from din.train.predict import predict

T = TypeVar("T")
FAILURES = (InputError, RuntimeError, MemoryError)
"""Errors that may come from the values of one trial alone, so that other trials can still succeed."""


def run(features: Path, settings: Train, after_epoch: Callable[[Progress], bool]) -> Progress:
    """Train by epochs without checkpoints, print nothing, and return the progress.

    Raises:
        InputError: the loss is not finite, features are missing or damaged, or the metric is undefined.
    """
    with computing(settings.compute) as compute, _silent():
        return fit(Features(features), settings, compute=compute, after_epoch=after_epoch)[1]


def run_and_judge(features: Path, settings: Train) -> Estimate:
    """Train as `run` does, to the end, and judge the validation rows.

    Raises:
        InputError: as `run` does.
    """
    with computing(settings.compute) as compute, _silent():
        learner, _ = fit(Features(features), settings, compute=compute)
        predictions = predict(learner.trained, Features(features), "valid", compute=compute)
    metric: Metric = settings.learning.metric
    return estimate(metric, predictions.rows["label"], predictions.probabilities, predictions.rows["user"])


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
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
