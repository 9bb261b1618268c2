"""Champions of simulated logs by days, as in docs/examples/month.yaml but smaller, and the lessons that they learn.

A log has users who learn, and others who only tell the truth. The others have rows on the last day alone. Their clicks
of earlier days are in their histories, so that they are users like the rest.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor

from benchmarks.environments import ROOT
from benchmarks.warranty.trainings import featurized, part
from din.features.days import DayRows, in_order_of_files
from din.features.packing import Packer
from din.features.reader import Features
from din.params import Params, Train, parse, to_json
from din.params.overlays import nested, overlaid, read_overlay
from din.schema import BEHAVIOUR, DAY_US, ITEM_ID, LABEL, SEQUENCE, TIMESTAMP, USER_ID
from din.sources.daily_simulation import World
from din.sources.rawlog import TIME, RawLog
from din.sources.simulate import START_US
from din.train.advance import advance, learn_day
from din.train.compute import Compute, computing
from din.train.crossfit import FOLDS, CrossFitted, cross_fit
from din.train.fit import fit_learner
from din.train.learner import Learner
from din.train.predict import EVALUATION_BATCH, Predictions, predict
from din.workspace import Workspace

IMPRESSIONS = 5
"""Impressions of a user on a usual day."""
EPOCHS = 3
EPOCH_DAYS = 7
"""The days that a champion learns by epochs."""
PASS_DAYS = 6
"""The days that it learns in a pass afterwards, as one that goes on daily."""

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Champion:
    """A model with the state of its optimizers, and the features with the ids that it knows."""

    features: Features
    state: State
    train: Train
    compute: Compute

    @classmethod
    def of(cls, learner: Learner, train: Train, compute: Compute) -> Self:
        """Copy the state of a learner."""
        return cls(learner.features, {name: own.clone() for name, own in learner.state().items()}, train, compute)

    def start(self) -> Learner:
        """Return a new learner in this state."""
        learner = Learner(self.features, Packer(self.features), self.train, self.compute)
        learner.load_state({name: own.clone() for name, own in self.state.items()})
        return learner

    def learned(self, days: Sequence[DayRows]) -> Learner:
        """Return a learner that has learned some days."""
        learner = self.start()
        for day in days:
            learner, _ = learn_day(learner, day, self.train, self.compute)
        return learner

    def cross_fitted(self, days: Sequence[DayRows], folds: int = FOLDS) -> CrossFitted:
        """Cross-fit a lesson of some test days."""
        return cross_fit(self.start, days, self.train, self.compute, folds)["test"]

    def after(self, days: Sequence[DayRows]) -> Self:
        """Return the champion that has learned some days."""
        return self.of(self.learned(days), self.train, self.compute)

    def score(self, learner: Learner, days: Sequence[DayRows]) -> Predictions:
        """Return a learner's predictions of some test days."""
        rows = in_order_of_files(days)
        return predict(learner.trained, learner.features, "test", EVALUATION_BATCH, self.compute, rows)


def settings(params: Params, users: int, all_users: int, days: int, seed: int) -> Params:
    """Return the parameters of a small log by days, and of a small model.

    Args:
        params: params.yaml.
        users: the users who learn.
        all_users: those and the ones who only tell the truth.
        days: the number of test days.
        seed: seeds the log and the training.
    """
    month = ROOT / "docs/examples/month.yaml"
    values = {
        "data.until": None,
        "fetch.simulate.users": all_users,
        "fetch.simulate.daily.impressions": IMPRESSIONS * all_users,
        "fetch.simulate.days": EPOCH_DAYS + PASS_DAYS + days,
        "fetch.simulate.seed": seed,
        "featurize.valid_days": PASS_DAYS,
        "featurize.test_days": days,
        "train.learning.seed": seed,
        "train.learning.epochs": EPOCHS,
        "train.model.hidden": [64, 32],
        "train.model.attention_hidden": [32],
    }
    asked = overlaid(to_json(params), read_overlay(month), month)
    return parse(Params, overlaid(asked, nested(values), "the settings of a lesson"), month)


def drawn(params: Params, users: int) -> RawLog:
    """Draw the log; users beyond the first `users` have rows on the last day alone."""
    world = World(params.fetch.simulate)
    last = params.fetch.simulate.days - 1
    events = pa.concat_tables(_events(world, day) for day in range(last + 1)).combine_chunks()
    events = events.append_column(SEQUENCE, pa.array(np.arange(len(events))))
    has_rows = pc.or_(
        pc.less_equal(events[USER_ID], users),
        pc.greater_equal(events[TIMESTAMP].cast(pa.int64()), START_US + last * DAY_US),
    )
    clicks = events.filter(pc.and_(pc.invert(has_rows), pc.equal(events[LABEL], 1)))
    history = world.history()
    return RawLog(
        events=part(events.filter(has_rows)),
        items=part(world.items(last)),
        history=part(pa.concat_tables([history, clicks.select(history.column_names)])),
        fields={"item": {"category": "categorical"}},
        protocol="temporal",
        daily=True,
    )


def _events(world: World, day: int) -> pa.Table:
    found = world.impressions(day)
    label = found.label.astype(np.int8)
    time = pa.array(found.time).cast(TIME)
    return pa.table({USER_ID: found.user, ITEM_ID: found.item, TIMESTAMP: time, LABEL: label, BEHAVIOUR: label})


@contextmanager
def champion(params: Params, users: int) -> Iterator[Champion]:
    """Draw a log and train a champion that has learned all but its test days."""
    with TemporaryDirectory() as folder, computing(params.train.compute) as compute:
        workspace = Workspace(Path(folder))
        with redirect_stdout(StringIO()):
            featurized(workspace, params, drawn(params, users))
            features = Features(workspace.features)
            learner, _ = fit_learner(features, params.train, compute=compute, with_optimizers=True)
            learner = advance(learner, params.train, "valid", compute).learner
        yield Champion.of(learner, params.train, compute)
