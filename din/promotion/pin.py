"""Pin the champion that a run goes on from (`train.champion`), so that its stages stay functions of their inputs.

A run over the days until D goes on from the newest champion whose log ended before D. So a rerun of a day, or a
backfill, starts from the same bundle as the first run of that day did, whoever is champion now. It never starts from a
bundle that a rollback removed, nor from one that holds the lessons of such a bundle.
"""

from datetime import date

from din.errors import InputError
from din.params import Train
from din.params.train import WEEKDAYS
from din.promotion.champion import removed_lesson, until
from din.registry.registry import Registry

NONE = "none"
"""The pin of a run that has no champion to go on from, or is not to go on from it."""


def pin(registry: Registry, train: Train, day: date) -> str:
    """Return the value of `train.champion` for a run over the days until a day, inclusive.

    It is `none` if there is no earlier champion, or on the day of the week that `train.scratch_day` names.

    Raises:
        InputError: the run starts from scratch, so it needs no champion, or the registry can't be read.
        Unavailable: the registry doesn't answer.
    """
    if train.start == "scratch":
        raise InputError("train.start is scratch, so there is nothing to pin; set train.start: champion first")
    if train.scratch_day == WEEKDAYS[day.weekday()]:
        return NONE
    history = registry.history()
    for record in reversed(history):
        if until(registry.facts(record.version)) < day and not removed_lesson(registry, history, record.version):
            return str(record.version)
    return NONE
