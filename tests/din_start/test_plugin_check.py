"""Tests of `din plugin check`: what it says about sound plugins, and the line that it names in others."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from din.base.errors import GateClosed, InputError
from din.params.reading import Params
from din_start.plugin_check import check

EXAMPLES = Path(__file__).parents[2] / "examples/plugins"
MODEL = """
from din.model import MODELS
from din.model.embedding_mlp import EmbeddingMLP


@MODELS.register("{name}")
class Checked(EmbeddingMLP):
    def pool(self, query_BD, keys, histories):
        return histories.mean(keys.rows(){fault})
"""
GATE = """
from din.release.gates import GATES


@GATES.register("checked_gate")
def checked_gate(case):
    return case.evidence.judged_rows["no such column"]
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (
            "transformer.py",
            "model transformer: trained 2 epochs, exported; scores of PyTorch, graph and scorer",
        ),
        ("logarithm.py", "kind logarithm: trained 2 epochs, exported; scores of"),
        ("concentration.py", "gate concentration: judged (open on a tiny log): observed 0."),
    ],
)
def test_the_examples_are_sound(file: str, expected: str) -> None:
    """Each is trained, exported and compared, or judges, and the last line says so."""
    *_, line = check(EXAMPLES / file, None, EXAMPLES)
    assert line.startswith(expected)


def test_a_source_reads_the_log_that_the_parameters_choose(tmp_path: Path, params: Params) -> None:
    """The check uses the options in params.yaml, and resolves paths from the repository."""
    with sqlite3.connect(tmp_path / "clicks.db") as database:
        database.execute("CREATE TABLE events (user_id, item_id, shown_at, clicked)")
        rows = [(user, f"i{user % 5}", 86_400 * day + user, user % 2) for day in range(12) for user in range(20)]
        database.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", rows)
    chosen = replace(params, fetch=replace(params.fetch, source="sqlite", options={"path": "clicks.db"}))
    (line,) = check(EXAMPLES / "sqlite.py", chosen, tmp_path)
    assert line == "source sqlite: read 240 rows of 12 days, and made features of them"


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("", InputError, r"faulty0.py: registers nothing"),
        (
            MODEL.format(name="broken", fault=".wrong"),
            InputError,
            r"model broken: .*faulty\d+.py:9: AttributeError: .*; correct",
        ),
        pytest.param(
            MODEL.format(name="uneven", fault=" + 1e-2 * len(histories.queries(query_BD))"),
            GateClosed,
            "model uneven: .*closed",
            marks=pytest.mark.slow,
        ),
        pytest.param(GATE, InputError, "gate checked_gate: can't be evaluated: .*KeyError", marks=pytest.mark.slow),
    ],
)
def test_a_faulty_plugin_is_refused(tmp_path: Path, source: str, error: type[Exception], message: str) -> None:
    """The message names what failed, and the plugin's line where there is one."""
    file = tmp_path / f"faulty{len(source)}.py"  # a module keeps what it registered
    file.write_text(source)
    with pytest.raises(error, match=f"(?s){message}"):
        list(check(file, None, tmp_path))
