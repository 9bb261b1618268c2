"""The registry: a put-if-absent log, verified bundles, rollback, verify, gc."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import documents_of
import pytest
from bundles import bundle, crown

from din.artifacts import hash_files, sha256_file
from din.documents import dump
from din.errors import InputError
from din.registry.bundle import verify_bundle
from din.registry.objects import Refused
from din.registry.records import StaleChampion
from din.registry.registry import Registry, list_models
from din.serve.scorer import Scorer


@pytest.fixture(params=["local", "file", "memory"])
def registry(request, tmp_path: Path) -> Registry:
    """An empty registry on each store that needs no network."""
    uri = {"local": str(tmp_path / "r"), "file": f"file://{tmp_path}/r", "memory": "memory:///"}[request.param]
    return Registry(uri, "ads")


@pytest.fixture
def local(tmp_path: Path) -> Registry:
    """An empty registry in a folder."""
    return Registry(str(tmp_path / "r"), "ads")


def test_empty_registry_has_no_champion(registry):
    """A missing folder is an empty registry, not an error."""
    assert registry.champion() is None and registry.history() == [] and registry.verify() == []


def test_reading_makes_no_folder(tmp_path):
    """Reading a mistyped registry finds no models and no champion and makes no folder; a write makes it."""
    typo = tmp_path / "typo"
    registry = Registry(str(typo), "ads")
    assert list_models(str(typo)) == [] and registry.history() == [] and registry.gc() == []
    with pytest.raises(InputError, match="typo/ads: no champion yet"):
        Scorer.from_registry(str(typo), "ads", cache=tmp_path / "cache")
    assert list(tmp_path.iterdir()) == []
    assert crown(registry, bundle(tmp_path / "b")) == Registry(str(typo), "ads").champion()


def test_bundle_comes_back_as_it_was(registry, tmp_path):
    """The version is the manifest's hash, fetch gives the same bytes, and facts can be read alone."""
    source = bundle(tmp_path / "b")
    version = registry.put_bundle(source)
    assert version == sha256_file(source / "manifest.json")
    target = registry.fetch(version, tmp_path / "fetched")
    assert hash_files(target) == hash_files(source)
    assert verify_bundle(target).version == version
    assert registry.facts(version) == documents_of.facts(model="one")
    assert registry.put_bundle(source) == version  # storing it again changes nothing


def test_champion_is_the_highest_number(registry, tmp_path):
    """Records are chained by number and by the previous version, and the log survives a round trip."""
    first = crown(registry, bundle(tmp_path / "b"))
    second = crown(registry, bundle(tmp_path / "b", "two"), run_id="r", files={})
    assert registry.champion() == second and registry.history() == [first, second]
    assert (second.number, second.previous) == (2, first.version)
    assert registry.record(1) == first


def test_append_after_a_past_champion_is_stale(registry, tmp_path):
    """If another record has the number already, nothing is overwritten."""
    first = crown(registry, bundle(tmp_path / "b"))
    second = crown(registry, bundle(tmp_path / "b", "two"))
    for past in (None, first):
        with pytest.raises(StaleChampion, match="ann made"):
            registry.append("f" * 64, past, by="bob", reason="late")
    assert registry.champion() == second


def test_own_record_found_on_a_retried_put_is_success(local, tmp_path, monkeypatch):
    """If the answer to a write is lost and the retry hears "already exists", the record counts as written."""
    create = local.objects.create

    def twice(key, content):
        assert create(key, content)
        return create(key, content)

    monkeypatch.setattr(local.objects, "create", twice)
    assert crown(local, bundle(tmp_path / "b")) == local.champion()


def test_many_writers_one_winner(local, tmp_path):
    """If sixteen threads append after the same champion, exactly one writes a record."""
    version = local.put_bundle(bundle(tmp_path / "b"))

    def attempt(i: int) -> str | None:
        try:
            return local.append(version, None, by=f"writer {i}", reason="race").nonce
        except StaleChampion:
            return None

    with ThreadPoolExecutor(16) as pool:
        won = [nonce for nonce in pool.map(attempt, range(16)) if nonce]
    assert [record.nonce for record in local.history()] == won and len(won) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"approved_by": "eve"}, "key 'approved_by' is unknown"),
        ({"version": "/etc"}, "version: expected 64 hex digits, got '/etc'"),
        ({"version": ".."}, "version: expected 64 hex digits"),
        ({"version": ""}, "version: expected 64 hex digits"),
        ({"version": None}, "version: Input should be a valid string"),
        ({"version": 7}, "version: Input should be a valid string"),
        ({"run_id": "../x"}, "run_id: expected at most 128"),
        ({"run_id": ".."}, "run_id: expected at most 128"),
        ({"files": {"/etc/passwd": "0" * 64}}, "plain relative path"),
        ({"files": {"a\0b": "0" * 64}}, "plain relative path"),
        ({"files": 3}, "files"),
        ({"at": "yesterday"}, "at: "),
        ({"by": "eve\n\x1b[31m"}, "by: "),
        ({"number": 0}, "number: "),
        ({"number": "1"}, "number: "),
    ],
)
def test_a_record_of_another_form_is_refused(local, tmp_path, change, message):
    """One line names the record, the key and the value, and nothing is fetched, served or removed."""
    record = crown(local, bundle(tmp_path / "b"))
    path = tmp_path / "r" / "ads" / "promotions" / "000001.json"
    path.write_text(json.dumps(asdict(record) | change))
    for read in (local.champion, local.history, lambda: Scorer.from_registry(local.uri, "ads", cache=tmp_path / "c")):
        with pytest.raises(InputError) as error:
            read()
        assert "000001.json" in str(error.value) and message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("fault", ["changed", "missing", "added", "no manifest", "not a manifest"])
def test_bundle_unlike_its_manifest_is_refused(local, tmp_path, fault):
    """The message names the file, and nothing is stored."""
    source = bundle(tmp_path / "b")
    broken = {"added": "extra", "no manifest": "manifest.json", "not a manifest": "manifest.json"}.get(
        fault, "vocab/a.txt"
    )
    if fault in ("missing", "no manifest"):
        (source / broken).unlink()
    else:
        (source / broken).write_text("[]")
    with pytest.raises(InputError, match=broken):
        local.put_bundle(source)
    assert list((tmp_path / "r").rglob("*.*")) == []


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "./a", ".a", "a//b", "a\\b", "a\0", "a#1"])
def test_manifest_cannot_name_files_outside(local, tmp_path, name):
    """A registry that others can write to must not make a fetch write outside its folder."""
    content = dump({"files": {name: "0" * 64}})
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "manifest.json").write_bytes(content)
    version = sha256_file(tmp_path / "b" / "manifest.json")
    local.objects.put(f"bundles/{version}/manifest.json", content)
    with pytest.raises(InputError, match="plain relative path"):
        local.fetch(version, tmp_path / "fetched")
    with pytest.raises(InputError, match="plain relative path"):
        verify_bundle(tmp_path / "b")


def flip(path: Path) -> None:
    """Change one byte of a file."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["vocab/a.txt", "facts.json", "manifest.json"])
def test_flipped_byte_is_found_everywhere(local, tmp_path, name):
    """Verify, fetch, rollback and a second put all notice a flipped byte, and fetch leaves nothing behind."""
    source = bundle(tmp_path / "b")
    first = crown(local, source)
    crown(local, bundle(tmp_path / "c", "two"))
    flip(tmp_path / "r" / "ads" / "bundles" / first.version / name)
    assert [problem for problem in local.verify() if name in problem]
    with pytest.raises(InputError, match=f"{name}: damaged"):
        local.fetch(first.version, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()
    with pytest.raises(InputError, match="can't roll back"):
        local.rollback(1, by="ann", reason="oops")
    if name != "manifest.json":  # a put restores the manifest, which is written last
        with pytest.raises(InputError, match=f"{name}: damaged"):
            local.put_bundle(source)
    assert len(local.history()) == 2


def test_verify_names_gaps_and_changed_run_files(local, tmp_path):
    """Verify names a missing record, and a run's file that differs from the record."""
    files = local.put_run("nightly:1", {"gate.json": b"{}"})
    crown(local, bundle(tmp_path / "b"), run_id="nightly:1", files=files)
    crown(local, bundle(tmp_path / "b", "two"))
    crown(local, bundle(tmp_path / "b", "three"))
    assert local.verify() == []
    flip(tmp_path / "r" / "ads" / "runs" / "nightly-1" / next(iter(files)))
    assert [p for p in local.verify() if "gate.json: damaged" in p]
    (tmp_path / "r" / "ads" / "promotions" / "000002.json").unlink()
    assert [p for p in local.verify() if "000002.json: missing" in p]


def test_records_appended_while_the_log_is_listed_are_no_damage(local, tmp_path, monkeypatch):
    """Seals are listed first. If two records follow before the records are listed, the first of them has a seal."""
    sources = [bundle(tmp_path / name, name) for name in ("a", "b", "c")]
    crown(local, sources[0])
    listing = local.objects.keys
    reader = Registry(local.uri, "ads")

    def then(below):
        found = listing(below)
        if below == "seals" and len(local.history()) == 1:
            crown(local, sources[1])
            crown(local, sources[2])
        return found

    monkeypatch.setattr(reader.objects, "keys", then)
    assert [record.number for record in reader.history()] == [1, 2, 3]
    (seal,) = (tmp_path / "r" / "ads" / "seals").glob("000002-*")
    seal.unlink()
    with pytest.raises(InputError, match=r"000002\.json: has no seal; a later record was appended"):
        reader.history()


@pytest.mark.parametrize("area", ["promotions", "bundles", "runs"])
def test_verify_does_not_call_an_expired_token_damage(local, tmp_path, monkeypatch, area):
    """If the store refuses access in the middle, nothing is known about the rest."""
    crown(local, bundle(tmp_path / "b"), run_id="r", files=local.put_run("r", {"gate.json": b"{}"}))
    stream = local.objects.stream

    def refuse(key):
        if key.startswith(area):
            raise Refused(f"{key}: the store refused the credentials")
        return stream(key)

    monkeypatch.setattr(local.objects, "stream", refuse)
    with pytest.raises(Refused, match=area):
        local.verify()


def test_half_stored_bundle_is_completed(local, tmp_path):
    """If a killed put left some files and no manifest, the next put completes the bundle."""
    source = bundle(tmp_path / "b")
    version = verify_bundle(source).version
    local.objects.put(f"bundles/{version}/vocab/a.txt", b"one")
    with pytest.raises(InputError, match="not found"):
        local.fetch(version, tmp_path / "fetched")
    local.put_bundle(source)
    local.fetch(version, tmp_path / "fetched")


def test_rollback_by_number_version_or_prefix(local, tmp_path):
    """A rollback appends a record that makes an earlier version the champion, with its reason."""
    first = crown(local, bundle(tmp_path / "b"))
    second = crown(local, bundle(tmp_path / "b", "two"))
    third = local.rollback(1, by="ann", reason="latency")
    assert (third.version, third.action, third.previous, third.reason) == (
        first.version, "rollback", second.version, "latency")  # fmt: skip
    assert local.rollback(second.version, by="ann", reason="x").version == second.version
    assert local.rollback(first.version[:8], by="ann", reason="x").version == first.version
    assert local.champion().number == 5 and local.verify() == []


@pytest.mark.parametrize(("to", "message"), [(9, "names 0"), ("", "names 2"), ("zz", "names 0"), (2, "already")])
def test_rollback_to_nothing_sensible_is_bad_input(local, tmp_path, to, message):
    """A rollback to no record, to several versions, or to the champion appends nothing."""
    crown(local, bundle(tmp_path / "b"))
    crown(local, bundle(tmp_path / "b", "two"))
    with pytest.raises(InputError, match=message):
        local.rollback(to, by="ann", reason="x")
    assert len(local.history()) == 2


def test_leftover_of_a_killed_put_hides_from_the_log(local, tmp_path):
    """A half-written record is not part of the log and does not block its number."""
    first = crown(local, bundle(tmp_path / "b"))
    (tmp_path / "r" / "ads" / "promotions" / "000002.json#1").write_text("half")
    assert local.champion() == first
    assert crown(local, bundle(tmp_path / "b", "two")).number == 2


def test_models_below_one_uri_are_separate(tmp_path):
    """Each model has its own log and champion."""
    uri = str(tmp_path / "r")
    crown(Registry(uri, "ads"), bundle(tmp_path / "b"))
    assert Registry(uri, "feed").champion() is None
    crown(Registry(uri, "feed"), bundle(tmp_path / "b", "two"))
    assert list_models(uri) == ["ads", "feed"]
    (Path(uri) / "lost+found").mkdir()
    assert list_models(uri) == ["ads", "feed"]


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "é"])
def test_model_names_are_plain(tmp_path, name):
    """A model's name is one path segment on every store."""
    with pytest.raises(InputError, match="model_name"):
        Registry(str(tmp_path), name)


@pytest.mark.parametrize("uri", ["ftp://host/x", "memory://x", "{file}", "{file}/below"])
def test_unusable_uri_is_bad_input(tmp_path, uri):
    """For an unknown scheme, or a path that is not a folder, one line names the URI."""
    file = tmp_path / "file"
    file.write_text("x")
    uri = uri.format(file=file)
    with pytest.raises(InputError) as error:
        Registry(uri, "ads").history()
    assert uri in str(error.value) and "\n" not in str(error.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_registry_is_bad_input(local, tmp_path):
    """Missing permissions give a message, not a traceback."""
    (tmp_path / "r").mkdir(mode=0o500)
    with pytest.raises(InputError, match="permissions"):
        local.put_bundle(bundle(tmp_path / "b"))


def test_large_objects_stream(local, tmp_path):
    """Objects above the size of one upload part are stored and fetched."""
    source = bundle(tmp_path / "b", big="x" * 12_000_000)
    version = local.put_bundle(source)
    assert hash_files(local.fetch(version, tmp_path / "fetched")) == hash_files(source)
