"""`python -m din.train` and `torchrun --nproc-per-node N -m din.train`: as `din train`."""

import sys

from din.train.launch import main

sys.exit(main())
