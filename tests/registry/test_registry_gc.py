"""The objects that `din registry gc` removes, and the ones that it keeps."""

import os
import shutil
import time
from datetime import timedelta
from pathlib import Path

import pytest
from bundles import bundle, crown

from din.errors import InputError
from din.registry.registry import Registry


@pytest.fixture
def local(tmp_path: Path) -> Registry:
    """An empty registry in a folder."""
    return Registry(str(tmp_path / "r"), "ads")


def test_gc_removes_old_orphans_and_nothing_else(local, tmp_path):
    """Old bundles and runs without a record, and leftovers of killed puts, are removed, but only without dry_run."""
    crown(local, bundle(tmp_path / "b"), run_id="kept", files=local.put_run("kept", {"gate.json": b"{}"}))
    orphan = local.put_bundle(bundle(tmp_path / "c", "two"))
    local.put_run("killed", {"gate.json": b"{}"})
    leftover = tmp_path / "r" / "ads" / "promotions" / "000002.json#1"
    leftover.write_text("half")
    gone = {f"{local.name}/bundles/{orphan}", f"{local.name}/runs/killed", str(leftover)}
    assert local.gc(dry_run=False) == []  # all are younger than the grace period
    old = time.time() - 8 * 24 * 3600
    for path in (tmp_path / "r").rglob("*"):
        os.utime(path, (old, old))
    assert set(local.gc()) == gone and leftover.exists()
    assert set(local.gc(dry_run=False)) == gone
    assert not leftover.exists() and local.gc(timedelta(0)) == [] and local.verify() == []


def test_gc_keeps_an_old_leftover_that_is_stored_again(local, tmp_path):
    """A promotion in progress may reuse an old bundle."""
    source = bundle(tmp_path / "b")
    version = local.put_bundle(source)
    old = time.time() - 8 * 24 * 3600
    for path in (tmp_path / "r").rglob("*"):
        os.utime(path, (old, old))
    local.put_bundle(source)
    assert local.gc(dry_run=False) == []
    assert local.fetch(version, tmp_path / "fetched")


@pytest.mark.parametrize("meanwhile", ["stored again", "promoted"])
def test_gc_keeps_what_is_promoted_meanwhile(local, tmp_path, monkeypatch, meanwhile):
    """A bundle is kept if a promotion of it begins or ends between listing and removal."""
    first = crown(local, bundle(tmp_path / "a", "zero"))
    source = bundle(tmp_path / "b")
    version = local.put_bundle(source)
    old = time.time() - 8 * 24 * 3600
    for path in (tmp_path / "r").rglob("*"):
        os.utime(path, (old, old))
    listed = local._objects.leftovers

    def then():
        if meanwhile == "promoted":
            local.append(version, first, by="ann", reason="meanwhile")
        else:
            local.put_bundle(source)
        return listed()

    monkeypatch.setattr(local._objects, "leftovers", then)
    assert local.gc(dry_run=False) == []
    assert local.fetch(version, tmp_path / "fetched")


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
