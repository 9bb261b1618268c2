"""params.yaml to frozen dataclasses: one per block, every key present, a typo dies at start.

`load()` is the only reader. YAML 1.2 (as DVC reads it), checked by `din.documents`, so `epochs: "3"` and `epoch: 3` are
both errors that name what would have been valid.
"""

import json
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from din import documents
from din.errors import InputError, shown
from din.names import ModelName

MOST_BYTES = 1 << 20
_MOST_VALUES = 100_000

Share = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Scalar = str | int | float | bool | None
Values = Annotated[tuple[Scalar, ...], Field(min_length=1)]
Layers = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class _Block:
    __pydantic_config__ = documents.STRICT


@dataclass(frozen=True, kw_only=True)
class Data(_Block):
    until: date | None


@dataclass(frozen=True, kw_only=True)
class Table(_Block):
    events: str | None
    columns: dict[str, str]
    label: str
    timestamp_unit: Literal["s", "ms", "us", "ns", "iso"]
    utc_offset_hours: Annotated[int, Field(ge=-12, le=14)]
    keep: tuple[str, ...]
    items: str | None
    items_columns: dict[str, str]
    users: str | None
    users_columns: dict[str, str]
    history: str | None
    history_columns: dict[str, str]
    separators: dict[str, str]
    daily: bool


@dataclass(frozen=True, kw_only=True)
class Simulate(_Block):
    users: PositiveInt
    impressions_per_user: PositiveInt
    items: PositiveInt
    categories: PositiveInt
    days: PositiveInt
    seed: NonNegativeInt


@dataclass(frozen=True, kw_only=True)
class Fetch(_Block):
    source: Literal["movielens-100k", "movielens", "amazon-reviews", "kuairand-pure", "taobao-ads", "table", "simulate"]
    path: str | None
    positive_rating: float
    random_exposure: bool
    behaviours: tuple[Literal["pv", "cart", "fav", "buy"], ...]
    behaviour_days: NonNegativeInt
    table: Table
    simulate: Simulate


@dataclass(frozen=True, kw_only=True)
class ValidateRaw(_Block):
    missing_days: Literal["critical", "warning", "off"]
    max_duplicate_rate: Share
    max_unknown_items: Share
    max_unknown_users: Share
    max_user_share: Share
    strange_days: Literal["critical", "warning", "off"]
    min_rows: NonNegativeInt
    min_ctr: Share
    max_ctr: Share


@dataclass(frozen=True, kw_only=True)
class Featurize(_Block):
    fields: dict[str, dict[str, Any] | None] | None
    protocol: Literal["temporal", "leave_last_out", "by_user"] | None
    order: Literal["strict", "sequence"] | None
    valid_days: PositiveInt
    test_days: PositiveInt
    valid_fraction: Fraction
    test_fraction: Fraction
    max_history: PositiveInt
    min_count: PositiveInt
    shards: PositiveInt | None
    memory_mb: PositiveInt
    seed: NonNegativeInt


@dataclass(frozen=True, kw_only=True)
class ValidateFeatures(_Block):
    max_unknown_items: Share
    max_unknown_users: Share | None
    max_field_auc: Share
    max_new_values: Share
    min_rows: NonNegativeInt


@dataclass(frozen=True, kw_only=True)
class Train(_Block):
    model: Literal["din", "base", "lr", "wide_deep", "pnn", "deepfm"]
    warm_start: Annotated[str, Field(pattern="^[0-9a-f]{8,64}$")] | None
    seed: NonNegativeInt
    embedding_dim: PositiveInt
    embedding_std: PositiveFloat
    attention_hidden: Layers
    interaction: Literal["difference_product", "product", "outer"]
    softmax: bool
    hidden: Layers
    activation: Literal["dice", "prelu", "relu", "sigmoid", "bipolar_sigmoid"]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    pooling: Literal["sum", "mean"]
    sequences: dict[str, dict[str, Values]]
    linear: Literal["item_bias", "wide", "none"]
    linear_rate: PositiveFloat
    interest_product: bool
    optimizer: Literal["adam", "sgd", "rowwise_adagrad"]
    learning_rate: PositiveFloat
    decay: PositiveFloat
    decay_steps: PositiveInt | None
    clip_norm: PositiveFloat | None
    batch_size: PositiveInt
    epochs: PositiveInt
    patience: PositiveInt
    metric: Literal["gauc", "auc"]
    regularizer: Literal["mini_batch_aware", "l2_batch", "l2_full", "dropout", "none"]
    regularization: NonNegativeFloat
    penalty: Literal["decoupled", "coupled"]
    unknown_rate: Share
    kernels: Literal["auto", "never", "always"]
    compile: Literal["auto", "never", "always"]
    checkpoint_minutes: PositiveFloat
    threads: PositiveInt | None
    processes: PositiveInt
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class Evaluate(_Block):
    batch_size: PositiveInt
    lr_epochs: PositiveInt
    lr_learning_rate: PositiveFloat


@dataclass(frozen=True, kw_only=True)
class ValidatePredictions(_Block):
    min_std: NonNegativeFloat
    min_calibration: NonNegativeFloat
    max_calibration: NonNegativeFloat
    max_log_loss_over_constant: PositiveFloat


@dataclass(frozen=True, kw_only=True)
class Export(_Block):
    opset: PositiveInt


@dataclass(frozen=True, kw_only=True)
class CheckParity(_Block):
    max_impressions: PositiveInt
    atol_logit: PositiveFloat
    atol_probability: PositiveFloat
    min_std: PositiveFloat
    seed: NonNegativeInt


@dataclass(frozen=True, kw_only=True)
class Gate(_Block):
    metric: Literal["auc", "gauc"]
    margin: NonNegativeFloat
    min_auc: Share
    min_gauc: Share
    min_calibration: NonNegativeFloat
    max_calibration: NonNegativeFloat
    resamples: PositiveInt
    confidence: Fraction
    approval: Literal["never"]
    min_slice_rows: PositiveInt
    slice_margin: NonNegativeFloat
    max_prediction_drift: PositiveFloat
    max_champion_drop: PositiveFloat
    max_auc: Share
    max_gain: PositiveFloat
    max_gain_over_lr: PositiveFloat
    max_bundle_mb: PositiveFloat
    max_latency_ms: PositiveFloat | None
    max_rows: PositiveInt
    allow_older: bool
    seed: NonNegativeInt


@dataclass(frozen=True, kw_only=True)
class Promote(_Block):
    registry: str
    model_name: ModelName | None


@dataclass(frozen=True, kw_only=True)
class Params(_Block):
    """All blocks of params.yaml."""

    data: Data
    fetch: Fetch
    validate_raw: ValidateRaw
    featurize: Featurize
    validate_features: ValidateFeatures
    train: Train
    evaluate: Evaluate
    validate_predictions: ValidatePredictions
    export: Export
    check_parity: CheckParity
    gate: Gate
    promote: Promote

    @property
    def model_name(self) -> ModelName:
        """The registry's namespace: an experiment on another log never meets this one's champion."""
        return self.promote.model_name or ModelName(self.fetch.source)


T = TypeVar("T")


def load(path: Path = Path("params.yaml")) -> Params:
    """Read and check the parameter file.

    Raises:
        InputError: the file is missing, too large, not YAML, or nested too deeply; a key is unknown, missing, given
            twice or of a wrong type.
    """
    if not path.exists():
        raise InputError(f"{path}: not found; run from the project's root, where params.yaml lies")
    content = documents.read_bytes(path, MOST_BYTES)
    try:
        raw = YAML(typ="safe").load(content.decode())
        _check_extent(raw)
    except (YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML: {shown(str(error), quotes=False)}") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply; expected blocks of keys with values") from None
    return parse(Params, raw, path)


def parse(block: type[T], value: Any, where: object) -> T:
    """Plain values to a block (or to all of them); `where` names their source in errors.

    Raises:
        InputError: a key is unknown, missing or of a wrong type.
    """
    return documents.check(block, value, str(where))


def to_json(block: Any) -> dict[str, Any]:
    """A block as plain JSON values, for manifests and facts."""
    return json.loads(json.dumps(asdict(block), default=str))


def _check_extent(value: Any) -> None:
    """Refuse more values than any parameter file has: aliases can repeat a small block a billion times."""
    waiting = [value]
    seen = 0
    while waiting:
        one = waiting.pop()
        seen += 1
        if seen > _MOST_VALUES:
            raise YAMLError(f"more than {_MOST_VALUES:,} values")
        if isinstance(one, dict):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list):
            waiting += one
