"""The differences that float32 rounding explains, in cases whose scores it barely touches and in those it ruins."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from serve_workspace import Finished

from din import field_forms
from din.model import artifact
from din.model.artifact import Trained
from din.model.embedding import to_tensors
from din.serve.agreement import ATOL_LOGIT, ATOL_PROBABILITY
from din.serve.cases import Case, real_cases
from din.serve.parity import torch_scores
from din.serve.rounding import explained, own_rows


@dataclass(frozen=True)
class Edges:
    """A model and its edge cases."""

    trained: Trained
    cases: list[Case]


def edges_of(finished: Finished) -> Edges:
    """Return the shipped model and its edge cases."""
    features = artifact.known(finished.features, finished.here.shipped)
    return Edges(artifact.load(features, finished.here.shipped), real_cases(features, finished.raw, 50, seed=3)[1])


def exact_logits(edges: Edges) -> np.ndarray:
    """Return the logits in float64, from the whole table."""
    model = edges.trained.model.double()
    with torch.inference_mode():
        parts = [model(edges.trained.table.double(), to_tensors(case.packed)) for case in edges.cases]
    return torch.cat([part for part in parts if len(part)]).numpy()


@pytest.mark.parametrize("far", [0.0, 100.0, 1e4, 1e6])
def test_it_explains_the_rounding_of_pytorch(far: float, own: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's error is explained at any size of the logits, with a factor of two to spare."""
    monkeypatch.setattr(field_forms, "FAR", far)
    edges = edges_of(own)
    single = torch_scores(edges.trained, edges.cases).logits
    allowed = explained(edges.trained, edges.cases).logits
    assert (np.abs(single - exact_logits(edges)) <= allowed / 2).all()


def test_it_explains_little_in_ordinary_cases(own: Finished) -> None:
    """For ordinary numbers, rounding explains less than a real tolerance, so no defect can hide."""
    edges = edges_of(own)
    ordinary = [case for case in edges.cases if case.name not in ("values: lowest", "values: highest")]
    found = explained(edges.trained, ordinary)
    assert found.logits.max() < ATOL_LOGIT
    assert found.probabilities.max() < ATOL_PROBABILITY


def test_it_is_the_same_each_time(own: Finished) -> None:
    """The random roundings have a seed, so a verdict can be repeated."""
    edges = edges_of(own)
    assert (
        explained(edges.trained, edges.cases).logits.tolist() == explained(edges.trained, edges.cases).logits.tolist()
    )


def test_the_rows_of_a_case_give_the_logits_of_the_table(own: Finished) -> None:
    """A case on copies of its own rows of the table has the logits of the whole table."""
    edges = edges_of(own)
    for case in edges.cases:
        rows, batch = own_rows(case.packed)
        assert len(rows) < len(edges.trained.table)
        with torch.inference_mode():
            whole = edges.trained.model(edges.trained.table, to_tensors(case.packed))
            assert edges.trained.model(edges.trained.table[rows], batch).tolist() == whole.tolist()
