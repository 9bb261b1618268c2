"""A month of daily runs on a simulated log, with faults planted in its data and in learning.

Each day runs every stage of dvc.yaml and `promote`, as a run of the pipeline does, but in this process and in one
workspace. The first day's model is trained from scratch, and every later one continues the champion.

    .din/month/<digest>/source/              see `benchmarks.simulated_source`
    .din/month/<digest>/workspace, registry  where the stages run
    .din/month/<digest>/output.txt           the output of the stages
    .din/month/<digest>/<date>-<digest>.json the run of a day
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

from benchmarks import harness, in_process
from benchmarks.daily import CHAMPION
from benchmarks.defects import plants as p
from benchmarks.defects.learning import PLANTS
from benchmarks.generated_tables import publish
from benchmarks.simulated_source import SimulatedSource, date_of, simulated_log
from benchmarks.warranty import share
from din.base.errors import InputError
from din.base.workspace import Workspace
from din.params.reading import Params
from din.release.registry.champions import pin
from din.release.registry.registry import Registry

DATA = {
    "milliseconds": ("times in milliseconds instead of seconds", p.last_day(p.milliseconds)),
    "flood": ("one user clicks on everything, half as often as all others together", p.last_day(p.one_robot(0.5))),
    "labels": ("labels of the log flipped", p.last_day(p.flipped)),
    "categories": ("each item has the category of another", p.table("items", p.shuffled("category"))),
    "yesterday": ("the day before, delivered again as today", p.events(p.yesterdays_as_todays)),
    "late": ("the day arrives one day late", p.last_day(p.keep(0))),
    "shrunk": ("the day before has lost half of its rows", p.events(p.on_all_but_newest(1, p.keep(0.5)))),
    "renumbered": (
        "each user has the id of another, and so has each item",
        p.last_day(p.permuted_ids("user_id"), p.permuted_ids("item_id")),
    ),
}
"""Defects in the files of a day and the day before: a description for the page, and the function that plants it."""
LESSONS = (
    "rate_10",
    "flipped",
    "vocabulary",
    "shuffled",
    "sign",
    "ascent",
    "extremes",
    "shifted",
    "rate_20",
    "optimizer_scaled",
)
"""Faults of `PLANTS` in a day's stage `refit`. Each does great harm; see the table in docs/defects.md."""
FAULTS = tuple(name for turn in zip_longest(LESSONS, DATA) for name in turn if name)
"""All faults, alternating between learning and data. Thirty days have room for all."""
USERS = 2000
_SHOWN = 90
"""The longest reason of a refusal in the table."""


@dataclass(frozen=True)
class Month:
    """The settings of a month.

    Attributes:
        earlier: the number of days of the log before the first run.
        impressions: the impressions of a usual day.
        faults: the names of the faults to plant, in order.
        seed: the offset of the seeds of the log and of training.
    """

    days: int = 30
    earlier: int = 13
    impressions: int = 5000
    faults: tuple[str, ...] = FAULTS
    seed: int = 0

    def planted(self) -> dict[int, str]:
        """Return the fault planted on each bad day, by the day's number, counted from 1.

        Two bad days are followed by a sound one. The first two days and the last one are sound.
        """
        return dict(zip((day for day in range(3, self.days) if day % 3 != 2), self.faults, strict=False))

    def log_day(self, number: int) -> int:
        """Return the day of the log, counted from 0, for a day of the month, counted from 1."""
        return self.earlier + number - 1

    def date(self, number: int) -> str:
        """Return the date of a day of the month."""
        return date_of(self.log_day(number)).isoformat()

    def log(self, folder: Path) -> tuple[SimulatedSource, Params]:
        """Return the source of the month's log in a folder, and the parameters that read it."""
        return simulated_log(folder / "source", USERS, self.impressions, self.seed)

    def params(self, folder: Path, number: int) -> Params:
        """Return the parameters of a day's run in the folder of a month, with the champion pinned."""
        _, params = self.log(folder)
        until = date_of(self.log_day(number))
        # After a day of bad files, the operator accepts the corrected ones, which may have fewer rows.
        shrunk = "accept" if self.planted().get(number - 1) in DATA else params.fetch.shrunk_days
        params = replace(
            params,
            data=replace(params.data, until=until, window_days=self.earlier + 1),
            fetch=replace(params.fetch, shrunk_days=shrunk),
            promote=replace(params.promote, registry=str(folder / "registry")),
            train=replace(params.train, start=CHAMPION),
        )
        champion = pin(Registry.of(Workspace(folder), params), params.train, until)
        return replace(params, train=replace(params.train, champion=champion))


@dataclass(frozen=True)
class DayRun:
    """The run of a day.

    Attributes:
        number: the day, counted from 1.
        fault: the name of the planted fault, or None.
        refused: the refusal, or None if the day's bundle became the champion.
    """

    number: int
    fault: str | None
    refused: in_process.RefusedRun | None


def main() -> int:
    """Run the command line and return the exit code: 0 = done, 2 = bad usage or input."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.month", description="Run a month of daily runs.")
    parser.add_argument("--seed", type=int, default=0, help="what to add to the seeds of the log and of the training")
    parser.add_argument("--write", action="store_true", help="write the tables to docs/simulated-logs.md")
    options = parser.parse_args()
    month = Month(seed=options.seed)
    return publish("month" if options.write else "", lambda: text(month, *run_month(harness.STORE / "month", month)))


def run_month(place: Path, month: Month) -> tuple[Path, list[DayRun]]:
    """Run all days that have not finished yet, and return the folder of the month and all days.

    Raises:
        InputError: the first day made no champion.
    """
    folder = (
        harness.StudyCase("month", run_day, (month,)).path(place).with_suffix("")
    )  # other settings or code start anew
    days: list[DayRun] = []
    for number in range(1, month.days + 1):
        days += harness.results(folder, [harness.StudyCase(month.date(number), run_day, (month, number))])
        print(f"{month.date(number)}: {verdict(folder, days[-1])}", file=sys.stderr, flush=True)
        if days[0].refused:
            raise InputError(f"{verdict(folder, days[0])}; without a first champion no day can continue one")
    return folder, days


def run_day(kept: Path, month: Month, number: int) -> DayRun:
    """Run a day, counted from 1. `kept` is the path of the case's document."""
    folder = kept.parent
    fault = month.planted().get(number)
    month.log(folder)[0].deliver(month.log_day(number), DATA[fault][1] if fault in DATA else None)
    here = Workspace(folder / "workspace")
    here.root.mkdir(parents=True, exist_ok=True)
    plant = PLANTS[fault] if fault in LESSONS else None
    params = month.params(folder, number)
    return DayRun(number, fault, in_process.refusal(in_process.STEPS, here, params, folder / "output.txt", plant))


def text(month: Month, folder: Path, days: Sequence[DayRun]) -> str:
    """Return a summary in a few sentences, and the table of days."""
    bad = [day for day in days if day.fault]
    sound = [day for day in days if not day.fault]
    served = served_bad_days(month, folder, days)
    replaced = sum(not day.refused for day in sound)
    lessons = [day for day in bad if day.fault in LESSONS]
    gated = sum(day.refused is not None and day.refused.step == "gate" for day in lessons)
    listed = f" ({', '.join(served)})" if served else ""
    said = [
        f"Models of bad days that served: {share([month.date(day.number) in served for day in bad])}{listed}.",
        f"Bad lessons among these days: {len(lessons)}, of which `gate` refused {gated}.",
        f"Sound days: {len(sound)}. The champion was replaced on {replaced} of them "
        f"({100 * replaced / len(sound):.0f} %; bar: 80 %).",
    ]
    rows = [[month.date(day.number), _what(day.fault), verdict(folder, day)] for day in days]
    return "".join(f"- {line}\n" for line in said) + "\n" + harness.table(["day", "planted", "outcome"], rows)


def served_bad_days(month: Month, folder: Path, days: Iterable[DayRun]) -> list[str]:
    """Return the dates of bad days whose run made a champion, according to the registry."""
    registry = Registry(str(folder / "registry"), "month")
    served = {registry.facts(record.version).until for record in registry.history()}
    return [month.date(day.number) for day in days if day.fault and month.date(day.number) in served]


def verdict(folder: Path, day: DayRun) -> str:
    """Return the outcome of a day."""
    if day.refused is None:
        return "promoted"
    why = " ".join(", ".join(day.refused.why).split()).replace("|", "/").replace(f"{folder}/", "")
    return f"refused at {day.refused.step}: {why if len(why) <= _SHOWN else why[: _SHOWN - 1] + '…'}"


def _what(fault: str | None) -> str:
    return "" if fault is None else DATA[fault][0] if fault in DATA else PLANTS[fault].what


if __name__ == "__main__":
    sys.exit(main())
