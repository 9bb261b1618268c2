"""RecBole 1.2, with its sequential data set, `TrainDataLoader` and `Trainer`.

RecBole has a single setting for the widths of both MLPs, so its attention is rebuilt from RecBole's layer with 80-40.
"""

import logging
import os
import sys
from importlib.metadata import version
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import torch

from benchmarks.measure import Contestant, timed_epochs
from benchmarks.workload import Workload, WorkloadRows, draw

sys.argv = sys.argv[:1]  # RecBole parses the command line
from recbole.config import Config  # noqa: E402
from recbole.data import create_dataset  # noqa: E402
from recbole.data.dataloader import TrainDataLoader  # noqa: E402
from recbole.data.interaction import Interaction  # noqa: E402
from recbole.model.layers import SequenceAttLayer  # noqa: E402
from recbole.model.sequential_recommender import DIN  # noqa: E402
from recbole.trainer import Trainer  # noqa: E402


def build(workload: Workload) -> Contestant:
    """Write the rows in RecBole's format and return its DIN, ready to be timed."""
    rows, request = draw(workload)
    root = Path(mkdtemp())
    width = workload.max_history
    os.chdir(root)  # RecBole writes logs and checkpoints to the current directory
    (root / "rows").mkdir()
    for part, count in (("train", len(rows.item)), ("valid", 2), ("test", 2)):
        _write_rows(root / f"rows/rows.{part}.inter", rows, count)
    items = "".join(f"{item}\t{category}\n" for item, category in enumerate(rows.category_of) if item)
    (root / "rows/rows.item").write_text("item_id:token\tcate_id:token\n" + items)
    config = Config(model="DIN", dataset="rows", config_dict=_settings(workload, root))
    logging.getLogger().setLevel(logging.ERROR)
    data = create_dataset(config).build()[0]
    train = TrainDataLoader(config, data, None, shuffle=True)
    model = DIN(config, data)
    fields = len(list(model.item_feat.interaction))
    mask = torch.arange(width).view(1, -1)
    layers = [4 * fields * workload.dim, 80, 40]
    model.attention = SequenceAttLayer(mask, layers, activation="Sigmoid", softmax_stag=False, return_seq_weight=False)
    model.attention.apply(model._init_weights)
    trainer = Trainer(config, model)
    config["train_batch_size"] = 1024
    score = TrainDataLoader(config, data, None, shuffle=False)
    labels = torch.cat([batch["label"] for batch in score]).numpy()  # the loader reorders the rows

    def column(name: str, raw: np.ndarray) -> torch.Tensor:
        """Return the request's ids as RecBole's ids. An unseen id becomes the padding."""
        id_of_token = data.field2token_id[name]
        return torch.tensor([id_of_token.get(str(value), 0) for value in raw.reshape(-1)]).view(raw.shape)

    lengths = torch.from_numpy(request.length)
    interaction = Interaction(
        {
            "user_id": column("user_id", request.user),
            "item_id": column("item_id", request.item),
            "item_id_list": column("item_id", request.padded(width)[:1]).expand(len(lengths), -1),
            "item_length": lengths,
        }
    )

    @torch.no_grad()
    def predict() -> np.ndarray:
        model.eval()
        return torch.cat([model.predict(batch) for batch in score]).numpy()

    @torch.no_grad()
    def answer() -> torch.Tensor:
        return model.eval().predict(interaction)

    def epoch() -> None:
        trainer._train_epoch(train, 0, show_progress=False)

    return Contestant(
        version("recbole"),
        lambda module: module is model.dnn_predict_layers,
        lambda: timed_epochs(epoch),
        predict,
        answer,
        labels,
    )


def _write_rows(path: Path, rows: WorkloadRows, count: int) -> None:
    histories = np.split(rows.history, np.cumsum(rows.length)[:-1])
    with path.open("w") as file:
        file.write("user_id:token\titem_id:token\titem_id_list:token_seq\tlabel:float\n")
        for user, item, history, label in zip(
            rows.user[:count], rows.item[:count], histories[:count], rows.label[:count], strict=True
        ):
            file.write(f"{user}\t{item}\t{' '.join(map(str, history))}\t{label:.0f}\n")


def _settings(workload: Workload, root: Path) -> dict[str, object]:
    return {
        "data_path": str(root),
        "benchmark_filename": ["train", "valid", "test"],
        "field_separator": "\t",
        "seq_separator": " ",
        "USER_ID_FIELD": "user_id",
        "ITEM_ID_FIELD": "item_id",
        "LABEL_FIELD": "label",
        "LIST_SUFFIX": "_list",
        "ITEM_LIST_LENGTH_FIELD": "item_length",
        "MAX_ITEM_LIST_LENGTH": workload.max_history,
        "alias_of_item_id": ["item_id_list"],
        "load_col": {"inter": ["user_id", "item_id", "item_id_list", "label"], "item": ["item_id", "cate_id"]},
        "train_neg_sample_args": None,
        "eval_args": {"split": {"LS": "valid_and_test"}, "group_by": None, "order": "TO", "mode": "labeled"},
        "metrics": ["AUC"],
        "valid_metric": "AUC",
        "embedding_size": workload.dim,
        "mlp_hidden_size": [200, 80],
        "dropout_prob": 0.0,
        "pooling_mode": "mean",
        "train_batch_size": workload.batch,
        "learning_rate": 1e-3,
        "epochs": 1,
        "reproducibility": False,
        "use_gpu": False,
        "show_progress": False,
        "state": "ERROR",
        "checkpoint_dir": str(root),
        "worker": 0,
    }
