"""The reader of dvc.yaml that commands, reports and schedulers share; `tests/dags/test_edges.py` tests its messages."""

from pathlib import Path

import pytest

from din import pipeline
from din.errors import InputError
from din.workspace import Workspace


@pytest.mark.parametrize("text", [None, "stages: [", "other: 1\n", "[]"])
def test_a_pipeline_that_cannot_be_read_is_bad_input(tmp_path: Path, text: str | None) -> None:
    """The file is named."""
    workspace = Workspace(tmp_path)
    if text is not None:
        workspace.pipeline.write_text(text)
    with pytest.raises(InputError, match=r"dvc\.yaml"):
        pipeline.stages_of(workspace)


def test_paths_start_at_the_root_and_keys_are_of_their_file() -> None:
    """Outs include metrics, parameters of other files are no keys of params.yaml, and `wdir` is part of each path."""
    text = """
        stages:
          own: {cmd: [x, 'y'], wdir: sub, deps: [a], outs: [b: {cache: false}], metrics: [c], params: [k, p.yaml: [m]]}
          gate: {cmd: z, always_changed: true, meta: {packages: [onnx]}}
    """
    own, gate = pipeline.parse(text).values()
    assert (own.command, own.deps, own.outs) == ("x\ny", ("sub/a",), ("sub/b", "sub/c"))
    assert (own.params, own.parameter_files) == (("k",), ("sub/params.yaml", "sub/p.yaml"))
    assert (gate.always_changed, own.always_changed, gate.meta) == (True, False, {"packages": ["onnx"]})
