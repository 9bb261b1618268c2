"""A slow twin of `din_logs.daily_simulation.World`, which walks through the days one after another."""

import math

from din_logs.daily_simulation import PRIOR_DAYS, World


def generation(day: int, phase: int, length: int | None) -> int:
    """Walk to a day, and start the next generation whenever the one alive has lasted `length` days."""
    alive, age = 0, phase
    for _ in range(-PRIOR_DAYS, day):
        age += 1
        if age == length:
            alive, age = alive + 1, 0
    return alive


def interests(world: World, user: int, day: int) -> dict[int, float]:
    """Return the share of each of a user's categories on a day."""
    weights: dict[int, float] = {}
    for slot in range(world.interest_count[user]):
        alive = generation(day, world.interest_phase[user, slot], world.daily.interest_days)
        drawn = world.new_interests(alive)
        category = int(drawn.categories[user, slot])
        weights[category] = weights.get(category, 0.0) + drawn.weights[user, slot]
    return {category: weight / sum(weights.values()) for category, weight in weights.items()}


def shown(world: World, day: int) -> dict[int, int]:
    """Return the category of each item that is shown on a day."""
    items = world.params.items
    alive = [generation(day, world.item_phase[slot], world.daily.item_days) for slot in range(items)]
    return {1 + slot + items * alive[slot]: slot % world.params.categories for slot in range(items)}


def probability(world: World, user: int, category: int, day: int) -> float:
    """Return the probability that a user clicks on an item of a category on a day."""
    share = interests(world, user, day).get(category, 0.0)
    weekend = math.cos(2 * math.pi * (day % 7 - 5.5) / 7)
    logit = -1.6 + 1.17 * math.log(1 + 40 * share) + world.fashion(day)[category] + world.daily.weekly_ctr * weekend
    return 1 / (1 + math.exp(-logit))
