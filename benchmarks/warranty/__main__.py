"""`python -m benchmarks.warranty`: measure the error rates of the comparison with the champion; --write keeps them.

    pairs      trains pairs of models on simulated logs and resamples scores of a large one, judges each pair as the
               gate does, and prints how often the verdict agrees with the truth
    lessons    lets champions of simulated logs by days learn sound and spoiled lessons, judges each one as the product
               does before it ships, and prints how often the verdict agrees with the next day, and how long it waits

Finished lessons are kept below .din/warranty/, and an interrupted command goes on.
"""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np

from benchmarks.arguments import positive
from benchmarks.environments import ROOT
from benchmarks.figures import TABLES
from benchmarks.warranty import scores, tables
from benchmarks.warranty.kept import each, folder_of
from benchmarks.warranty.lessons import measure
from benchmarks.warranty.trainings import KINDS, Pair, equal_pair, pairs
from benchmarks.warranty.waiting import wait
from din.errors import InputError
from din.params import Params, load

SIZES = (250, 1_000, 5_000, 20_000)
LOSSES = (0, 1, 2, 3)
REPEATED_SIZES = (250, 1_000)
LESSON_LOGS = {250: 30, 1_000: 100, 5_000: 4, 20_000: 1}
"""The number of logs by users a day."""
WIDE_LOGS = {250: 4, 1_000: 4, 5_000: 1, 20_000: 0}
"""On how many of them other numbers of folds are measured."""
WAITING_LOGS = {250: 4, 1_000: 2, 5_000: 1}
PARTS = ("pairs", "lessons")


def main() -> int:
    """Run the command line and return the exit code: 0 = done, 2 = bad usage or input."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.warranty", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{' or '.join(PARTS)}; default: both")
    parser.add_argument("--logs", type=positive, default=40, help=f"simulated logs, each with {len(KINDS)} real pairs")
    parser.add_argument("--draws", type=positive, default=350, help="resampled pairs of each size and true loss")
    parser.add_argument("--months", type=positive, default=200, help="runs of thirty days of each size and true loss")
    parser.add_argument("--users", type=positive, default=20_000, help="test users from which pairs are drawn")
    parser.add_argument("--jobs", type=positive, default=1, help="processes of one thread each")
    parser.add_argument("--write", action="store_true", help="write the tables to docs/warranty.md")
    given = parser.parse_args()
    parts = given.parts or list(PARTS)
    try:
        if unknown := set(parts) - set(PARTS):
            raise InputError(f"{', '.join(sorted(unknown))}: no such part; expected {' or '.join(PARTS)}")
        writers = {part: TABLES[part].writer() for part in parts} if given.write else {}
        params = load(ROOT / "params.yaml")
        with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
            for part in parts:
                text = _pairs(pool, params, given) if part == "pairs" else _lessons(pool, params)
                print(text)
                if part in writers:
                    writers[part](text)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _pairs(pool: ProcessPoolExecutor, params: Params, given: argparse.Namespace) -> str:
    return tables.real_pairs(_trained(pool, params, given.logs), params.gate) + _resampled(pool, params, given)


def _lessons(pool: ProcessPoolExecutor, params: Params) -> str:
    folder = folder_of(params)
    tasks = {
        f"lessons-{users}-{seed}": (params, users, seed <= WIDE_LOGS[users], seed)
        for users, logs in LESSON_LOGS.items()
        for seed in range(1, logs + 1)
    }
    runs = {
        f"waiting-{users}-{seed}": (params, users, seed)
        for users, logs in WAITING_LOGS.items()
        for seed in range(1, logs + 1)
    }
    found = [one for of_log in each(pool, folder, measure, tasks) for one in of_log]
    return tables.lessons(found) + tables.folds(found) + tables.waits(each(pool, folder, wait, runs))


def _trained(pool: ProcessPoolExecutor, params: Params, logs: int) -> list[Pair]:
    found = []
    for number, of_log in enumerate(pool.map(partial(pairs, params), range(1, logs + 1)), start=1):
        found += of_log
        print(f"trained on {number} of {logs} logs", file=sys.stderr, flush=True)
    return found


def _resampled(pool: ProcessPoolExecutor, params: Params, given: argparse.Namespace) -> str:
    population = scores.Population.of(pool.submit(equal_pair, params, given.users).result())
    cases = [(users, loss) for users in SIZES for loss in LOSSES]
    repeated = [(users, loss) for users in REPEATED_SIZES for loss in LOSSES]
    draws = [
        pool.submit(scores.resample, population, *case, params.gate, given.draws, np.random.default_rng(case))
        for case in cases
    ]
    months = [
        pool.submit(scores.repeat, population, *case, params.gate, given.months, np.random.default_rng(case))
        for case in repeated
    ]
    drawn = []
    for number, future in enumerate(draws, start=1):
        drawn.append(future.result())
        print(f"resampled {number} of {len(draws)} cases", file=sys.stderr, flush=True)
    repeats = []
    for number, future in enumerate(months, start=1):
        repeats.append(future.result())
        print(f"repeated {number} of {len(months)} cases", file=sys.stderr, flush=True)
    return tables.resampled(drawn) + tables.repeated(repeats)


if __name__ == "__main__":
    sys.exit(main())
