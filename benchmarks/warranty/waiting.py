"""How long a champion stays: `DAYS` days of sound lessons, each of which is judged before it ships.

A day that does not ship waits, and is learned and judged with the next ones as one lesson. Every look at the champion
spends a part of the permitted error, as in the product.
"""

from dataclasses import dataclass

from benchmarks.warranty.champions import champion, settings
from benchmarks.warranty.lessons import METRICS, effects, knows_its_rows, verdict
from din.document_types import Verdict
from din.features.days import days_of
from din.metrics.estimates import Metric
from din.params import Params
from din.registry.looks import View

DAYS = 60


@dataclass(frozen=True)
class Wait:
    """The verdicts of each day.

    Attributes:
        users: the users who learn.
        champion: the verdicts of the comparison with the champion.
        shipped: the verdicts of the gate `shipped`.
    """

    users: int
    seed: int
    champion: list[Verdict]
    shipped: list[Verdict]

    @property
    def stays(self) -> list[int]:
        """The number of days that each champion stayed, and for the last one how long it has stayed."""
        stays = [0]
        for verdicts in zip(self.champion, self.shipped, strict=True):
            stays[-1] += 1
            if verdicts == ("open", "open"):
                stays.append(0)
        return [days for days in stays if days]


def wait(params: Params, users: int, seed: int, days: int = DAYS) -> Wait:
    """Draw a log, train a champion, and let it learn day after day.

    Args:
        params: params.yaml.
        users: the users who learn.
        seed: seeds the log and the training.
        days: how long.
    """
    own = settings(params, users, users, days, seed)
    found = Wait(users, seed, [], [])
    with champion(own, users) as now:
        lesson = []
        views: dict[Metric, list[View]] = {metric: [] for metric in METRICS}
        for day in days_of(now.features, "test"):
            lesson.append(day)
            before = now.score(now.start(), lesson)
            learner = now.learned(lesson)
            fitted = now.cross_fitted(lesson)
            numbers = frozenset(one.day.toordinal() for one in lesson)
            for metric, change in effects(before, fitted.unseen.probabilities).items():
                views[metric].append(View(numbers, change))
            shipped = now.score(learner, lesson).probabilities
            found.champion.append(verdict(views, own.gate))
            found.shipped.append(knows_its_rows(own, before, fitted, shipped))
            if found.champion[-1] == found.shipped[-1] == "open":
                now = now.of(learner, now.train, now.compute)
                lesson = []
                views = {metric: [] for metric in METRICS}
    return found
