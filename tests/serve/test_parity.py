"""Parity: open for a sound bundle, closed for every planted difference."""

from dataclasses import dataclass

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import numpy_helper
from serve_workspace import Finished

from din import field_forms
from din.artifacts import read_json, write_json
from din.errors import GateClosed
from din.model import artifact
from din.serve import parity
from din.serve.cases import Case, real_cases
from din.serve.parity import check_parity, compare, tied_share, torch_scores
from din.serve.scorer import Scorer, Scores, Vector


def test_open_on_a_sound_bundle(own: Finished) -> None:
    """All impressions and edge cases agree, and the report names the bundle."""
    check_parity(own.here, own.params)
    found = own.parity()
    assert found["verdict"] == "open"
    assert found["paths"] == ["torch", "onnx", "scorer"]
    assert found["bundle"] == Scorer.open(own.bundle).version
    assert found["cases"] > sum(own.features.manifest.rows.values()) + 10
    assert 0 < found["max_abs_probability_diff"] < 1e-5
    assert found["std"] > 0.01
    assert set(found["worst"]) == {"case", "candidate", "request", "torch", "onnx", "score", "score_many"}


def test_a_limited_number_of_impressions_is_compared(own: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of drawn impressions is limited, and edge cases are compared in addition."""
    monkeypatch.setattr(parity, "MOST_IMPRESSIONS", 20)
    check_parity(own.here, own.params)
    assert 20 < own.parity()["cases"] < 60


def perturb_a_weight(finished: Finished, graph: str) -> None:
    path = finished.bundle / graph
    model = onnx.load(path)
    weight = next(w for w in model.graph.initializer if w.name.startswith("model.head") and len(w.dims) == 2)
    values = numpy_helper.to_array(weight).copy()
    values[0, 0] += 0.05
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(model, path)


def swap_rows(finished: Finished, name: str) -> None:
    """Exchange the raw values of rows 1 and 2 of a vocabulary or entity table."""
    path = finished.bundle / f"{name}.parquet"
    table = pq.read_table(path)
    order = np.arange(len(table))
    order[[1, 2]] = [2, 1]
    pq.write_table(table.set_column(0, "value", table["value"].take(pa.array(order))), path)


def move_a_mean(finished: Finished) -> None:
    path = finished.bundle / "signature.json"
    signature = read_json(path)
    record = next(record for record in signature["fields"] if record["name"] == "watched")
    record["mean"] += 1
    write_json(path, signature)


def forget_history(finished: Finished) -> None:
    path = finished.bundle / "signature.json"
    write_json(path, read_json(path) | {"max_history": 2})


DEFECTS = {
    "a weight of batch.onnx": lambda w: perturb_a_weight(w, "batch.onnx"),
    "a weight of request.onnx": lambda w: perturb_a_weight(w, "request.onnx"),
    "swapped users": lambda w: swap_rows(w, "users"),
    "swapped categories": lambda w: swap_rows(w, "vocab/category"),
    "another mean": move_a_mean,
    "a shorter history": forget_history,
}


NAMED = {
    "swapped categories": ["category"],
    "another mean": ["watched"],
    "a weight of batch.onnx": [],
}
"""The fields whose codes differ."""


@pytest.mark.parametrize("defect", DEFECTS)
def test_closed_on_a_planted_difference(defect: str, own: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each difference is found although all hashes hold, and the report shows the worst row and the fields."""
    monkeypatch.setattr(parity, "MOST_IMPRESSIONS", 100)
    DEFECTS[defect](own)
    own.reseal()
    with pytest.raises(GateClosed, match="differ") as closed:
        check_parity(own.here, own.params)
    assert closed.value.report == own.here.parity
    found = own.parity()
    assert found["verdict"] == "closed"
    assert found["max_abs_probability_diff"] > 1e-5
    assert found["worst"]["request"]["candidates"]
    named = found["reason"].partition("stores for ")[2]
    if defect in NAMED:
        assert [part for part in named.split(", ") if part] == NAMED[defect]


def test_closed_on_a_damaged_bundle(own: Finished) -> None:
    """A changed file closes the gate before anything is scored."""
    with (own.bundle / "batch.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(GateClosed, match="changed after export"):
        check_parity(own.here, own.params)
    assert own.parity()["bundle"] is None


@pytest.mark.parametrize("seed", range(3))
def test_pairs_that_rounding_may_order_either_way_are_counted(seed: int) -> None:
    """The count equals that of a loop over all pairs of a click and a non-click; in a small log, each pair counts."""
    random = np.random.default_rng(seed)
    labels, logits = random.integers(0, 2, 60), random.normal(size=60).round(2)
    pairs = [(one, other) for one in logits[labels == 1] for other in logits[labels == 0]]
    near = [abs(one - other) <= 0.105 for one, other in pairs]
    assert tied_share(labels, logits, 0.105) == pytest.approx(np.mean(near))
    assert np.isnan(tied_share(np.ones(3), np.zeros(3), 1.0))


@dataclass(frozen=True)
class Compared:
    """The cases of a sound bundle with PyTorch's scores for all paths, to plant differences in."""

    real: list[Case]
    edges: list[Case]
    scores: Scores

    def at(self, name: str) -> slice:
        """Return the places of the candidates of an edge case in the scores."""
        names = [case.name for case in self.edges]
        start = sum(len(case.packed) for case in self.real + self.edges[: names.index(name)])
        return slice(start, start + len(self.edges[names.index(name)].packed))

    def reason(self, torch_: Vector, scorer: Vector) -> str:
        """Return why parity closes if the scorer's logits are others than PyTorch's."""
        one = Scores.of_logits(torch_)
        found = {"torch": one, "onnx": one, "score": Scores.of_logits(scorer)}
        return compare(found, self.real, self.edges)["reason"] or "open"


@pytest.fixture
def compared(own: Finished) -> Compared:
    """Return the cases of a sound bundle."""
    features = artifact.known(own.features, own.here.shipped)
    real, edges = real_cases(features, own.raw, 100, seed=3)
    logits = torch_scores(artifact.load(features, own.here.shipped), real + edges)
    return Compared(real, edges, logits)


def planted(logits: Vector, at: slice, values: list[float]) -> Vector:
    """Return the logits with other values in some places."""
    changed = logits.copy()
    changed[at] = values
    return changed


def test_scores_of_extreme_numbers_are_not_compared(compared: Compared) -> None:
    """They may have lost all digits. The same difference in an ordinary edge case, or in the log, closes."""
    logits = compared.scores.logits
    moved = [9.0, -9.0, 0.5]
    assert compared.reason(logits, planted(logits, compared.at("values: lowest"), moved)) == "open"
    assert "logits differ" in compared.reason(logits, planted(logits, compared.at("values: missing"), moved))
    assert "differ" in compared.reason(logits, planted(logits, slice(0, 1), [logits[0] + 2e-4]))


def test_closed_on_constant_outputs(compared: Compared) -> None:
    """A model with constant outputs agrees everywhere and proves nothing."""
    constant = np.zeros_like(compared.scores.logits)
    assert "outputs are all alike" in compared.reason(constant, constant)


@pytest.mark.parametrize("place", [0, -1], ids=["an impression", "an edge case"])
def test_closed_on_nan_in_one_path(place: int, compared: Compared) -> None:
    """NaN from one path closes, although the other path agrees."""
    broken = compared.scores.logits.copy()
    broken[place] = np.nan
    assert "probabilities differ" in compared.reason(compared.scores.logits, broken)


def test_candidates_further_apart_than_the_tolerance_keep_their_order(compared: Compared) -> None:
    """Two candidates that change places close if their tolerances can tell them apart."""
    ordinary = compared.at("history of 1")
    logits = planted(compared.scores.logits, ordinary, [0.5, 0.0, -0.5])
    near = planted(logits, ordinary, [0.5, 0.0, 0.00005])
    apart = planted(logits, ordinary, [0.5, -0.5, 0.0])
    assert "order" in compared.reason(logits, apart)
    assert "order" not in compared.reason(planted(logits, ordinary, [0.5, 0.0, -0.00003]), near)


def test_open_on_numbers_further_than_any(own: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers so far that float32 has no digits left for the logit do not close a sound bundle."""
    monkeypatch.setattr(field_forms, "FAR", 1e5)
    check_parity(own.here, own.params)
    assert own.parity()["verdict"] == "open"


def test_closed_on_other_codes_of_extreme_numbers(own: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder that cuts numbers far from the log gives other codes, which close although no score is compared."""
    numbers = field_forms._numbers
    monkeypatch.setattr(field_forms, "_numbers", lambda values: np.maximum(numbers(values), -200.0))
    with pytest.raises(GateClosed, match=r"a request gets other codes than featurize stores for .*price"):
        check_parity(own.here, own.params)
