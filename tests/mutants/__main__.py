"""`make mutants`: run every mutant, two at a time, and its test on unchanged code."""

import sys
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from tempfile import TemporaryDirectory

from tests.mutants.mutant import Mutant, copied, why_alive, why_red, workers
from tests.mutants.table import MUTANTS

CORES = 2


def main() -> int:
    """Print each mutant and what became of it.

    Words on the command line choose the rows that hold all of them. Return 1 if one is alive, or a test fails on
    unchanged code; 2 if none is chosen.
    """
    chosen = [row for row in MUTANTS if all(word in f"{row} {row.file} {row.test}" for word in sys.argv[1:])]
    if not chosen:
        print(f"no row of tests/mutants/mutants.tsv holds all of {sys.argv[1:]}; name words of a row, or none for all")
        return 2
    tests: dict[str, set[str]] = defaultdict(set)
    for mutant in chosen:
        tests[mutant.test.split("::")[0]].add(mutant.test)
    began = time.monotonic()
    with TemporaryDirectory() as folder, workers(CORES) as pool, ThreadPoolExecutor(CORES) as threads:
        trees: Queue[Path] = Queue()
        for number in range(CORES):
            trees.put(copied(Path(folder) / str(number)))

        def reported(good: str, bad: str, name: object, run: Callable[[Path], str | None]) -> bool:
            tree = trees.get()
            try:
                why = run(tree)
            except ValueError as error:
                why = str(error)
            finally:
                trees.put(tree)
            print(f"{bad}  {name}: {why}" if why else f"{good}  {name}", flush=True)
            return why is None

        def unchanged(file: str) -> bool:
            return reported("green ", "RED   ", file, lambda tree: why_red(sorted(tests[file]), tree, pool))

        def killed(mutant: Mutant) -> bool:
            return reported("killed", "ALIVE ", mutant, lambda tree: why_alive(mutant, tree, pool))

        green = list(threads.map(unchanged, tests))
        dead = list(threads.map(killed, chosen))
    print(f"{sum(dead)} of {len(dead)} mutants are killed, in {time.monotonic() - began:.0f} s")
    return int(not all(green + dead))


if __name__ == "__main__":
    sys.exit(main())
