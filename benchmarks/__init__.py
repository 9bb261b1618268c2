"""Speed and memory side by side with the peers, in one run on one machine: `make bench`. See docs/benchmarks.md.

`peers/` runs in the peers' environments. These import `rows` and `measure` too, so both need only numpy.
"""

import din  # noqa: F401 (lets waiting threads sleep; too late once torch is imported)
