"""Torch-RecHub 0.9, with its `CTRTrainer` over its own loader."""

from importlib.metadata import version
from tempfile import mkdtemp

import numpy as np
import torch
from torch_rechub.basic.features import SequenceFeature, SparseFeature
from torch_rechub.basic.initializers import RandomNormal
from torch_rechub.models.ranking import DIN
from torch_rechub.trainers import CTRTrainer
from torch_rechub.utils.data import DataGenerator

from benchmarks.measure import Contestant, timed_epochs
from benchmarks.rows import CATEGORIES, Rows, Workload, draw


def build(workload: Workload) -> Contestant:
    """Return Torch-RecHub's DIN with padded histories, ready to be timed."""
    rows, request = draw(workload)
    dim = workload.dim
    start = RandomNormal(0, 0.01)
    sizes = {"item": workload.items + 1, "cate": CATEGORIES + 1}
    target = [SparseFeature(name, size, dim, padding_idx=0, initializer=start) for name, size in sizes.items()]
    history = [
        SequenceFeature(f"hist_{name}", size, dim, pooling="concat", shared_with=name, padding_idx=0, initializer=start)
        for name, size in sizes.items()
    ]
    model = DIN(
        features=[SparseFeature("user", rows.users + 1, dim, initializer=start)],
        history_features=history,
        target_features=target,
        mlp_params={"dims": [200, 80]},
        attention_mlp_params={"dims": [80, 40], "activation": "dice"},
    )

    def inputs(some: Rows) -> dict[str, np.ndarray]:
        items = some.padded(workload.max_history)
        own = {"user": some.user, "item": some.item, "cate": some.category}
        return own | {"hist_item": items, "hist_cate": some.category_of[items]}

    everything = inputs(rows)
    same = {"x_val": everything, "y_val": rows.label, "x_test": everything, "y_test": rows.label}
    train, _, _ = DataGenerator(everything, rows.label).generate_dataloader(**same, batch_size=workload.batch)
    _, score, _ = DataGenerator(everything, rows.label).generate_dataloader(**same, batch_size=1024)
    none = dict.fromkeys(("embedding_l1", "embedding_l2", "dense_l1", "dense_l2"), 0.0)
    trainer = CTRTrainer(
        model,
        optimizer_params={"lr": 1e-3},
        regularization_params=none,
        n_epoch=1,
        device="cpu",
        model_path=mkdtemp(),
    )
    one = {name: torch.from_numpy(array) for name, array in inputs(request).items()}

    @torch.no_grad()
    def answer() -> torch.Tensor:
        return model.eval()(one)

    return Contestant(
        version("torch-rechub"),
        lambda module: module is model,
        lambda: timed_epochs(lambda: trainer.fit(train)),
        lambda: trainer.predict(trainer.model, score),
        answer,
        rows.label,
    )
