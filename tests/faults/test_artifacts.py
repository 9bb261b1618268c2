"""Faults of bundles, caches, registries and reports: each is refused in a few lines, and no other model answers.

Every fault is one row of a table in bundle_faults.py, report_faults.py or registry_faults.py. Faults of the log's rows
are in test_defects.py.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from serve_workspace import built_once
from stages import HERE, exit_code

from din import documents
from din.artifacts import read_json, write_json
from din.errors import GateClosed, InputError
from din.params import Params
from din.registry import commands
from din.registry.bundle import verify_bundle
from din.registry.registry import Registry
from din.serve import Scorer
from din.serve.bundle import seal as seal_served
from din.sources.fetch import fetch
from tests.factories.run import edit
from tests.faults.bundle_faults import FILES, MANIFESTS, SEALED, Fault
from tests.faults.finished_run import CODE, OTHER, OUTSIDE, RUN, Site, build
from tests.faults.planting_artifacts import check_message, refusal, untouched
from tests.faults.registry_faults import CACHE, CHAIN, FOUND_BY_VERIFY, RECORDS, REMARKS, CacheFault, Log, LogFault
from tests.faults.report_faults import DATA, GATES, JUDGED

REQUEST = {
    "user": {"user_id": 4, "age": 31},
    "history": ["i3", "i7", {"item_id": "i9", "rating": 1}],
    "candidates": ["i3", "i11", {"item_id": "i12", "price": 3}],
    "context": {"tab": 2, "hour": 13},
}
MODEL = "ads"


@pytest.fixture(scope="session")
def quick(params: Params) -> Params:
    """Return the shipped parameters with limits for a small log."""
    small = {"margin": 0.01, "min_slice_rows": 1000, "max_latency_ms": None, "max_gain": 0.5}
    return replace(params, gate=replace(params.gate, **small))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, quick: Params) -> Path:
    """Make two finished runs, each with an open gate, to be copied and not changed."""
    root = tmp_path_factory.mktemp("finished")
    with chdir(root), pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "__file__", str(root / CODE / "din/documents.py"))
        build(root, quick)
    return root


@pytest.fixture
def site(finished: Path, tmp_path: Path, quick: Params, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Return a copy of the two runs, with the first as the current directory."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path / RUN)
    monkeypatch.delenv("DIN_RUN_ID", raising=False)
    monkeypatch.setattr(documents, "__file__", str(tmp_path / CODE / "din/documents.py"))
    return Site(quick, tmp_path / OTHER, tmp_path / OUTSIDE, tmp_path / CODE)


def check_refused(fault: Fault, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """Plant a fault; `promote` must exit with 2 or 3, and a new run of the gate must close if the fault says so."""
    fault.plant(site)
    capsys.readouterr()
    with untouched(site.outside), untouched(site.other):
        assert site.promote() in (InputError.exit_code, GateClosed.exit_code)
        message = capsys.readouterr().err
        check_message(message)
        assert fault.says in message
        assert not Path("registry").exists()
        if fault.closes is None:
            return
        assert site.judge() in (InputError.exit_code, GateClosed.exit_code)
        message = capsys.readouterr().err
        check_message(message)
        assert fault.closes in message


@pytest.mark.parametrize("fault", FILES + MANIFESTS + SEALED, ids=str)
def test_a_faulty_bundle_is_never_promoted(fault: Fault, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """Any fault of models/bundle after the gate is refused by `promote`, and by the gate when it runs again."""
    check_refused(fault, site, capsys)


@pytest.mark.parametrize("fault", GATES + JUDGED, ids=str)
def test_a_faulty_report_promotes_nothing(fault: Fault, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither the gate's report nor the reports that it read are trusted."""
    check_refused(fault, site, capsys)


@pytest.mark.parametrize("fault", DATA, ids=str)
def test_data_and_parameters_changed_after_the_gate_promote_nothing(
    fault: Fault, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    """A report is bound to log, features, predictions, model, parameters and code as they were when it was written."""
    check_refused(fault, site, capsys)


def test_a_run_without_faults_is_promoted(site: Site) -> None:
    """A run without a fault is promoted."""
    assert site.promote() == 0
    assert site.judge() == 0
    assert site.promote() == 0


@dataclass(frozen=True)
class Served:
    """A registry of three real bundles, with the scores of each."""

    root: Path
    versions: tuple[str, ...]
    foreign: str
    answers: dict[str, NDArray[np.float64]]

    def log(self, root: Path) -> Log:
        """Return the registry below a root."""
        return Log(root / "registry", MODEL, root / "cache", root / OUTSIDE, self.versions, self.foreign)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, params: Params) -> Served:
    """Make four bundles with different scores, three of them promoted in turn and one in another namespace."""
    bundle = shutil.copytree(built_once(tmp_path_factory, params).bundle, tmp_path_factory.mktemp("built") / "bundle")
    root = tmp_path_factory.mktemp("served")
    uri = str(root / "registry")
    versions, answers = [], {}
    for number in range(1, 5):
        _shift(bundle, float(number))
        version = seal_served(bundle)
        versions.append(version)
        answers[version] = Scorer.open(bundle).score(REQUEST)
        shutil.copytree(bundle, root / OUTSIDE / str(number))
        registry = Registry(uri, "other" if number == 4 else MODEL)
        registry.put_bundle(bundle)
        files = registry.put_run(f"run-{number}", {"gate.json": b"{}"})
        champion = registry.champion()
        registry.append(version, champion, by="ann", reason="a test", run_id=f"run-{number}", files=files)
    assert len({tuple(answer) for answer in answers.values()}) == 4
    Scorer.from_registry(uri, MODEL, cache=root / "cache")
    return Served(root, tuple(versions[:3]), versions[3], answers)


def _shift(bundle: Path, mean: float) -> None:
    """Let the model see another hour of the day."""
    signature = read_json(bundle / "signature.json")
    hour = next(field for field in signature["fields"] if field["name"] == "hour")
    hour["mean"] = mean
    write_json(bundle / "signature.json", signature)


@pytest.fixture
def log(served: Served, tmp_path: Path) -> Iterator[Log]:
    """Return a copy of the registry to damage, with the folder outside as it is."""
    shutil.copytree(served.root, tmp_path, dirs_exist_ok=True)
    log = served.log(tmp_path)
    with untouched(log.outside):
        yield log


def check_served(log: Log, served: Served, cache: Path, number: int | None = None) -> str | None:
    """Score a request, and check that the answer is the recorded version's; otherwise return the refusal."""
    try:
        scorer = Scorer.from_registry(str(log.uri), log.model, number, cache=cache)
    except InputError as error:
        check_message(str(error))
        return str(error)
    recorded = log.versions[(number or 3) - 1]
    assert scorer.version == recorded
    assert np.array_equal(scorer.score(REQUEST), served.answers[recorded])
    return None


@pytest.mark.parametrize("fault", RECORDS + CHAIN, ids=str)
def test_a_faulty_log_is_found_and_serves_no_other_model(fault: LogFault, log: Log, served: Served) -> None:
    """`verify` names the fault, no other model is served, and nothing can be appended or rolled back."""
    fault.plant(log)
    registry = Registry(str(log.uri), log.model)
    assert fault.says in refusal(lambda: commands.verify(str(log.uri), log.model))
    check_served(log, served, log.cache)
    if fault.says != "log of promotions is empty":
        refusal(registry.history)
        refusal(lambda: registry.rollback(1, by="eve", reason="why not"))
        refusal(lambda: registry.append(log.versions[0], None, by="eve", reason="first again"))


@pytest.mark.parametrize("fault", FOUND_BY_VERIFY, ids=str)
def test_a_damaged_bundle_seal_or_run_is_found_by_verify(
    fault: LogFault, log: Log, served: Served, tmp_path: Path
) -> None:
    """A reader that needs the damaged file refuses, and others go on with the recorded version."""
    fault.plant(log)
    assert fault.says in refusal(lambda: commands.verify(str(log.uri), log.model))
    refused = check_served(log, served, tmp_path / "new")
    damaged = not any(word in fault.says for word in ("seal", "gate.json"))
    assert bool(refused) == damaged
    assert not list((tmp_path / "new").glob("*")) or not damaged


@pytest.mark.parametrize("fault", REMARKS, ids=str)
def test_an_odd_key_does_no_harm(fault: LogFault, log: Log, served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """The key is reported and ignored, the champion serves, and the next one is appended."""
    fault.plant(log)
    commands.verify(str(log.uri), log.model)
    commands.show_list(str(log.uri), log.model)
    told = capsys.readouterr().out
    assert fault.says in told and f"records of {log.model}" in told
    assert check_served(log, served, log.cache) is None
    registry = Registry(str(log.uri), log.model)
    record = registry.append(served.versions[0], registry.champion(), by="ann", reason="a test")
    assert record.number == 4
    assert registry.history()[-1] == record


@pytest.mark.parametrize("fault", CACHE, ids=str)
def test_a_faulty_cache_serves_the_recorded_version(
    fault: CacheFault, log: Log, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing in a cache is trusted; an unusable cache is reported and bypassed through a temporary folder."""
    fault.plant(log)
    cache = fault.cache(log)
    assert check_served(log, served, cache) is None
    assert check_served(log, served, cache, number=1) is None
    if not cache.is_dir():
        check_message(capsys.readouterr().err)
    elif not cache.is_symlink() and log.cached.is_dir():
        assert not log.cached.is_symlink() and verify_bundle(log.cached).version == log.versions[-1]


@pytest.mark.parametrize("version", ["", "..", ".", "{outside}", "../outside", "../../outside"])
def test_a_record_deletes_no_folder(version: str, log: Log, served: Served) -> None:
    """A record's version never becomes a path, so the cache and everything beside it stay."""
    edit(log.record(3), lambda record: record.update(version=version.format(outside=log.outside)))
    log.seal(3).unlink()
    with untouched(log.cache), untouched(log.uri):
        assert "version" in refusal(lambda: Scorer.from_registry(str(log.uri), log.model, cache=log.cache))


def _closed() -> None:
    raise GateClosed("rows: too few", HERE.validation("raw"))


@pytest.mark.parametrize("failure", ["the log is missing", "the validation closes"])
def test_a_stale_gate_promotes_nothing(failure: str, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """After a failed run with another source and namespace, `din promote` does not promote the old log's bundle."""
    table = replace(site.params.fetch.table, events="missing.csv")
    site.change("fetch", source="table", table=table)
    site.change("promote", model_name="new")
    if failure == "the log is missing":
        code = exit_code(HERE, "fetch", lambda: fetch(HERE, site.params))
        assert code == InputError.exit_code and "missing.csv" in capsys.readouterr().err
    else:
        assert exit_code(HERE, "validate_raw", _closed, HERE.validation("raw")) == GateClosed.exit_code
    assert HERE.gate.exists()
    assert site.promote() == GateClosed.exit_code
    message = capsys.readouterr().err
    check_message(message)
    assert "params.fetch.source was 'movielens-100k', is 'table'" in message
    assert not Path("registry").exists()


@pytest.mark.parametrize("seals", ["kept", "removed too"])
def test_a_deleted_log_is_not_a_first_run(seals: str, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """If a bundle older than a day is stored without a log, `verify` finds it, and the gate stays closed."""
    assert site.promote() == 0
    namespace = Path("registry") / site.params.model_name
    os.chdir(site.other)
    shutil.copytree(site.outside.parent / RUN / "registry", "registry")
    for area in ("promotions", "seals") if seals == "removed too" else ("promotions",):
        shutil.rmtree(namespace / area)
    for path in (namespace / "bundles").rglob("*"):
        os.utime(path, (0, 0))
    assert refusal(lambda: commands.verify("registry"))
    capsys.readouterr()
    assert site.judge() in (InputError.exit_code, GateClosed.exit_code)
    message = capsys.readouterr().err
    check_message(message)
    assert ("no_earlier_champion" if seals == "removed too" else "000001.json: missing") in message
    assert site.promote() == GateClosed.exit_code
    assert not (namespace / "promotions").exists()


@pytest.mark.parametrize(
    "table", [FILES, MANIFESTS, SEALED, GATES, JUDGED, DATA, RECORDS, CHAIN, FOUND_BY_VERIFY, REMARKS, CACHE]
)
def test_each_fault_has_a_name_of_its_own(table: list[object]) -> None:
    """No fault is planted twice."""
    assert len({str(fault) for fault in table}) == len(table) > 0
