"""`din promote --override`: which gates a person may answer for, and what the record says of it for ever."""

import errno
import json
from datetime import timedelta

import numpy as np
import pytest
from typer.testing import CliRunner

from din import cli
from din.base import documents
from din.base.artifacts import read_json, sha256_file
from din.base.errors import GateClosed, InputError
from din.base.workspace import Workspace
from din.contracts.verdicts import About, ChampionName, GateEntry, GateReport, Harm
from din.params.blocks import to_json
from din.params.reading import Params
from din.release.gates.earlier_champion import Score
from din.release.gates.findings import overall
from din.release.gates.gate import gate
from din.release.promote import Promotion, promote
from din.release.registry import commands
from din.release.registry.records import Override, record_key, seal
from din_report.runs import write_runs
from tests.factories.run import NEED_SCORES, Run, challenge, crown, judge, probabilities, score, set_gate, shut


def promoted(run: Run, params: Params, score: Score = score) -> Promotion:
    return promote(run.here, params, by="nightly", score=score)


def overridden(run: Run, params: Params, score: Score = score, reason: str = "looked at the slices") -> Promotion:
    return promote(run.here, params, by="ann", reason=reason, override=True, score=score)


def unscorable(workspace: Workspace, bundle, rows):
    raise RuntimeError("needs a field 'age' that is gone")


def borderline(run: Run, params: Params) -> Params:
    """Return parameters with which `min_auc` alone is borderline."""
    return set_gate(params, min_auc=read_json(run.here.evaluation)["test"]["auc"])


def test_a_borderline_candidate_is_promoted_only_by_an_override(run: Run, quick, registry, capsys):
    """Gate and promote refuse and say how, and the record names who overrode which gates, and why."""
    params = borderline(run, quick)
    with pytest.raises(GateClosed, match=r"(?s)borderline; there is still no .*din promote --override --reason WHY"):
        gate(run.here, params, score)
    with pytest.raises(GateClosed, match=r"the gate is borderline.*`din promote --override --reason WHY`"):
        promoted(run, params)
    assert registry.champion() is None
    record = overridden(run, params).record
    assert "ann overrides gates that are not open: min_auc." in capsys.readouterr().out
    assert record.override == Override(gates=["min_auc"], compared=True)
    assert (record.by, record.reason) == ("ann", "looked at the slices")
    assert registry.champion() == record and registry.verify() == []
    again = overridden(run, params)  # the reply was lost
    assert (again.record, again.appended) == (record, False)


def test_an_override_has_a_reason_and_a_gate_to_override(run: Run, quick, registry, monkeypatch):
    """Bad input otherwise, so that nobody overrides by habit."""
    params = borderline(run, quick)
    run.here.params.write_text(json.dumps(to_json(params)))
    monkeypatch.chdir(run.here.root)
    judge(run.here, params)
    for words in ([], ["--reason", " "]):
        done = CliRunner().invoke(cli.app, ["promote", "--override", *words])
        assert done.exit_code == 2 and "--override needs a --reason" in done.output
    assert judge(run.here, quick)["verdict"] == "open"
    with pytest.raises(InputError, match="nothing to override; leave out --override"):
        overridden(run, quick)
    assert registry.champion() is None


OPEN, UNSURE, BAD, GONE, MISSING = (
    GateEntry.model_construct(verdict=verdict, evaluated=evaluated, compares=compares)
    for verdict, evaluated, compares in (
        ("open", True, True),
        ("borderline", True, True),
        ("closed", True, True),
        ("closed", False, True),
        ("closed", False, False),
    )
)


@pytest.mark.parametrize(
    ("gates", "may"),
    [
        ([OPEN], False),
        ([UNSURE, OPEN], True),
        ([GONE], True),
        ([GONE, UNSURE], True),
        ([BAD], False),
        ([GONE, BAD], False),
        ([MISSING, UNSURE], False),
    ],
)
def test_a_person_may_override_only_what_is_in_doubt(gates: list[GateEntry], may: bool):
    """Never the gates of the champion itself, nor those of a candidate that was compared with what goes."""
    values = {"champion": None, "bundle": "a" * 64, "harm": None, "about": About.model_construct(params={})}
    report = GateReport.model_construct(verdict=overall(gates), gates=gates, **values)
    assert report.may_be_overridden == may
    itself = report.model_copy(update={"champion": ChampionName.model_construct(version="a" * 64)})
    assert not itself.may_be_overridden
    about = About.model_construct(params={"promote": {"on_harm": "rollback"}})
    harm = Harm(record=2, back_to=1, reason="harm")
    assert not report.model_copy(update={"harm": harm, "about": about}).may_be_overridden


def test_a_champion_that_cannot_be_evaluated_is_overridden(run: Run, quick, registry, capsys):
    """Every table shows it, and the next candidate is not compared with the champion that was overridden."""
    old = challenge(registry, run)
    with pytest.raises(GateClosed, match="din promote --override"):
        gate(run.here, quick, unscorable)
    assert set(shut(read_json(run.here.gate))) == NEED_SCORES
    with pytest.raises(GateClosed, match="the gate is closed"):
        promoted(run, quick, unscorable)
    record = overridden(run, quick, unscorable, "the field is gone").record
    assert record.override and set(record.override.gates) == NEED_SCORES and not record.override.compared
    capsys.readouterr()
    commands.show_list(registry.uri)
    assert "champion_today" in capsys.readouterr().out
    write_runs(run.here, registry.uri, registry.model_name)
    page = run.here.runs_page.read_text("utf-8")
    assert "gates overridden by ann (champion_today" in page and "the field is gone" in page
    run.become(0.05)
    gate(run.here, quick, lambda *of: unscorable(*of) if sha256_file(of[1] / "manifest.json") == old else score(*of))


@pytest.mark.parametrize(
    ("limits", "lr", "says"),
    [({"calibration": (0.7, 0.8)}, 1.0, "none of it within 0.7000 to 0.8000"), ({}, 0.0, "auc_over_lr: ")],
)
def test_an_override_waives_no_check_of_the_candidate_itself(limits, lr: float, says: str, run: Run, quick, registry):
    """A candidate that is miscalibrated or worse than LR is refused as on a first run."""
    crown(registry, run)
    run.rows["lr"] = probabilities(lr, run.rows["item"])
    run.become(0.5)
    params = set_gate(quick, **limits)
    with pytest.raises(GateClosed, match=says) as refused:
        gate(run.here, params, unscorable)
    assert "--override" not in str(refused.value)
    with pytest.raises(GateClosed, match="the gate is closed"):
        overridden(run, params, unscorable)


def test_a_promotion_on_another_processor(run: Run, quick, registry):
    """The champion's scores may have other last bits there, but not other figures."""
    challenge(registry, run)
    gate(run.here, quick, score)
    run.here.bound.unlink()

    def shaken(by: float) -> Score:
        return lambda *of: score(*of) + by * np.sin(np.arange(len(of[2])))

    with pytest.raises(GateClosed, match=r"differs from its gates judged again: .*champion_today"):
        promoted(run, quick, shaken(1e-2))
    assert promoted(run, quick, shaken(1e-9)).record.number == 2


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), MemoryError()])
def test_a_full_disk_says_nothing_about_the_champion(error: Exception, run: Run, quick, registry):
    """The gate is not closed, and nobody can override it: the stage fails, and is run again."""
    challenge(registry, run)

    def fail(*_: object):
        raise error

    with pytest.raises(type(error)):
        gate(run.here, quick, fail)
    assert not run.here.gate.exists()


@pytest.mark.parametrize("overrode", [True, False])
def test_a_registry_that_holds_approvals_is_still_read(overrode: bool, run: Run, quick, registry, capsys):
    """Earlier versions stored an answer as an object, and its hash in the record. `gc` leaves the objects."""
    version = crown(registry, run)
    approval = {"by": "bob", "override": overrode, "answer": "a" * 64}
    (place,) = (run.here.root / "registry").rglob("promotions")
    record = read_json(place / "000001.json")
    del record["override"]
    for area in ("promotions", "seals"):
        for key in registry.objects.keys(area):
            registry.objects.delete(key)
    registry.objects.create(record_key(1), documents.dump(record | {"approval": approval}))
    seal(registry.objects, 1)
    answer = f"approvals/000001-{version}/answer.json"
    registry.objects.create(answer, b"{}")
    (read,) = registry.history()
    assert read.override == Override(gates=[], compared=not overrode)
    commands.show_list(registry.uri)
    assert "gates not named" in capsys.readouterr().out
    assert registry.verify() == [] and registry.gc(timedelta(0), dry_run=False) == []
    assert registry.objects.exists(answer)
    run.become(0.1)
    gate(run.here, quick, score)
    assert promoted(run, quick).record.number == 2 and registry.verify() == []
