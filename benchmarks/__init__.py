"""Speed and memory side by side with the peers, in one run on one machine: `make bench`. See docs/benchmarks.md.

`rows` and `measure` need numpy alone, since the peers' environments import them too; `peers/` runs in those.
"""

import din  # noqa: F401 (lets waiting threads sleep; too late once torch is imported)
