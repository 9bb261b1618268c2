"""A click-through-rate pipeline around the Deep Interest Network (arXiv 1706.06978)."""

import os

# Must happen before torch loads OpenMP. Beside other work, threads that spin while they wait take five times the CPU
# time of a training step (docs/log.md).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
