"""Judge the new days of a model before it ships, by cross-fitting over users.

The *new days* are those that a model learns once, after its epochs. A model must not be judged on rows that it has
learned, and tomorrow's rows do not exist yet. Therefore the users are split into folds, and each fold is scored by a
model that has learned the new days from the users of the other folds:

    fold     model starts from               learns the rows of    scores the rows of
    0        the model before the new days   all but fold 0        fold 0
    1        the model before the new days   all but fold 1        fold 1
    …

Together, the scores measure how well learning generalises to users whose rows were not learned. Each model learns all
new days before it scores any, as the shipped model does. It also scores the rows that it has learned. The shipped
model, which has learned all folds, should know its rows at least as well.

Each model learns a part of the new rows, so it gains less than the shipped model. On KuaiRand-Pure, two folds made a
sound refit look harmful: −0.0028 of AUC, although it gained 0.0047 on the next day. With four folds it looked neutral.
Four folds cost about five times as much as the refit, scoring included.

A user's fold depends on the raw id alone, so a rerun or a backfill makes the same folds.

Reference: Chernozhukov et al., Econometrics Journal 21 (2018), where cross-fitting is named.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from din.features.day_rows import DayRows, in_order_of_files
from din.features.reader import Features
from din.schema import SplitName
from din.train.advance import learn_day
from din.train.learner import Learner
from din.train.predict import Predictions, predict

FOLDS = 4

Shards = list[NDArray[np.int64]]
"""For each shard, positions of rows in a split, or one number for each row."""
Positions = dict[SplitName, Shards]


@dataclass(frozen=True)
class CrossFitted:
    """The predictions for the rows of the new days in one split, in the order of its files.

    Attributes:
        unseen: by a model that has not learned the rows of their user.
        taught: by a model that has.
    """

    unseen: Predictions
    taught: Predictions


def cross_fit(
    start: Callable[[], Learner], days: Sequence[DayRows], folds: int = FOLDS
) -> dict[SplitName, CrossFitted]:
    """Return the cross-fitted predictions for the rows of the new days, by split.

    Args:
        start: returns a new learner in the state before the new days.
        days: the new days, at least one, in order.
        folds: the number of groups that the users are split into, at least two.

    Raises:
        InputError: the loss is not finite.
    """
    splits: list[SplitName] = list(dict.fromkeys(day.split for day in days))
    rows: Positions = {split: in_order_of_files([day for day in days if day.split == split]) for split in splits}
    fold_of = _folds(start().features, rows, folds)
    scores: list[dict[SplitName, Predictions]] = []
    for fold in range(folds):
        learner = start()
        for day in days:
            others = day.where([of_shard != fold for of_shard in fold_of[day.split]])
            if len(others):
                learner, _ = learn_day(learner, others)
        model, features = learner.trained, learner.features
        scores.append({s: predict(model, features, s, compute=learner.compute, chosen=rows[s]) for s in splits})
    return {split: _chosen([by_split[split] for by_split in scores], rows[split], fold_of[split]) for split in splits}


def _chosen(scores: list[Predictions], rows: Shards, fold_of: Shards) -> CrossFitted:
    """Choose, for each row, the predictions of one model that has not learned its user and of one that has."""
    fold = np.concatenate([of_shard[chosen] for chosen, of_shard in zip(rows, fold_of, strict=True)])
    columns = scores[0].rows
    logits = np.stack([model.logits for model in scores])
    row = np.arange(len(fold))
    learned = (fold + 1) % len(scores)
    return CrossFitted(Predictions(columns, logits[fold, row]), Predictions(columns, logits[learned, row]))


def _folds(features: Features, rows: Positions, folds: int) -> Positions:
    """Return the fold of the user of each row of the splits of the new days; other rows have fold −1."""
    users = {
        split: [features.user_rows(number, split) for number in range(len(shards))] for split, shards in rows.items()
    }
    chosen_users = [
        user[chosen] for split, shards in rows.items() for user, chosen in zip(users[split], shards, strict=True)
    ]
    distinct = np.unique(np.concatenate(chosen_users))
    fold_of_user = np.full(features.manifest.users, -1)
    fold_of_user[distinct] = [_fold(raw, folds) for raw in features.raw_users().take(pa.array(distinct)).to_pylist()]
    return {split: [fold_of_user[user] for user in users[split]] for split in rows}


def _fold(raw_user: object, folds: int) -> int:
    digest = blake2b(str(raw_user).encode(), digest_size=8, key=b"cross-fitting").digest()
    return int.from_bytes(digest, "little") % folds
