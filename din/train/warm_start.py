"""Start from the weights of an earlier bundle instead of random ones (`train.warm_start`).

Dense weights are copied. Embeddings are matched by value, field by field. A value in both vocabularies gets its old
row, and a value that is new today keeps its random one. Buckets of a numeric field are matched by position if there are
as many as before: the third quartile is still the third quartile. The optimizer starts with no state.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from torch import Tensor

from din import documents
from din.document_types import Facts, FieldRecord, ModelConfig
from din.errors import InputError
from din.features.packing import TableLayout
from din.features.reader import Features
from din.metrics.holdout import Training, unseen
from din.model import artifact
from din.model.din import Model
from din.params import ModelParams, Train, parse, to_json
from din.registry.bundle import FACTS
from din.schema import Field, text
from din.train.shared_rows import SharedRows


@dataclass(frozen=True)
class Start:
    """The model of a bundle to start from. The hashes of the bundle have been verified."""

    version: str
    directory: Path

    def apply(self, model: Model, table: Tensor, features: Features, params: Train) -> None:
        """Copy the bundle's weights into a new model and its embedding table [R, W].

        Raises:
            InputError: the bundle has no weights, or they belong to another architecture.
        """
        if not (self.directory / artifact.IN_BUNDLE).is_dir():
            raise InputError(
                f"train.warm_start: bundle {self.version[:12]} holds no weights to start from; pin a later one"
            )
        config, weights = artifact.read(self.directory / artifact.IN_BUNDLE)
        self._check_architecture(config, features, params.model)
        old_table = weights.pop("table")
        old_offsets = config["table"]["offsets"]
        model.load_state_dict(weights)
        layout = TableLayout.of(features.fields, features.rows)
        parts = []
        for field in features.fields:
            there = pq.read_table(self.directory / "vocab" / f"{field.name}.parquet")["value"].to_pylist()
            here = features.vocabulary(field.name)["value"].to_pylist()
            common = _common(field, there, here)
            parts.append(common.placed(old_offsets[field.name], layout.offsets[field.name]))
        shared = SharedRows.joined(parts)
        shared.copy(old_table, table)
        print(f"starting from {self.version[:12]}: {len(shared.new):,} of {len(table):,} embedding rows", flush=True)

    def check_split(self, features: Features) -> None:
        """Refuse a bundle that may have learned today's validation or test rows; see `din.metrics.holdout`.

        Raises:
            InputError: it may have learned them, since its log was split differently or was newer.
        """
        earlier = Training.of_bundle(documents.read(Facts, self.directory / FACTS))
        today = Training.of_features(features)
        try:
            known = not unseen(earlier, today, today.first_held_out).all()
            problem = f"trained until {earlier.train_until} there, {today.train_until} here" if known else None
        except InputError as error:
            problem = str(error)
        if problem:
            raise InputError(
                f"train.warm_start: bundle {self.version[:12]} may have trained on today's held-out rows: {problem}; "
                "pin an older bundle of the same split"
            )

    def _check_architecture(self, config: ModelConfig, features: Features, params: ModelParams) -> None:
        """Refuse weights of another architecture. Their meaning depends on all of `train.model`, and on the fields.

        Raises:
            InputError: with everything that differs.
        """
        earlier = parse(Train, config["train"], self.directory / artifact.IN_BUNDLE)
        there, here = to_json(earlier.model), to_json(params)
        settings = [(name, there[name], here[name]) for name in here]
        fields = (_names(config["fields"]), _names(features.records))
        differ = [
            f"{name} {there} there, {here} here"
            for name, there, here in (*settings, ("fields", *fields))
            if there != here
        ]
        if differ:
            raise InputError(
                f"train.warm_start: bundle {self.version[:12]} has another architecture: {'; '.join(differ)}; "
                "restore that, or train once without a warm start"
            )


def _names(records: list[FieldRecord]) -> str:
    def described(record: FieldRecord) -> str:
        length = f" of {record['length']}" if "length" in record else ""
        return f"{record['group']}.{record['name']}: {record['kind']}{length}"

    return ", ".join(map(described, records))


def _common(field: Field, there: list[Any], here: list[Any]) -> SharedRows:
    """Return the ids of the values that are in both vocabularies. Unknown is one of them.

    Args:
        there: the bundle's values by id.
        here: today's values by id.
    """
    if not field.form.has_vocabulary:
        ids = torch.arange(len(here) if len(here) == len(there) else 1)
        return SharedRows(ids, ids)
    old = {text(value): i for i, value in enumerate(there)}
    today = [text(value) for value in here]
    known = [i for i, value in enumerate(today) if value in old]
    old_ids = [old[today[i]] for i in known]
    return SharedRows(torch.tensor(old_ids, dtype=torch.int64), torch.tensor(known, dtype=torch.int64))
