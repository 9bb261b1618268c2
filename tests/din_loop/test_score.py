"""`din score`: its limits, and why a score: effects are differences of scores, only of what the model reads."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from din import cli
from din.base.errors import InputError
from din.bundle import Scorer
from din_loop.explain import explain, explain_file
from tests.factories.bundles import HISTORY, REQUEST, Finished


def test_effects_are_differences_of_scores(scorer: Scorer) -> None:
    """Each part is left out alone, so its effect is the logit minus the logit of the request without it."""
    found = explain(scorer, REQUEST)
    whole = scorer.both(REQUEST).logits
    effects = {json.dumps(part): effect for part, effect in zip(found.parts, found.effects, strict=True)}
    without_second = {**REQUEST, "history": [HISTORY[0], HISTORY[2]]}
    expected = whole - scorer.both(without_second).logits
    assert np.allclose(effects[json.dumps({"history": 1, "item_id": "i7"})], expected, atol=1e-5)
    elsewhere = {**REQUEST, "context": REQUEST["context"] | {"tab": None}}
    expected = whole - scorer.both(elsewhere).logits
    assert np.allclose(effects[json.dumps({"context": "tab", "value": 2})], expected, atol=1e-5)
    assert np.abs(found.effects).max() > 1e-3


def test_a_field_of_a_known_user_is_left_out(scorer: Scorer) -> None:
    """The profile of the bundle does not fill in what was left out."""
    known = scorer.example() | {"user": {"user_id": list(scorer.users)[-1]}}
    found = explain(scorer, known)
    age = next(effect for part, effect in zip(found.parts, found.effects, strict=True) if part.get("user") == "age")
    expected = scorer.both(known).logits - scorer.both({**known, "user": known["user"] | {"age": None}}).logits
    assert np.allclose(age, expected, atol=1e-5)


def test_only_behaviours_that_the_model_reads_have_an_effect(scorer: Scorer) -> None:
    """If a history is too long, its oldest behaviours are not explained, and none of them replaces a newer one."""
    long = {"history": [f"i{n % 30}" for n in range(scorer.max_history + 3)], "candidates": ["i3"]}
    found = explain(scorer, long)
    places = [part["history"] for part in found.parts if "history" in part]
    assert places == list(range(3, scorer.max_history + 3))
    shorter = {**long, "history": long["history"][4:]}
    expected = scorer.both(long).logits - scorer.both(shorter).logits
    assert np.allclose(found.effects[0], expected, atol=1e-5)


def test_a_file_is_explained_line_by_line(scorer: Scorer) -> None:
    """Each candidate has the strongest parts, largest first; a wrong line is named."""
    line = json.dumps(REQUEST).encode()
    (answer,) = explain_file(scorer, io.BytesIO(line + b"\n"), 2)
    assert np.allclose(answer["probabilities"], scorer.score(REQUEST))
    assert [len(why) for why in answer["why"]] == [2, 2, 2]
    for why in answer["why"]:
        assert abs(why[0]["effect"]) >= abs(why[1]["effect"])
    with pytest.raises(InputError, match="line 2: candidates"):
        list(explain_file(scorer, io.BytesIO(line + b"\n{}\n"), 2))
    assert explain(scorer, {"candidates": []}).effects.shape[1] == 0


def test_the_command_takes_limits(finished: Finished, tmp_path: Path) -> None:
    """A request beyond `din score --max-…` gives exit code 2 and one line, and others are answered."""
    path = tmp_path / "requests.jsonl"
    path.write_text(json.dumps({"candidates": ["i1"] * 5, "history": ["i1"] * 8}) + "\n")
    start = ["score", "--input", str(path), "--bundle", str(finished.bundle)]
    assert len(json.loads(CliRunner().invoke(cli.app, start).stdout)["probabilities"]) == 5
    for option, value in (("candidates", "4"), ("history", "7"), ("request-mb", "0.001")):
        if option == "request-mb":
            path.write_text(json.dumps({"candidates": ["i1"] * 500}) + "\n")
        done = CliRunner().invoke(cli.app, [*start, f"--max-{option}", value])
        assert done.exit_code == 2 and f"--max-{option}" in done.stderr and done.stderr.count("\n") == 1
