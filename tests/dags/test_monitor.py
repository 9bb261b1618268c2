"""The DAG that looks after the champion."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from dags import din_pipeline, monitor
from din.base.process import Done

ROOT = Path(__file__).parent.parent.parent


def test_the_dag_starts_paused_and_can_page() -> None:
    """Without a log, an unpaused monitor would fail every hour."""
    assert din_pipeline.din_monitor.is_paused_upon_creation
    called: list[Any] = []
    dag = monitor.render(on_failure=called.append)
    (page,) = dag.get_task("watch").on_failure_callback
    page({"task": "watch"})
    assert called == [{"task": "watch"}]


def test_bad_input_is_final(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The task runs `din watch` in the repository, and fails at once where a retry would not help."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.setenv("DIN_REPOSITORY", str(tmp_path))
    task: Any = din_pipeline.din_monitor.get_task("watch")
    commands = []

    def refused(command: Sequence[str], cwd: Path, _: object) -> Done:
        commands.append((command, cwd))
        return Done(2, "LOG: missing")

    monkeypatch.setattr(monitor, "stream", refused)
    with pytest.raises(AirflowFailException, match="LOG: missing"):
        task.python_callable()
    assert commands == [(["din", "watch"], tmp_path)]
    monkeypatch.setenv("DIN_REPOSITORY", "https://example.com/ctr.git")
    with pytest.raises(AirflowFailException, match="set DIN_HOME to a folder of this worker"):
        task.python_callable()
    monkeypatch.setenv("DIN_HOME", str(tmp_path / "home"))
    with pytest.raises(AirflowFailException, match=r"expected a folder with params\.yaml"):
        task.python_callable()
