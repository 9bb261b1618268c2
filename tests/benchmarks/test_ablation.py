"""`python -m benchmarks.ablation`: one change at a time, each with its gain and its costs."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.ablation import CHANGES, text
from din.params.reading import Params
from tests.helpers.settings import changed

SMALL = {"embedding_dim": 4, "attention_hidden": (6,), "hidden": (8,), "batch_size": 512, "epochs": 2}


@pytest.mark.slow
def test_every_change_is_compared_with_the_base(params: Params, tmp_path: Path) -> None:
    """Ages and the mean of two models change something. Longer histories change nothing where nobody has one."""
    simulate = replace(params.fetch.simulate, users=200, items=50, categories=5)
    log = replace(params, fetch=replace(params.fetch, source="simulate", simulate=simulate))
    logs = {"a log": replace(log, train=changed(log.train, **SMALL))}
    found = text(logs, 2, 0, tmp_path)
    gains = dict(re.findall(r"^\| (.+?) \|.*?\| ([+-]0\.\d+) \[", found, re.MULTILINE))
    assert [*gains] == [*CHANGES, "the mean of 2 models"]
    assert {change for change, gain in gains.items() if float(gain)} == {"ages", "the mean of 2 models"}
    assert text(logs, 2, 0, tmp_path) == found
