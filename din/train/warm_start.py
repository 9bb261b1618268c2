"""Start from the weights of an earlier bundle instead of random ones (`train.warm_start`).

Dense weights are copied. Embeddings move by value, field by field: an id that both vocabularies hold takes its old row
to its new place, a value that is new today keeps its fresh one. Buckets of a numeric field move by position, where
there are as many as before: the third quartile is the third quartile. The optimizer starts anew.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor

from din import documents
from din.bundle import FACTS
from din.errors import InputError
from din.eventlog.packing import TableLayout
from din.eventlog.reader import Features
from din.forms import Facts, FieldRecord, ModelConfig
from din.model import artifact
from din.model.din import Model
from din.params import Train, to_json
from din.schema import Field, Kind, text

_DECISIVE = ("seed", "valid_fraction", "test_fraction")  # which users a split holds out
_SETTINGS = (  # what gives weights of one name and shape their meaning
    *("model", "embedding_dim", "attention_hidden", "interaction", "softmax", "hidden", "activation"),
    *("pooling", "sequences", "linear", "interest_product"),
)


@dataclass(frozen=True)
class Start:
    """The model in a bundle's directory, whose hashes are known to hold."""

    version: str
    directory: Path

    def apply(self, model: Model, table: Tensor, features: Features, params: Train) -> None:
        """Write the bundle's weights into a fresh model and its embedding table [R, W].

        Raises:
            InputError: there are none, or they are of another architecture; says what differs.
        """
        if not (self.directory / artifact.IN_BUNDLE).is_dir():
            raise InputError(
                f"train.warm_start: bundle {self.version[:12]} is of a version that kept no weights to start from; "
                "pin a later one"
            )
        config, weights = artifact.read(self.directory / artifact.IN_BUNDLE)
        self._check_architecture(config, features, params)
        old_table, old_offsets = weights.pop("table"), config["table"]["offsets"]
        model.load_state_dict(weights)
        layout = TableLayout.of(features.fields, features.rows)
        kept = 0
        for field in features.fields:
            old = pq.read_table(self.directory / "vocab" / f"{field.name}.parquet")["value"].to_pylist()
            here, there = _common(field, features.vocabulary(field.name)["value"].to_pylist(), old)
            rows, old_rows = torch.from_numpy(here), torch.from_numpy(there)
            table[layout.offsets[field.name] + rows] = old_table[old_offsets[field.name] + old_rows].to(table.device)
            kept += len(here)
        print(f"starting from {self.version[:12]}: {kept:,} of {len(table):,} embedding rows", flush=True)

    def check_split(self, features: Features) -> None:
        """Today's validation and test rows must be none that the bundle trained on.

        Raises:
            InputError: they may be: it was split otherwise, or saw a newer log.
        """
        facts, ours = documents.read(Facts, self.directory / FACTS), features.manifest
        protocol = {"name": ours["protocol"], **{key: ours["params"][key] for key in _DECISIVE}}
        keys = protocol if ours["protocol"] != "temporal" else ("name",)
        differ = [
            f"{key} {facts['protocol'][key]!r} there, {protocol[key]!r} here"
            for key in keys
            if facts["protocol"][key] != protocol[key]
        ]
        if ours["protocol"] != "by_user" and _time(facts["train_until"]) > _time(ours["train_until"]):
            differ.append(f"trained until {facts['train_until']} there, {ours['train_until']} here")
        if differ:
            raise InputError(
                f"train.warm_start: bundle {self.version[:12]} may have trained on today's held-out rows: "
                f"{'; '.join(differ)}; pin an older bundle of the same split"
            )

    def _check_architecture(self, config: ModelConfig, features: Features, params: Train) -> None:
        settings = [
            (name, config["train"].get(name), value) for name, value in to_json(params).items() if name in _SETTINGS
        ]
        fields = (_names(config["fields"]), _names(features.manifest["fields"]))
        differ = [
            f"{name} {there} there, {here} here"
            for name, there, here in (*settings, ("fields", *fields))
            if there != here
        ]
        if differ:
            raise InputError(
                f"train.warm_start: bundle {self.version[:12]} is of another architecture: {'; '.join(differ)}; "
                "restore that, or train once without a warm start"
            )


def _names(records: list[FieldRecord]) -> str:
    return ", ".join(f"{record['group']}.{record['name']}: {record['kind']}" for record in records)


def _time(iso: str) -> datetime:
    time = datetime.fromisoformat(iso)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _common(field: Field, here: list[Any], there: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Ids of the same value now and then, [N] each; unknown is one."""
    if field.kind is Kind.NUMERIC:
        ids = np.arange(len(here) if len(here) == len(there) else 1)
        return ids, ids
    old = {text(value): i for i, value in enumerate(there)}
    pairs = [(i, old[key]) for i, value in enumerate(here) if (key := text(value)) in old]
    ids, old_ids = np.array(pairs, np.int64).reshape(-1, 2).T
    return ids, old_ids
