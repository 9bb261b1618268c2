"""FuxiCTR 2.3, with its layers, loader, `fit` and `predict`.

The wheel does not contain FuxiCTR's DIN, so it is assembled here from the wheel's layers in the same way.
"""

import json
import logging
from importlib.metadata import version
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.dataloaders import RankDataLoader
from fuxictr.pytorch.layers import DIN_Attention, FeatureEmbeddingDict, MLP_Block
from fuxictr.pytorch.models import BaseModel

from benchmarks.measure import Contestant, timed_epochs
from benchmarks.workload import CATEGORIES, Workload, WorkloadRows, draw

logging.disable(logging.INFO)


class FuxiCTRDIN(BaseModel):
    """FuxiCTR's DIN. The attention's target is the item with its category."""

    def __init__(self, feature_map: FeatureMap, dim: int, **settings: Any) -> None:
        super().__init__(feature_map, **settings)
        self.embedding_layer = FeatureEmbeddingDict(feature_map, dim)
        self.attention = DIN_Attention(2 * dim, attention_units=[80, 40], hidden_activations="Dice")
        self.dnn = MLP_Block(
            input_dim=feature_map.sum_emb_out_dim(),
            output_dim=1,
            hidden_units=[200, 80],
            hidden_activations="Dice",
            output_activation=self.output_activation,
        )
        self.compile("adam", "binary_crossentropy", 1e-3)
        self.reset_parameters()
        self.model_to_device()

    def forward(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the click probability of each row as `y_pred`."""
        x = self.get_inputs(inputs)
        embedded = self.embedding_layer(x)
        target = torch.cat([embedded["item_id"], embedded["cate_id"]], -1)
        history = torch.cat([embedded["item_history"], embedded["cate_history"]], -1)
        pooled = self.attention(target, history, x["item_history"].long() != 0)
        embedded["item_history"], embedded["cate_history"] = pooled.chunk(2, -1)
        return {"y_pred": self.dnn(self.embedding_layer.dict2tensor(embedded, flatten_emb=True))}


def build(workload: Workload) -> Contestant:
    """Write the rows in FuxiCTR's format and return its DIN, ready to be timed."""
    rows, request = draw(workload)
    root = Path(mkdtemp())
    width = workload.max_history
    (root / "rows").mkdir()

    def one_of(size: int) -> dict[str, Any]:
        return {"source": "", "type": "categorical", "padding_idx": 0, "vocab_size": size}

    def many_of(size: int, shared: str) -> dict[str, Any]:
        sequence = {"feature_encoder": None, "max_len": width, "share_embedding": shared}
        return one_of(size) | {"type": "sequence"} | sequence

    items = workload.items + 1
    categories = CATEGORIES + 1
    features = [
        {"user_id": one_of(rows.users + 1)},
        {"item_id": one_of(items)},
        {"cate_id": one_of(categories)},
        {"item_history": many_of(items, "item_id")},
        {"cate_history": many_of(categories, "cate_id")},
    ]
    total = rows.users + 1 + items + categories
    counts = {"num_fields": len(features), "total_features": total, "input_length": 3 + 2 * width}
    record = {"dataset_id": "rows", "labels": ["label"], "features": features, **counts}
    (root / "rows/feature_map.json").write_text(json.dumps(record))

    def inputs(part: WorkloadRows) -> dict[str, np.ndarray]:
        history = part.padded(width)
        ids = {"user_id": part.user, "item_id": part.item, "cate_id": part.category}
        return ids | {"item_history": history, "cate_history": part.category_of[history]}

    np.savez(root / "rows/train.npz", label=rows.label, **inputs(rows))
    feature_map = FeatureMap("rows", str(root / "rows"))
    feature_map.load(str(root / "rows/feature_map.json"), {"embedding_dim": workload.dim})
    model = FuxiCTRDIN(feature_map, workload.dim, model_root=str(root), metrics=["AUC"], verbose=0)

    def loader(batch: int, shuffle: bool) -> Any:
        return RankDataLoader(
            feature_map,
            stage="train",
            train_data=str(root / "rows/train.npz"),
            batch_size=batch,
            shuffle=shuffle,
            num_workers=0,
        )[0]

    train, score = loader(workload.batch, True), loader(1024, False)
    model.eval_step = lambda: model.save_weights(model.checkpoint)  # skips the evaluation of `fit`
    tensors = {name: torch.from_numpy(array) for name, array in inputs(request).items()}

    @torch.no_grad()
    def answer() -> torch.Tensor:
        return model.eval()(tensors)["y_pred"]

    return Contestant(
        version("fuxictr"),
        lambda module: module is model.dnn,
        lambda: timed_epochs(lambda: model.fit(train, epochs=1)),
        lambda: model.predict(score),
        answer,
        rows.label,
    )
