"""Continue a champion, with the state of its optimizer, on the days that it has not seen: `train.start: champion`.

The bundle may be from an earlier release, as long as its architecture and optimizer are the same. A key of the
architecture that came later has its default there, because the default of a new key is what the code did before. Other
parameters of its training, such as `epochs`, are not read.

Dense weights are copied. Embeddings are matched by value, field by field. A value in both vocabularies gets its old
row, and a value that is new today keeps its random one, with an item bias of 0. Buckets of a numeric field are matched
by position if there are as many as before: the third quartile is still the third quartile.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from din.base import documents
from din.base.errors import InputError
from din.bundle.contents import FACTS
from din.contracts.facts import Facts
from din.contracts.manifests import FieldRecord
from din.features.day_rows import days_of
from din.features.packing import TableLayout
from din.features.reader import Features
from din.kinds import text
from din.metrics.learned_rows import TrainingExtent
from din.model import artifact
from din.model.blend import Blend
from din.params.blocks import to_json
from din.params.train import ModelParams, Train
from din.schema import Field
from din.train.blend import statistics
from din.train.compute import Compute
from din.train.learner import Learner
from din.train.shared_rows import SharedRows

_ABSENT = "absent"
_ADVICE = "train once from scratch, or restore that if this release has it"
_OTHER_RELEASE = "another release made this bundle: pin a later one, or train once from scratch (train.start: scratch)"


@dataclass(frozen=True)
class ChampionStart:
    """The bundle of a champion to continue. The hashes of its files have been verified."""

    version: str
    directory: Path

    def continued(self, features: Features, params: Train, compute: Compute) -> Learner:
        """Return the bundle's model with the state of its optimizers.

        The learner knows the ids that became known until the last day that the bundle has learned.

        Raises:
            InputError: the bundle holds no weights or optimizers, or belongs to another architecture or optimizer.
        """
        learned_features = features.at(self.seen_until.date())
        shared = self.shared_rows(learned_features, params.model)
        there = self._config.train.get("learning", {}).get("optimizer", _ABSENT)
        here = params.learning.optimizer
        if there != here:
            raise self._error(f"was trained with train.learning.optimizer: {there}, and now it is {here}; {_ADVICE}")
        # Among the training rows may be some of the new days, whose clicks must not tell where a new item starts.
        unbiased = replace(params, learning=replace(params.learning, initial_item_bias="zero"))
        learner = Learner(learned_features, unbiased, compute)
        learner.load_state(artifact.read_state(self._model), shared)
        learner.attach(self._blend(learned_features))
        rows = len(learner.table)
        print(f"continuing {self.version[:12]}: {len(shared.new):,} of {rows:,} embedding rows", flush=True)
        return learner

    def _blend(self, features: Features) -> Blend | None:
        """Return the bundle's blend, with statistics of the rows that the bundle has learned and today's log holds.

        Raises:
            InputError: today's log gives other columns.
        """
        there = artifact.load_blend(features, self._model)
        if there is None:
            return None
        blend = statistics(features, self.seen_until)
        if blend.record != there.record:
            columns = (", ".join(record.columns) for record in (there.record, blend.record))
            raise self._error("blends {}, and this log gives {}; train once from scratch".format(*columns))
        blend.add(there.weights())
        return blend

    @property
    def seen_until(self) -> datetime:
        """The time of the last row that the bundle has learned."""
        return self._training.seen_until

    def check_newer(self, features: Features) -> None:
        """Check that test rows are left that the bundle has not learned.

        Raises:
            InputError: none are left, or the bundle's rows were not held out by time, so this can't be decided.
        """
        require_temporal(self._training.protocol, "in the bundle")
        if not days_of(features, "test", self.seen_until):
            raise self._error(
                f"has learned rows until {self.seen_until}, and the log ends on {features.last_day()}: nothing is left "
                "to judge it on; fetch a newer day, pin an older champion, or set train.start: scratch"
            )

    @property
    def _model(self) -> Path:
        return self.directory / artifact.IN_BUNDLE

    @property
    def _config(self) -> artifact.ModelConfig:
        return artifact.read_config(self._model, _OTHER_RELEASE)

    @property
    def _training(self) -> TrainingExtent:
        return TrainingExtent.of_bundle(documents.read(Facts, self.directory / FACTS, _OTHER_RELEASE))

    def _error(self, problem: str) -> InputError:
        return InputError(f"train.champion: bundle {self.version[:12]} {problem}")

    def shared_rows(self, features: Features, params: ModelParams) -> SharedRows:
        """Return the rows that the bundle's table shares with one for `features`.

        Raises:
            InputError: the bundle has no weights, or they belong to another architecture. Their meaning depends on all
                of `train.model`, and on the fields; the message names everything that differs.
        """
        if not self._model.is_dir():
            raise self._error("holds no weights to start from; pin a later one")
        config = self._config
        there, here = to_json(ModelParams()) | config.train.get("model", {}), to_json(params)
        settings = [(name, made, here.get(name, _ABSENT)) for name, made in there.items()]
        settings.append(("fields", _names(config.fields), _names(features.records)))
        differ = [f"{name} {made} there, {now} here" for name, made, now in settings if made != now]
        if differ:
            raise self._error(f"has another architecture: {'; '.join(differ)}; {_ADVICE}")
        layout = TableLayout.of(features.fields, features.rows)
        parts = []
        for field in features.fields:
            before = pq.read_table(self.directory / "vocab" / f"{field.name}.parquet")["value"].to_pylist()
            today = features.vocabulary(field.name)["value"].to_pylist()
            offset = config.table.offsets[field.name]
            parts.append(_common(field, before, today).placed(offset, layout.offsets[field.name]))
        return SharedRows.joined(parts)


def require_temporal(protocol: str, place: str) -> None:
    """Check that rows are held out by time, without which a champion can't be continued.

    Raises:
        InputError: the protocol is another one. `place` says where.
    """
    if protocol != "temporal":
        raise InputError(
            f"train.start: champion needs the split temporal, since a champion continues by learning new days; it is "
            f"{protocol} {place}; set train.start: scratch"
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
    new_ids = [i for i, value in enumerate(today) if value in old]
    old_ids = [old[today[i]] for i in new_ids]
    return SharedRows(torch.tensor(old_ids, dtype=torch.int64), torch.tensor(new_ids, dtype=torch.int64))
