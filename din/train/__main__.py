"""`python -m din.train` and `torchrun --nproc-per-node N -m din.train`, which do the same as `din train`."""

import sys
from pathlib import Path

from din.train.launch import main
from din.workspace import Workspace

sys.exit(main(Workspace(Path())))
