"""Who a record says ran the command: by a scheduler's variable, or by the machine's user."""

import pytest

from din.cli.identity import identity

VARIABLES = ("DIN_AIRFLOW_USER", "GITHUB_ACTOR", "GITLAB_USER_LOGIN")


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOGNAME", "ann")


def test_the_surest_source_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user of the machine, a variable of CI, Airflow's user: each counts more than the one before."""
    assert identity().in_words == "ann (claimed: user of the machine)"
    monkeypatch.setenv("GITHUB_ACTOR", "octocat")
    assert identity().in_words == "octocat (claimed: GITHUB_ACTOR)"
    monkeypatch.setenv("DIN_AIRFLOW_USER", "bob")
    assert identity().in_words == "bob (claimed: DIN_AIRFLOW_USER)"


def test_a_hostile_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The record shows a variable's value cut and without control characters."""
    monkeypatch.setenv("GITLAB_USER_LOGIN", "jane\n\x1b[31m" + "x" * 2000)
    who = identity()
    assert who.source == "GITLAB_USER_LOGIN" and len(who.name) < 300 and who.name.isprintable()
