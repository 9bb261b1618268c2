"""Write a workspace for `din train`, with the synthetic rows as features and the repository's own params.yaml."""

from pathlib import Path
from typing import Any

from benchmarks.directory import VALID, write_directory
from benchmarks.environments import ROOT
from benchmarks.rows import Workload, draw
from din.params.overlays import edit


def write_workspace(root: Path, workload: Workload, valid: int = VALID, learning: dict[str, Any] | None = None) -> None:
    """Write `root`; `learning` changes keys of that block, `valid` is the number of validation rows."""
    write_directory(root / "data/features", workload, draw(workload), valid=valid)
    train = {
        "model": {"embedding_dim": workload.dim},
        "learning": {"batch_size": workload.batch, "seed": workload.seed, **(learning or {})},
        "compute": {"threads": 1},
    }
    shipped = (ROOT / "params.yaml").read_text(encoding="utf-8")
    edited = edit(shipped, {"train": train}, "the benchmark")
    (root / "params.yaml").write_text(edited.text, encoding="utf-8")
