"""A click-through-rate pipeline around the Deep Interest Network (arXiv 1706.06978)."""

import os

# Before torch loads OpenMP: threads that spin while they wait cost a busy machine twenty times the step (docs/log.md).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
