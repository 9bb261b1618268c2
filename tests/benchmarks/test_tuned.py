"""`python -m benchmarks.tuned`: every model gets the same search, from settings that suit it."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.defects.delivery import DELIVERY, Size, draw, write
from benchmarks.tuned import GUESSED, MODELS, guessed, text
from din.base.workspace import Workspace
from din.params.reading import Params, load
from din_start.init.command import init
from tests.helpers.settings import changed

SMALL = {"embedding_dim": 4, "attention_hidden": (6,), "hidden": (8,), "batch_size": 512, "epochs": 2}


@pytest.mark.slow
def test_all_models_get_the_same_trials(params: Params, tmp_path: Path) -> None:
    """A second call runs nothing again and prints the same."""
    simulate = replace(params.fetch.simulate, users=200, items=50, categories=5)
    log = replace(params, fetch=replace(params.fetch, source="simulate", simulate=simulate))
    logs = {"a log": replace(log, train=changed(log.train, **SMALL))}
    found = text(logs, 2, 1, 0, tmp_path)
    head, _, changes = found.partition("| log | model | trials |")
    assert re.findall(r"^\| (\S.*?) \| 0\.\d+ ", head, re.MULTILINE) == [GUESSED, *MODELS]
    assert re.findall(r"^\| a log \| (\w+) \| (\d) \|", changes, re.MULTILINE) == [(name, "2") for name in MODELS]
    assert text(logs, 2, 1, 0, tmp_path) == found


def test_a_guess_is_that_of_init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(draw(size=Size(days=6, users=150, a_day=300)), tmp_path)
    log = tmp_path / DELIVERY
    repository = Workspace(tmp_path / "repository")
    repository.root.mkdir()
    init(repository, str(log), {}, {})
    assert guessed(log) == load(repository.params)
