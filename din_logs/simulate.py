"""A simulated log with planted interests, whose best possible AUC is known: `fetch.source: simulate`.

Each user is interested in 3-5 categories and has a prior history of behaviours in them. Half of the candidates come
from the user's own categories, the others from any. Within a category items are drawn uniformly, so the popularity of
an item carries no information.

A click depends only on n, the number of the user's own earlier behaviours in the candidate's category, which includes
clicks as they happen: logit = -1.6 + 1.17 log(1 + n). No user ever has more than 50 behaviours, so a model with a
history of 50 can know all that the oracle knows. The code is vectorised over users; the defaults take about 0.1 s.
"""

from typing import Any

import numpy as np
import pyarrow as pa

from din.data.rawlog import TIME, RawLog
from din.data.rows import Rows
from din.data.source import Source
from din.params.blocks import to_json
from din.params.fetch import Simulate
from din.schema import BEHAVIOUR, DAY_US, ITEM_ID, LABEL, SEQUENCE, TIMESTAMP, USER_ID

INTERCEPT, SLOPE = -1.6, 1.17
INTERESTS = (3, 5)
PRIOR = (5, 30)
MAX_BEHAVIOURS = 50
OWN = 0.5  # share of candidates from the user's own categories
START_US = 1_704_067_200_000_000  # 2024-01-01; prior histories end here
FIELDS = {"item": {"category": "categorical"}}


class Simulation(Source):
    """The log that `fetch.simulate` describes; equal parameters give equal logs."""

    params: Simulate

    def identity(self) -> Any:
        """Return the parameters, which determine the log."""
        return to_json(self.params)

    def read(self) -> RawLog:
        """Draw the log."""
        return draw(self.params)


def draw(p: Simulate) -> RawLog:
    """Draw the log that the parameters describe."""
    rng = np.random.default_rng(p.seed)
    n = p.users
    steps = p.impressions_per_user
    users = np.arange(n)

    interests = np.argsort(rng.random((n, p.categories)), axis=1)[:, : INTERESTS[1]]
    interest_count = rng.integers(INTERESTS[0], INTERESTS[1] + 1, n)
    weights = rng.exponential(size=(n, INTERESTS[1])) * (np.arange(INTERESTS[1]) < interest_count[:, None])
    reach = weights.cumsum(axis=1) / weights.sum(axis=1, keepdims=True)

    prior_count = rng.integers(PRIOR[0], min(PRIOR[1], MAX_BEHAVIOURS + 1 - steps) + 1, n)
    length = prior_count.max() + steps
    # behaviours[u, :filled[u]] are the categories of user u's behaviours so far, oldest first
    picks = (rng.random((n, length, 1)) >= reach[:, None, :]).sum(axis=2)
    behaviours = interests[users[:, None], picks]
    filled = prior_count.copy()
    prior = np.arange(length) < prior_count[:, None]
    prior_items = draw_items(rng, behaviours[prior], p)

    candidates = np.where(
        rng.random((n, steps)) < OWN,
        interests[users[:, None], rng.integers(0, interest_count[:, None], (n, steps))],
        rng.integers(0, p.categories, (n, steps)),
    )
    probability = np.empty((n, steps))
    label = np.empty((n, steps), dtype=np.int8)
    for step in range(steps):
        candidate = candidates[:, step]
        seen = (behaviours == candidate[:, None]) & (np.arange(length) < filled[:, None])
        probability[:, step] = 1 / (1 + np.exp(-INTERCEPT - SLOPE * np.log1p(seen.sum(axis=1))))
        clicked = rng.random(n) < probability[:, step]
        label[:, step] = clicked
        behaviours[users[clicked], filled[clicked]] = candidate[clicked]
        filled += clicked

    slot = p.days * DAY_US // steps  # one impression per slot, so a user's times never tie
    time = START_US + np.arange(steps) * slot + rng.integers(0, slot, (n, steps))
    order = np.argsort(time, axis=None, kind="stable")
    item = draw_items(rng, candidates.ravel()[order], p)
    of_user, position = np.nonzero(prior)
    before = START_US - (prior_count[of_user] - position) * (DAY_US // 2)
    sequence = np.arange(n * steps)
    return RawLog(
        events=events(1 + np.repeat(users, steps)[order], item, time.ravel()[order], sequence, label.ravel()[order]),
        items=Rows.of("simulate", {ITEM_ID: 1 + np.arange(p.items), "category": np.arange(p.items) % p.categories}),
        history=Rows.of("simulate", behaviours_of(1 + of_user, prior_items, before, position)),
        truth=pa.table({SEQUENCE: sequence, "probability": probability.ravel()[order]}),
        fields=FIELDS,
        protocol="by_user",
    )


def draw_items(rng: np.random.Generator, categories: np.ndarray, p: Simulate) -> np.ndarray:
    """Draw an item id for each category id; category c has the items 1 + c, 1 + c + categories, and so on."""
    count = (p.items - 1 - categories) // p.categories + 1
    return 1 + categories + p.categories * rng.integers(0, count)


def behaviours_of(user: np.ndarray, item: np.ndarray, time: np.ndarray, sequence: np.ndarray) -> dict[str, Any]:
    """Return the columns of behaviours; times are in µs."""
    return {USER_ID: user, ITEM_ID: item, TIMESTAMP: pa.array(time).cast(TIME), SEQUENCE: sequence}


def events(user: np.ndarray, item: np.ndarray, time: np.ndarray, sequence: np.ndarray, label: np.ndarray) -> Rows:
    """Return events whose clicks are the behaviours."""
    label = label.astype(np.int8)
    return Rows.of("simulate", behaviours_of(user, item, time, sequence) | {LABEL: label, BEHAVIOUR: label})
