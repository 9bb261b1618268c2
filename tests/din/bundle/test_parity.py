"""Parity: open for a sound bundle, closed for every planted difference."""

import re
from dataclasses import replace
from typing import Any, NamedTuple
from unittest.mock import Mock

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import numpy_helper
from safetensors.torch import load_file, save_file

from din import kinds
from din.base import documents
from din.base.errors import GateClosed
from din.bundle import parity
from din.bundle.cases import ParityCase, real_cases
from din.bundle.golden_writer import torch_scores
from din.bundle.parity import check_parity, compare, tied_share
from din.bundle.scorer import Graph, Scorer, Scores, Vector
from din.model import artifact
from tests.factories.bundles import Finished
from tests.factories.run import edit
from tests.helpers.backends import REASON, needs_compiler


def test_open_on_a_sound_bundle(own: Finished) -> None:
    """All impressions and edge cases agree, and the report names the bundle."""
    check_parity(own.here, own.params)
    found = own.parity()
    assert found["verdict"] == "open"
    assert found["paths"] == ["torch", "onnx", "scorer", *["native"] * (not REASON)]
    assert found["bundle"] == Scorer.open(own.bundle).version
    assert found["cases"] > sum(own.features.manifest.rows.values()) + 10
    assert 0 < found["max_abs_probability_diff"] < 1e-5
    assert found["std"] > 0.01
    native = set() if REASON else {"native_score", "native_score_many"}
    assert set(found["worst"]) == {"case", "candidate", "request", "torch", "onnx", "score", "score_many"} | native


def perturb_a_weight(finished: Finished, graph: str) -> None:
    path = finished.bundle / graph
    model = onnx.load(path)
    weight = next(w for w in model.graph.initializer if w.name.startswith("model.head") and len(w.dims) == 2)
    values = numpy_helper.to_array(weight).copy()
    values[0, 0] += 0.05
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(model, path)


def perturb_the_model(finished: Finished) -> None:
    """Change a weight of the saved model, which only C kernels read."""
    path = finished.bundle / artifact.IN_BUNDLE / "weights.safetensors"
    weights = load_file(path)
    weights["head.0.weight"][0, 0] += 0.05
    save_file(weights, path)


def swap_rows(finished: Finished, name: str) -> None:
    """Exchange the raw values of rows 1 and 2 of a vocabulary or entity table."""
    path = finished.bundle / f"{name}.parquet"
    table = pq.read_table(path)
    order = np.arange(len(table))
    order[[1, 2]] = [2, 1]
    pq.write_table(table.set_column(0, "value", table["value"].take(pa.array(order))), path)


def move_a_mean(signature: dict[str, Any]) -> None:
    record = next(record for record in signature["fields"] if record["name"] == "watched")
    record["mean"] += 1


DEFECTS = {
    "a weight of batch.onnx": lambda w: perturb_a_weight(w, "batch.onnx"),
    "a weight of request.onnx": lambda w: perturb_a_weight(w, "request.onnx"),
    "a weight of the saved model": perturb_the_model,
    "swapped users": lambda w: swap_rows(w, "users"),
    "swapped categories": lambda w: swap_rows(w, "vocab/category"),
    "another mean": lambda w: edit(w.bundle / "signature.json", move_a_mean),
    "a shorter history": lambda w: edit(w.bundle / "signature.json", lambda found: found | {"max_history": 2}),
}


NAMED = {
    "swapped categories": ["category"],
    "another mean": ["watched"],
    "a weight of batch.onnx": [],
}
"""The fields whose codes differ."""


@pytest.mark.parametrize(
    "defect",
    [pytest.param(name, marks=[needs_compiler] * (DEFECTS[name] is perturb_the_model)) for name in DEFECTS],
)
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
    assert 100 < found["cases"] < 140  # the drawn impressions, and edge cases in addition
    named = found["reason"].partition("stores for ")[2]
    if defect in NAMED:
        assert [part for part in named.split(", ") if part] == NAMED[defect]


def test_closed_on_other_golden_requests(own: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle that each server would refuse does not pass."""
    monkeypatch.setattr(parity, "MOST_IMPRESSIONS", 100)

    def shift(golden: dict[str, Any]) -> dict[str, Any]:
        golden["probabilities"][4][1] += 1e-4
        return golden

    edit(own.bundle / "golden.json", shift)
    own.reseal()
    with pytest.raises(GateClosed, match=r"batch\.onnx differs from PyTorch by 0\.0001 on request 4 of golden"):
        check_parity(own.here, own.params)


def test_closed_on_a_damaged_bundle(own: Finished) -> None:
    """A changed file closes the gate before anything is scored."""
    with (own.bundle / "batch.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(GateClosed, match="changed after export"):
        check_parity(own.here, own.params)
    assert own.parity()["bundle"] is None


def test_a_case_that_a_graph_cannot_score_is_named(own: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that looks for the first behaviour of an empty history scores all others."""
    monkeypatch.setattr(parity, "MOST_IMPRESSIONS", 100)
    path = own.bundle / "batch.onnx"
    model = onnx.load(path)
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "first"))
    model.graph.node.append(onnx.helper.make_node("Gather", ["behaviour", "first"], ["found"], "first_behaviour"))
    model.graph.output.append(onnx.helper.make_tensor_value_info("found", onnx.TensorProto.INT64, [1]))
    onnx.save(model, path)
    own.reseal()
    with pytest.raises(GateClosed, match=r"batch\.onnx can't score the case 'history of 0': .*'first_behaviour'"):
        check_parity(own.here, own.params)
    assert own.parity()["worst"] is None


def test_too_little_memory_closes_nothing(own: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stage fails, so that a scheduler tries again, and no report is left."""
    check_parity(own.here, own.params)
    monkeypatch.setattr(Graph, "run", Mock(side_effect=MemoryError))
    with pytest.raises(MemoryError):
        check_parity(own.here, own.params)
    assert not own.here.parity.exists()


@pytest.mark.parametrize("seed", range(3))
def test_pairs_that_rounding_may_order_either_way_are_counted(seed: int) -> None:
    """The count equals that of a loop over all pairs of a click and a non-click; in a small log, each pair counts."""
    random = np.random.default_rng(seed)
    labels, logits = random.integers(0, 2, 60), random.normal(size=60).round(2)
    pairs = [(one, other) for one in logits[labels == 1] for other in logits[labels == 0]]
    near = [abs(one - other) <= 0.105 for one, other in pairs]
    assert tied_share(labels, logits, 0.105) == pytest.approx(np.mean(near))
    assert np.isnan(tied_share(np.ones(3), np.zeros(3), 1.0))


class Compared(NamedTuple):
    """The cases of a sound bundle, and PyTorch's logits."""

    real: list[ParityCase]
    edges: list[ParityCase]
    logits: Vector

    def reason(self, torch_: Vector, scorer: Vector) -> str:
        """Return why parity closes on these logits of PyTorch and of the scorer."""
        one = Scores.of_logits(torch_)
        found = {"torch": one, "onnx": one, "score": Scores.of_logits(scorer)}
        return compare(found, self.real, self.edges)["reason"] or "open"

    def planted(self, name: str, values: list[float] | None) -> Vector:
        """Return the logits with these at the end of a case, or as they are."""
        cases = [*self.real, *self.edges]
        at = next(number for number, case in enumerate(cases) if case.name == name)
        end = sum(len(case.packed) for case in cases[: at + 1])
        found = self.logits.copy()
        if values:
            found[end - len(values) : end] = values
        return found


@pytest.fixture(scope="module")
def compared(finished: Finished) -> Compared:
    features = artifact.known(finished.features, finished.here.shipped)
    real, edges = real_cases(features, finished.raw, 100, seed=3)
    trained = artifact.load(features, finished.here.shipped)
    return Compared(real, edges, torch_scores(trained, (case.packed for case in real + edges)).logits)


FAR = [9.0, -9.0, 0.5]
"""Logits that differ from any other."""


@pytest.mark.parametrize(
    ("case", "torch_", "scorer", "reason"),
    [
        ("values: lowest", None, FAR, "^open$"),  # of numbers so extreme float32 may have lost all digits
        ("values: missing", None, FAR, "logits differ"),
        ("impressions", None, [np.nan], "probabilities differ"),
        ("history of 1", None, [np.nan], "probabilities differ"),
        ("history of 1", [0.5, 0.0, -0.5], [0.5, -0.5, 0.0], "order of candidates differs"),
        ("history of 1", [0.5, 0.0, -0.00001], [0.5, 0.0, 0.00001], "^open$"),  # rounding may change the order
    ],
)
def test_closed_on_logits_that_differ(
    case: str, torch_: list[float] | None, scorer: list[float], reason: str, compared: Compared
) -> None:
    """Differences beyond the tolerance close in the log and in ordinary edge cases, and so does NaN of one path."""
    assert re.search(reason, compared.reason(compared.planted(case, torch_), compared.planted(case, scorer)))


def test_closed_on_one_impression(compared: Compared) -> None:
    """A difference of 2e-4 in one logit of the log closes."""
    moved = compared.logits.copy()
    moved[0] += 2e-4
    assert "differ" in compared.reason(compared.logits, moved)


def test_closed_on_constant_outputs(compared: Compared) -> None:
    """A model with constant outputs agrees everywhere and proves nothing."""
    constant = np.zeros_like(compared.logits)
    assert "outputs are all alike" in compared.reason(constant, constant)


def test_the_worst_row_can_be_read(compared: Compared) -> None:
    """A history of 1,000 vectors leaves the report within its reader's limit."""
    history = [{"item_id": f"i{number}", "clip": [1 / 3] * 768} for number in range(1000)]
    long = [replace(case, requests=[one | {"history": history} for one in case.requests]) for case in compared.real]
    same = Scores.of_logits(compared.logits)
    found = compare({"torch": same, "onnx": same}, long, compared.edges)["worst"]
    assert len(documents.dump(found)) < documents.MOST_BYTES / 2
    shown = found["request"]["history"]
    assert len(shown) == 1000 and shown[7]["item_id"] == "i7"


def test_open_on_numbers_further_than_any(own: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers so far that float32 has no digits left for the logit do not close a sound bundle."""
    monkeypatch.setattr(kinds, "FAR", 1e5)
    check_parity(own.here, own.params)
    assert own.parity()["verdict"] == "open"


def test_closed_on_other_codes_of_extreme_numbers(own: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder that cuts numbers far from the log gives other codes, which close although no score is compared."""
    numbers = kinds.numbers_of
    monkeypatch.setattr(kinds, "numbers_of", lambda values: np.maximum(numbers(values), -200.0))
    with pytest.raises(GateClosed, match=r"a request gets other codes than featurize stores for .*price"):
        check_parity(own.here, own.params)


@pytest.mark.parametrize("most", [1, 2])
def test_both_labels_are_drawn(finished: Finished, most: int) -> None:
    """A draw without a click has no AUC, which would close the gate of a log with few clicks."""
    for seed in range(20):
        real, _ = real_cases(finished.features, finished.raw, most, seed)
        assert {*np.concatenate([case.packed.labels for case in real])} == {0, 1}
