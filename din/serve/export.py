"""The stage `export`: write a trained model as the two ONNX graphs of an immutable bundle.

request.onnx is `model.request` (one history, C candidates), and batch.onnx is `model.forward` (packed impressions).
Both include the whole embedding table. The numbers of impressions, candidates etc. are dynamic dimensions and may be 0.
The exporter writes stack traces and paths into a graph. They are removed, so equal trainings give equal bytes.

An export takes 2–4 s per graph. Weights of 1 MB and more are stored next to the graphs, in files named by content.
Therefore both graphs share one copy on disk, and tables may exceed the 2 GB limit of a protobuf.
"""

import logging
import warnings
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnxscript import ir, optimizer
from torch import Tensor, nn
from torch.export import Dim

from din.artifacts import replace_directory
from din.errors import InputError, shown
from din.features.packing import PackedBatch, TableLayout
from din.features.reader import Features
from din.field_forms import Lookup
from din.model import artifact
from din.model.embedding import Batch
from din.model.model import Model
from din.ops.lookup import Ids
from din.params import Params
from din.schema import Field, Group
from din.serve import bundle
from din.serve.fold import fold
from din.serve.inputs import AGE, feeds
from din.serve.scorer import BATCH_GRAPH, REQUEST_GRAPH
from din.workspace import Workspace

OUTPUTS = ["probability", "logit"]
_OPSET = 20
_EXTERNAL = 1 << 20  # bytes
_ANY_SIZE = 1 << 62
# Sizes of the traced example. They are all different and above 1, so that the tracer does not treat them as constants.
_ITEMS, _BEHAVIOURS, _IMPRESSIONS = 5, 7, 3


def export(workspace: Workspace, params: Params) -> None:
    """Write `models/bundle/` from `models/shipped/`, `data/features/` and the reports of earlier stages.

    Raises:
        InputError: the model, the features, the evaluation or a validation verdict is missing, or ONNX lacks an
            operation of the model.
    """
    features = artifact.known(Features(workspace.features), workspace.shipped)
    trained = artifact.load(features, workspace.shipped)
    layout = TableLayout.of(features.fields, features.rows)
    with replace_directory(workspace.bundle) as folder:
        inputs = export_graphs(trained.model, trained.table, features.fields, layout, folder)
        version = bundle.complete(folder, workspace, features, layout, inputs, params)
    size = sum(path.stat().st_size for path in workspace.bundle.rglob("*") if path.is_file())
    print(f"exported {workspace.bundle}, {size / 1e6:.1f} MB, version {version}")


def export_graphs(
    model: Model, table: Tensor, fields: tuple[Field, ...], layout: TableLayout, folder: Path
) -> dict[str, list[str]]:
    """Write request.onnx, batch.onnx and their large weights to `folder`, and return the input names by graph."""
    inputs = {}
    for name, request in ((REQUEST_GRAPH, True), (BATCH_GRAPH, False)):
        example = feeds(_example(fields, layout, request))
        if request:
            del example["segment"]
        if not model.reads_ages:
            del example[AGE]
        program = _trace(_Graph(fold(model), table, fields, list(example), request), example, request)
        graph = optimizer.optimize(program, input_size_limit=_ANY_SIZE, output_size_limit=_ANY_SIZE)
        _strip(graph)
        _drop_unused_inputs(graph)
        _move_weights(graph, folder)
        (folder / name).write_bytes(ir.serde.serialize_model(graph).SerializeToString(deterministic=True))
        inputs[name] = [value.name or "" for value in graph.graph.inputs]
    return inputs


class _Graph(nn.Module):
    """A model and its embedding table, as a function of named arrays.

    The sigmoid is computed in double precision. In float32 it is exactly 1 for logits of 17 and more, so different
    logits would have equal probabilities.
    """

    table: Tensor

    def __init__(self, model: Model, table: Tensor, fields: tuple[Field, ...], names: list[str], request: bool) -> None:
        super().__init__()
        self.model = model
        self.fields = fields
        self.names = names
        self.request = request
        self.register_buffer("table", table)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        arrays = dict(zip(self.names, inputs, strict=True))
        batch = Batch(
            lookups={group: self._lookups(group, arrays) for group in Group},
            candidate=arrays["candidate"],
            behaviour=arrays["behaviour"],
            segment=arrays.get("segment", arrays["behaviour"]),  # request.onnx has no segments and reads none
            age=arrays.get(AGE, arrays["behaviour"]),  # a model that reads no ages has no such input
        )
        logit = self.model.request(self.table, batch) if self.request else self.model(self.table, batch)
        return torch.sigmoid(logit.double()), logit

    def _lookups(self, group: Group, arrays: dict[str, Tensor]) -> tuple[Ids, ...]:
        lookups = []
        for field in self.fields:
            if field.group is group:
                name = f"{group}.{field.name}"
                lookups.append(Ids(arrays[name], arrays.get(f"{name}.owners"), arrays.get(f"{name}.weights")))
        return tuple(lookups)


def _example(fields: tuple[Field, ...], layout: TableLayout, request: bool) -> PackedBatch:
    impressions = 1 if request else _IMPRESSIONS
    owners = {Group.ITEM: _ITEMS, Group.BEHAVIOUR: _BEHAVIOURS, Group.USER: impressions, Group.CONTEXT: impressions}

    def look_up(field: Field) -> Lookup:
        return field.form.look_up(field.form.traced.times(owners[field.group]), layout.offsets[field.name])

    return PackedBatch(
        lookups={group: {field.name: look_up(field) for field in fields if field.group is group} for group in owners},
        candidate=np.zeros(_IMPRESSIONS, np.int64),
        behaviour=np.zeros(_BEHAVIOURS, np.int64),
        segment=np.zeros(_BEHAVIOURS, np.int64),
        age=np.zeros(_BEHAVIOURS, np.float32),
        labels=np.zeros(_IMPRESSIONS, np.float32),
    )


def _trace(graph: _Graph, example: dict[str, np.ndarray], request: bool) -> ir.Model:
    shapes = _dynamic_shapes(graph.fields, request)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns that torchvision is not installed
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        try:
            program = torch.onnx.export(
                graph,
                tuple(torch.from_numpy(array) for array in example.values()),
                dynamo=True,
                verbose=False,
                input_names=list(example),
                output_names=OUTPUTS,
                dynamic_shapes=(tuple(shapes[name] for name in example),),
                opset_version=_OPSET,
            )
        except torch.onnx.OnnxExporterError as error:
            reason = shown(str(error.__cause__ or error).split("\n", 1)[0], quotes=False)
            raise InputError(
                f"the model can't be written as ONNX: {reason}; use operations that the exporter knows "
                "(docs/plugins.md), and train again"
            ) from error
    assert program is not None
    return program.model


def _dynamic_shapes(fields: tuple[Field, ...], request: bool) -> dict[str, dict[int, Any]]:
    """Return the dynamic dimensions of every input. In request.onnx, user and context have the fixed size 1."""
    impressions = Dim.STATIC if request else Dim("impressions")
    owners = {
        Group.ITEM: Dim("items"),
        Group.BEHAVIOUR: Dim("behaviours"),
        Group.USER: impressions,
        Group.CONTEXT: impressions,
    }
    shapes = {
        "candidate": {0: Dim("candidates") if request else impressions},
        "behaviour": {0: owners[Group.BEHAVIOUR]},
        "segment": {0: owners[Group.BEHAVIOUR]},
        AGE: {0: owners[Group.BEHAVIOUR]},
    }
    for field_number, field in enumerate(fields):
        sizes = {"owners": owners[field.group], "values": Dim(f"values_{field_number}"), "fixed": Dim.STATIC}
        for ending, axes in field.form.axes.items():
            shapes[f"{field.group}.{field.name}{ending}"] = {number: sizes[axis] for number, axis in enumerate(axes)}
    return shapes


def _strip(graph: ir.Model) -> None:
    """Remove everything that differs between machines and runs: stack traces, module paths, the tracer's metadata."""
    graph.doc_string = None
    graph.metadata_props.clear()
    graph.graph.name = "din"
    graph.graph.doc_string = None
    graph.graph.metadata_props.clear()
    for value in (*graph.graph.inputs, *graph.graph.initializers.values()):
        value.metadata_props.clear()
    for node in graph.graph.all_nodes():
        node.doc_string = None
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()


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
