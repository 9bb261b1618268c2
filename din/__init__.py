"""A click-through-rate pipeline around the Deep Interest Network (arXiv 1706.06978)."""

import os

# This must happen before torch loads OpenMP. On a busy machine, threads that spin while they wait take five times the
# CPU time of a training step.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
