"""A month of daily runs that was made up, for tests of its page."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.daily import CHAMPION, SCRATCH
from benchmarks.month.days import Day, Month, Settings, Step

ROOT = Path(__file__).parents[1]
SETTINGS = Settings("0" * 40, days=4, earlier=8, impressions=300, faults=("flood",))
SCORED = ("truth", "champion", "first", "scratch")
"""The models that scored the days 2 and 4."""


def begun(folder: Path) -> Month:
    """Return a month that has not begun."""
    return Month.opened(folder, ROOT, SETTINGS, {})


def ended(month: Month, number: int, *steps: Step, policy: str = CHAMPION) -> Day:
    """Keep a day that has ended."""
    day = month.day(policy, number)
    return month.keep(
        policy, replace(day, steps=steps, bundle=f"{number}", table_rows=100, learning=2.0, finished=True)
    )


def four_days(month: Month) -> None:
    """Let a month have ended: two promotions, one after a kill, a planted defect, and a closed gate."""
    rng = np.random.default_rng(1)
    user, label = np.arange(400) % 80, (rng.random(400) < 0.4).astype(np.int8)
    good, bad = label + rng.normal(0, 1, 400), label + rng.normal(0, 3, 400)
    scores = dict(zip(SCORED, (label, good, bad, good), strict=True))
    for number in (2, 4):
        month.scores(number).parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"user": user, "label": label, **scores}), month.scores(number))
    promote = Step("promote", 0, 1.0, "")
    ended(month, 1, promote)
    ended(month, 2, Step("refit", None, 1.0, ""), Step("refit", 0, 3.0, ""), promote)
    ended(month, 3, Step("validate_raw", 3, 1.0, f"{month.folder}/source: robots, rates"))
    ended(month, 4, Step("gate", 3, 1.0, "champion_delta_auc"))
    ended(month, 2, Step("train", 0, 30.0, ""), promote, policy=SCRATCH)
