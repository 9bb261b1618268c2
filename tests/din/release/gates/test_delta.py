"""The comparison with the champion over several days: comparisons are stored, spent, pooled and reused."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from din.base.errors import GateClosed, InputError
from din.base.workspace import Workspace
from din.metrics.estimates import Estimate, difference
from din.metrics.noninferiority import judge as judge_days
from din.params.reading import Params
from din.release.gates import comparisons
from din.release.gates.comparisons import margin_of, tell
from din.release.promote import promote
from din.release.registry import stored_comparisons
from din.release.registry.champions import pin
from din.release.registry.registry import Registry
from tests.factories.run import DAY, Run, challenge, crown, find, judge, probabilities, score, set_gate, shut


def next_day(run: Run, number: int, noise: float) -> None:
    """Leave the candidate of another day: other impressions, all later than the day before."""
    random = np.random.default_rng(100 + number)
    rows = run.rows
    rows["item"] = random.integers(0, 1000, len(rows["item"])).astype(np.int32)
    rows["label"] = (random.random(len(rows["item"])) < probabilities(0, rows["item"])).astype(np.int8)
    rows["lr"] = probabilities(2.0, rows["item"])
    rows["timestamp"] = rows["timestamp"] + 10 * DAY
    run.facts["until"] = f"2024-11-{number + 1:02d}"
    run.become(noise)


@pytest.fixture
def narrow(quick: Params) -> Params:
    """Return parameters with a margin that one day of the miniature log can't resolve."""
    return set_gate(quick, margin=0.005, metrics=("auc",))


def stored(registry: Registry) -> int:
    champion = registry.champion()
    assert champion is not None
    return len(stored_comparisons.read(registry, champion.version))


def test_undecided_days_add_up_to_a_decision(workspace: Workspace, run, narrow, registry):
    """Equal candidates are undecided at first, whatever they start from, and open after some days."""
    version = crown(registry, run)
    next_day(run, 0, noise=0.201)
    first = find(judge(workspace, narrow), "champion_delta_auc")
    continued = replace(narrow, train=replace(narrow.train, start="champion", champion=version))
    assert find(judge(workspace, continued), "champion_delta_auc") == first
    found = [first]
    while found[-1]["verdict"] == "borderline" and len(found) < 12:
        next_day(run, len(found), noise=0.201 + len(found) / 1000)
        found.append(find(judge(workspace, narrow), "champion_delta_auc"))
    assert first["verdict"] == "borderline" and found[-1]["verdict"] == "open"
    assert [one["power"]["look"] for one in found] == list(range(1, len(found) + 1))
    assert stored(registry) == len(found)
    assert found[-1]["power"]["excludes"] < first["power"]["excludes"]
    power = first["power"]
    assert power["users"] == 120 and power["users_needed"] > 120
    needed = f"0.0050 with about {power['users_needed']:,}"
    for part in ("undecided at comparison 1", f"rules out {power['excludes']:.4f} with these users", needed):
        assert part in first["reason"]


def test_a_preview_spends_nothing_but_its_day(
    workspace: Workspace, run, narrow, registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Previews can't be promoted, count for no other day, and are tries at their own day."""

    def previewed() -> dict:
        with monkeypatch.context() as context:
            context.setenv("DIN_PREVIEW", "1")
            return find(judge(workspace, narrow), "champion_delta_auc")

    crown(registry, run)
    next_day(run, 0, noise=0.25)
    assert [previewed()["power"]["look"] for _ in range(2)] == [1, 1]
    assert stored(registry) == 1
    with pytest.raises(GateClosed, match="is a preview; judge the candidate without DIN_PREVIEW"):
        promote(workspace, narrow, "test", "try", score=score)
    run.become(0.26)
    tries = [previewed(), find(judge(workspace, narrow), "champion_delta_auc")]
    assert [one["power"]["look"] for one in tries] == [2, 3]
    next_day(run, 1, noise=0.27)
    assert find(judge(workspace, narrow), "champion_delta_auc")["power"]["look"] == 2


@pytest.mark.parametrize(("value", "is_preview"), [("1", True), ("true", True), ("0", False), ("", False)])
def test_a_preview_says_so(
    value: str, is_preview: bool, workspace: Workspace, run, quick, registry, monkeypatch, capsys
) -> None:
    """An open preview does not say that the candidate may replace the champion."""
    crown(registry, run)
    run.become(0.1)
    monkeypatch.setenv("DIN_PREVIEW", value)
    judge(workspace, quick)
    printed = capsys.readouterr().out
    preview = "This is a preview; nothing can be promoted by it. The candidate passes every gate. AUC: "
    assert (preview in printed) == is_preview
    assert ("may replace the champion" in printed) == (not is_preview)


def test_only_another_candidate_spends_a_comparison(workspace: Workspace, run, narrow, registry):
    """A candidate is compared once, by the same rows; another one of the day widens bounds and adds no rows."""
    crown(registry, run)
    next_day(run, 0, noise=0.25)
    once = find(judge(workspace, narrow), "champion_delta_auc")
    first = workspace.gate.read_bytes()
    judge(workspace, narrow)
    assert workspace.gate.read_bytes() == first and stored(registry) == 1
    run.become(0.26)
    again = find(judge(workspace, narrow), "champion_delta_auc")
    assert (again["power"]["look"], again["power"]["users"]) == (2, once["power"]["users"])
    width = [one["interval"][1] - one["interval"][0] for one in (once, again)]
    assert width[1] > width[0]


def test_promote_makes_no_comparison(workspace: Workspace, run, quick, registry):
    """Judging again, `promote` reads the stored comparison; if somebody removed it, nothing is promoted or written."""
    version = crown(registry, run)
    next_day(run, 0, noise=0.1)
    judge(workspace, quick)
    folder = workspace.root / "registry" / quick.model_name / "looks" / version
    (folder / "000001.parquet").unlink()
    with pytest.raises(GateClosed, match="judged again, the gate is closed"):
        promote(workspace, quick, "test", "try", score=score)
    assert not list(folder.iterdir())


def test_a_damaged_comparison_closes_what_it_decides(workspace: Workspace, run, quick, registry):
    """Both reasons name the object in the registry."""
    version = crown(registry, run)
    next_day(run, 0, noise=0.1)
    judge(workspace, quick)
    path = workspace.root / "registry" / quick.model_name / "looks" / version / "000001.parquet"
    path.write_bytes(b"PAR1")
    report = judge(workspace, quick)
    assert shut(report) == ["champion_delta_auc", "champion_delta_gauc"]
    for name in shut(report):
        assert f"{version}/000001.parquet: not a Parquet file" in find(report, name)["reason"]


def paired(users: int) -> Estimate:
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(users), 10)
    label = rng.random(len(user)) < 0.5
    scores = [label + rng.normal(size=len(user)) for _ in range(2)]
    return difference("auc", label, scores[0], scores[1], user)


def test_an_automatic_margin_follows_the_number_of_users(quick: Params, monkeypatch: pytest.MonkeyPatch):
    """More users resolve a smaller loss, within the two limits."""
    monkeypatch.setattr(comparisons, "MIN_MARGIN", 0.001)
    limits = replace(quick.gate, margin="auto", max_margin=0.5)
    some, many = margin_of(limits, paired(100)), margin_of(limits, paired(1600))
    assert many == pytest.approx(some / 4, rel=0.2)
    assert margin_of(replace(limits, max_margin=0.002), paired(100)) == 0.002
    assert margin_of(limits, paired(5)) == 0.5  # too few users for a figure; the gate closes as undefined
    assert margin_of(replace(limits, margin=0.007), paired(100)) == 0.007
    monkeypatch.setattr(comparisons, "MIN_MARGIN", 0.4)
    assert margin_of(limits, paired(1600)) == 0.4


def test_an_automatic_margin_weighs_refusals_against_losses(quick: Params) -> None:
    """With 1,000 users it refuses a tenth of the equals, and lets 1 in 40 lose 0.005 of AUC.

    A margin for 19 of 20 equals is wider by a ninth, and lets 1 in 19 lose that much.
    """
    rng = np.random.default_rng(11)
    users, error, trials = 1_000, 0.0015, 1_000
    influence = rng.normal(size=users)
    influence *= error / np.sqrt((influence**2).sum())
    day = Estimate(0.0, np.arange(users), influence, np.ones((2, users), bool))
    margin = margin_of(replace(quick.gate, margin="auto", max_margin=0.01), day)

    def opened(truth: float) -> float:
        values = rng.normal(truth, error, trials)
        return np.mean([judge_days([replace(day, value=value)], margin, 1, 0.05).verdict == "open" for value in values])

    assert opened(0.0) == pytest.approx(0.9, abs=0.025)
    assert opened(-0.005) == pytest.approx(1 / 40, abs=0.013)


@pytest.mark.parametrize(
    ("loss", "verdict", "today"),
    [
        (0.012, "closed", "-0.0120 [-0.0153, -0.0072], so a loss of more than 0.0050 is certain"),
        (0.007, "borderline", "-0.0070 [-0.0103, -0.0022], so a loss of 0.0100 is possible"),
    ],
    ids=["certain", "possible"],
)
def test_a_reason_tells_what_today_shows_against_the_pooled_days(loss: float, verdict: str, today: str) -> None:
    """The days together rule out a loss of the margin. Today's rows alone prove one, or allow two margins."""
    influence = np.tile([0.002, -0.002], 500) / np.sqrt(1_000)
    days = [
        Estimate(value, first + np.arange(1_000), influence, np.ones((2, 1_000), bool))
        for first, value in ((0, loss), (1_000, -loss))
    ]
    outcome = judge_days(days, 0.005, 2, 0.05)
    assert outcome.verdict == verdict
    pooled, _, alone = tell(outcome, 0.005, 0.01).partition("; but on today's rows alone it is ")
    assert pooled.endswith("so a loss of 0.0050 is ruled out")
    assert alone == today


@pytest.mark.parametrize(("margin", "says"), [(0.005, False), (0.01, True)])
def test_a_reason_tells_when_only_more_users_help(margin: float, says: bool) -> None:
    """The few users can't rule out a loss of `gate.max_margin`, so a wider margin is named only where none is left."""
    influence = np.tile([0.006, -0.006], 500) / np.sqrt(1_000)
    outcome = judge_days([Estimate(0.0, np.arange(1_000), influence, np.ones((2, 1_000), bool))], margin, 1, 0.05)
    assert outcome.verdict == "borderline" and outcome.excludes > 0.01
    assert ("gate.max_margin permits no wider margin" in tell(outcome, margin, 0.01)) is says


@pytest.mark.parametrize("first", ["auc", "gauc"])
def test_a_further_metric_closes_on_proven_harm_alone(first: str, workspace: Workspace, run, quick, registry) -> None:
    """If neither metric can rule out a loss, only the first one holds the candidate; proven harm closes both."""
    further = "gauc" if first == "auc" else "auc"
    params = set_gate(quick, metrics=(first, further), margin=0.001)
    challenge(registry, run, 0.25)
    report = judge(workspace, params)
    verdicts = {metric: find(report, f"champion_delta_{metric}")["verdict"] for metric in (first, further)}
    assert verdicts == {first: "borderline", further: "open"}
    reason = find(report, f"champion_delta_{further}")["reason"]
    assert "a loss of 0.0010 is possible" in reason
    assert f"Only proven harm closes a gate by another metric than {first}" in reason
    run.become(3.0)
    report = judge(workspace, params)
    assert all(find(report, f"champion_delta_{metric}")["verdict"] == "closed" for metric in (first, further))


def test_the_comparison_of_a_removed_candidate_tells_nothing(workspace: Workspace, run, narrow, registry) -> None:
    """It was promoted, did harm and was rolled back. The old champion's next candidate spends a second comparison."""
    crown(registry, run)
    next_day(run, 0, noise=0.201)
    first = find(judge(workspace, narrow), "champion_delta_auc")
    assert first["verdict"] == "borderline"
    crown(registry, run)
    registry.rollback(1, by="ann", reason="harm")
    next_day(run, 1, noise=0.202)
    second = find(judge(workspace, narrow), "champion_delta_auc")
    widths = [high - low for low, high in (first["interval"], second["interval"])]
    assert second["power"]["look"] == 2
    assert widths[1] > widths[0]  # two pooled days would be narrower, although a second comparison is wider


def test_a_registry_that_is_away_is_not_new(workspace: Workspace, run, narrow, registry) -> None:
    """A mount that is missing one night looks like a registry without a champion. Whoever begins anew says so."""
    crown(registry, run)
    crown(registry, run)
    judge(workspace, narrow)
    folder = Path(registry.uri)
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(InputError, match="has 0 records, but had 2 before; mount or restore it") as refused:
        judge(workspace, narrow)
    continued = replace(narrow.train, start="champion")
    with pytest.raises(InputError, match="has 0 records"):
        pin(Registry.of(workspace, narrow), continued, date(2030, 1, 1))
    Path(str(refused.value).rpartition(" ")[2]).unlink()
    assert judge(workspace, narrow)["champion"] is None
