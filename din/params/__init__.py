"""The parameters of the pipeline: `din.params.reading.load` reads params.yaml, with one frozen dataclass per block."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Return what this package had by an old name, with a warning."""
    from din.moved import parameter

    return parameter(name)
