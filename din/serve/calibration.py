"""A fixed amount of onnxruntime work: the matrix products and sigmoids of an activation unit on random inputs."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

_OPSET = 20


def attention_products(rows: int, widths: Sequence[int], threads: int) -> Callable[[], Any]:
    """Return a call that sends random rows through linear layers with sigmoids in between.

    Args:
        rows: the number of rows, one per pair of a candidate and a behaviour.
        widths: the width of the input, of each hidden layer, and of the output.
        threads: the threads of one call.
    """
    nodes = []
    weights = []
    value = "x"
    for number, shape in enumerate(pairwise(widths)):
        weights.append(numpy_helper.from_array(_random(*shape), f"w{number}"))
        nodes.append(helper.make_node("MatMul", [value, f"w{number}"], [f"y{number}"]))
        value = f"a{number}"
        nodes.append(helper.make_node("Sigmoid", [f"y{number}"], [value]))
    nodes.pop()  # the last layer has no sigmoid
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", f"y{len(weights) - 1}")]
    graph = helper.make_graph(nodes, "products", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=10)
    return in_session(model.SerializeToString(), {"x": _random(rows, widths[0])}, threads)


def in_session(model: bytes, inputs: dict[str, NDArray[Any]], threads: int) -> Callable[[], Any]:
    """Return a call that runs a serialised ONNX model on fixed inputs."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, inputs)


def _random(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 0.3, shape).astype(np.float32)
