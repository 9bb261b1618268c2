"""The features suite on leaks and shifts: each one closes its gate."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from din.metrics.ranking import auc
from din.params.reading import Params
from din.schema import DAY_US, SPLITS, Group
from tests.validation.planting import (
    FEATURES,
    HERE,
    ITEMS,
    SHARDS,
    USERS,
    Plant,
    columns,
    failed,
    fill,
    judge,
    leaking,
    limits,
    names,
    seal,
    shard,
    shards,
)
from validation import rates
from validation.feature_directory import FeatureDirectory
from validation.features import PHASES
from validation.meaning import _item_order, held_out_auc
from validation.sample import Codes, EncodedImpressions, Sample, in_second_half
from validation.thresholds import threshold

LOWEST = threshold("features", "rate_of_judged_rows", Params()).minimum or 0.0
LEAST_LEFT = threshold("features", "grade_of_judged_rows", Params()).minimum or 0.0
Enter = Callable[..., Params]


def noise(label: np.ndarray) -> np.ndarray:
    """Return values far from 0 on both sides for clicks, and near 0 for others, so that no threshold separates them."""
    side = np.where(np.arange(len(label)) % 2, 1, -1)
    return np.where(label == 1, side * 2.0, 0.1 * side).astype(np.float32)


def mostly(label: np.ndarray) -> np.ndarray:
    """Return categories that equal the label except for a fifth of the rows."""
    right = np.random.default_rng(5).random(len(label)) < 0.8
    return np.where(right, 1 + label, 2 - label).astype(np.int32)


def exclusive_or() -> None:
    """Add two contexts that carry no information alone: coins, of which one is turned for a click."""
    random = np.random.default_rng(5)
    for path in shards(*SPLITS):
        label = columns(path)["label"]
        coin = random.integers(0, 2, len(label))
        fill(path, "tab", (1 + coin).astype(np.int32))
        fill(path, "hour", (coin ^ label).astype(np.float32))


def item_rate(*splits: str) -> Plant:
    """Set a price that is the item's CTR over whole splits, or NaN if they don't show it."""

    def plant() -> None:
        rows = [columns(path) for path in shards(*splits)]
        item, label = (np.concatenate([one[name] for one in rows]) for name in ("item", "label"))
        items = pq.read_metadata(ITEMS).num_rows
        with np.errstate(invalid="ignore"):
            rate = np.bincount(item, weights=label, minlength=items) / np.bincount(item, minlength=items)
        fill(ITEMS, "price", rate.astype(np.float32))

    return plant


def item_grades() -> None:
    """Set a price that is the third of the items' CTRs, over the whole log, into which the item falls."""
    item_rate(*SPLITS)()
    rate = pq.read_table(ITEMS)["price"].to_numpy()
    fill(ITEMS, "price", np.searchsorted(np.nanquantile(rate, [1 / 3, 2 / 3]), rate).astype(np.float32))


def clicks_of_the_day() -> None:
    """Set a context to the number of the user's clicks on the day, later ones included."""
    for path in shards(*SPLITS):
        rows = columns(path)
        _, day = np.unique(rows["user"] * 10**6 + rows["timestamp"] // DAY_US, return_inverse=True)
        fill(path, "hour", np.bincount(day, weights=rows["label"])[day].astype(np.float32))


def knowing_histories() -> None:
    """Give each click a history whose newest behaviour is the click itself."""
    for number in range(SHARDS):
        item = columns(shard("behaviours", number))["item"].copy()
        for split in SPLITS:
            rows = columns(shard(split, number))
            clicked = (rows["label"] == 1) & (rows["history_end"] > rows["history_start"])
            item[rows["history_end"][clicked] - 1] = rows["item"][clicked]
        fill(shard("behaviours", number), "item", item)


def last_click_known() -> None:
    """Give each user only the last click as history, just before it; as no item repeats, every hit is a leak."""
    for number in range(SHARDS):
        rows = columns(shard("test", number))
        clicked = np.flatnonzero((rows["label"] == 1) & (rows["history_end"] > rows["history_start"]))
        last = clicked[np.append(rows["user"][clicked][1:] != rows["user"][clicked][:-1], True)]
        item = np.zeros_like(columns(shard("behaviours", number))["item"])
        item[rows["history_end"][last] - 1] = rows["item"][last]
        fill(shard("behaviours", number), "item", item)


def popular_items() -> None:
    """Show few items often, the same ones on all days."""
    items = pq.read_metadata(ITEMS).num_rows
    random = np.random.default_rng(5)
    for path in shards(*SPLITS):
        item = 1 + (items - 1) * random.random(pq.read_metadata(path).num_rows) ** 3
        fill(path, "item", item.astype(np.int32))


def other_popular_items() -> None:
    """Show few items often, and others on the test days."""
    popular_items()
    items = pq.read_metadata(ITEMS).num_rows
    other = np.r_[0, 1 + np.random.default_rng(5).permutation(items - 1)].astype(np.int32)
    for path in shards("test"):
        fill(path, "item", other[columns(path)["item"]])


def half_of_the_prices() -> None:
    price = pq.read_table(ITEMS)["price"].to_numpy().copy()
    price[::2] = np.nan
    fill(ITEMS, "price", price)


@dataclass(frozen=True)
class Defect:
    """A planted defect, the critical expectations that must fail while others hold, and warnings that must be given."""

    plant: Plant
    critical: frozenset[str] = frozenset()
    warnings: frozenset[str] = frozenset()


def defect(plant: Plant, critical: str = "", warnings: str = "") -> Defect:
    """Return a defect with expectations given as words."""
    return Defect(plant, frozenset(critical.split()), frozenset(warnings.split()))


def coded(label: np.ndarray) -> np.ndarray:
    return (1 + label).astype(np.int32)


def vectors(label: np.ndarray) -> list[np.ndarray]:
    """Vectors of which one direction tells the label, and none of the numbers alone."""
    random = np.random.default_rng(5)
    drawn = random.normal(size=(len(label), 4))
    drawn[:, 3] = label - drawn[:, :3].sum(1) + 0.1 * random.normal(size=len(label))
    return list(drawn.astype(np.float32))


DEFECTS: dict[str, Defect] = {
    "context is the label": defect(leaking("tab", coded), "label_leak"),
    "context betrays the label": defect(leaking("hour", noise), "label_leak"),
    "context leaks on test days": defect(leaking("tab", mostly, "test"), "label_leak_later"),
    "a vector tells the label": defect(leaking("place", vectors), "label_leak"),
    "label is a pair": defect(exclusive_or, "pair_leak"),
    "item CTR over the whole log": defect(item_rate(*SPLITS), "rate_of_judged_rows"),
    "item CTR over the training days": defect(item_rate("train"), warnings="rate_of_training_rows"),
    "item grades over the whole log": defect(item_grades, "rate_of_judged_rows grade_of_judged_rows"),
    "clicks of the user's day": defect(clicks_of_the_day, "rate_of_judged_rows"),
    "histories hold the click": defect(knowing_histories, "history_leak"),
    "histories hold each user's last click": defect(last_click_known, "history_leak_later"),
    "a user field matches nobody": defect(lambda: fill(USERS, "age", 0), "empty_field", "missing_values"),
    "half of the prices missing": defect(half_of_the_prices, warnings="missing_values"),
    "other popular items on test days": defect(other_popular_items, "item_order_kept"),
    "popular items": defect(popular_items),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_each_leak_or_shift_closes_exactly_its_expectations(name: str, workspace: Enter) -> None:
    """The named critical expectations fail, all others hold, and each failure shows an example."""
    params = workspace("temporal")
    planted = DEFECTS[name]
    planted.plant()
    seal(FEATURES)
    report = judge("features", params)
    found = failed(report)
    assert found.keys() == planted.critical
    assert all(entry["sample"] for entry in found.values())
    assert planted.warnings <= failed(report, "warning").keys()


def test_new_items_are_no_leak_beside_drawn_negatives(workspace: Enter) -> None:
    """Under `leave_last_out`, last clicks are on a few new items, and negatives are drawn from all."""
    params = workspace("leave_last_out")
    items = pq.read_metadata(ITEMS).num_rows
    for path in shards("test"):
        rows = columns(path)
        new = items - 1 - rows["user"] % 20
        fill(path, "item", np.where(rows["label"] == 1, new, rows["item"]))
    seal(FEATURES)
    report = judge("features", params)
    assert failed(report).keys().isdisjoint({"label_leak", "label_leak_later"})


def test_every_leak_or_shift_is_planted(workspace: Enter) -> None:
    """Every expectation on meaning needs a defect above."""
    planted = frozenset().union(*(one.critical | one.warnings for one in DEFECTS.values()))
    assert names(PHASES, workspace("temporal"), "meaning") <= planted


def deviation(group: Group, random: np.random.Generator) -> float:
    """Return the deviation from 0.5, in standard errors, of the AUC of a field that says nothing about the label."""
    rows = 2_000
    owners = {Group.USER: random.integers(0, 300, rows), Group.ITEM: random.integers(0, 300, rows)}
    user = owners[Group.USER]
    of_row = random.integers(1, 301, rows)
    code = random.integers(1, 301, 300)[owners[group]] if group in owners else of_row
    part = EncodedImpressions(
        name="test",
        label=random.random(rows) < 0.2,
        user=user,
        item=owners[Group.ITEM],
        timestamp=np.zeros(rows),
        half=in_second_half(user),
        codes={"tab": Codes(code, np.arange(rows), 301)},
        shares={"category": of_row / 300},
    )
    of_history = group is Group.BEHAVIOUR
    value = auc(part.label, part.shares["category"]) if of_history else held_out_auc(part, part.codes["tab"])
    return (value - 0.5) / part.noise(group)


@pytest.mark.parametrize("group", [Group.CONTEXT, Group.USER, Group.ITEM, Group.BEHAVIOUR])
def test_noise_is_the_spread_of_uninformative_fields(group: Group) -> None:
    """Labels differ by row here, so `noise` is too large where it counts an owner's rows once."""
    random = np.random.default_rng(5)
    spread = np.std([deviation(group, random) for _ in range(400)])
    assert {Group.USER: 0.25, Group.ITEM: 0.45}.get(group, 0.9) < spread < 1.1


@pytest.mark.parametrize("seed", range(3))
def test_few_judged_rows_lose_no_order(seed: int, workspace: Enter) -> None:
    """Among many items, few rows agree little with training, and as many late rows would agree no better."""
    sample = Sample(FeatureDirectory(HERE, workspace("temporal")))
    items = 3000
    sample.features.items = pa.table({"value": np.arange(items)})
    random = np.random.default_rng(seed)
    popularity = 1 + random.pareto(2.5, items)

    def drawn(name: str, rows: int) -> EncodedImpressions:
        zeros = np.zeros(rows, int)
        item = random.choice(items, rows, p=popularity / popularity.sum())
        return EncodedImpressions(name, zeros, zeros, item, zeros, zeros > 0, {}, {})

    sample.train = drawn("train", 120_000)
    sample.early_and_late = (drawn("early", 60_000), drawn("late", 60_000))
    sample.judged = [drawn(f"day {day}", 150) for day in range(4)]
    assert _item_order(sample).sample == []


def test_too_small_a_log_is_not_judged() -> None:
    """With too few items, a correlation can't be told from chance, so it is not judged."""
    few = rates.Counts(np.full(20, 3.0), np.arange(20.0) % 4)
    assert rates.correlation(np.arange(20.0), few, few) is None


@pytest.mark.parametrize("seed", range(5))
def test_honest_values_never_exclude(seed: int) -> None:
    """For an honest value, two parts of differing CTR and volume don't exclude each other; for a sum, they do."""
    random = np.random.default_rng(seed)
    true = random.beta(2, 3, 400)
    shown = random.integers(1, 40, (2, 400)) * random.geometric(0.3, 400)
    parts = [rates.Counts(shown[0], random.binomial(shown[0], true))]
    parts += [rates.Counts(shown[1], random.binomial(shown[1], true * 0.7))]
    whole = parts[0] + parts[1]
    rate = parts[0].clicks / parts[0].shown
    for honest in (true, random.random(400), true.round(1), rate, parts[0].clicks, *shown, shown[0] + shown[1]):
        found = rates.correlation(honest, *parts)
        assert found is not None and found > LOWEST
    for telling in (
        whole.clicks / whole.shown,
        (whole.clicks + 2) / (whole.shown + 5),
        whole.clicks,
        whole.clicks - 1e-6,
    ):
        found = rates.correlation(telling, *parts)
        assert found is not None and found < LOWEST


@pytest.mark.parametrize("seed", range(5))
def test_honest_grades_leave_faults(seed: int) -> None:
    """Grades of the true rate, of training or of an earlier log misplace items by later clicks; only later ones don't.

    Cut into few grades, a true rate and categories that determine it are the hardest honest attributes.
    """
    random = np.random.default_rng(seed)
    kind = random.integers(0, 3, 2_000)
    true = random.beta(4, 12, 2_000) * np.array([0.2, 0.6, 1.0])[kind]
    shown = random.integers(1, 20, (3, 2_000)) * random.geometric(0.2, 2_000)
    earlier, train, later = (rates.Counts(part, random.binomial(part, true)) for part in shown)
    whole = train + later

    def thirds(score: np.ndarray) -> np.ndarray:
        return np.searchsorted(np.quantile(score, [1 / 3, 2 / 3]), score).astype(float)

    for honest in (thirds(true), kind.astype(float), *(thirds(part.clicks / part.shown) for part in (earlier, train))):
        left = rates.faults_left(honest, train, later)
        assert left is None or left > LEAST_LEFT
    for telling in (thirds(whole.clicks / whole.shown), (whole.clicks / whole.shown > 0.3).astype(float)):
        left = rates.faults_left(telling, train, later)
        assert left is not None and left < LEAST_LEFT


def test_too_few_rows_name_the_dates_of_the_splits(workspace: Enter) -> None:
    """If one row of another year becomes the test split, the message names its date."""
    params = workspace("temporal")
    found = failed(judge("features", limits(params, "validate_features", min_rows=10**6)))
    assert "2024-01-05 to 2024-01-06" in found["split_rows"]["advice"]
    dates = {row["split"]: row["dates"] for row in found["split_rows"]["sample"]}
    assert dates["train"] == "2024-01-01 to 2024-01-03"
