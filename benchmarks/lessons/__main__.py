"""Which learning rates does the product promote, and what do they do the next day?

    python -m benchmarks.lessons --data ~/logs --write

On each of three logs, a champion goes on by a day whose lesson has a multiple of the usual learning rate. The next day
tells what the lesson did. A lesson that loses two margins or more must not be promoted, and the usual one must be.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.environments import ROOT
from benchmarks.figures import TABLES
from benchmarks.lessons.drive import CHAMPION, Lesson, Log, Site, simulated
from benchmarks.lessons.plants import PLANTS
from benchmarks.lessons.tables import table
from benchmarks.logs import read_log
from din.errors import GateClosed, InputError

_KUAIRAND = "kuairand-pure"
LOGS: Mapping[str, Callable[[Path], Log]] = {
    "1,200 users, 2,000 impressions a day": partial(simulated, users=1200, impressions=2000),
    "2,000 users, 5,000 impressions a day": partial(simulated, users=2000, impressions=5000),
}
"""The simulated logs, by name. Each is written to a new folder."""
RATES = {"× 1": None, **{f"× {factor}": PLANTS[f"rate_{factor}"] for factor in (5, 10, 20, 50)}}
_LESSON = date(2022, 5, 3)


def main() -> int:
    """Run the command line and return the exit code: 0 = done, 1 = wrong verdicts, 2 = bad input, 3 = closed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.lessons", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, help=f"the folder that holds {_KUAIRAND}/; without it, that log is left out"
    )
    parser.add_argument("--write", action="store_true", help="put the tables into docs/daily.md")
    given = parser.parse_args()
    logs = dict(LOGS)
    if given.data:
        logs["KuaiRand-Pure, 3 May"] = partial(_kuairand, given.data)
    wrong = 0
    tables = []
    try:
        write = TABLES["rates"].writer() if given.write else None
        for name, made in logs.items():
            with TemporaryDirectory() as place:
                lessons = rates(Path(place), made)
            wrong += sum(one.verdict == "MISSED" for one in lessons) + bool(lessons[0].judged.closed)
            tables.append(f"**{name}**\n\n{table(lessons)}")
            print(f"\n{tables[-1]}", flush=True)
        if write:
            write("\n".join(tables))
    except (InputError, GateClosed) as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return int(wrong > 0)


def rates(folder: Path, made: Callable[[Path], Log]) -> Sequence[Lesson]:
    """Return each rate's lesson beside that of the usual one.

    Args:
        folder: an empty folder.
        made: returns the log, which may be written to a new folder.
    """
    log = made(folder / "log")
    site = Site.prepared(folder / "site", log.params, log.day, (CHAMPION,))
    judged = {what: site.judge(CHAMPION, plant)[0] for what, plant in RATES.items()}
    return [Lesson(what, one, judged["× 1"].margin) for what, one in judged.items()]


def _kuairand(data: Path, _: Path) -> Log:
    return Log(read_log(ROOT / "docs/examples/kuairand-pure-prepared.yaml", data), _LESSON)


if __name__ == "__main__":
    sys.exit(main())
