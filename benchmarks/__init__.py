"""Benchmarks: speed and memory compared with other implementations (`make bench`), model quality, and daily studies.

The modules in `peers/` run in the peers' own environments. They import `rows` and `measure`, which therefore import
only numpy at the top.
"""

import din  # noqa: F401 (lets waiting threads sleep; too late once torch is imported)
