"""Promotion: only what the gate opened for, all or nothing, one winner; what the registry then says of it."""

import json
from dataclasses import asdict

import pytest
from typer.testing import CliRunner

from din import cli
from din.base.artifacts import read_json, sha256_file
from din.base.errors import GateClosed, InputError
from din.base.workspace import Workspace
from din.release.gates.gate import gate
from din.release.promote import promote
from din.release.registry import commands
from tests.factories.run import Run, crown, score


def promoted(workspace: Workspace, params):
    return promote(workspace, params, by="ann", reason="nightly", score=score)


@pytest.fixture
def gated(workspace: Workspace, run, quick):
    gate(workspace, quick, score)
    return run


def next_candidate(run: Run, params, noise: float) -> str:
    version = run.become(noise)
    gate(run.here, params, score)
    return version


def test_promotes_bundle_run_and_record(workspace: Workspace, gated, quick, registry, capsys):
    """The record names who, why and which version, and holds the hashes of the run's files, without hidden ones."""
    workspace.lock.write_text("schema: '2.0'\n")
    hidden = workspace.reports / ".ipynb_checkpoints" / "gate-checkpoint.json"
    hidden.parent.mkdir()
    hidden.write_text("{}")
    result = promoted(workspace, quick)
    record = registry.champion()
    assert record == result.record and result.appended
    assert (record.number, record.action, record.previous, record.by, record.reason) == (
        1, "promote", None, "ann", "nightly")  # fmt: skip
    assert record.version == sha256_file(workspace.bundle / "manifest.json")
    files = {name.partition("/")[2]: name for name in record.files}
    expected = {"gate.json", "parity.json", "evaluation.json", "validation/raw.json", "git.json", "dvc.lock"}
    assert expected <= files.keys() and not any("checkpoint" in name for name in files)
    run = workspace.root / "registry" / quick.model_name / "runs" / record.run_id
    assert {name: sha256_file(run / name) for name in record.files} == record.files
    assert read_json(run / files["git.json"]) == {"commit": None, "dirty": None}  # outside a repository
    assert registry.verify() == []
    printed = capsys.readouterr().out
    assert record.version in printed and f"{read_json(workspace.evaluation)['test']['auc']:.4f}" in printed
    assert f"din score --registry {registry.uri} --model movielens-100k --input requests.jsonl" in printed


def test_a_bundle_is_promoted_once(workspace: Workspace, gated, quick, registry, capsys):
    """A rerun of the same promotion, or of the whole pipeline, succeeds and changes nothing.

    One that reproduces a former champion is refused with an open gate; only a rollback brings it back.
    """
    first = promoted(workspace, quick).record
    assert not promoted(workspace, quick).appended  # the gate report of its promotion
    assert f"already champion: {first.version}" in capsys.readouterr().out
    gate(workspace, quick, score)
    assert not promoted(workspace, quick).appended  # a gate report that saw it as champion
    noise = gated.noise
    next_candidate(gated, quick, 0.1)
    promoted(workspace, quick)
    assert next_candidate(gated, quick, noise) == first.version
    with pytest.raises(GateClosed, match="din registry rollback 1"):
        promoted(workspace, quick)
    assert len(registry.history()) == 2


def test_a_gate_that_saw_another_champion_is_stale(workspace: Workspace, gated, quick, registry):
    """After a rollback or another promotion, the message names the record that was compared and today's."""
    promoted(workspace, quick)
    next_candidate(gated, quick, 0.1)
    promoted(workspace, quick)
    next_candidate(gated, quick, 0.05)
    other = Run(Workspace(workspace.root / "other"), quick)
    other.become(0.15)
    for number, change in ((3, lambda: registry.rollback(1, "ann", "latency")), (4, lambda: crown(registry, other))):
        change()
        says = rf"compared with champion .* \(record 2\), but today's is .* \(record {number}\)"
        with pytest.raises(GateClosed, match=says):
            promoted(workspace, quick)
        assert len(registry.history()) == number


def test_run_id_of_the_scheduler_names_the_files(workspace: Workspace, gated, quick, registry, monkeypatch):
    """Schedulers' ids may hold colons, and a second promotion by the same run keeps the first one's files."""
    monkeypatch.setenv("DIN_RUN_ID", "scheduled__2026-01-01T00:00:00+00:00")
    for _ in range(2):
        assert promoted(workspace, quick).record.run_id == "scheduled__2026-01-01T00-00-00-00-00"
        next_candidate(gated, quick, 0.1)
    assert registry.verify() == []


def test_registry_commands_print(workspace: Workspace, gated, quick, registry, capsys):
    """list, show, rollback, verify and gc print a registry, an empty one and a damaged one."""

    def printed() -> str:
        return capsys.readouterr().out

    place = (registry.uri, quick.model_name)
    commands.show_list(registry.uri)
    with pytest.raises(InputError, match="nothing to verify; its models are none"):
        commands.verify(registry.uri)
    first = promoted(workspace, quick).record
    printed()
    commands.show_list(registry.uri)
    assert first.version[:12] in printed()
    commands.show_list(registry.uri, as_json=True)
    assert json.loads(printed()) == {quick.model_name: [asdict(first)]}
    commands.show(*place, "1")
    shown = json.loads(printed())
    assert shown["version"] == first.version and shown["evaluation"]["test"]["auc"] > 0.7
    commands.gc(*place, days=0)
    assert "nothing to remove" in printed()
    commands.gc(*place, days=0, as_json=True)
    assert json.loads(printed()) == {"removed": False, "found": []}
    next_candidate(gated, quick, 0.1)
    promoted(workspace, quick)
    words = ["rollback", "1", "--reason", "latency", "--registry", registry.uri, "--model", quick.model_name, "--json"]
    done = CliRunner().invoke(cli.app, ["registry", *words])
    assert json.loads(done.stdout)["version"] == first.version
    assert f"record 3 made {first.version} the champion again" in done.stderr
    printed()
    with pytest.raises(InputError, match="nothing to verify; its models are movielens-100k"):
        commands.verify(registry.uri, "typo")
    commands.verify(registry.uri)
    assert f"{registry.name}: sound" in printed()
    (workspace.root / "registry" / quick.model_name / "bundles" / first.version / "model.json").write_text("{}")
    with pytest.raises(GateClosed, match=r"model\.json"):
        commands.verify(registry.uri, as_json=True)
    (problem,) = json.loads(printed())[quick.model_name]["problems"]
    assert "model.json" in problem
