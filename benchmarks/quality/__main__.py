"""`python -m benchmarks.quality TABLES --data FOLDER`: run the missing runs, and print and write the tables."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.arguments import positive
from benchmarks.figures import TABLES
from benchmarks.quality.configurations import read
from benchmarks.quality.runs import STORE, choose, features_of, run_all
from benchmarks.quality.tables import tables
from din.errors import InputError

HERE = Path(__file__).parent


def main() -> int:
    """Run the command line and return the exit code: 0 = done, 2 = bad usage or input."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("tables", choices=("quality", "paper", "attention"))
    parser.add_argument("--data", type=Path, default=Path(), help="folder of the logs, as docs/quality.md lists them")
    parser.add_argument(
        "--log",
        action="append",
        default=[],
        metavar="NAME=PARAMS",
        help="use your own log with this params.yaml instead of the known logs; writes no page",
    )
    parser.add_argument("--seeds", type=positive, default=5, help="the number of seeds of every row")
    parser.add_argument("--jobs", type=positive, default=1, help="processes of one thread each")
    parser.add_argument(
        "--only",
        default="",
        help="only rows whose 'log/name' contains this text, and the rows they are compared with; writes no page",
    )
    parser.add_argument("--quick", action="store_true", help="one seed and one epoch, as a test; writes no page")
    parser.add_argument("--store", type=Path, default=STORE, help="the folder for features and finished runs")
    given = parser.parse_args()
    if wrong := [log for log in given.log if not log.partition("=")[2]]:
        parser.error(f"--log {wrong[0]}: expected NAME=PARAMS, e.g. mine=params.yaml")
    try:
        write = TABLES[given.tables].writer()
        own = dict(log.partition("=")[::2] for log in given.log)
        logs, rows = read(HERE / f"{given.tables}.yaml", given.data, {name: Path(file) for name, file in own.items()})
        if given.quick:
            rows = [
                replace(row, train=replace(row.train, learning=replace(row.train.learning, epochs=1)), tries=())
                for row in rows
            ]
        shown = {(row.log, row.name) for row in rows if given.only in f"{row.log}/{row.name}"}
        if not shown:
            known = ", ".join(f"{row.log}/{row.name}" for row in rows)
            raise InputError(f"--only {given.only!r} is not contained in any of {known}")
        bases = {(row.log, row.base) for row in rows if (row.log, row.name) in shown}
        needed = [row for row in rows if (row.log, row.name) in shown | bases]
        folders = {name: features_of(logs[name], given.store) for name in dict.fromkeys(row.log for row in needed)}
        settled, tried = choose(needed, folders, given.jobs, given.store)
        figures = run_all(settled, 1 if given.quick else given.seeds, folders, given.jobs, given.store)
        text = tables([row for row in settled if (row.log, row.name) in shown], figures, tried)
        print(text)
        if not (given.only or given.quick or own):
            write(text)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
