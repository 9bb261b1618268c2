"""The golden requests of a bundle: made-up requests, with the probabilities that PyTorch gives to their candidates.

`export` draws them from the values that the model knows, one field at a time, so no request describes a person.
`check_parity`, and each server before it answers with the bundle, compare both graphs with them: a server may have
another release of onnxruntime, of this package, or another processor.
"""

import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from din.base import documents
from din.base.documents import Document
from din.base.errors import InputError
from din.bundle.agreement import ATOL_PROBABILITY
from din.bundle.limits import DEFAULT_LIMITS
from din.bundle.scorer import BATCH_GRAPH, REQUEST_GRAPH, Request, Scorer, Vector

GOLDEN = "golden.json"


class Golden(Document):
    """Requests, and for each of them the probabilities of its candidates."""

    requests: Annotated[list[dict[str, Any]], Field(min_length=1)]
    probabilities: Annotated[list[Annotated[list[float], Field(min_length=1)]], Field(min_length=1)]


def read_golden(bundle: Path) -> Golden:
    """Return the golden requests of the bundle in a folder.

    Raises:
        InputError: they are missing or damaged.
    """
    return documents.read(Golden, bundle / GOLDEN, "run `dvc repro export`")


def difference(scorer: Scorer, golden: Golden, pause: float = 0.0) -> str | None:
    """Return where a probability differs from PyTorch's by more than the tolerance of parity, or None.

    Args:
        pause: the seconds to sleep before each request, so that other threads can run.
    """
    scorer = scorer.within(DEFAULT_LIMITS)  # a server may refuse requests of this size

    def alone(request: Request) -> Vector:
        time.sleep(pause)
        return scorer.score(request)

    try:
        by_graph = {
            BATCH_GRAPH: scorer.score_many(golden.requests),  # first, because its errors number the requests
            REQUEST_GRAPH: [alone(request) for request in golden.requests],
        }
    except InputError as error:
        return f"a request of {GOLDEN} has no answer: {error}"
    for graph, answers in by_graph.items():
        for number, (answer, expected) in enumerate(zip(answers, golden.probabilities, strict=True)):
            if not np.allclose(answer, expected, rtol=0, atol=ATOL_PROBABILITY):
                far = np.abs(answer - expected).max()
                by = f"{graph} in C" if scorer.native else graph
                problem = f"{by} differs from PyTorch by {far:.2g} on request {number} of {GOLDEN}"
                return f"{problem}; expected at most {ATOL_PROBABILITY:g}"
    return None
