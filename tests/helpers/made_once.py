"""Make a costly folder once for all processes of a test run."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return the folder of a name below the run's temporary folder; the first process that asks makes it.

    Other processes wait for it meanwhile. Nobody may change what is in the folder.
    """
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # a worker's own folder lies in the run's
        base = base.parent
    folder = base / name
    with FileLock(base / f"{name}.lock"):
        if not folder.exists():
            made = base / f"{name}.new"
            shutil.rmtree(made, ignore_errors=True)  # a process that failed left it
            make(made)
            made.rename(folder)
    return folder
