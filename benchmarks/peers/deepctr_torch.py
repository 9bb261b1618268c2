"""DeepCTR-Torch 0.3, with its `fit` and `predict` over one float matrix."""

from importlib.metadata import version

import numpy as np
import torch
from deepctr_torch.inputs import SparseFeat, VarLenSparseFeat, get_feature_names
from deepctr_torch.models import DIN

from benchmarks.measure import Contestant, timed_epochs
from benchmarks.rows import CATEGORIES, Rows, Workload, draw


def build(workload: Workload) -> Contestant:
    """Return DeepCTR-Torch's DIN with padded histories, ready to be timed."""
    rows, request = draw(workload)
    width = workload.max_history
    dim = workload.dim

    def history(name: str, vocabulary: int) -> VarLenSparseFeat:
        own = SparseFeat(f"hist_{name}", vocabulary, embedding_dim=dim, embedding_name=name)
        return VarLenSparseFeat(own, width, length_name="seq_length")

    columns = [
        SparseFeat("user", rows.users + 1, embedding_dim=dim),
        SparseFeat("item", workload.items + 1, embedding_dim=dim),
        SparseFeat("cate", CATEGORIES + 1, embedding_dim=dim),
        history("item", workload.items + 1),
        history("cate", CATEGORIES + 1),
    ]

    def inputs(some: Rows) -> dict[str, np.ndarray]:
        items = some.padded(width)
        arrays = {"user": some.user, "item": some.item, "cate": some.category, "seq_length": some.length}
        arrays |= {"hist_item": items, "hist_cate": some.category_of[items]}
        return {name: arrays[name] for name in get_feature_names(columns)}

    model = DIN(
        columns,
        ["item", "cate"],
        dnn_hidden_units=(200, 80),
        dnn_activation="relu",  # 0.3.0 raises an error for "dice" here
        att_hidden_size=(80, 40),
        att_activation="Dice",
        att_weight_normalization=False,
        l2_reg_embedding=0,
        device="cpu",
    )
    model.compile(torch.optim.Adam(model.parameters()), "binary_crossentropy", metrics=[])
    train, score = inputs(rows), inputs(rows)
    matrix = np.concatenate([array.reshape(len(array), -1) for array in inputs(request).values()], 1)
    one = torch.from_numpy(matrix.astype(np.float32))

    @torch.no_grad()
    def answer() -> torch.Tensor:
        return model.eval()(one)

    def epoch() -> None:
        model.fit(train, rows.label, batch_size=workload.batch, epochs=1, verbose=0, shuffle=True)

    return Contestant(
        version("deepctr-torch"),
        lambda module: module is model,
        lambda: timed_epochs(epoch),
        lambda: model.predict(score, batch_size=1024),
        answer,
        rows.label,
    )
