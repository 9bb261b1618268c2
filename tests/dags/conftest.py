"""The pipeline's test workspace is shared with `tests/pipeline`."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "pipeline"))
