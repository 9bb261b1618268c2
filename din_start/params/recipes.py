"""Settings of training that suit the public logs of a protocol."""

from typing import Any

RECIPES: dict[str, dict[str, Any]] = {
    "temporal": {"learning.initial_item_bias": "zero"},
    "leave_last_out": {"model.softmax": True, "learning.average": 0.25},
    "by_user": {
        "model.softmax": True,
        "learning.embedding_std": 0.004,
        "learning.learning_rate": 0.0016,
        "learning.average": 0.5,
        "learning.regularization": 32.0,
    },
}
"""Changes that suit public logs of a protocol; docs/tuning.md has figures. `din init` applies those of the log's."""

ALWAYS: dict[str, Any] = {"model.blend": True}
"""Changes that suit all logs."""
