"""Answer one user's request with our exported graphs, and with other forms of the same network.

raw       from raw ids, as `Scorer` does
packed    the packed request as `Scorer` runs it: the C kernels, or request.onnx if the model or the machine has none
onnx      request.onnx on the packed request
products  only the matrix products and sigmoids of the attention unit, in pieces that stay in a core's cache
torch     the model itself in PyTorch, on the packed request
padded    one row per candidate with its own copy of the history, and [q, k, q−k, q⊙k] as input, as the peers do
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.measure import best_ms
from benchmarks.workload import WorkloadRows
from din.base.artifacts import write_json
from din.base.workspace import FORMAT
from din.bundle.bundle_writer import write_values
from din.bundle.encode import SIGNATURE, Encoder
from din.bundle.export import export_graphs
from din.bundle.latency import attention_products, in_session
from din.bundle.native import NativeModel, supports
from din.bundle.scorer import BATCH_GRAPH, REQUEST_GRAPH, Graph, Kernels
from din.features.packing import PackedBatch, TableLayout
from din.features.reader import Features
from din.model.embedding import to_tensors
from din.model.mlp import multilayer_perceptron
from din.model.model import Model
from din.params.blocks import to_json
from din.params.train import Train

_PAIRS = 50_000
"""The pairs of a candidate and a behaviour in one call of the padded graph. They take a few hundred megabytes."""
_PIECE = 2_048
"""The pairs in one call of the products alone. With fewer, calls cost more; with many, the pairs leave the cache."""


class ExportedModel:
    """The exported graphs of a trained model and the encoder of its requests, with their files in `folder`."""

    def __init__(
        self, model: Model, table: Tensor, train: Train, features: Features, folder: Path, threads: int
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        layout = TableLayout.of(features.fields, features.rows)
        inputs = export_graphs(model, table, features.fields, folder)
        write_values(folder, features)
        fields = [record | {"offset": layout.offsets[record["name"]]} for record in features.records]
        write_json(
            folder / SIGNATURE,
            {"format": FORMAT, "fields": fields, "max_history": features.manifest.max_history, "inputs": inputs},
        )
        self.model = model.eval()
        self.table = table
        self.encoder = Encoder(folder)
        self.threads = threads
        self.request = Graph(folder / REQUEST_GRAPH, threads)
        self.batch = Graph(folder / BATCH_GRAPH, threads)
        config = {"train": to_json(train), "table": {"offsets": layout.offsets}}
        weights = {name: tensor.numpy() for name, tensor in {**model.state_dict(), "table": table}.items()}
        native = supports(config)
        self.scorer = Kernels(NativeModel(config, weights), request=True) if native else self.request

    def runs(self, request: Mapping[str, Any]) -> dict[str, Callable[[], Any]]:
        """Return functions that score a request in all ways but the products alone and the padded one."""
        pieces = list(self.encoder.pack_one(request))
        whole = list(self.encoder.pack_one(request, self.scorer.piece))
        return {
            "request_raw_ms": lambda: self.scorer.run_all(self.encoder.pack_one(request, self.scorer.piece)),
            "request_packed_ms": lambda: self.scorer.run_all(whole),
            "request_onnx_ms": lambda: self.request.run_all(pieces),
            "request_torch_ms": lambda: self._in_torch(pieces),
        }

    def times(self, rows: WorkloadRows, train: Train) -> dict[str, float]:
        """Return the best times of the request `rows` in ms: `raw`, `packed`, `onnx` and `padded`."""
        raw = {
            "user": {"user_id": int(rows.user[0])},
            "history": rows.history[: rows.length[0]].tolist(),
            "candidates": rows.item.tolist(),
        }
        runs = self.runs(raw)
        del runs["request_torch_ms"]
        padded = PaddedGraph(2 * train.model.embedding_dim, train, self.threads)
        runs["request_padded_ms"] = padded.on(len(rows.item), int(rows.length[0]))
        return best_ms(runs)

    @torch.inference_mode()
    def _in_torch(self, pieces: Sequence[PackedBatch]) -> list[Tensor]:
        return [self.model.request(self.table, to_tensors(packed)) for packed in pieces]


def products_alone(candidates: int, length: int, width: int, train: Train, threads: int) -> Callable[[], Any]:
    """Return a function that computes only the products and sigmoids of the attention unit.

    All pieces are equal. Pairs that are left over are not computed, at most one in a piece.
    """
    pieces = -(-candidates * length // _PIECE)
    call = attention_products(candidates * length // pieces, (width, *train.model.attention_hidden, 1), threads)
    return lambda: [call() for _ in range(pieces)]


class PaddedGraph:
    """DIN on embeddings that are padded and copied for each candidate, as a graph for onnxruntime.

    Args:
        width: of an item's embedding.
    """

    def __init__(self, width: int, train: Train, threads: int) -> None:
        self._width = width
        self._threads = threads
        dynamic = torch.export.Dim.DYNAMIC
        program = torch.onnx.export(
            _FourWay(width, train).eval(),
            tuple(map(torch.from_numpy, self._inputs(3, 5).values())),
            dynamo=True,
            verbose=False,
            input_names=[*self._inputs(3, 5)],
            dynamic_shapes=({0: dynamic}, {0: dynamic, 1: dynamic}, {0: dynamic, 1: dynamic}),
        )
        assert program is not None
        self._content = program.model_proto.SerializeToString()

    def on(self, candidates: int, length: int) -> Callable[[], Any]:
        """Return a function that scores random rows, as many as the candidates, in calls of at most `_PAIRS` pairs."""
        rows = max(1, min(candidates, _PAIRS // max(1, length)))
        call = in_session(self._content, self._inputs(rows, length), self._threads)
        return lambda: [call() for _ in range(0, candidates, rows)]

    def _inputs(self, candidates: int, length: int) -> dict[str, np.ndarray]:
        return {
            "query": _random(candidates, self._width),
            "key": _random(candidates, length, self._width),
            "mask": np.ones((candidates, length), np.float32),
        }


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


def _random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.3, shape).astype(np.float32)
