"""Score each day of a log with the models that would have served that morning, before any of them has learned the day.

    python -m benchmarks.prequential docs/examples/kuairand-pure-prepared.yaml --days 6

Compares a model from scratch that has learned yesterday (`refit`), one that ships as it was judged, a champion that
goes on by one day every day, and one that is never retrained. A study that was interrupted goes on.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.arguments import positive
from benchmarks.environments import ROOT
from benchmarks.figures import TABLES
from benchmarks.logs import absolute, below, with_settings
from benchmarks.prequential import tables
from benchmarks.prequential.study import Study, Task, workspace_in
from din.errors import GateClosed, InputError, Unavailable
from din.params import Params, load, parse, to_json
from din.params.overlays import overlaid, read_overlay
from din.stage import workspace_lock

PAGES = {TABLES[name].page: TABLES[name] for name in ("kuairand", "five-seeds")}


def main() -> int:
    """Run the command line and return the exit code: 0 = done, 1 = unavailable, 2 = bad usage or input, 3 = closed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.prequential",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("log", type=Path, help="an overlay over params.yaml, e.g. one of docs/examples")
    parser.add_argument(
        "--data", type=Path, help="the folder that holds the log's folder; default: as the overlay says"
    )
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="parameters that differ from the overlay"
    )
    parser.add_argument("--days", type=positive, default=6, help="days to score, the last ones of the log")
    parser.add_argument("--seeds", type=positive, nargs="+", default=[1, 2], help="seeds of the trainings")
    parser.add_argument("--folder", type=Path, help="where the study is kept; default: .din/prequential/LOG")
    parser.add_argument("--write", choices=PAGES, help="put the tables into this page")
    given = parser.parse_args()
    folder = (given.folder or ROOT / ".din/prequential" / given.log.stem).resolve()
    try:
        write = PAGES[given.write].writer() if given.write else None
        with workspace_lock(workspace_in(folder)):
            study = Study.opened(folder, read_log(given.log, given.data, given.set), given.seeds, given.days)
            run_all(study)
        text = tables.text(study)
        print(text)
        if write:
            write(text)
    except (InputError, Unavailable, GateClosed) as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def read_log(log: Path, data: Path | None, settings: Sequence[str] = ()) -> Params:
    """Return params.yaml with an overlay and with settings KEY=VALUE.

    The tables of the log are below DATA, or where the overlay says.

    Raises:
        InputError: the overlay or a setting can't be read, or the parameters contradict each other.
    """
    params = overlaid(to_json(load(ROOT / "params.yaml")), read_overlay(log), log)
    params = with_settings(params, settings)
    return parse(Params, below(params, data) if data else absolute(params, ROOT), log)


def run_all(study: Study) -> None:
    """Do all that is not finished, and print a line about each piece of work.

    Raises:
        InputError: see `Study.prepare` and `Study.run`.
        GateClosed: likewise.
        Unavailable: the source can't be reached now.
    """
    waiting = study.waiting
    began = time.monotonic()
    prepared = None
    for number, task in enumerate(waiting, start=1):
        if task.day != prepared:
            study.prepare(task.day)
            prepared = task.day
        study.run(task)
        left = (time.monotonic() - began) / number * (len(waiting) - number) / 60
        print(
            f"{number} of {len(waiting)}, {_said(study, task)}; about {left:.0f} min left", file=sys.stderr, flush=True
        )


def _said(study: Study, task: Task) -> str:
    if task.policy is None:
        return f"{task.day}, seed {task.seed}: scored {len(study.scores(task.day, task.seed)):,} impressions"
    made = study.made(task.day, task.seed, task.policy)
    return f"{task.day}, seed {task.seed}: made {task.policy} in {made.seconds:.1f} CPU s of learning"


if __name__ == "__main__":
    sys.exit(main())
