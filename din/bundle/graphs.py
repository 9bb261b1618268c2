"""Trace a model as an ONNX graph, and keep the graph for later exports.

A trace takes seconds. It depends on the code, the fields and the settings of a model, not on its weights. So weights
and the embedding table are inputs of a traced graph, and `export` replaces them by constants. The graph of a plugin's
model is not kept, because it is unknown which code the model uses.

    ~/.cache/din-ctr/graphs/<digest>.onnx    a traced graph; see `din.base.workspace.user_cache`
"""

import hashlib
import io
import logging
import pickle
import warnings
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from typing import Any
from uuid import uuid4

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from onnxscript import ir
from torch import Tensor, nn
from torch.export import Dim
from typing_extensions import override

from din.base.errors import InputError, shown
from din.base.workspace import user_cache
from din.bundle.graph_inputs import AGE, feeds
from din.features.packing import PackedBatch
from din.kinds import Lookup
from din.model.embedding import Batch
from din.model.model import Model
from din.schema import Field, Group
from din.stages import code

TABLE = "table"
"""The input of a traced graph that stands for the embedding table."""
WEIGHT = "model."
"""The prefix of the inputs that stand for weights; their names in the model follow."""
OUTPUTS = ["probability", "logit"]
_OPSET = 20
_PACKAGES = ("torch", "onnx", "onnxscript", "onnx-ir")
# Sizes of the traced example. Those of dynamic dimensions are above 1 and all different, so that they stay dynamic.
_ITEMS, _BEHAVIOURS, _IMPRESSIONS, _ROWS = 5, 7, 3, 11


def traced(model: Model, fields: tuple[Field, ...], request: bool) -> ir.Model:
    """Return the graph of `model.request`, or of `model.forward`, with weights and embedding table as inputs.

    Args:
        model: a model in evaluation mode.
        fields: the fields of its features.

    Raises:
        InputError: ONNX lacks an operation of the model.
    """
    example = feeds(_example(fields, request))
    if request:
        del example["segment"]
    if not model.reads_ages:
        del example[AGE]
    graph = _Graph(model, fields, list(example), request)
    content = _kept(graph, example) if graph.is_built_in else _trace(graph, example)
    return ir.serde.deserialize_model(content)


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers of a model by name, buffers that are not saved among them."""
    return dict(model.named_parameters()) | dict(model.named_buffers())


class _Graph(nn.Module):
    """A model as a function of its embedding table and named arrays.

    The sigmoid is computed in double precision. In float32 it is exactly 1 for logits of 17 and more, so different
    logits would have equal probabilities.
    """

    def __init__(self, model: Model, fields: tuple[Field, ...], names: list[str], request: bool) -> None:
        super().__init__()
        self.model = model
        self.fields = fields
        self.names = names
        self.request = request

    @override
    def forward(self, table: Tensor, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        arrays = dict(zip(self.names, inputs, strict=True))
        batch = Batch(
            lookups={group: self._lookups(group, arrays) for group in Group},
            candidate=arrays["candidate"],
            behaviour=arrays["behaviour"],
            segment=arrays.get("segment", arrays["behaviour"]),  # request.onnx has no segments and reads none
            age=arrays.get(AGE, arrays["behaviour"]),  # a model that reads no ages has no such input
        )
        logit = self.model.request(table, batch) if self.request else self.model(table, batch)
        return torch.sigmoid(logit.double()), logit

    def _lookups(self, group: Group, arrays: Mapping[str, Tensor]) -> tuple[Lookup[Tensor], ...]:
        lookups = []
        for field in self.fields:
            if field.group is group:
                name = f"{group}.{field.name}"
                lookups.append(Lookup(arrays[name], arrays.get(f"{name}.owners"), arrays.get(f"{name}.weights")))
        return tuple(lookups)

    @property
    def is_built_in(self) -> bool:
        """Whether all its modules, and the forms of its fields, come with this package or with torch."""
        parts = [*self.modules(), *(field.form for field in self.fields)]
        return {type(part).__module__.partition(".")[0] for part in parts} <= {"din", "torch"}

    @property
    def digest(self) -> str:
        """A digest of everything that a trace depends on: code, package versions, and the module but its weights."""
        content = io.BytesIO()
        _Sketch(content, weights_of(self)).dump(self)
        return hashlib.sha256(_CODE + content.getvalue()).hexdigest()[:32]


class _Sketch(pickle.Pickler):
    """Pickle a module, with names, types and shapes in place of weights. Only the digest of the bytes is used."""

    def __init__(self, file: io.BytesIO, weights: Mapping[str, Tensor]) -> None:
        super().__init__(file)
        self._weights = {id(tensor): f"{name} {tensor.dtype} {tuple(tensor.shape)}" for name, tensor in weights.items()}

    @override
    def persistent_id(self, obj: Any) -> str | None:
        if isinstance(obj, set | frozenset):
            return repr(sorted(map(repr, obj)))  # the hash seed decides the order of a set
        return self._weights.get(id(obj))


def _code() -> bytes:
    """Return a digest of the code that is traced and traces, and of the versions of the packages that trace."""
    parts = [code.digest([__name__, "din.bundle.fold", "din.model"], ["train"]), *map(version, _PACKAGES)]
    return hashlib.sha256(" ".join(parts).encode()).digest()


_CODE = _code()  # as it was imported: files may change while the process runs


def _kept(graph: _Graph, example: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """Return the kept graph. Trace and keep it if there is none, or if its file is damaged."""
    path = user_cache() / "graphs" / f"{graph.digest}.onnx"
    with suppress(OSError, DecodeError):
        return onnx.ModelProto.FromString(path.read_bytes())
    traced = _trace(graph, example)
    with suppress(OSError):  # e.g. a read-only home: every export traces
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{uuid4().hex}.part")  # another process may keep the same graph
        temporary.write_bytes(traced.SerializeToString(deterministic=True))
        temporary.replace(path)
    return traced


def _example(fields: tuple[Field, ...], request: bool) -> PackedBatch:
    impressions = 1 if request else _IMPRESSIONS
    owners = {Group.ITEM: _ITEMS, Group.BEHAVIOUR: _BEHAVIOURS, Group.USER: impressions, Group.CONTEXT: impressions}

    def look_up(field: Field) -> Lookup:
        return field.form.look_up(field.form.traced.times(owners[field.group]), 0)

    return PackedBatch(
        lookups={group: {field.name: look_up(field) for field in fields if field.group is group} for group in owners},
        candidate=np.zeros(_IMPRESSIONS, np.int64),
        behaviour=np.zeros(_BEHAVIOURS, np.int64),
        segment=np.zeros(_BEHAVIOURS, np.int64),
        age=np.zeros(_BEHAVIOURS, np.float32),
        labels=np.zeros(_IMPRESSIONS, np.float32),
    )


def _trace(graph: _Graph, example: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    shapes = _dynamic_shapes(graph.fields, graph.request)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns that torchvision is not installed
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        try:
            program = torch.onnx.export(
                graph,
                (torch.zeros(_ROWS, graph.model.width), *map(torch.from_numpy, example.values())),
                dynamo=True,
                verbose=False,
                optimize=False,  # it would fold weights into constants
                input_names=[TABLE, *example],
                output_names=OUTPUTS,
                dynamic_shapes=({0: Dim("rows")}, tuple(shapes[name] for name in example)),
                opset_version=_OPSET,
            )
        except torch.onnx.OnnxExporterError as error:
            reason = shown(str(error.__cause__ or error).split("\n", 1)[0], quotes=False)
            advice = "use operations that the exporter knows (docs/plugins.md), and train again"
            raise InputError(f"the model can't be written as ONNX: {reason}; {advice}") from error
    assert program is not None
    traced = program.model
    _strip(traced)
    for name in weights_of(graph):
        weight = traced.graph.initializers.pop(name, None)
        if weight:
            weight.const_value = None
            traced.graph.inputs.append(weight)
    return ir.serde.serialize_model(traced)


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
