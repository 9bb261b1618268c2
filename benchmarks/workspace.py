"""A folder to run `din train` in: the synthetic rows as its features, and the repository's own params.yaml."""

from pathlib import Path
from typing import Any

from benchmarks.directory import VALID, write_directory
from benchmarks.environments import ROOT
from benchmarks.rows import Workload, draw
from din.params.overlays import edit


def write_workspace(root: Path, workload: Workload, valid: int = VALID, **train: Any) -> None:
    """Write `root`; `train` changes keys of that block, `valid` is the number of validation rows."""
    write_directory(root / "data/features", workload, draw(workload), valid=valid)
    sizes = {"embedding_dim": workload.dim, "batch_size": workload.batch, "seed": workload.seed}
    shipped = (ROOT / "params.yaml").read_text(encoding="utf-8")
    edited = edit(shipped, {"train": sizes | train}, "the benchmark")
    (root / "params.yaml").write_text(edited.text, encoding="utf-8")
