"""Change keys of the block `train` wherever they lie in it."""

from dataclasses import fields, replace
from typing import Any

from din.params.train import Train

BLOCKS = ("model", "learning", "compute")


def changed(train: Train, **keys: Any) -> Train:
    """Return the settings with other values for keys of its blocks, e.g. `changed(train, epochs=2, hidden=(8,))`."""
    left = dict(keys)
    for block in BLOCKS:
        settings = getattr(train, block)
        own = {field.name: left.pop(field.name) for field in fields(settings) if field.name in left}
        train = replace(train, **{block: replace(settings, **own)})
    return replace(train, **left)
