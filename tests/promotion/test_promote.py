"""Promotion: only what the gate opened for, all or nothing, one winner."""

import json
from dataclasses import asdict, replace

import pytest

from din.artifacts import read_json, sha256_file
from din.errors import GateClosed
from din.gates.gate import gate
from din.params import Params
from din.promotion.promote import promote
from din.registry import commands
from din.workspace import Workspace
from tests.factories.run import Run, edit, going_on, score


def promoted(workspace: Workspace, params, **settings):
    """Promote with the tests' defaults."""
    return promote(workspace, params, by="ann", reason="nightly", score=score, **settings)


@pytest.fixture
def gated(workspace: Workspace, run, quick):
    """Return a run whose gate is open."""
    gate(workspace, quick, score)
    return run


def next_candidate(run: Run, params, noise: float) -> str:
    """Put another model into the run and judge it against today's champion."""
    run.noise = noise
    version = run.finish()
    gate(run.here, params, score)
    return version


def test_promotes_bundle_run_and_record(workspace: Workspace, gated, quick, registry, capsys):
    """The record names who, why and which version, and holds the hashes of the run's files."""
    workspace.lock.write_text("schema: '2.0'\n")
    result = promoted(workspace, quick)
    record = registry.champion()
    assert record == result.record and result.appended
    assert (record.number, record.action, record.previous, record.by, record.reason) == (
        1, "promote", None, "ann", "nightly")  # fmt: skip
    assert record.version == sha256_file(workspace.bundle / "manifest.json")
    files = {name.partition("/")[2]: name for name in record.files}
    expected = {"gate.json", "parity.json", "evaluation.json", "validation/raw.json", "git.json", "dvc.lock"}
    assert expected <= files.keys()
    run = workspace.root / "registry" / quick.model_name / "runs" / record.run_id
    assert {name: sha256_file(run / name) for name in record.files} == record.files
    assert read_json(run / files["git.json"]) == {"commit": None, "dirty": None}  # outside a repository
    assert registry.verify() == []
    auc = read_json(workspace.evaluation)["test"]["auc"]
    printed = capsys.readouterr().out
    assert record.version in printed and f"{auc:.4f}" in printed and "popularity" in printed
    assert f"din score --registry {registry.uri} --model movielens-100k --input requests.jsonl" in printed


def test_champion_again_appends_nothing(workspace: Workspace, gated, quick, registry):
    """A rerun of the same promotion, or of the whole pipeline, succeeds and changes nothing."""
    promoted(workspace, quick)
    assert not promoted(workspace, quick).appended  # the gate report of its promotion
    gate(workspace, quick, score)
    assert not promoted(workspace, quick).appended  # a gate report that saw it as champion
    assert len(registry.history()) == 1


def test_a_bundle_is_promoted_once(workspace: Workspace, gated, quick, registry):
    """A rerun that reproduces a former champion is refused with an open gate; only a rollback brings it back."""
    first = promoted(workspace, quick).record
    noise = gated.noise
    next_candidate(gated, quick, 0.1)
    promoted(workspace, quick)
    assert next_candidate(gated, quick, noise) == first.version
    with pytest.raises(GateClosed, match="din registry rollback 1"):
        promoted(workspace, quick)
    assert len(registry.history()) == 2


def test_refuses_a_gate_that_saw_another_champion(workspace: Workspace, gated, quick, registry):
    """A report is refused if a champion appeared since, or if the asked registry lacks the champion."""
    report = workspace.gate.read_bytes()
    promoted(workspace, quick)
    next_candidate(gated, quick, 0.1)
    other = replace(quick, promote=replace(quick.promote, registry="elsewhere"))
    with pytest.raises(GateClosed, match=r"judged: params\.promote\.registry was 'registry', is 'elsewhere'"):
        promoted(workspace, other)
    edit(workspace.gate, lambda r: r | {"champion": json.loads(report)["champion"]})
    with pytest.raises(GateClosed, match="compared with champion none"):
        promoted(workspace, quick)
    assert len(registry.history()) == 1


def test_an_older_log_is_promoted_where_its_gate_is_waived(workspace: Workspace, gated, quick, registry):
    """`gate.allow_older` must be set when the gate judges, and without it nothing is promoted."""
    promoted(workspace, quick)
    gated.facts["until"] = "2024-01-01"
    gated.noise = 0.1
    version = gated.finish()
    with pytest.raises(GateClosed):
        gate(workspace, quick, score)
    with pytest.raises(GateClosed, match="the gate is closed; the reasons of its gates say what to do"):
        promoted(workspace, quick)
    waived = replace(quick, gate=replace(quick.gate, allow_older=True))
    gate(workspace, waived, score)
    with pytest.raises(GateClosed, match=r"params\.gate\.allow_older was True, is False"):
        promoted(workspace, quick)
    assert promoted(workspace, waived).record.version == version


def test_run_id_of_the_scheduler_names_the_files(workspace: Workspace, gated, quick, registry, monkeypatch):
    """Schedulers' ids may hold colons, and a second promotion by the same run keeps the first one's files."""
    monkeypatch.setenv("DIN_RUN_ID", "scheduled__2026-01-01T00:00:00+00:00")
    assert promoted(workspace, quick).record.run_id == "scheduled__2026-01-01T00-00-00-00-00"
    next_candidate(gated, quick, 0.1)
    second = promoted(workspace, quick).record
    assert second.run_id == "scheduled__2026-01-01T00-00-00-00-00"
    assert registry.verify() == []


@pytest.fixture
def harmful(run: Run, quick: Params, steps) -> Params:
    """Judge a candidate whose champion harmed; the run is to go back by itself."""
    _, champion = steps(5.0)
    params = replace(quick, promote=replace(quick.promote, on_harm="rollback"))
    params = going_on(run, params, champion)
    with pytest.raises(GateClosed):
        gate(run.here, params, score)
    return params


def test_a_rollback_that_was_killed_before_its_seal_is_finished_by_the_next_try(
    workspace: Workspace, harmful, registry
):
    """The next try finds the record, seals it and appends no other."""
    assert promoted(workspace, harmful).record.number == 3
    (seal,) = (workspace.root / "registry" / harmful.model_name / "seals").glob("000003-*")
    seal.unlink()
    assert not promoted(workspace, harmful).appended
    assert seal.exists() and len(registry.history()) == 3 and registry.verify() == []


def test_rollback_command_restores_and_the_next_gate_sees_it(workspace: Workspace, gated, quick, registry, capsys):
    """A rollback is an append, and a gate report from before it is stale."""
    first = promoted(workspace, quick).record
    next_candidate(gated, quick, 0.1)
    promoted(workspace, quick)
    next_candidate(gated, quick, 0.05)
    record = commands.rollback(registry.uri, quick.model_name, "1", "ann", "latency")
    assert (record.number, record.version, record.action) == (3, first.version, "rollback")
    assert registry.champion() == record
    with pytest.raises(GateClosed, match=r"compared with champion .* \(record 2\), but today's is .* \(record 3\)"):
        promoted(workspace, quick)
    assert first.version in capsys.readouterr().out


def test_registry_commands_print(workspace: Workspace, gated, quick, registry, capsys):
    """list, show, verify and gc print a registry of one record, and an empty one."""
    commands.show_list(registry.uri)
    assert commands.show(registry.uri, quick.model_name) is None
    record = promoted(workspace, quick).record
    capsys.readouterr()
    commands.show_list(registry.uri)
    assert record.version[:12] in capsys.readouterr().out
    commands.show_list(registry.uri, as_json=True)
    assert json.loads(capsys.readouterr().out) == {quick.model_name: [asdict(record)]}
    commands.show(registry.uri, quick.model_name)
    shown = json.loads(capsys.readouterr().out)
    assert shown["version"] == record.version and shown["evaluation"]["test"]["auc"] > 0.7
    commands.gc(registry.uri, quick.model_name, days=0)
    assert "nothing to remove" in capsys.readouterr().out
    commands.gc(registry.uri, quick.model_name, days=0, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"removed": False, "found": []}
    commands.verify(registry.uri)
    assert "sound" in capsys.readouterr().out
    bundle = workspace.root / "registry" / quick.model_name / "bundles" / record.version
    (bundle / "model.json").write_text("{}")
    with pytest.raises(GateClosed, match=r"model\.json"):
        commands.verify(registry.uri, as_json=True)
    (problem,) = json.loads(capsys.readouterr().out)[quick.model_name]["problems"]
    assert "model.json" in problem
