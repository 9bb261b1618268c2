"""Spark as an engine of features; the extra `spark` is imported only if params.yaml chooses it."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from din.base.errors import InputError
from din.base.workspace import Workspace
from din.featurize import ENGINES

if TYPE_CHECKING:
    from din.featurize.engine import Session


@ENGINES.register("spark")
def session(workspace: Workspace, memory_mb: int) -> "AbstractContextManager[Session]":
    """Open Spark; see `din_spark.featurize.session`.

    Raises:
        InputError: a package of the extra is missing.
    """
    try:
        from din_spark import featurize
    except ImportError as error:
        raise InputError(
            f"featurize.engine is spark, but {error.name} is missing; install the extra `spark`, e.g. pip install "
            "-e '.[spark]' in a checkout, or set featurize.engine to duckdb"
        ) from None
    return featurize.session(workspace, memory_mb)
