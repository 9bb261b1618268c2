"""Time one user's request in onnxruntime: our graph, a reference, and a padded batch.

ours     request.onnx on the packed request, as `Scorer` runs it
raw      the same, including the encoding of raw ids
floor    only the matrix products and sigmoids of the attention unit, over candidates × behaviours
padded   one row per candidate with its own copy of the history, and [q, k, q−k, q⊙k] as input, as the peers do
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.measure import best_ms
from benchmarks.workload import WorkloadRows
from din.artifacts import write_json
from din.features.packing import TableLayout
from din.features.reader import Features
from din.model.mlp import multilayer_perceptron
from din.model.model import Model
from din.params import Train
from din.serve.bundle_writer import write_values
from din.serve.encode import SIGNATURE, Encoder
from din.serve.export import export_graphs
from din.serve.latency import attention_products, in_session
from din.serve.scorer import BATCH_GRAPH, REQUEST_GRAPH, Graph
from din.workspace import FORMAT


class ExportedModel:
    """The exported graphs of a trained model and the encoder of its requests, with their files in `folder`."""

    def __init__(self, model: Model, table: Tensor, features: Features, folder: Path, threads: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        layout = TableLayout.of(features.fields, features.rows)
        inputs = export_graphs(model, table, features.fields, folder)
        write_values(folder, features)
        fields = [record | {"offset": layout.offsets[record["name"]]} for record in features.records]
        write_json(
            folder / SIGNATURE,
            {"format": FORMAT, "fields": fields, "max_history": features.manifest.max_history, "inputs": inputs},
        )
        self.encoder = Encoder(folder)
        self.threads = threads
        self.request = Graph(folder / REQUEST_GRAPH, threads)
        self.batch = Graph(folder / BATCH_GRAPH, threads)

    def times(self, rows: WorkloadRows, train: Train) -> dict[str, float]:
        """Return the best times of the request `rows` in ms, for each way in the module's docstring."""
        raw = {
            "user": {"user_id": int(rows.user[0])},
            "history": rows.history[: rows.length[0]].tolist(),
            "candidates": rows.item.tolist(),
        }
        pieces = list(self.encoder.pack_one(raw))
        shape, width = (len(rows.item), int(rows.length[0])), 2 * train.model.embedding_dim
        runs: dict[str, Callable[[], Any]] = {
            "request_ms": lambda: self.request.run_all(pieces),
            "request_raw_ms": lambda: self.request.run_all(self.encoder.pack_one(raw)),
            "request_floor_ms": attention_products(
                shape[0] * shape[1], (width, *train.model.attention_hidden, 1), self.threads
            ),
            "request_padded_ms": _padded(*shape, width, train, self.threads),
        }
        return best_ms(runs)


class _FourWay(nn.Module):
    """DIN on padded, embedded rows: a local activation unit over [q, k, q−k, q⊙k] with a mask, then the MLP."""

    def __init__(self, width: int, train: Train) -> None:
        super().__init__()
        self.attention = multilayer_perceptron(4 * width, train.model.attention_hidden, train.model.activation)
        self.head = multilayer_perceptron(2 * width, train.model.hidden, train.model.activation)

    def forward(self, query_CD: Tensor, key_CLD: Tensor, mask_CL: Tensor) -> Tensor:
        query_CLD = query_CD.unsqueeze(1).expand_as(key_CLD)
        every = torch.cat([query_CLD, key_CLD, query_CLD - key_CLD, query_CLD * key_CLD], 2)
        weight_CL = self.attention(every).squeeze(2) * mask_CL
        interest_CD = (weight_CL.unsqueeze(1) @ key_CLD).squeeze(1)
        return torch.sigmoid(self.head(torch.cat([interest_CD, query_CD], 1)))


def _padded(candidates: int, length: int, width: int, train: Train, threads: int) -> Callable[[], Any]:
    query = torch.from_numpy(_random(candidates, width))
    key = torch.from_numpy(_random(candidates, length, width))
    inputs = {"query": query, "key": key, "mask": torch.ones(candidates, length)}
    program = torch.onnx.export(
        _FourWay(width, train).eval(), tuple(inputs.values()), dynamo=True, verbose=False, input_names=list(inputs)
    )
    assert program is not None
    arrays = {name: value.numpy() for name, value in inputs.items()}
    return in_session(program.model_proto.SerializeToString(), arrays, threads)


def _random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.3, shape).astype(np.float32)
