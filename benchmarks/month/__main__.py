"""`python -m benchmarks.month`: run a month of the daily pipeline, with defects; --write keeps the tables.

Runs each day through `dags.workspace`, as Airflow's tasks do. Then it compares the champion with models that are never
retrained, retrained from scratch every day, or three days old. A month that was interrupted goes on. At the end it
writes month.html into the month's folder.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from benchmarks.arguments import positive
from benchmarks.daily import CHAMPION, FIRST, SCRATCH, STALE
from benchmarks.environments import ROOT
from benchmarks.figures import TABLES
from benchmarks.month import page
from benchmarks.month.days import Month, Settings, run_day
from benchmarks.month.faults import FAULTS
from din.errors import InputError, Unavailable
from din.git import git

OTHERS = (SCRATCH, STALE)


def main() -> int:
    """Run the command line and return the exit code: 0 = done, 1 = a bug or a failed step, 2 = bad usage or input."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.month", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--days", type=positive, default=30, help="days of the month")
    parser.add_argument("--earlier", type=positive, default=13, help="days of the log before the first run's day")
    parser.add_argument("--impressions", type=positive, default=5000, help="impressions of a usual day")
    parser.add_argument("--faults", nargs="*", choices=FAULTS, default=list(FAULTS), help="which to plant, in order")
    parser.add_argument("--seed", type=int, default=0, help="what to add to the seeds of the log and of the training")
    parser.add_argument("--folder", type=Path, default=ROOT / ".din/month", help="where the month is kept")
    parser.add_argument(
        "--others", nargs="*", choices=OTHERS, default=list(OTHERS), help="which models to compare with, on sound days"
    )
    parser.add_argument(
        "--replay", action="store_true", help="run the month again, and compare the versions of all days"
    )
    parser.add_argument("--jobs", type=positive, default=1, help="runs at a time, of the models to compare with")
    parser.add_argument("--write", action="store_true", help="write docs/month.md and its picture")
    given = parser.parse_args()
    try:
        write = TABLES["month"].writer() if given.write else None
        commit = git(ROOT, "rev-parse", "HEAD").strip()
        settings = Settings(commit, given.days, given.earlier, given.impressions, tuple(given.faults), given.seed)
        month = Month.opened(given.folder.resolve(), ROOT, settings, {})
        run_month(month, given.others, given.jobs)
        again = None
        if given.replay:
            folder = month.folder.with_name(f"{month.folder.name}-replay")
            again = Month.opened(folder, ROOT, month.settings, {})
            run_month(again, (), given.jobs)
        text = page.text(month, again)
        html = month.folder / "month.html"
        page.write_html(month, again, html)
        print(f"{text}\nreport: {html}")
        if write:
            page.picture(month, ROOT / "docs/images/month.svg")
            write(f"![AUC of each model on each sound day](images/month.svg)\n\n{text}")
    except (InputError, Unavailable) as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def run_month(month: Month, others: Sequence[str], jobs: int) -> None:
    """Run all days that have not ended, and print a line about each.

    Args:
        month: the month.
        others: the policies to compare the champion with. They run on sound days alone.
        jobs: how many of them run at a time.

    Raises:
        InputError: the first day made no champion.
        Unavailable: see `run_day`.
    """
    began, ran = time.monotonic(), 0
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for number in range(1, month.settings.days + 1):
            fresh = not month.day(CHAMPION, number).finished
            day = run_day(month, CHAMPION, number, _served(month, number, others))
            if number == 1 and not day.promoted:
                raise InputError(f"{page.line(month, day)}; without a first champion no day can go on from one")
            if day.fault is None:
                futures = [pool.submit(run_day, month, policy, number, {}) for policy in others]
                for future in futures:
                    future.result()
            ran += fresh
            left = (time.monotonic() - began) / max(ran, 1) * (month.settings.days - number) / 60
            print(f"{page.line(month, day)}; about {left:.0f} min left", file=sys.stderr, flush=True)


def _served(month: Month, number: int, others: Sequence[str]) -> Mapping[str, Path]:
    """Return the bundles that would have served on a day, by name: the newest of each policy before it."""
    days = range(1, number)
    champions = [one for one in days if month.day(CHAMPION, one).promoted]
    if not champions:
        return {}
    found = {CHAMPION: month.bundle(CHAMPION, champions[-1]), FIRST: month.bundle(CHAMPION, champions[0])}
    for policy in others:
        made = [one for one in days if month.day(policy, one).bundle]
        if made:
            found[policy] = month.bundle(policy, made[-1])
    return found


if __name__ == "__main__":
    sys.exit(main())
