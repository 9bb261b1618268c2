"""The stage `export`: write a trained model as the two ONNX graphs of an immutable bundle.

request.onnx is `model.request` (one history, C candidates), and batch.onnx is `model.forward` (packed impressions).
Both include the whole embedding table. The numbers of impressions, candidates etc. are dynamic dimensions and may be 0.
Equal trainings give equal bytes.

Weights of 1 MB and more are stored next to the graphs, in files named by content. Therefore both graphs share one copy
on disk, and tables may exceed the 2 GB limit of a protobuf.
"""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from onnxscript import ir, optimizer
from torch import Tensor

from din.base.artifacts import replace_directory
from din.base.workspace import Workspace
from din.bundle import bundle_writer
from din.bundle.fold import fold
from din.bundle.golden_writer import write_golden
from din.bundle.graphs import TABLE, WEIGHT, traced, weights_of
from din.bundle.scorer import BATCH_GRAPH, REQUEST_GRAPH
from din.features.reader import Features
from din.model import artifact
from din.model.model import Model
from din.params.reading import Params
from din.schema import Field

_EXTERNAL = 1 << 20  # bytes
_ANY_SIZE = 1 << 62


def export(workspace: Workspace, params: Params) -> None:
    """Write `models/bundle/` from `models/shipped/`, `data/features/` and the reports of earlier stages.

    Raises:
        InputError: the model, the features, the evaluation or a validation verdict is missing, or ONNX lacks an
            operation of the model.
    """
    features = artifact.known(Features(workspace.features), workspace.shipped)
    trained = artifact.load(features, workspace.shipped)
    with replace_directory(workspace.bundle) as folder:
        inputs = export_graphs(trained.model, trained.table, features.fields, folder)
        bundle_writer.add_values_and_facts(folder, workspace, features, inputs, params)
        write_golden(folder, features, trained)
        version = bundle_writer.seal(folder)
    size = sum(path.stat().st_size for path in workspace.bundle.rglob("*") if path.is_file())
    print(f"exported {workspace.bundle}, {size / 1e6:.1f} MB, version {version}")


def export_graphs(model: Model, table: Tensor, fields: tuple[Field, ...], folder: Path) -> dict[str, list[str]]:
    """Write request.onnx, batch.onnx and their large weights to `folder`, and return the input names by graph."""
    inputs = {}
    folded = fold(model)
    weights = {f"{WEIGHT}{name}": tensor.detach() for name, tensor in weights_of(folded).items()}
    for name, request in ((REQUEST_GRAPH, True), (BATCH_GRAPH, False)):
        graph = traced(folded, fields, request)
        _fill_in(graph, {TABLE: table, **weights})
        graph = optimizer.optimize(graph)  # as torch's exporter does by default
        graph = optimizer.optimize(graph, input_size_limit=_ANY_SIZE, output_size_limit=_ANY_SIZE)
        _drop_unused_inputs(graph)
        _move_weights(graph, folder)
        (folder / name).write_bytes(ir.serde.serialize_model(graph).SerializeToString(deterministic=True))
        inputs[name] = [value.name or "" for value in graph.graph.inputs]
    return inputs


def _fill_in(graph: ir.Model, weights: Mapping[str, Tensor]) -> None:
    """Turn the inputs that stand for weights into constants."""
    for value in list(graph.graph.inputs):
        name = value.name or ""
        if name in weights:
            graph.graph.inputs.remove(value)
            value.const_value = ir.tensor(weights[name].numpy(), name=name)
            value.shape = ir.Shape(weights[name].shape)
            graph.graph.register_initializer(value)


def _drop_unused_inputs(graph: ir.Model) -> None:
    inputs = graph.graph.inputs
    for value in [value for value in inputs if not value.uses()]:
        inputs.remove(value)


def _move_weights(graph: ir.Model, folder: Path) -> None:
    """Move weights of `_EXTERNAL` bytes and more to files named by their content."""
    for value in graph.graph.initializers.values():
        tensor = value.const_value
        assert tensor is not None
        if tensor.nbytes < _EXTERNAL:
            continue
        content = tensor.numpy().tobytes()
        location = f"weights/{sha256(content).hexdigest()[:16]}.bin"
        (folder / "weights").mkdir(exist_ok=True)
        (folder / location).write_bytes(content)
        value.const_value = ir.ExternalTensor(
            location,
            0,
            len(content),
            tensor.dtype,
            shape=ir.Shape(tensor.numpy().shape),
            name=value.name or "",
            base_dir=folder,
        )
