"""`python -m benchmarks.warranty`: measure the error rates of the comparison with the champion; --write keeps them.

pairs      trains pairs of models on simulated logs and resamples scores of a large one, judges each pair as the
gate does, and prints how often the verdict agrees with the truth
lessons    lets champions of simulated logs by days learn sound and spoiled lessons, judges each one as the product
does before it ships, and prints how often the verdict agrees with the next day, and how long it waits
"""

import argparse
import sys
from functools import partial

from benchmarks import study
from benchmarks.arguments import positive
from benchmarks.environments import ROOT
from benchmarks.figures import publish
from benchmarks.warranty import lessons, pairs
from din.params import load

PARTS = {"pairs": pairs.measured, "lessons": lessons.measured}


def main() -> int:
    """Run the command line and return the exit code: 0 = done, 2 = bad usage or input."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.warranty", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{' or '.join(PARTS)}; default: both")
    parser.add_argument("--jobs", type=positive, default=1, help="processes of one thread each")
    parser.add_argument("--write", action="store_true", help="write the tables to docs/warranty.md")
    given = parser.parse_args()
    if unknown := set(given.parts) - PARTS.keys():
        parser.error(f"{', '.join(sorted(unknown))}: no such part; expected {' or '.join(PARTS)}")
    params = load(ROOT / "params.yaml")
    codes = []
    for part in given.parts or PARTS:
        measured = partial(PARTS[part], params, study.STORE / "warranty", given.jobs)
        codes.append(publish(part if given.write else "", measured))
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
