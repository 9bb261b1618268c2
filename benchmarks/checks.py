"""Refuse impossible results before they reach a page.

The incident behind these checks: the trainer began to read its rows a second time after each epoch. The benchmark
detected epochs by these reads and timed only the second one. It printed 25.9 and 73.2 times the speed of the fastest
peer, and just below, that the matrix products take 315 % of an epoch.
"""

from math import nan
from typing import Any

from benchmarks.measure import EPOCHS
from din.base.errors import InputError

OVER_PEER = "ours to the fastest peer"
_PARTS = ("epochs", "settling", "validation", "rest")
_GAP = 0.1
_GAIN = 2


def accounted(run: dict[str, Any]) -> float:
    """Return the sum of the recorded parts of a training as a share of its wall time."""
    return sum(run["training"][part] for part in _PARTS) / run["training"]["whole"]


def check_training(what: str, run: dict[str, Any], rows: int) -> None:
    """Check that every epoch trained on every row, and that the parts of a training add up to its wall time.

    Raises:
        InputError: one of the two does not hold.
    """
    training = run["training"]
    expected = EPOCHS * rows
    if training["rows"] != expected:
        raise InputError(
            f"{what}: it trained on {training['rows']:,} rows in {EPOCHS} epochs; expected {expected:,}, every row in "
            "every epoch"
        )
    share = accounted(run)
    if abs(1 - share) > _GAP:
        parts = ", ".join(f"{part} {training[part]:.3f} s" for part in _PARTS)
        gap = (1 - share) * training["whole"]
        raise InputError(
            f"{what}: its training took {training['whole']:.3f} s, and its parts ({parts}) add up to {share:.0%} of "
            f"that: a gap of {gap:.3f} s; expected at most {_GAP:.0%}, so something is timed wrongly"
        )


def check_share(what: str, run: dict[str, Any]) -> None:
    """Check that an epoch takes longer than its matrix products alone.

    Raises:
        InputError: it does not.
    """
    share = run["roofline_seconds"] / run["epoch_seconds"]
    if share > 1:
        raise InputError(
            f"{what}: the matrix products alone take {share:.0%} of an epoch; expected at most 100 %, so the epoch or "
            "the products are timed wrongly"
        )


def check_factors(tables: str, page: str) -> None:
    """Check that no factor over the fastest peer is more than `_GAIN` times the published one.

    Raises:
        InputError: a factor is.
    """
    published = _factors(page)
    for title, factors in _factors(tables).items():
        for factor, before in zip(factors, published.get(title, factors), strict=True):
            if factor > _GAIN * before:
                raise InputError(
                    f"{title}: {factor} times the fastest peer, and the page says {before}; expected at most {_GAIN} "
                    "times the page's. If the difference method (four epochs less one) agrees, take the table from the "
                    "page and measure again"
                )


def _factors(text: str) -> dict[str, list[float]]:
    """Return the factors over the fastest peer, of training and of scoring, by the title of the table."""
    factors: dict[str, list[float]] = {}
    title = ""
    for line in text.splitlines():
        if line.startswith("**"):
            title = line.strip("*")
        elif line.startswith(f"| {OVER_PEER} |"):
            cells = line.split("|")[2:4]
            factors[title] = [float(cell.strip(" *×")) if "×" in cell else nan for cell in cells]
    return factors
