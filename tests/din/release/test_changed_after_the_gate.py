"""Changes between gate and promotion: `din promote` trusts neither reports nor data.

A verdict that is bound to all it depends on is not judged again; after any change, it is.
"""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from din.base.artifacts import hash_files, write_json
from din.base.errors import GateClosed, InputError
from din.base.workspace import Suite, Workspace
from din.bundle.contents import verify_bundle
from din.params.reading import Params
from din.release.gates.gate import gate
from din.release.promote import promote
from din.release.registry.registry import Registry
from tests.factories.documents_of import DIGEST
from tests.factories.run import Run, challenge, edit, for_a_small_log, score

Change = Callable[[dict[str, Any]], Any]


@dataclass
class Site:
    """A finished run whose gate is open, and the parameters of today, which a fault may change."""

    here: Workspace
    params: Params

    def change(self, block: str, **settings: Any) -> None:
        self.params = replace(self.params, **{block: replace(getattr(self.params, block), **settings)})

    def judge(self) -> None:
        gate(self.here, self.params, score)

    def promote(self) -> None:
        promote(self.here, self.params, "ann", "a test", score=score)


Plant = Callable[[Site], object]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, params: Params) -> Path:
    """Return a finished run with an open gate, to be copied and not changed."""
    here, small = Workspace(tmp_path_factory.mktemp("finished")), for_a_small_log(params)
    Run(here, small)
    gate(here, small, score)
    return here.root


@pytest.fixture
def site(finished: Path, tmp_path: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Return a copy of the run."""
    monkeypatch.delenv("DIN_RUN_ID", raising=False)
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return Site(Workspace(tmp_path), for_a_small_log(params))


def of_gate(change: Change) -> Plant:
    """Change the gate's report."""
    return lambda site: edit(site.here.gate, change)


def of_one(name: str, **values: Any) -> Plant:
    """Change one gate of the gate's report."""
    return of_gate(lambda report: next(one for one in report["gates"] if one["name"] == name).update(values))


def of_suite(suite: Suite, change: Change) -> Plant:
    return lambda site: edit(site.here.validation(suite), change)


def of_evaluation(change: Change) -> Plant:
    return lambda site: edit(site.here.evaluation, change)


def of_parity(**values: Any) -> Plant:
    return lambda site: edit(site.here.parity, lambda report: report.update(values))


def setting(block: str, **settings: Any) -> Plant:
    return lambda site: site.change(block, **settings)


def all_open(report: dict[str, Any]) -> None:
    report.update(verdict="open")
    for one in report["gates"]:
        one.update(verdict="open", reason=None)


def opened(plant: Plant) -> Plant:
    """Judge a candidate that the gate refuses, and open each verdict in the report."""

    def planted(site: Site) -> None:
        plant(site)
        with pytest.raises(GateClosed):
            site.judge()
        edit(site.here.gate, all_open)

    return planted


def lowered(site: Site) -> None:
    """Open a gate that was closed by a limit, and write today's lower limit into its report."""
    today = site.params
    opened(setting("gate", min_auc=0.99))(site)
    site.params = today
    edit(site.here.gate, lambda report: report["about"]["params"]["gate"].update(min_auc=today.gate.min_auc))


def flipped_labels(site: Site) -> None:
    path = site.here.predictions / "test.parquet"
    rows = pq.read_table(path)
    at = rows.column_names.index("label")
    pq.write_table(rows.set_column(at, "label", pa.array(1 - rows["label"].to_numpy())), path)


def flip(path: Path) -> None:
    """Flip the lowest bit of a file's last byte."""
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def sealed(change: Callable[[Path], object], pointed: bool = True) -> Plant:
    """Change a bundle, seal it again, and, if `pointed`, let the parity report name the new version."""

    def planted(site: Site) -> None:
        root = site.here.bundle
        change(root)
        (root / "manifest.json").unlink()
        write_json(root / "manifest.json", {"files": hash_files(root)})
        if pointed:
            of_parity(bundle=verify_bundle(root).version)(site)

    return planted


def of_facts(change: Change) -> Callable[[Path], object]:
    return lambda root: edit(root / "facts.json", change)


# the fault, a word of the refusal by `promote`, and one of the gate when it judges again, or None if it may open
FAULTS: dict[str, tuple[Plant, str, str | None]] = {
    # the gate's own report
    "no report": (lambda s: s.here.gate.unlink(), "not found", None),
    "a report that is cut off": (lambda s: os.truncate(s.here.gate, 90), "not a JSON document", None),
    "another bundle": (of_gate(lambda r: r.update(bundle=DIGEST)), "about bundle", None),
    "a champion that never was": (
        of_gate(lambda r: r.update(champion={"number": 3, "version": DIGEST})),
        "compared with champion",
        None,
    ),
    "one verdict closed": (of_one("parity", verdict="closed"), "its gates do not", None),
    "one gate left": (of_gate(lambda r: r.update(gates=r["gates"][:1])), "differs from its gates judged again", None),
    "a gate more": (of_gate(lambda r: r["gates"].append(r["gates"][0] | {"name": "mine"})), "again: mine", None),
    "a gate twice": (of_gate(lambda r: r["gates"].append(r["gates"][0])), "a gate appears twice", None),
    "a figure changed": (of_one("min_auc", observed=0.99), "again: min_auc", None),
    "a threshold changed": (of_one("min_auc", threshold=0.1), "again: min_auc", None),
    "about other code": (of_gate(lambda r: r["about"].update(code=DIGEST)), "code was", None),
    "about no raw log": (of_gate(lambda r: r["about"]["data"].update(raw=None)), "data.raw", None),
    "about a huge value": (of_gate(lambda r: r["about"]["params"].update(x="y" * 1_000_000)), "params.x", None),
    "closed by parity, opened": (opened(of_parity(verdict="closed", reason="x")), "judged again, the", "parity"),
    "closed by a suite, opened": (
        opened(of_suite("raw", lambda r: r["expectations"][0].update(success=False))),
        "judged again, the gate is closed",
        "validation_raw",
    ),
    "closed by a limit, opened": (opened(setting("gate", min_auc=0.99)), "judged again, the", "min_auc"),
    "closed by a limit, limit and verdicts changed": (lowered, "judged again: min_auc", None),
    # what the gate read
    "no evaluation": (lambda s: s.here.evaluation.unlink(), "evaluation.json was", "evaluation: can't be evaluated"),
    "an evaluation that is cut off": (lambda s: os.truncate(s.here.evaluation, 90), "evaluation.json was", "JSON"),
    "a better AUC": (of_evaluation(lambda r: r["test"].update(auc=0.99)), "evaluation.json was", "evaluation"),
    "an evaluation of another model": (
        of_evaluation(lambda r: r["inputs"].update(model=DIGEST)),
        "evaluation.json was",
        "evaluation",
    ),
    "a weaker floor": (
        of_evaluation(lambda r: r["floors"]["lr"].update(auc=0.5)),
        "evaluation.json was",
        "evaluation",
    ),
    "paths that disagree": (of_parity(max_abs_probability_diff=0.5), "parity.json was", "parity"),
    "paths that compared nothing": (of_parity(cases=0), "parity.json was", "parity"),
    "a path less": (of_parity(paths=["torch", "onnx"]), "parity.json was", "parity"),
    "an expectation less": (of_suite("raw", lambda r: r["expectations"].pop() and None), "raw.json was", "lacks"),
    "a suite of another log": (of_suite("raw", lambda r: r.update(input=DIGEST)), "raw.json was", "is about another"),
    "a figure beyond its bound, called a success": (
        of_suite("raw", lambda r: r["expectations"][0].update(observed=5)),
        "raw.json was",
        "failed",
    ),
    "a suite's report in another's place": (
        lambda s: shutil.copyfile(s.here.validation("features"), s.here.validation("raw")),
        "raw.json was",
        "validation_raw",
    ),
    # the data, the bundle and the parameters
    "raw log edited": (lambda s: (s.here.raw / "rows.txt").write_text("x"), "data.raw was", "validation_raw"),
    "raw log missing": (lambda s: shutil.rmtree(s.here.raw), "data.raw was", "data/raw"),
    "features edited": (
        lambda s: (s.here.features / "rows.txt").write_text("x"),
        "data.features was",
        "validation_features",
    ),
    "labels flipped": (flipped_labels, "data.predictions was", "validation_predictions"),
    "model edited": (lambda s: (s.here.model / "config.json").write_text("{}"), "data.model was", "evaluation"),
    "a bit of the bundle flipped": (lambda s: flip(s.here.bundle / "model.json"), "model.json", "model.json"),
    "another model, sealed": (
        sealed(lambda root: (root / "model.json").write_text('{"noise": 0.0}'), pointed=False),
        "about bundle",
        "parity",
    ),
    "better facts, sealed": (
        sealed(of_facts(lambda f: f["evaluation"]["test"].update(auc=0.99))),
        "about bundle",
        "evaluation",
    ),
    "facts of another namespace, sealed": (sealed(of_facts(lambda f: f.update(model_name="x"))), "about", "made_from"),
    "facts of another log, sealed": (
        sealed(of_facts(lambda f: f["inputs"].update(raw=DIGEST))),
        "about bundle",
        "validation_raw",
    ),
    "facts of other parameters, sealed": (
        sealed(of_facts(lambda f: f["params"]["train"]["learning"].update(epochs=99))),
        "about bundle",
        "train.learning.epochs",
    ),
    "no facts, sealed": (sealed(lambda root: (root / "facts.json").unlink()), "about bundle", "facts.json"),
    "another pipeline": (lambda s: s.here.pipeline.write_text("stages: {}\n"), "code was", None),
    "another source": (setting("fetch", source="table"), "params.fetch.source was 'movielens-100k'", "fetch.source"),
    "another namespace": (setting("promote", model_name="x"), "model_name was", "promote.model_name"),
    "another history": (setting("featurize", max_history=7), "featurize.max_history was", "featurize.max_history"),
    "a lower limit": (setting("gate", min_auc=0.01), "params.gate.min_auc was", None),
    "a laxer suite": (setting("validate_raw", min_rows=0), "params.validate_raw.min_rows was", None),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_after_the_gate_promotes_nothing(fault: str, site: Site) -> None:
    """A short message names what differs, no registry is made, and the gate closes when it judges again."""
    plant, says, closes = FAULTS[fault]
    plant(site)
    with pytest.raises((InputError, GateClosed)) as refused:
        site.promote()
    assert says in str(refused.value) and len(str(refused.value)) < 2_000
    assert not (site.here.root / "registry").exists()
    if closes is not None:
        with pytest.raises((InputError, GateClosed), match=closes):
            site.judge()


def test_a_run_without_faults_is_promoted(site: Site) -> None:
    """A second promotion succeeds, with the old gate report and with a new one."""
    site.promote()
    site.judge()
    site.promote()


def test_a_deleted_log_is_not_a_first_run(site: Site, tmp_path: Path) -> None:
    """If a bundle that was promoted is stored without records, another candidate is not the first champion."""
    site.promote()
    namespace = site.here.root / "registry" / site.params.model_name
    for area in ("promotions", "seals"):
        shutil.rmtree(namespace / area)
    (damage,) = Registry.of(site.here, site.params).verify()
    assert "the log of promotions is empty although 1 bundles are stored" in damage
    with pytest.raises(GateClosed, match="no_earlier_champion"):
        gate(_beside(site, tmp_path / "other"), site.params, score)


def test_an_interrupted_first_promotion_blocks_no_other_candidate(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle of the killed promotion is stored without a record, but was no champion."""
    with monkeypatch.context() as fault, pytest.raises(KeyboardInterrupt):
        fault.setattr(Registry, "append", _interrupted)
        site.promote()
    other = _beside(site, tmp_path / "other")
    gate(other, site.params, score)
    promote(other, site.params, "ann", score=score)


def _interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def _beside(site: Site, root: Path) -> Workspace:
    """Return the workspace of another candidate, with a copy of the registry."""
    other = Run(Workspace(root), site.params)
    other.become(0.1)
    shutil.copytree(site.here.root / "registry", other.here.root / "registry")
    return other.here


def broken(*_: object) -> NoReturn:
    """Close the gates that need scores of an earlier champion."""
    raise ValueError("it can't score any more")


@pytest.fixture
def extended(quick: Params, workspace: Workspace) -> Params:
    """Return parameters that name a plugin."""
    (workspace.root / "gates.py").write_text("")
    return replace(quick, plugins=("gates.py",))


@pytest.fixture
def judged(run: Run, extended: Params, registry: Registry) -> Run:
    """A candidate with an open gate, beside a champion."""
    challenge(registry, run)
    gate(run.here, extended, score)
    return run


def promote_without_judging(run: Run, extended: Params) -> int:
    return promote(run.here, extended, "ann", "a test", score=broken).record.number


def test_a_bound_verdict_promotes_without_being_judged_again(judged: Run, extended: Params) -> None:
    """Judging again would fail here, since nothing can be scored."""
    assert promote_without_judging(judged, extended) == 2


def _look(here: Workspace) -> Path:
    (comparison,) = (here.root / "registry").rglob("looks/*/*.parquet")
    return comparison


def _add_package(here: Workspace) -> None:
    (here.root / "scipy-99.dist-info").mkdir()
    sys.path.append(str(here.root))


CHANGES: dict[str, Callable[[Workspace], object]] = {
    "no hash": lambda here: here.bound.unlink(),
    "a hash that is cut off": lambda here: os.truncate(here.bound, 10),
    "another hash": lambda here: here.bound.write_bytes(here.bound.read_bytes()[::-1]),
    "a report that says the same": lambda here: here.gate.write_bytes(here.gate.read_bytes() + b"\n"),
    "a plugin": lambda here: (here.root / "gates.py").write_text("X = 1"),
    "a package": _add_package,
    "a comparison that is gone": lambda here: _look(here).unlink(),
    "a comparison that was rewritten": lambda here: os.utime(_look(here), (0, 0)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_judged_again(
    change: str, judged: Run, extended: Params, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report itself does not reveal these changes, unlike `FAULTS`."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    CHANGES[change](judged.here)
    with pytest.raises(GateClosed, match="judged again"):
        promote_without_judging(judged, extended)
    assert registry.newest() == 1


def test_a_lost_log_is_judged_again(run: Run, extended: Params, registry: Registry) -> None:
    """Without a champion, a bundle that nobody is promoting means that the log was lost since the gate judged."""
    gate(run.here, extended, score)
    run.become(0.3)
    registry.put_bundle(run.here.bundle)
    run.become(0.2)
    with pytest.raises(GateClosed, match="judged again"):
        promote(run.here, extended, "ann", "a test", score=score)


def test_a_closed_gate_does_not_open_by_an_older_verdict(judged: Run, extended: Params, registry: Registry) -> None:
    """Neither the older report nor its hash promotes what has been refused since, for a reason that no hash shows."""
    open_report = judged.here.gate.read_bytes()
    with pytest.raises(GateClosed):
        gate(judged.here, extended, broken)
    assert not judged.here.bound.exists()
    judged.here.gate.write_bytes(open_report)
    with pytest.raises(GateClosed, match="judged again"):
        promote_without_judging(judged, extended)
    assert registry.newest() == 1
