"""The gate that tells a log that broke from a champion that is stale."""

import pytest

from din.params import Params
from din.registry.registry import Registry
from din.verdicts import GateEntry
from din.workspace import Workspace
from tests.factories.documents_of import PROTOCOL
from tests.factories.run import Run, crown, find, judge


@pytest.fixture
def stale(run: Run, registry: Registry) -> None:
    """Crown a champion that was good once, ranks today's rows badly, and has learned until 1 October."""
    run.become(0.2)
    run.noise = 3.0
    crown(registry, run, protocol=PROTOCOL | {"name": "temporal"}, seen_until="2024-10-01T23:00:00+00:00")


def judged(run: Run, workspace: Workspace, quick: Params, noise: float, learned: str = "2024-10-03") -> GateEntry:
    """Judge a candidate that has learned until a day, and return the gate."""
    run.facts |= {"judged_until": f"{learned}T23:30:00+00:00", "seen_until": "2024-10-13T23:30:00+00:00"}
    run.become(noise)
    return find(judge(workspace, quick), "champion_today")


def test_a_log_that_changed_its_meaning_is_closed(workspace, run, quick, registry) -> None:
    """If all labels are flipped, the candidate's gain does not change, but the champion's AUC falls, which closes."""
    crown(registry, run)
    run.rows["label"] = 1 - run.rows["label"]
    run.become(0.1)
    found = find(judge(workspace, quick), "champion_today")
    assert found["verdict"] == "closed" and found["observed"] < -0.3
    assert "change their meaning" in found["reason"] and "gate.max_champion_drop" in found["reason"]


def test_a_stale_champion_does_not_close(workspace, run, quick, stale) -> None:
    """A candidate that has learned the days since, and ranks today's rows as well as ever, shows a sound log."""
    found = judged(run, workspace, quick, noise=0.2)
    assert found["verdict"] == "open" and found["observed"] < -0.1
    assert "the candidate, which has learned newer days, has 0.7" in found["reason"]
    assert found["reason"].endswith("the champion is stale")


def test_a_champion_of_yesterday_is_not_stale(workspace, run, quick, stale) -> None:
    """A candidate that has learned the same days can't excuse the champion, however good it is."""
    found = judged(run, workspace, quick, noise=0.2, learned="2024-10-01")
    assert found["verdict"] == "closed" and "newer days" not in found["reason"]


@pytest.mark.parametrize("noise", [3.01, 1.7])
def test_a_candidate_that_fell_too_excuses_nothing(noise: float, workspace, run, quick, stale) -> None:
    """A candidate that is hardly better, or still far below the recorded AUC, leaves the gate closed."""
    found = judged(run, workspace, quick, noise)
    assert found["verdict"] == "closed"
    assert "newer days, has 0." in found["reason"] and "change their meaning" in found["reason"]
