"""Measure the latency of one request, from raw ids to probabilities, relative to another request or a fixed workload.

The request has many candidates and a history as long as the model reads. It runs in one thread, and the CPU time of
that thread is measured, so a neighbour that occupies the processor adds nothing. A neighbour that occupies the caches
slows down both workloads, so these take turns, and the result is the median ratio. Next to four busy processes, the CPU
time of a request grew by 39 %, but its ratio to the fixed workload only by a tenth. A measurement takes about a second
of CPU time.

The request has only ids and no fields. The bundle adds profiles and side fields; behaviour and context fields are
unknown. Every value in the request would cost one more dictionary look-up.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from time import thread_time_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from din.bundle.contents import Verified
from din.bundle.scorer import GraphSession, Scorer

CANDIDATES = 500
NOMINAL_MS = 7.0
"""The time of the calibration workload on an idle core of the reference machine, an AMD EPYC of 2022 (Zen 4)."""
_OPSET = 20
_WARM_UP = 3
_TURNS = 21


def relative_time(bundle: Verified, other: Verified | None) -> float:
    """Return the CPU time of `Scorer.score` for one request, divided by that of `other`.

    Args:
        other: another verified bundle, or None for the calibration workload: the products of an activation unit for
            `CANDIDATES` candidates and 50 behaviours.
    """
    yardstick = request(other) if other else attention_products(CANDIDATES * 50, (64, 80, 40, 1), threads=1)
    return median_ratio(request(bundle), yardstick)


def request(bundle: Verified) -> Callable[[], Any]:
    """Return a function that scores a request of items that the bundle knows, repeated if there are too few."""
    scorer = Scorer(bundle)
    example = scorer.example(max(CANDIDATES, scorer.max_history))
    return partial(scorer.score, example | {"candidates": example["candidates"][:CANDIDATES]})


def median_ratio(run: Callable[[], Any], yardstick: Callable[[], Any]) -> float:
    """Return the median ratio of the CPU times of two functions that take turns."""
    ratios = [_cpu_ns(run) / _cpu_ns(yardstick) for _ in range(_WARM_UP + _TURNS)]
    return float(np.median(ratios[_WARM_UP:]))


def _cpu_ns(run: Callable[[], Any]) -> int:
    start = thread_time_ns()
    run()
    return thread_time_ns() - start


def attention_products(rows: int, widths: Sequence[int], threads: int) -> Callable[[], Any]:
    """Return a function that computes linear layers with sigmoids in between on random rows.

    Args:
        rows: the number of rows, one per pair of a candidate and a behaviour.
        widths: the width of the input, of each hidden layer, and of the output.
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
    """Return a function that runs a serialised ONNX model on fixed inputs."""
    opened = GraphSession(model, threads)
    return lambda: opened.run(None, inputs)


def _random(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 0.3, shape).astype(np.float32)
