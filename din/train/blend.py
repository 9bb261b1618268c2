"""Fit the blend (`din.model.blend`): statistics of items on training rows, and its weights on validation rows.

The weights are a logistic regression with a ridge that draws them to the model alone: slope 1 for its logit, and 0 for
all else. A slope is penalised like `_SLOPE` rows, or half the rows of a user if these are more, since rows of one user
tell less than rows of many. Bends serve large logs, and are penalised five times as much where users have many rows.

No weight of the model was fitted on validation rows, but they have chosen its epoch. Afterwards the blended model must
not be judged on them.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from torch import Tensor

from din.features.day_rows import microseconds
from din.features.packing import Packer, TableLayout
from din.features.reader import Features, smoothed_ctr
from din.kinds import Bucket, OneId
from din.model.artifact import Trained
from din.model.blend import Blend, BlendRecord
from din.model.embedding import to_tensors
from din.ops.constants import SHRINK
from din.ops.histories import Packed
from din.schema import ITEM_ID, Group, SplitName
from din.train.compute import Compute
from din.train.loader import evaluation_batches
from din.train.neighbours import cosine_vectors, factors, shrunk_means
from din.train.predict import EVALUATION_BATCH, predict
from din.train.results import BlendSummary

Floats = NDArray[np.float64]
Chosen = Sequence[NDArray[np.int64]]

_FEWEST_USERS = 20  # validation users; a blend that was fitted on five once lost .05 of AUC, one on twenty .001
_MOST_ROWS = 1 << 18  # validation rows that weights are fitted on
_QUANTILES = (0.2, 0.4, 0.6, 0.8)  # of a column, where it may bend
_SLOPE = 30.0
_STARTS = 2  # of the factor model; their results are averaged


class Fitted(NamedTuple):
    """A blend, and what it does on the rows that it was fitted on."""

    blend: Blend
    summary: BlendSummary


def fit_blend(trained: Trained, features: Features, compute: Compute) -> Fitted | None:
    """Return the blend of a model that has learned the training split alone, or None if validation users are too few.

    Args:
        trained: the model, without a blend.
        features: the features that it knows.
    """
    total = features.split_rows("valid")
    step = -(-sum(total) // _MOST_ROWS)
    chosen = [np.arange(0, rows, step) for rows in total]
    predictions = predict(trained, features, "valid", compute=compute, chosen=chosen)
    label, user = predictions.rows["label"].astype(np.float64), predictions.rows["user"]
    users = len(np.unique(user))
    if users < _FEWEST_USERS or len(np.unique(label)) < 2:
        print(f"no blend: {users} validation users, fewer than {_FEWEST_USERS}, or rows of one class", flush=True)
        return None
    table = statistics(features)
    offset = features.offset("valid")
    columns = columns_of(table, features, "valid", predictions.logits - offset, chosen)
    weights = Weights.fitted(columns, label, len(label) / users, offset)
    effects = dict(zip(table.record.columns, weights.parts(columns).std(0).round(4).tolist(), strict=True))
    print(f"blended with {', '.join(table.record.columns[1:])} on {len(label):,} validation rows", flush=True)
    table.add(weights.tensors())
    return Fitted(table, BlendSummary(rows=len(label), users=users, effects=effects))


def columns_of(table: Blend, features: Features, split: SplitName, logits: Floats, chosen: Chosen) -> Floats:
    """Return the columns of rows, [N, K].

    Args:
        table: a blend, with or without weights.
        features: the features that it was made for.
        split: the split of the rows.
        logits: [N], of the model alone and of the traffic.
        chosen: the positions of the rows in each shard.
    """
    packer = Packer(features)
    parts = []
    start = 0
    for number, positions in enumerate(chosen):
        shard = features.shard(number, split)
        for packed in evaluation_batches(packer, shard, positions, EVALUATION_BATCH):
            logit_B = torch.from_numpy(logits[start : start + len(packed)]).float()
            start += len(packed)
            batch = to_tensors(packed)
            with torch.inference_mode():
                parts.append(table.columns(logit_B, batch, Packed(batch.segment, len(packed))).double().numpy())
    return np.concatenate(parts)


class Weights(NamedTuple):
    """The weights of a blend of K columns with J knots each; see `Blend`."""

    centre: Floats  # [K]
    scale: Floats  # [K]
    knots: Floats  # [J, K]
    slopes: Floats  # [K]
    bends: Floats  # [J, K]
    constant: float

    @classmethod
    def fitted(cls, columns: Floats, label: Floats, rows_per_user: float, offset: float) -> "Weights":
        """Fit the weights.

        Args:
            columns: [N, K], the model's logit first.
            label: [N].
            rows_per_user: the mean number of rows of a user.
            offset: added to the logits of these rows, for the negatives that the log left out.
        """
        centre = columns.mean(0)
        spread = columns.std(0)
        scale = np.where(spread < 1e-6, 1.0, spread)
        z = (columns - centre) / scale
        knots = np.quantile(z, _QUANTILES, axis=0)
        bent = np.maximum(z[:, None, :] - knots, 0).reshape(len(z), -1)
        middle = bent.mean(0)
        design = np.concatenate([z, bent - middle, np.ones((len(z), 1))], 1)
        width = columns.shape[1]
        penalty = np.full(design.shape[1], max(_SLOPE, 2.5 * rows_per_user))
        penalty[:width] = max(_SLOPE, 0.5 * rows_per_user)
        penalty[-1] = 1e-6
        prior = np.zeros(design.shape[1])
        prior[0] = scale[0]
        prior[-1] = centre[0]

        def value(weights: Floats) -> float:
            logit = design @ weights + offset
            misfit = (np.logaddexp(0, logit) - label * logit).sum()
            return float(misfit + (penalty * (weights - prior) ** 2).sum() / 2)

        def gradient(weights: Floats) -> Floats:
            return design.T @ (expit(design @ weights + offset) - label) + penalty * (weights - prior)

        def curvature(weights: Floats) -> Floats:
            p = expit(design @ weights + offset)
            return (design * (p * (1 - p))[:, None]).T @ design + np.diag(penalty)

        weights = minimize(value, prior, jac=gradient, hess=curvature, method="trust-exact").x
        slopes, bends, constant = np.split(weights, [width, len(weights) - 1])
        return cls(centre, scale, knots, slopes, bends.reshape(knots.shape), float(constant[0] - middle @ bends))

    def parts(self, columns: Floats) -> Floats:
        """Return what each column adds to the logit, [N, K]."""
        z = (columns - self.centre) / self.scale
        return z * self.slopes + (np.maximum(z[:, None, :] - self.knots, 0) * self.bends).sum(1)

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights as a blend holds them."""
        return {name: torch.tensor(value).float() for name, value in self._asdict().items()}


def statistics(features: Features, until: datetime | None = None) -> Blend:
    """Return a blend without weights: the statistics of items, by the ids that the features know.

    Args:
        until: leave out later rows. None: read the whole training split.
    """
    items = features.rows[ITEM_ID]
    names, counts = _counts(features, until)
    feedback = _feedback(features)
    users, ids, values = [], [], []
    for number in range(features.manifest.shards):
        known = _known(features, number, until)
        behaviours = features.shard(number, "train").behaviours
        users.append(features.user_rows(number, "behaviours")[known].astype(np.int64))
        ids.append(features.items[ITEM_ID].values[behaviours.item[known]].astype(np.int64))
        if feedback:
            values.append(feedback.values[behaviours.fields[feedback.field].values[known]])
    user_T, item_T = np.concatenate(users), np.concatenate(ids)
    tables = {"counts": counts, "vectors": cosine_vectors(user_T, item_T, items)}
    names = ["model", *names, "behaviours", "nearest", "near"]
    if feedback and len(item_T):
        value_T = np.concatenate(values)
        means = shrunk_means(item_T, value_T, items, SHRINK)
        starts = [factors(user_T, item_T, value_T - means[item_T], items, seed) for seed in range(_STARTS)]
        tables |= {
            "values": feedback.values,
            "means": means,
            "factors": np.stack([start.item_Ir for start in starts]),
            "noise": np.array([start.noise for start in starts]),
        }
        names += ["liked", "level", "taste"]
    record = BlendRecord(columns=names, feedback=feedback.field if feedback and "values" in tables else None)
    tensors = {name: torch.from_numpy(table).float() for name, table in tables.items()}
    return Blend(record, tensors, features.fields, TableLayout.of(features.fields, features.rows))


def _known(features: Features, number: int, until: datetime | None) -> NDArray[np.bool_]:
    """Mark a shard's behaviours of training users that come before each user's first row that is judged."""
    behaviours = features.shard(number, "train").behaviours
    user = features.user_rows(number, "behaviours")
    first = np.zeros(features.manifest.users, np.int64)
    first[features.shard(number, "train").impressions.user] = len(user)
    for split in ("valid", "test"):
        impressions = features.shard(number, split).impressions
        np.minimum.at(first, impressions.user, impressions.history_end)
    known = np.arange(len(user)) < first[user]
    return known if until is None else known & (behaviours.time <= microseconds(until))


def _counts(features: Features, until: datetime | None) -> tuple[list[str], Floats]:
    """Return the names and the columns [ids, columns] that depend on an item's training rows.

    The unknown id counts as never shown: its rows are those of many items.
    """
    counts = features.training_counts(None if until is None else microseconds(until))
    ids, rows = features.items[ITEM_ID].values, features.rows[ITEM_ID]
    shown = np.bincount(ids, counts.shown(features.kept_negatives), rows)
    clicks = np.bincount(ids, counts.clicks, rows)
    shown[0] = clicks[0] = 0
    columns = {"impressions": np.log1p(shown), "clicks": np.log1p(clicks)}
    if not counts.sampled:
        ctr = smoothed_ctr(clicks, shown).clip(1e-6, 1 - 1e-6)  # before the first click all of them are 0
        columns["popularity"] = np.log(ctr) - np.log1p(-ctr)
    return list(columns), np.stack(list(columns.values()), 1)


class _Feedback(NamedTuple):
    """A behaviour field whose values are numbers."""

    field: str
    values: Floats  # by the field's ids; the mean for the unknown value


def _feedback(features: Features) -> _Feedback | None:
    """Return the first behaviour field whose values are numbers, such as stars. None if there is none."""
    return next(_numeric(features), None)


def _numeric(features: Features) -> Iterator[_Feedback]:
    for field in features.of(Group.BEHAVIOUR):
        rows = features.rows[field.name]
        if isinstance(field.form, Bucket):
            values = np.arange(rows, dtype=np.float64)
        elif isinstance(field.form, OneId) and not field.form.identifies:
            values = _as_numbers(features.vocabulary(field.name)["value"].to_pylist()[1:])
            values = np.append(values.mean() if len(values) else np.nan, values)
        else:
            continue
        if len(values) > 3 and np.isfinite(values).all():
            yield _Feedback(field.name, values)


def _as_numbers(values: list[object]) -> Floats:
    """Return values as numbers, NaN for one that is none."""
    try:
        return np.array([float(str(value)) for value in values])
    except ValueError:
        return np.full(1, np.nan)
