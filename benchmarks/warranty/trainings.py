"""Pairs of real trainings on small simulated logs: a champion, and candidates that are equal or spoiled in one way.

Each log is drawn anew. A spoiled candidate learns from a spoiled copy of its log, in which the rows of held-out users
are as they were, so champion and candidate score the same test rows. A few hundred test users decide, as in the gate.
All the others tell how good the two really are.
"""

from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from din.artifacts import MANIFEST, hash_files, write_json
from din.features.reader import Features
from din.featurize.build import featurize
from din.params import Params, source_settings
from din.schema import BEHAVIOUR, LABEL, TIMESTAMP, USER_ID
from din.sources import rawlog
from din.sources.rawlog import Part, RawLog
from din.sources.simulate import Simulation
from din.train.compute import computing
from din.train.fit import fit
from din.train.predict import EVALUATION_BATCH, predict
from din.workspace import FORMAT, Workspace

JUDGING = 400
"""The number of test users that decide; the others tell the truth."""
_USERS = 5_000
_IMPRESSIONS = 15
_DAYS = 20
_LEARNED_USERS = 1_500
"""The number of users to learn from and to validate on, whatever the size of the log."""

Spoil = Callable[[RawLog, pa.Array, np.random.Generator], RawLog]
"""Spoils a log, but for the rows of the users that are named."""


def nothing(log: RawLog, held_out: pa.Array, rng: np.random.Generator) -> RawLog:
    """Return the log as it is."""
    return log


def thirty_percent(log: RawLog, held_out: pa.Array, rng: np.random.Generator) -> RawLog:
    """Keep three tenths of the users to learn from."""
    users = pc.unique(log.events.table[USER_ID])
    kept = users.filter(pa.array(rng.random(len(users)) < 0.3))
    return _events(log, lambda events: events.filter(pc.is_in(events[USER_ID], pa.concat_arrays([held_out, kept]))))


def broken_field(log: RawLog, held_out: pa.Array, rng: np.random.Generator) -> RawLog:
    """Give a tenth of the items the category of another item, for training and test rows alike."""
    assert log.items
    items = log.items.table
    category = items["category"].to_numpy().copy()
    wrong = np.flatnonzero(rng.random(len(category)) < 0.1)
    category[wrong] = category[rng.permutation(wrong)]
    column = items.schema.get_field_index("category")
    return replace(log, items=part(items.set_column(column, "category", pa.array(category))))


def ten_days_old(log: RawLog, held_out: pa.Array, rng: np.random.Generator) -> RawLog:
    """Take away the last ten days of what there is to learn."""
    end = pc.max(log.events.table[TIMESTAMP])
    start = pc.subtract(end, pa.scalar(10 * 86_400_000_000, pa.duration("us")))

    def old(events: pa.Table) -> pa.Table:
        return events.filter(pc.or_(pc.is_in(events[USER_ID], held_out), pc.less(events[TIMESTAMP], start)))

    return _events(log, old)


def shuffled_labels(log: RawLog, held_out: pa.Array, rng: np.random.Generator) -> RawLog:
    """Shuffle the labels of a twentieth of the rows to learn from."""
    events = log.events.table
    label = events[LABEL].to_numpy().copy()
    learned = ~pc.is_in(events[USER_ID], held_out).to_numpy(zero_copy_only=False)
    drawn = np.flatnonzero(learned & (rng.random(len(label)) < 0.05))
    label[drawn] = label[rng.permutation(drawn)]
    for name in (LABEL, BEHAVIOUR):
        events = events.set_column(events.schema.get_field_index(name), name, pa.array(label))
    return replace(log, events=part(events))


KINDS: dict[str, Spoil] = {
    "equal, another seed": nothing,
    "30 % of the users": thirty_percent,
    "a tenth of the categories wrong": broken_field,
    "ten days old": ten_days_old,
    "5 % of the labels shuffled": shuffled_labels,
}


@dataclass(frozen=True)
class Pair:
    """The test rows of a champion and a candidate, [B] each.

    Attributes:
        kind: a key of `KINDS`.
        judging: whether a row belongs to the users that decide.
    """

    kind: str
    user: np.ndarray
    label: np.ndarray
    champion: np.ndarray
    candidate: np.ndarray
    judging: np.ndarray


def pairs(params: Params, seed: int) -> list[Pair]:
    """Draw a log, train a champion and one candidate of each kind, and return their test rows.

    Args:
        params: params.yaml; the block `train` is used as it is.
        seed: seeds the log, the faults, and the two trainings.
    """
    rng = np.random.default_rng(seed)
    drawn = _simulated(params, _USERS, seed)
    log = Simulation(drawn.fetch.simulate).read()
    champion = _trained(drawn, log, seed=1)
    held_out = pa.array(np.unique(champion["user"]))
    judging = np.isin(champion["user"], rng.choice(held_out.to_numpy(), JUDGING, replace=False))
    found = []
    for kind, spoil in KINDS.items():
        candidate = _trained(drawn, spoil(log, held_out, rng), seed=2)
        assert np.array_equal(champion["label"], candidate["label"])
        scores = {"champion": champion["prediction"], "candidate": candidate["prediction"]}
        found.append(Pair(kind, champion["user"], champion["label"], judging=judging, **scores))
    return found


def equal_pair(params: Params, test_users: int) -> Pair:
    """Train twice on one log, and return the rows of many test users."""
    drawn = _simulated(params, test_users + _LEARNED_USERS, seed=0)
    log = Simulation(drawn.fetch.simulate).read()
    champion = _trained(drawn, log, seed=1)
    candidate = _trained(drawn, log, seed=2)
    everyone = np.ones(len(champion["label"]), bool)
    scores = {"champion": champion["prediction"], "candidate": candidate["prediction"]}
    return Pair("equal", champion["user"], champion["label"], judging=everyone, **scores)


def _simulated(params: Params, users: int, seed: int) -> Params:
    simulate = replace(
        params.fetch.simulate, users=users, impressions_per_user=_IMPRESSIONS, days=_DAYS, items=1000, seed=seed
    )
    learned = _LEARNED_USERS / users
    featurize = replace(
        params.featurize, fields=None, protocol="by_user", test_fraction=1 - learned, valid_fraction=learned / 5
    )
    return replace(params, fetch=replace(params.fetch, source="simulate", simulate=simulate), featurize=featurize)


def _trained(params: Params, log: RawLog, seed: int) -> dict[str, np.ndarray]:
    """Featurize and train, and return raw user, label and prediction of the test rows, ordered by sequence."""
    learning = replace(params.train.learning, seed=seed)
    with TemporaryDirectory() as folder, redirect_stdout(StringIO()):
        workspace = Workspace(Path(folder))
        featurized(workspace, params, log)
        features = Features(workspace.features)
        with computing(params.train.compute) as compute:
            trained, _ = fit(features, replace(params.train, learning=learning), compute=compute)
            rows = predict(trained, features, "test", EVALUATION_BATCH, compute)
        user = features.raw_users().take(pa.array(rows.rows["user"])).to_numpy()
    order = np.argsort(rows.rows["sequence"])
    columns = {"user": user, "label": rows.rows["label"], "prediction": rows.probabilities}
    return {name: column[order] for name, column in columns.items()}


def featurized(workspace: Workspace, params: Params, log: RawLog) -> None:
    """Write a log and its features to a workspace."""
    described = rawlog.write(log, workspace.raw, None)
    origin = {"format": FORMAT, "source": params.fetch.source, "params": source_settings(params)}
    write_json(workspace.raw / MANIFEST, origin | {"files": hash_files(workspace.raw)} | described)
    featurize(workspace, params)


def part(table: pa.Table) -> Part:
    """Return a simulated table as a part of a log."""
    return Part(table, (("simulate", table.num_rows),))


def _events(log: RawLog, change: Callable[[pa.Table], pa.Table]) -> RawLog:
    return replace(log, events=part(change(log.events.table)))
