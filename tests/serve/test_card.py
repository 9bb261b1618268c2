"""The sentences of a model card about rows that count differently."""

from typing import Any

import documents_of
import pytest

from din.facts import Facts
from din.serve.card import model_card

PLAIN: dict[str, Any] = {"data": {"window_days": None, "history_days": None}, "featurize": {}, "train": {}}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"negatives": {"log": 1.0, "training": 0.1003}},
            "Training kept 0.1003 of the log's rows without a click, and corrected for the others.",
        ),
        (
            {"negatives": {"log": 0.25, "training": 1.0}},
            "The log holds only 0.25 of the impressions without a click, so the probabilities p are too high for the "
            "traffic itself. There, the click-through rate is p / (p + (1 − p) / 0.25).",
        ),
        ({"params": PLAIN | {"featurize": {"weight": "worth"}}}, "as much as the log's column `worth` says"),
        (
            {"params": PLAIN | {"train": {"learning": {"half_life_days": 7.5}}}},
            "A training row that is 7.5 days older weighs half as much.",
        ),
    ],
)
def test_a_card_says_which_rows_count_differently(changes: dict[str, Any], sentence: str) -> None:
    """Each sentence is in the card of its model, and not in that of a plain one."""
    own = {"protocol": documents_of.PROTOCOL, "params": PLAIN}
    assert sentence in model_card(Facts(**documents_of.facts(**own | changes)), ())
    assert sentence not in model_card(Facts(**documents_of.facts(**own)), ())
