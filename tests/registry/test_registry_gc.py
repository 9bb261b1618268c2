"""The objects that `din registry gc` removes, and the ones that it keeps."""

import os
import shutil
import time
from datetime import timedelta
from pathlib import Path

import pytest
from bundles import bundle, crown

from din.errors import InputError, Unavailable
from din.registry.objects import Objects
from din.registry.registry import Registry


@pytest.fixture
def local(tmp_path: Path) -> Registry:
    """An empty registry in a folder."""
    return Registry(str(tmp_path / "r"), "ads")


def age(root: Path) -> None:
    """Date all objects back by eight days."""
    old = time.time() - 8 * 24 * 3600
    for path in root.rglob("*"):
        os.utime(path, (old, old))


def test_gc_removes_old_orphans_and_nothing_else(local, tmp_path):
    """Old bundles and runs without a record, and leftovers of killed puts, are removed, but only without dry_run."""
    crown(local, bundle(tmp_path / "b"), run_id="kept", files=local.put_run("kept", {"gate.json": b"{}"}))
    orphan = local.put_bundle(bundle(tmp_path / "c", "two"))
    local.put_run("killed", {"gate.json": b"{}"})
    leftover = tmp_path / "r" / "ads" / "promotions" / "000002.json#1"
    leftover.write_text("half")
    gone = {f"{local.name}/bundles/{orphan}", f"{local.name}/runs/killed", str(leftover)}
    assert local.gc(dry_run=False) == []  # all are younger than the grace period
    age(tmp_path / "r")
    assert set(local.gc()) == gone and leftover.exists()
    assert set(local.gc(dry_run=False)) == gone
    assert not leftover.exists() and local.gc(timedelta(0)) == [] and local.verify() == []


def test_gc_keeps_an_old_leftover_that_is_stored_again(local, tmp_path):
    """A promotion in progress may reuse an old bundle."""
    source = bundle(tmp_path / "b")
    version = local.put_bundle(source)
    age(tmp_path / "r")
    local.put_bundle(source)
    assert local.gc(dry_run=False) == []
    assert local.fetch(version, tmp_path / "fetched")


@pytest.mark.parametrize("meanwhile", ["stored again", "promoted"])
def test_gc_keeps_what_is_promoted_meanwhile(local, tmp_path, monkeypatch, meanwhile):
    """A bundle is kept if a promotion of it begins or ends between listing and removal."""
    first = crown(local, bundle(tmp_path / "a", "zero"))
    source = bundle(tmp_path / "b")
    version = local.put_bundle(source)
    age(tmp_path / "r")
    listed = local.objects.leftovers

    def then():
        if meanwhile == "promoted":
            local.append(version, first, by="ann", reason="meanwhile")
        else:
            local.put_bundle(source)
        return listed()

    monkeypatch.setattr(local.objects, "leftovers", then)
    assert local.gc(dry_run=False) == []
    assert local.fetch(version, tmp_path / "fetched")


def test_gc_and_a_promotion_of_the_same_leftover_notice_each_other(local, tmp_path, monkeypatch):
    """A promotion that begins while gc removes its bundle or run fails before it appends, and can be run again."""
    crown(local, bundle(tmp_path / "a", "zero"))
    source = bundle(tmp_path / "b")
    version = local.put_bundle(source)
    local.put_run("r", {"gate.json": b"{}"})
    age(tmp_path / "r")
    delete = local.objects.delete
    refused = []

    def then(key):
        with pytest.raises(Unavailable) as error:
            if "bundles/" in key:
                local.put_bundle(source)
            else:
                local.put_run("r", {"gate.json": b"{}"})
        refused.append(str(error.value))
        delete(key)

    monkeypatch.setattr(local.objects, "delete", then)
    local.gc(dry_run=False)
    monkeypatch.setattr(local.objects, "delete", delete)
    assert any(f"bundles/{version} is being removed by `din registry gc`" in message for message in refused)
    assert any("runs/r is being removed by `din registry gc`" in message for message in refused)
    assert local.versions() == [local.champion().version]
    assert crown(local, source, run_id="r", files=local.put_run("r", {"gate.json": b"{}"})).version == version
    assert local.verify() == []


def test_gc_forgets_the_claim_of_a_killed_gc(local, tmp_path, monkeypatch):
    """The claim blocks a promotion of the same bundle for the grace period, even if no record exists yet."""
    source = bundle(tmp_path / "b")
    version = local.put_bundle(source)
    age(tmp_path / "r")

    def kill(key):
        raise KeyboardInterrupt

    monkeypatch.setattr(local.objects, "delete", kill)
    with pytest.raises(KeyboardInterrupt):
        local.gc(dry_run=False, never_promoted=[version])
    monkeypatch.undo()
    with pytest.raises(Unavailable, match="is being removed by `din registry gc`"):
        local.put_bundle(source)
    local.gc(dry_run=False)
    with pytest.raises(Unavailable, match="is being removed by `din registry gc`"):
        local.put_bundle(source)
    age(tmp_path / "r")
    with pytest.raises(InputError, match="the log of promotions is empty"):
        local.gc(dry_run=False)
    assert crown(local, source).version == version


def test_gc_never_finishes_what_emptied_the_log(local, tmp_path):
    """Without records, every champion's bundle looks like an orphan, so gc removes only bundles that a person names."""
    champion = crown(local, bundle(tmp_path / "a"))
    shutil.rmtree(tmp_path / "r" / "ads" / "promotions")
    shutil.rmtree(tmp_path / "r" / "ads" / "seals")
    with pytest.raises(InputError, match=f"empty although 1 bundles are stored: {champion.version}"):
        local.gc(timedelta(0), dry_run=False)
    assert local.versions() == [champion.version]
    assert local.gc(timedelta(0), dry_run=False, never_promoted=[champion.version]) != []
    assert local.versions() == []


def test_a_failed_first_promotion_is_no_lost_log(local, tmp_path, monkeypatch):
    """One bundle of today without a record is a remark; an older one, or two, are damage."""
    candidate = bundle(tmp_path / "a")

    def fails(self, key, content):
        raise Unavailable(f"{key}: 503")

    with monkeypatch.context() as fault, pytest.raises(Unavailable):
        fault.setattr(Objects, "create", fails)
        crown(local, candidate)
    assert local.verify() == []
    assert "promotion was interrupted; run `din promote` again" in local.remarks()[0]
    age(tmp_path / "r")
    assert "the log of promotions is empty" in local.verify()[0] and local.remarks() == []
    crown(local, candidate)
    assert local.verify() == local.remarks() == []
