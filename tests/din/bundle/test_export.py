"""Both graphs, compared with PyTorch on ragged input, and bundles, which depend on the training alone."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from din.base import documents
from din.base.errors import InputError
from din.bundle import export as exporting
from din.bundle import graphs
from din.bundle.bundle_writer import gather_facts
from din.bundle.card import model_card
from din.bundle.contents import verify_bundle
from din.bundle.export import export_graphs
from din.bundle.fold import LONG, fold
from din.bundle.golden import GOLDEN, read_golden
from din.bundle.golden_writer import draw_requests, write_golden
from din.bundle.graphs import traced
from din.bundle.scorer import Graph, Scorer
from din.contracts.facts import NOT_CALIBRATED, Evaluation, Facts
from din.contracts.manifests import Negatives
from din.features.packing import TableLayout
from din.features.reader import Features
from din.kinds import NEVER_SEEN
from din.model import MODELS, artifact
from din.model.artifact import Trained
from din.model.embedding import to_tensors
from din.model.lr import LogisticRegression
from din.model.model import build
from din.ops.backend import Backend, using
from din.ops.dice import Dice
from din.params.blocks import to_json
from din.params.reading import Params
from din.params.train import Train
from din.schema import Field, parse_fields
from tests.factories import documents_of
from tests.factories.batches import draw_blend, draw_weights, random_batch
from tests.factories.bundles import FIELDS, Finished
from tests.factories.features import rows_of, with_lengths
from tests.helpers.settings import changed
from tests.helpers.states import copied, same

ROOT = Path(__file__).parents[3]
SMALL = {"embedding_dim": 3, "attention_hidden": (5, 4), "hidden": (6,)}
VARIANTS = {
    "din": {"name": "din"},
    "din, blended": {"name": "din", "blend": True},
    "din, items only": {"name": "din", "activation": "prelu", "linear": "none", "interest_product": False},
    "din, other options": {
        "name": "din",
        "activation": "sigmoid",
        "interaction": "product",
        "softmax": True,
        "ages": True,
    },
    "base, mean": {"name": "base", "pooling": "mean", "activation": "relu", "dropout": 0.5},
    "wide_deep": {"name": "wide_deep", "pooling": "mean"},  # its wide part is lr
    "pnn": {"name": "pnn", "pooling": "mean"},
    "deepfm": {"name": "deepfm", "pooling": "mean", "interest_product": False},  # see docs/models.md on sums
}
VARIANTS |= {name: {"name": name} for name in sorted(set(MODELS) - VARIANTS.keys() - {"base", "lr"})}


@dataclass(frozen=True)
class Exported:
    """A model with weights large enough that all inputs matter, and the two graphs of its folded copy."""

    trained: Trained
    fields: tuple[Field, ...]
    layout: TableLayout
    request: Graph
    batch: Graph
    folder: Path


def make(fields: tuple[Field, ...], train: Train, folder: Path, rows: int = 6) -> Exported:
    folder.mkdir(exist_ok=True)
    layout = TableLayout.of(fields, {field.name: rows_of(field, rows) for field in fields})
    model, table = build(fields, layout, train)
    draw_weights(model, table)
    if train.model.blend:
        model.blend = draw_blend(fields, layout)
    before = copied(model.state_dict())
    export_graphs(model, table, fields, folder)
    assert same(model.state_dict(), before)  # folding changes a copy
    graphs = (Graph(folder / f"{name}.onnx") for name in ("request", "batch"))
    return Exported(Trained(model.eval(), table), fields, layout, *graphs, folder)


SLOW = {"din, items only", "base, mean", "wide_deep", "pnn", "deepfm"}
"""An export takes seconds, and these differ least from the others."""


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in VARIANTS],
)
def exported(request: pytest.FixtureRequest, params: Params, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    fields = with_lengths(parse_fields({} if request.param == "din, items only" else FIELDS))
    train = changed(params.train, **SMALL, **VARIANTS[request.param])
    return make(fields, train, tmp_path_factory.mktemp("graphs"))


SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=25)
@given(seed=SEEDS, lengths=st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_batch_graph_equals_torch(exported: Exported, seed: int, lengths: list[int]) -> None:
    """Logits, and the probabilities made of them, are equal for any histories, including empty and single ones."""
    packed = random_batch(seed, exported.fields, exported.layout, lengths)
    with torch.no_grad():
        expected = exported.trained.model(exported.trained.table, to_tensors(packed)).double().numpy()
    scores = exported.batch.run(packed)
    np.testing.assert_allclose(scores.logits, expected, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(scores.probabilities, 1 / (1 + np.exp(-scores.logits)), atol=1e-6)


@settings(max_examples=25)
@given(seed=SEEDS, candidates=st.integers(1, 5), length=st.integers(0, 5) | st.integers(LONG, LONG + 5))
def test_request_graph_equals_torch(exported: Exported, seed: int, candidates: int, length: int) -> None:
    """A request of any size gets the logits of `model.request`, which tests/din/model compares with packed rows."""
    packed = random_batch(seed, exported.fields, exported.layout, [length] * candidates, request=True)
    with torch.no_grad():
        expected = exported.trained.model.request(exported.trained.table, to_tensors(packed)).double().numpy()
    np.testing.assert_allclose(exported.request.run(packed).logits, expected, atol=1e-5, rtol=1e-5)


def test_every_dice_is_folded(exported: Exported) -> None:
    """The copy that is exported has none, so a request makes fewer passes over memory."""
    assert not [module for module in fold(exported.trained.model).modules() if isinstance(module, Dice)]


def test_graphs_ask_only_for_what_they_read(exported: Exported) -> None:
    """Unused inputs are removed, such as the segments of a request, and free dimensions have names."""
    model = onnx.load(exported.folder / "request.onnx")
    read = {name for node in model.graph.node for name in node.input}
    assert {node.name for node in model.graph.input} <= read
    assert "segment" not in {node.name for node in model.graph.input}
    (size,) = next(n for n in model.graph.input if n.name == "candidate").type.tensor_type.shape.dim
    assert size.dim_param == "candidates"


def test_graphs_say_nothing_about_the_machine(exported: Exported) -> None:
    """The files contain no path, source file or stack trace."""
    for name in ("request.onnx", "batch.onnx"):
        content = (exported.folder / name).read_bytes()
        for trace in (str(ROOT), str(Path.home()) + "/", sys.prefix, ".py", "stack_trace"):
            assert trace.encode() not in content


def test_an_operation_that_onnx_lacks_is_named(params: Params, tmp_path: Path, monkeypatch) -> None:
    """The message leads to the operations that a model may use."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # a kept graph would hide the operation
    score = LogisticRegression.request
    monkeypatch.setattr(LogisticRegression, "request", lambda *inputs: torch.special.airy_ai(score(*inputs)))
    with pytest.raises(InputError, match=r"can't be written as ONNX: .*airy_ai.*docs/plugins\.md"):
        make(parse_fields({}), changed(params.train, name="lr"), tmp_path)


def test_large_weights_lie_beside_the_graphs_once(params: Params, tmp_path: Path, monkeypatch) -> None:
    """Both graphs share one file per large weight, named by its content, and compute the same with it."""
    monkeypatch.setattr(exporting, "_EXTERNAL", 64)
    fields = with_lengths(parse_fields(FIELDS))
    exported = make(fields, changed(params.train, name="lr"), tmp_path)
    request, batch = (weight_files(tmp_path / name) for name in ("request.onnx", "batch.onnx"))
    assert request & batch
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("weights/*")} == request | batch
    packed = random_batch(0, exported.fields, exported.layout, [2, 0, 1])
    with torch.no_grad():
        expected = exported.trained.model(exported.trained.table, to_tensors(packed))
    assert exported.batch.run(packed).logits == pytest.approx(expected.tolist(), abs=1e-5)


def test_a_kept_graph_takes_other_weights(params: Params, tmp_path: Path, monkeypatch) -> None:
    """A later export traces nothing, computes what its model does, and gives equal bytes for equal weights."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fields = parse_fields({"behaviour": {"rating": "categorical"}})
    train = changed(params.train, **SMALL, **VARIANTS["base, mean"])
    first = make(fields, train, tmp_path / "first")
    monkeypatch.setattr(graphs, "_trace", lambda *_: pytest.fail("traced again"))
    later = make(fields, train, tmp_path / "later", rows=9)
    packed = random_batch(0, later.fields, later.layout, [2, 0, 3, 4])
    with torch.no_grad():
        expected = later.trained.model(later.trained.table, to_tensors(packed))
    assert later.batch.run(packed).logits == pytest.approx(expected.tolist(), abs=1e-5)
    again = make(fields, train, tmp_path / "again")
    for name in ("request.onnx", "batch.onnx"):
        assert (again.folder / name).read_bytes() == (first.folder / name).read_bytes()


def test_other_fields_damaged_files_and_plugins_are_traced_anew(params: Params, tmp_path: Path, monkeypatch) -> None:
    """Other fields have graphs of their own, a damaged file is replaced, and a plugin's graph is not kept."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    empty = onnx.helper.make_model(onnx.helper.make_graph([], "din", [], []))
    monkeypatch.setattr(graphs, "_trace", lambda *_: empty)  # a trace takes seconds

    def kept(fields: tuple[Field, ...], of: type[LogisticRegression] = LogisticRegression) -> dict[Path, bytes]:
        """Trace a model of these fields, and return all graphs that are kept."""
        layout = TableLayout.of(fields, {field.name: rows_of(field, 6) for field in fields})
        model, _ = build(fields, layout, changed(params.train, name="lr"))
        model.__class__ = of
        traced(fold(model.eval()), fields, request=True)
        return {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()}

    few, more = parse_fields({}), parse_fields({"item": {"brand": "categorical"}})
    ((path, graph),) = kept(few).items()
    assert len(kept(more)) == 2
    path.write_bytes(b"\xff")
    assert kept(few)[path] == graph
    assert len(kept(few, type("FromAPlugin", (LogisticRegression,), {}))) == 2


def weight_files(path: Path) -> set[str]:
    weights = onnx.load(path, load_external_data=False).graph.initializer
    return {entry.value for weight in weights for entry in weight.external_data if entry.key == "location"}


@pytest.mark.slow
def test_the_same_training_gives_the_same_version(own: Finished) -> None:
    """Another process, directory and hash seed give the same bytes."""
    before = verify_bundle(own.bundle).version
    own.here.params.write_text(json.dumps(to_json(own.params)))
    environment = os.environ | {"PYTHONHASHSEED": "77", "XDG_CACHE_HOME": str(own.here.root / "cache")}
    command = [sys.executable, "-m", "din.cli", "export"]
    subprocess.run(command, cwd=own.here.root, env=environment, check=True, capture_output=True)
    assert verify_bundle(own.bundle).version == before


def test_golden_requests_try_every_field_and_nobody(finished: Finished) -> None:
    """Histories from none to the longest, known and unknown values of every field, and no id of a user."""
    golden = read_golden(finished.bundle)
    requests = golden.requests
    assert {len(request["history"]) for request in requests} == {0, 1, 3, 6}
    assert {len(request["candidates"]) for request in requests} == {1, 2, 20}
    assert [len(found) for found in golden.probabilities] == [len(request["candidates"]) for request in requests]
    assert np.std(np.concatenate(golden.probabilities)) > 0.01
    assert {request["user"].pop("user_id") for request in requests} == {NEVER_SEEN}
    entries = [entry for request in requests for part in ("history", "candidates") for entry in request[part]]
    values: dict[str, set[str]] = {}
    for entry in [*entries, *(request[part] for request in requests for part in ("user", "context"))]:
        for name, value in entry.items():
            values.setdefault(name, set()).add(str(value))
    assert values.keys() == {field.name for field in Scorer.open(finished.bundle).fields} - {"user_id"} | {"timestamp"}
    assert all(len(found) > 2 for found in values.values())
    assert all(NEVER_SEEN in values[name] for name in ("item_id", "category", "rating"))


def test_golden_requests_with_long_vectors_can_be_read(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of 500 behaviours have a vector of 768 numbers; with all of them, the file would exceed its limit."""
    records = [record | {"length": 768} if "length" in record else record for record in finished.features.records]
    monkeypatch.setattr(Features, "records", records)
    requests = draw_requests(finished.features, 500)
    assert len(documents.dump(requests)) < documents.MOST_BYTES / 2
    vectors = [entry["embedding"] for entry in requests[-3]["history"] if "embedding" in entry]
    assert None in vectors and any(vectors)


@pytest.mark.parametrize("backend", ["reference", "native"])
def test_golden_requests_are_the_same_everywhere(backend: Backend, finished: Finished, tmp_path: Path) -> None:
    """Operations that round in another way change no byte of them, and so do not change the bundle's version."""
    folder = shutil.copytree(finished.bundle, tmp_path / "bundle", copy_function=shutil.copyfile)
    trained = artifact.load(finished.features, finished.here.shipped)
    with using(backend):
        write_golden(folder, finished.features, trained)
    assert (folder / GOLDEN).read_bytes() == (finished.bundle / GOLDEN).read_bytes()
    assert trained.table.dtype == torch.float32 == next(trained.model.parameters()).dtype


def test_facts_say_what_promotion_asks(finished: Finished) -> None:
    """They hold what gate and registry read, and hashes of the inputs, but no clock, path or commit."""
    facts = documents.read(Facts, finished.bundle / "facts.json")
    manifest = finished.features.manifest
    assert facts.model_name == finished.params.model_name
    assert (facts.train_until, facts.inputs.raw) == (manifest.train_until, manifest.raw)
    split = {"name": "by_user", "order": "strict", "valid_fraction": 0.2}
    assert facts.protocol.model_dump() == documents_of.PROTOCOL | split
    assert facts.evaluation == documents.read(Evaluation, finished.here.evaluation)
    assert str(finished.here.root) not in str(facts)


def test_until_is_the_last_day_of_the_data(finished: Finished) -> None:
    """A `data.until` after the end of the log does not make a bundle newer than its data."""
    features = finished.features
    features.manifest = features.manifest.model_copy(update={"until": "2062-01-01"})
    assert gather_facts(finished.here, features, finished.params).until == "2023-11-15"  # as START says


def test_the_card_says_how_negatives_were_sampled(finished: Finished) -> None:
    """Drawn negatives leave the model uncalibrated. A share that the log holds is corrected for."""
    facts = documents.read(Facts, finished.bundle / "facts.json")
    assert not facts.negatives_drawn and NOT_CALIBRATED not in model_card(facts, ())
    drawn = facts.model_copy(update={"negatives_drawn": True})
    assert f"Ranking only. The model is {NOT_CALIBRATED}." in model_card(drawn, ())
    sampled = facts.model_copy(update={"negatives": Negatives(log=0.1, training=1.0)})
    card = model_card(sampled, ())
    assert "The log holds 0.1 of the impressions without a click, and training corrected for the others." in card
    assert "bidding or forecasting" in card


def test_the_card_shows_metrics_and_fields(finished: Finished) -> None:
    """The model card agrees with the facts."""
    card = (finished.bundle / "MODEL_CARD.md").read_text()
    test = documents.read(Evaluation, finished.here.evaluation).test
    assert f"| this model, test | {test.auc:.4f} | {test.gauc:.4f} |" in card
    assert "- context: `hour` (numeric), `marks` (multi), `tab` (categorical)" in card
