"""The features of the logs of a study."""

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import harness
from benchmarks.logs import TABLES
from din.base.artifacts import hash_tree, sha256_file
from din.base.workspace import Workspace
from din.data.fetch import fetch
from din.featurize.build import featurize
from din.params.reading import Params


def featurized(logs: Mapping[str, Params], store: Path, jobs: int = 0) -> dict[str, Path]:
    """Return the features of each log.

    Raises:
        InputError: a log can't be read.
    """
    cases = [harness.StudyCase(name, made, (params, hashes(params))) for name, params in logs.items()]
    return dict(zip(logs, harness.results(store / "logs", cases, jobs), strict=True))


def hashes(params: Params) -> list[str]:
    """Return the hashes of a log's files."""
    files = [getattr(params.fetch.table, table) for table in TABLES]
    return [sha256_file(Path(file)) for file in files if file]


def made(kept: Path, params: Params, hashes: Sequence[str]) -> Path:
    """Make a log's features in a workspace beside the document, and return them.

    The workspace is named by the digest of its features. If other code makes the same features, their trainings stand.

    Args:
        kept: the document of the case.
        params: the parameters of the log.
        hashes: the hashes of its files, so that another log makes another case.
    """
    workspace = Workspace(kept.with_suffix(""))
    workspace.root.mkdir(exist_ok=True)
    with kept.with_suffix(".txt").open("w", encoding="utf-8") as output, contextlib.redirect_stdout(output):
        fetch(workspace, params)
        featurize(workspace, params)
    truth = [workspace.truth] if workspace.truth.exists() else []
    named = Workspace(kept.parent / hash_tree(workspace.features, *truth)[:12])
    try:
        workspace.root.rename(named.root)
    except OSError:  # another case made the same ones
        shutil.rmtree(workspace.root)
    return named.features
