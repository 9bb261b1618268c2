"""The models: functions from embedding rows and a packed batch to logits, with dense weights of their own.

Names of tensors end in their shapes, `query_BD` for [B, D]:

    B  impressions                 D  item width: item fields × embedding width
    T  packed behaviours           K  behaviour width: D + behaviour fields × embedding width
    U  distinct items              H  hidden units
    C  candidates of one request   I  inputs of the MLP
    L  its behaviours              F  field vectors, each of width d
    N  rows of any batch           R  rows of the embedding table that a model is given, W its width
"""

from collections.abc import Callable
from typing import Any

from din.seams import Seam

MODELS: Seam[Callable[..., Any]] = Seam(
    "model",
    {
        "din": "din.model.din",
        "base": "din.model.base",
        "lr": "din.model.lr",
        "wide_deep": "din.model.wide_deep",
        "pnn": "din.model.pnn",
        "deepfm": "din.model.deepfm",
    },
)
