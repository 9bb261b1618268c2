"""A saved model: weights as safetensors and a readable configuration. No pickle.

config.json               the settings, the fields, the layout of the table, and which rows were learned
weights.safetensors       the weights, with the embedding table
optimizer.safetensors     the state of the optimizers, if the model is going to learn more days
before/                   the model before its pass over the validation days, if it made one
start/                    the champion that the model continues, if it has learned a day since
"""

from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import NonNegativeInt, PositiveInt
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from din.base import documents
from din.base.artifacts import replace_directory, write_json
from din.base.documents import Document
from din.base.errors import InputError
from din.base.names import Day, Moment
from din.base.workspace import FORMAT, Format
from din.contracts.manifests import CodedField
from din.features.packing import TableLayout
from din.features.reader import Features
from din.model.blend import Blend, BlendRecord
from din.model.model import Model, build
from din.params.blocks import parse, to_json
from din.params.train import Train

IN_BUNDLE = "model"  # the folder of a bundle that holds the saved model
BEFORE = "before"
START = "start"
BLEND = "blend."
"""The beginning of the names of a blend's tensors among the weights."""

_WEIGHTS = "weights.safetensors"
_OPTIMIZER = "optimizer.safetensors"


class JointTable(Document):
    """The shape of the joint embedding table, and the first row of each field's part."""

    width: PositiveInt
    rows: PositiveInt
    offsets: dict[str, NonNegativeInt]


class ModelConfig(Document):
    """The description of a saved model: everything except the weights.

    Attributes:
        seen_until: the time of the last row that it has learned.
        known_until: the last held-out day whose ids have rows in its table. None: only the training ids have rows.
        blend: the columns of its blend. None: it has none.
    """

    format: Format
    seen_until: Moment
    known_until: Day | None
    train: dict[str, Any]
    fields: list[CodedField]
    table: JointTable
    blend: BlendRecord | None = None


class Trained(NamedTuple):
    """A model in evaluation mode and its embedding table [R, W]."""

    model: Model
    table: Tensor


def save(
    trained: Trained,
    params: Train,
    features: Features,
    target: Path,
    seen_until: datetime | None = None,
    optimizer: dict[str, Tensor] | None = None,
) -> None:
    """Replace the folder `target` by a saved model; arguments as in `write`."""
    with replace_directory(target) as folder:
        write(trained, params, features, folder, seen_until, optimizer)


def write(
    trained: Trained,
    params: Train,
    features: Features,
    folder: Path,
    seen_until: datetime | None = None,
    optimizer: dict[str, Tensor] | None = None,
) -> None:
    """Write a model to a folder, which may exist. The same training gives the same bytes.

    Args:
        params: the settings that it was trained with.
        features: the features that it learned from, with the ids that it knows.
        seen_until: the time of the last row that it has learned. None: the last row of the training split.
        optimizer: the state of its optimizers, for a model that is going to learn more days.
    """
    layout = TableLayout.of(features.fields, features.rows)
    known_until = features.known_until
    config = ModelConfig(
        format=FORMAT,
        seen_until=(seen_until or features.train_until).isoformat(),
        known_until=known_until and known_until.isoformat(),
        train=to_json(params),
        fields=features.records,
        table=JointTable(width=trained.model.width, rows=layout.rows, offsets=layout.offsets),
        blend=trained.model.blend and trained.model.blend.record,
    )
    folder.mkdir(exist_ok=True)
    _write({**trained.model.state_dict(), "table": trained.table}, folder / _WEIGHTS)
    if optimizer:
        _write(optimizer, folder / _OPTIMIZER)
    write_json(folder / "config.json", config)


def read_config(source: Path, advice: str = "run `dvc repro train`") -> ModelConfig:
    """Return the configuration of a saved model.

    Args:
        source: the folder of the model.
        advice: the next step to suggest if the model is missing or from another release.

    Raises:
        InputError: the model is missing or from another release.
    """
    return documents.read(ModelConfig, source / "config.json", advice)


def read(source: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Return the configuration and the weights of a saved model. The weights include `table`.

    Raises:
        InputError: there is no model, or its files are damaged.
    """
    return read_config(source), _tensors(source / _WEIGHTS)


def read_state(source: Path) -> dict[str, Tensor]:
    """Return the weights and the state of the optimizers of a saved model, by the names that a `Learner` gives them.

    Raises:
        InputError: there is no model, it was saved without its optimizers, or its files are damaged.
    """
    weights = {f"now.{name}": tensor for name, tensor in _tensors(source / _WEIGHTS).items()}
    return weights | _tensors(source / _OPTIMIZER)


def known(features: Features, source: Path) -> Features:
    """Return a reader of `features` that knows the ids that have rows in the table of a saved model.

    Raises:
        InputError: there is no model.
    """
    day = read_config(source).known_until
    return features.at(date.fromisoformat(day)) if day else features


def load(features: Features, source: Path) -> Trained:
    """Return a saved model, in evaluation mode.

    Args:
        features: with the ids that the model knows; see `known`.
        source: the folder of the model.

    Raises:
        InputError: there is no model, or it was trained on other fields.
    """
    config, weights = read(source)
    if config.fields != features.records:
        raise InputError(f"{source}: its fields are not the fields of {features.root}; run `dvc repro train`")
    params = parse(Train, config.train, source / "config.json")
    model, _ = build(features.fields, TableLayout.of(features.fields, features.rows), params)
    model.blend = _blend(features, config, weights)
    table = weights.pop("table")
    model.load_state_dict(weights)
    return Trained(model.eval(), table)


def load_blend(features: Features, source: Path) -> Blend | None:
    """Return the blend of a saved model, or None if it has none; arguments and errors as in `load`."""
    return _blend(features, *read(source))


def _blend(features: Features, config: ModelConfig, weights: dict[str, Tensor]) -> Blend | None:
    if config.blend is None:
        return None
    tensors = {name.removeprefix(BLEND): tensor for name, tensor in weights.items() if name.startswith(BLEND)}
    return Blend(config.blend, tensors, features.fields, TableLayout.of(features.fields, features.rows))


def _write(tensors: dict[str, Tensor], path: Path) -> None:
    save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, path)


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not readable ({error}); run `dvc repro train`") from None
