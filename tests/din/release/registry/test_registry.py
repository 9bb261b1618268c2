"""The registry: bundles come back as they were, names mean one version, and what may be stored, served and removed.

Races, kills and lost answers are the simulation's; edited records and damaged bundles are in test_registry_faults.py.
"""

import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from din.base import documents
from din.base.artifacts import hash_files, sha256_file
from din.base.errors import InputError, Unavailable
from din.bundle.contents import verify_bundle
from din.contracts.facts import Facts
from din.release.registry.cache import scorer_of
from din.release.registry.objects import Objects
from din.release.registry.records import Identity, StaleChampion, record_key, seal
from din.release.registry.registry import Registry, list_models
from din.release.registry.stored_comparisons import comparison_key
from tests.factories import documents_of
from tests.factories.bundles import bundle, crown


@pytest.fixture
def local(tmp_path: Path) -> Registry:
    return Registry(str(tmp_path / "r"), "ads")


def test_reading_makes_no_folder(tmp_path):
    """Reading a mistyped registry finds no models and no champion and makes no folder; a write makes it."""
    typo = tmp_path / "typo"
    registry = Registry(str(typo), "ads")
    assert list_models(str(typo)) == registry.history() == registry.gc() == registry.verify() == []
    with pytest.raises(InputError, match="typo/ads: no champion yet"):
        scorer_of(str(typo), "ads", cache=tmp_path / "cache")
    assert list(tmp_path.iterdir()) == []
    assert crown(registry, bundle(tmp_path / "b")) == Registry(str(typo), "ads").champion()


@pytest.mark.parametrize("uri", ["{folder}/r", "file://{folder}/r", "memory:///"])
def test_bundle_comes_back_as_it_was(uri, tmp_path):
    """The version is the manifest's hash, fetch gives the same bytes, and facts can be read alone, on each store."""
    registry = Registry(uri.format(folder=tmp_path), "ads")
    source = bundle(tmp_path / "b", big="x" * 12_000_000)  # larger than one part of an upload
    version = registry.put_bundle(source)
    assert version == sha256_file(source / "manifest.json")
    assert hash_files(registry.fetch(version, tmp_path / "fetched")) == hash_files(source)
    assert registry.facts(version) == Facts(**documents_of.facts(model="one"))
    assert registry.put_bundle(source) == version  # storing it again changes nothing


@pytest.mark.parametrize("uri", ["{folder}/r", "memory:///"])
def test_a_look_that_knows_an_earlier_champion(uri, tmp_path):
    """It finds the same champion, without a listing of older records, also in a log that was restored from a copy."""
    registry = Registry(uri.format(folder=tmp_path), "ads")
    version = registry.put_bundle(bundle(tmp_path / "b"))
    for _ in range(12):
        registry.append(version, registry.champion(), by="ann", reason="test")
    assert [registry.champion(known) for known in range(30)] == [registry.history()[-1]] * 30
    assert len(registry.objects.keys("promotions", "promotions/000010")) == 3
    for key in ("promotions/000012.json", *registry.objects.keys("seals", "seals/000012")):
        registry.objects.delete(key)
    assert {registry.champion(known).number for known in range(30)} == {11}


def test_a_record_with_the_claims_of_a_token_is_still_read(local, tmp_path):
    """It keeps the name; the issuer and the claims, which earlier records hold, are ignored."""
    version = local.put_bundle(bundle(tmp_path / "b"))
    local.append(version, None, by="ann", reason="x", identity=Identity(name="octocat", source="ID token"))
    record = json.loads(local.objects.read(record_key(1)))
    record["identity"] |= {"issuer": "https://gitlab.example.com", "claims": {"sub": "project_path:shop/ctr"}}
    for key in (record_key(1), *local.objects.keys("seals")):
        local.objects.delete(key)
    local.objects.create(record_key(1), documents.dump(record))
    seal(local.objects, 1)
    assert local.champion().author == "ann, run by octocat (claimed: ID token)"
    assert local.verify() == []


def test_an_object_is_created_once(local):
    """A second writer is told that the object exists, and changes nothing."""
    assert local.objects.create("seals/1", b"first")
    assert not local.objects.create("seals/1", b"second")
    assert local.objects.read("seals/1") == b"first"


def test_many_writers_have_one_winner(local, tmp_path):
    """If sixteen threads append after the same champion, exactly one writes a record."""
    version = local.put_bundle(bundle(tmp_path / "b"))

    def attempt(number: int) -> str | None:
        try:
            return local.append(version, None, by=f"writer {number}", reason="race").nonce
        except StaleChampion:
            return None

    with ThreadPoolExecutor(16) as pool:
        won = [nonce for nonce in pool.map(attempt, range(16)) if nonce]
    assert [record.nonce for record in local.history()] == won and len(won) == 1


def test_rollback_by_number_version_or_prefix(local, tmp_path):
    """A rollback appends a record that makes an earlier version the champion, with its reason."""
    first, second = (crown(local, bundle(tmp_path / "b", name)) for name in ("one", "two"))
    assert (second.number, second.previous) == (2, first.version)
    third = local.rollback(1, by="ann", reason="latency")
    assert (third.version, third.action, third.reason) == (first.version, "rollback", "latency")
    assert local.rollback(second.version, by="ann", reason="x").version == second.version
    fifth = local.rollback(first.version[:8], by="ann", reason="x")
    assert local.champion() == fifth == local.history()[4] and fifth.version == first.version
    assert local.rollback(1, by="ann", reason="x", champion=4) == fifth  # the printed command, pasted again
    assert local.rollback(1, by="ann", reason="x") == fifth  # the reply to the first attempt was lost
    assert local.verify() == []


def test_a_rollback_to_a_damaged_bundle_names_all_damage(local, tmp_path):
    """Whoever repairs the bundle sees at once what to restore."""
    first, _ = (crown(local, bundle(tmp_path / "b", name)) for name in ("one", "two"))
    stored = tmp_path / "r" / "ads" / "bundles" / first.version
    (stored / "vocab" / "a.txt").write_text("x")
    (stored / "empty").unlink()
    with pytest.raises(InputError) as found:
        local.rollback(1, by="ann", reason="latency")
    heading, *problems = str(found.value).splitlines()
    assert f"can't roll back to {first.version[:12]}:" in heading and len(problems) == 2
    assert "empty: not found" in problems[0] and "a.txt: damaged" in problems[1]
    assert len(local.history()) == 2


@pytest.mark.parametrize(
    ("to", "champion", "error", "message"),
    [
        (9, None, InputError, "no record 9; there are 2"),
        ("", None, InputError, "names 2"),
        (2, None, InputError, "already"),
        (1, 1, StaleChampion, "made .* the champion"),  # it would remove a bundle that nobody has judged
        (1, 4, InputError, "no record 4; there are 2"),
    ],
)
def test_a_rollback_to_nothing_sensible_appends_nothing(local, tmp_path, to, champion, error, message):
    """It names no record, several versions or the champion itself, or another champion has appeared."""
    for name in ("one", "two"):
        crown(local, bundle(tmp_path / "b", name))
    with pytest.raises(error, match=message):
        local.rollback(to, by="ann", reason="x", champion=champion)
    assert len(local.history()) == 2


@pytest.mark.parametrize("uri", ["ftp://host/x", "memory://x", "{file}", "{file}/below"])
def test_unusable_uri_is_bad_input(tmp_path, uri):
    """For an unknown scheme, or a path that is not a folder, one line names the URI."""
    file = tmp_path / "file"
    file.write_text("x")
    uri = uri.format(file=file)
    with pytest.raises(InputError) as error:
        Registry(uri, "ads").history()
    assert uri in str(error.value) and "\n" not in str(error.value)


def age(root: Path) -> None:
    old = time.time() - 8 * 24 * 3600
    for path in root.rglob("*"):
        os.utime(path, (old, old))


def test_gc_removes_old_orphans_and_nothing_else(local, tmp_path):
    """Old bundles and runs without a record, and leftovers of killed puts, are removed, but only without dry_run."""
    champion = crown(
        local,
        bundle(tmp_path / "b"),
        run_id="kept",
        files=local.put_run("kept", {"gate.json": b"{}", "c#.json": b"{}"}),
    )
    local.objects.put(comparison_key(champion.version, 1), b"rows")
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
    assert local.objects.exists(comparison_key(champion.version, 1))


def test_gc_never_finishes_what_emptied_the_log(local, tmp_path):
    """Without records, every champion's bundle looks like an orphan, so gc removes none."""
    champion = crown(local, bundle(tmp_path / "a"))
    shutil.rmtree(tmp_path / "r" / "ads" / "promotions")
    shutil.rmtree(tmp_path / "r" / "ads" / "seals")
    with pytest.raises(InputError, match=f"empty although 1 bundles are stored: {champion.version}"):
        local.gc(timedelta(0), dry_run=False)
    assert local.versions() == [champion.version]


def promote(registry, folder, previous=None):
    """Promote a bundle named after its folder."""
    version = verify_bundle(bundle(folder, folder.name)).version
    return registry.promote(folder, version, previous, by="ann", reason="open", run_id=folder.name, evidence={})


def test_a_failed_first_promotion_is_no_lost_log(local, tmp_path, monkeypatch):
    """An interrupted bundle blocks no other candidate, and gc removes it; one that was promoted is damage."""

    def fails(self, key, content):
        raise Unavailable(f"{key}: 503")

    for name in ("one", "two"):
        with monkeypatch.context() as fault, pytest.raises(Unavailable):
            fault.setattr(Objects, "create", fails)
            promote(local, tmp_path / name)
    age(tmp_path / "r")
    assert len(local.versions()) == 2 and local.verify() == local.versions_once_recorded() == []
    champion = promote(local, tmp_path / "two")
    assert local.versions_once_recorded() == [champion.version]
    with pytest.raises(StaleChampion):
        promote(local, tmp_path / "one")
    age(tmp_path / "r")
    assert any("bundles" in path for path in local.gc(dry_run=False)) and local.versions() == [champion.version]
    for area in ("promotions", "seals"):
        shutil.rmtree(tmp_path / "r" / "ads" / area)
    assert "the log of promotions is empty" in local.verify()[0]


def test_a_bundle_that_lost_the_first_promotion_and_won_a_later_one(local, tmp_path):
    """It was promoted, so it means a lost log if there is none."""
    first = promote(local, tmp_path / "one")
    with pytest.raises(StaleChampion):
        promote(local, tmp_path / "two")
    second = promote(local, tmp_path / "two", first)
    assert local.versions_once_recorded() == sorted([first.version, second.version])
