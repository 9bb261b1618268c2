r"""The mutants: lines of the guard, each with a change that a test must notice. CONTRIBUTING.md says how to add one.

The rows are in mutants.tsv, one a line, with code as its file writes it: cells are divided by tabs, nothing is quoted,
and `\n` begins a new line of code. Its columns:

    part    of the guard. Each gate has a row in `gates`. Rows in `drawn` are lines that were drawn at random, to see
            how many mutants the suite misses
    others  the fields of `Mutant`. `quick` is yes if `make test` runs the row too
"""

from pathlib import Path

from tests.mutants.mutant import Mutant

TABLE = Path(__file__).with_name("mutants.tsv")


def _mutant(line: str) -> Mutant:
    """Return the mutant of a line of the table."""
    part, guards, file, text, change, quick, test = line.replace("\\n", "\n").split("\t")
    return Mutant(part, guards, file, text, change, quick == "yes", test)


MUTANTS = tuple(_mutant(line) for line in TABLE.read_text(encoding="utf-8").splitlines()[1:])
