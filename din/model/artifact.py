"""A saved model: weights as safetensors and a readable configuration. No pickle."""

from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from din import documents
from din.artifacts import replace_directory, write_json
from din.document_types import ModelConfig
from din.errors import InputError
from din.features.packing import TableLayout
from din.features.reader import Features
from din.model.din import Model, build
from din.model.sequences import resolve
from din.params import Train, parse, to_json
from din.workspace import FORMAT

IN_BUNDLE = "model"  # the folder of a bundle that holds the saved model


class Trained(NamedTuple):
    """A model in evaluation mode and its embedding table [R, W]."""

    model: Model
    table: Tensor


def save(trained: Trained, params: Train, features: Features, target: Path) -> None:
    """Write a model to the folder `target`. The same training gives the same bytes."""
    layout = TableLayout.of(features.fields, features.rows)
    config: dict[str, Any] = {
        "format": FORMAT,
        "train": to_json(params),
        "sequences": resolve(params.model.sequences, features),
        "fields": features.records,
        "table": {"width": trained.model.width, "rows": layout.rows, "offsets": layout.offsets},
    }
    with replace_directory(target) as folder:
        save_file({**trained.model.state_dict(), "table": trained.table}, folder / "weights.safetensors")
        write_json(folder / "config.json", config)


def read_config(source: Path) -> ModelConfig:
    """Return the configuration of a saved model.

    Raises:
        InputError: there is no model.
    """
    return documents.read(ModelConfig, source / "config.json", "run `dvc repro train`")


def read(source: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Return the configuration and the weights of a saved model. The weights include `table`.

    Raises:
        InputError: there is no model, or its files are damaged.
    """
    config = read_config(source)
    path = source / "weights.safetensors"
    try:
        return config, load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not readable ({error}); run `dvc repro train`") from None


def load(features: Features, source: Path) -> Trained:
    """Return a saved model, in evaluation mode.

    Raises:
        InputError: there is no model, or it was trained on other fields.
    """
    config, weights = read(source)
    if config["fields"] != features.records:
        raise InputError(f"{source}: its fields are not the fields of {features.root}; run `dvc repro train`")
    params = parse(Train, config["train"], source / "config.json")
    model, _ = build(features.fields, TableLayout.of(features.fields, features.rows), params, config["sequences"])
    table = weights.pop("table")
    model.load_state_dict(weights)
    return Trained(model.eval(), table)
