"""Make the finished runs that `benchmarks.attention` and `benchmarks.serving` read.

python -m benchmarks.runs

.din/runs/movielens-100k/    the default job, with a registry
.din/runs/simulated/         docs/examples/simulate.yaml with fewer users
"""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks import harness, in_process
from benchmarks.environments import ROOT
from benchmarks.logs import read_log
from din.base.errors import GateClosed, InputError, Unavailable
from din.base.workspace import Workspace
from din.params.reading import Params, load

STORE = harness.STORE / "runs"
USERS = 1_500


def main() -> int:
    """Make the missing runs and return the exit code: 0 = done, 1 = unavailable, 2 = bad input, 3 = a closed gate."""
    simulated = read_log(ROOT / "docs/examples/simulate.yaml", values={"fetch.simulate.users": USERS})
    logs = {"movielens-100k": load(ROOT / "params.yaml"), "simulated": simulated}
    try:
        harness.results(STORE, [harness.StudyCase(name, finish, (name, params)) for name, params in logs.items()], 2)
    except (InputError, GateClosed, Unavailable) as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def finish(kept: Path, name: str, params: Params) -> Path:
    """Run all stages and `promote` in a new workspace beside the document, and return the workspace."""
    here = Workspace(kept.parent / name)
    shutil.rmtree(here.root, ignore_errors=True)
    here.root.mkdir()
    gate = replace(params.gate, max_latency_ms=None)  # a busy machine is no fault of a model
    params = replace(params, gate=gate, promote=replace(params.promote, registry="registry"))
    in_process.run(in_process.STEPS, here, params, kept.parent / f"{name}.txt")
    return here.root


if __name__ == "__main__":
    sys.exit(main())
