"""Faults of reports, of the data that they judged, and of parameters, after the gate."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.factories.run import edit
from tests.faults.bundle_faults import Fault
from tests.faults.finished_run import EVALUATION, PARITY, Site, judge_closed
from tests.faults.planting_artifacts import A_FEW, BROKEN, flip

GATE = Path("reports/gate.json")
SUITES = {suite: Path(f"reports/validation/{suite}.json") for suite in ("raw", "features", "predictions")}
PREDICTIONS = Path("reports/predictions/test.parquet")
REPORTS = {"evaluation": EVALUATION, "parity": PARITY} | {f"validation_{s}": path for s, path in SUITES.items()}
DIGEST = "0" * 64

Change = Callable[[Any], Any]


def _gate(change: Change) -> Callable[[Site], None]:
    return lambda site: edit(GATE, change)


def _all_open(report: dict[str, Any]) -> None:
    report.update(verdict="open")
    for one in report["gates"]:
        one.update(verdict="open", reason=None)


def _judged_closed_then_opened(site: Site, path: Path, change: Change, beside: Change = _all_open) -> None:
    """Plant a candidate that the gate refuses, with a report that says open."""
    edit(path, change)
    judge_closed(site)
    edit(GATE, beside)


def _lowered(site: Site) -> None:
    """Lower the limit that closes the gate in params.yaml, and edit the report accordingly."""
    strict = replace(site, params=site.params)
    strict.change("gate", min_auc=0.99)
    judge_closed(strict)
    edit(GATE, _all_open)
    edit(GATE, lambda report: report["about"]["params"]["gate"].update(min_auc=site.params.gate.min_auc))


def _set(gate: str, /, **values: Any) -> Change:
    return lambda report: next(one for one in report["gates"] if one["name"] == gate).update(values)


def _keep(name: str) -> Change:
    return lambda report: report.update(gates=[one for one in report["gates"] if one["name"] == name])


def _drop(name: str) -> Change:
    return lambda report: report.update(gates=[one for one in report["gates"] if one["name"] != name])


def _from_other(path: Path) -> Callable[[Site], object]:
    return lambda site: shutil.copyfile(site.other / path, path)


GATES = [
    Fault("gate.json missing", lambda s: GATE.unlink(), "not found", None),
    *(Fault(f"gate.json {how}", lambda s, broken=broken: broken.plant(GATE), broken.says, None)
      for how, broken in A_FEW.items()),
    Fault("gate.json of the other run", _from_other(GATE), "about bundle", None),
    Fault("one gate left", _gate(_keep("bundle_mb")), "differs from its gates", None),
    Fault("a gate removed", _gate(_drop("parity")), "parity", None),
    Fault("a gate added", _gate(lambda r: r["gates"].append(r["gates"][0] | {"name": "mine"})), "mine", None),
    Fault("a gate twice", _gate(lambda r: r["gates"].append(r["gates"][0])), "differs from its gates", None),
    Fault("a figure changed", _gate(_set("min_auc", observed=0.99)), "min_auc", None),
    Fault("a threshold changed", _gate(_set("min_auc", threshold=0.1)), "min_auc", None),
    Fault("one verdict closed", _gate(_set("parity", verdict="closed")), "its gates do not", None),
    Fault("the verdict closed", _gate(lambda r: r.update(verdict="closed")), "its gates do not", None),
    Fault("another bundle", _gate(lambda r: r.update(bundle=DIGEST)), "about bundle", None),
    Fault("a champion that never was", _gate(lambda r: r.update(champion={"number": 3, "version": DIGEST})),
          "compared with champion", None),
    Fault("another metric", _gate(lambda r: r.update(metrics=["precision"])), "metric", None),
    Fault("about another namespace", _gate(lambda r: r["about"].update(model_name="x")), "model_name", None),
    Fault("about other code", _gate(lambda r: r["about"].update(code=DIGEST)), "code", None),
    Fault("about no raw log", _gate(lambda r: r["about"]["data"].update(raw=None)), "data.raw", None),
    Fault("about nothing", _gate(lambda r: r.update(about={})), "about", None),
    Fault("about a huge parameter", _gate(lambda r: r["about"]["params"].update(x="y" * 1_000_000)), "params.x", None),
    Fault("closed by parity, every verdict opened", lambda s: _judged_closed_then_opened(
        s, PARITY, lambda r: r.update(verdict="closed", reason="they differ")), "judged again", "parity"),
    Fault("closed by parity, only the size left", lambda s: _judged_closed_then_opened(
        s, PARITY, lambda r: r.update(cases=0),
        lambda r: r.update(verdict="open", gates=[one for one in r["gates"] if one["name"] == "bundle_mb"])),
        "judged again", "parity"),
    Fault("closed by a suite, every verdict opened", lambda s: _judged_closed_then_opened(
        s, SUITES["raw"], lambda r: r["expectations"][0].update(success=False)), "judged again", "validation_raw"),
    Fault("closed by a limit, every verdict opened", lambda s: (
        s.change("gate", min_auc=0.99), judge_closed(s), edit(GATE, _all_open)), "judged again", "min_auc"),
    Fault("closed by a limit, limit and verdicts changed", _lowered, "min_auc", None),
]  # fmt: skip
"""Faults of the gate's own report."""


def _entries(suite: str, change: Change) -> Callable[[Site], None]:
    return lambda site: edit(SUITES[suite], lambda report: change(report["expectations"]))


JUDGED = [
    *(Fault(f"{name} missing", lambda s, path=path: path.unlink(), str(path), f"{name}: can't be evaluated")
      for name, path in REPORTS.items()),
    *(Fault(f"{name} truncated", lambda s, path=path: BROKEN["truncated"].plant(path), str(path), "JSON")
      for name, path in REPORTS.items()),
    *(Fault(f"{name} of the other run", _from_other(path), str(path), name)
      for name, path in REPORTS.items() if name in ("evaluation", "parity", "validation_predictions")),
    Fault("a suite's report in another's place", lambda s: shutil.copyfile(SUITES["features"], SUITES["raw"]),
          "validation/raw.json", "validation_raw"),
    *(Fault(f"{suite}: an expectation removed", _entries(suite, lambda e: e.pop() and None), str(path), "lacks")
      for suite, path in SUITES.items()),
    *(Fault(f"{suite}: another data set", lambda s, path=path: edit(path, lambda r: r.update(input=DIGEST)),
            str(path), "judged another") for suite, path in SUITES.items()),
    Fault("raw: a failure under an open verdict", _entries("raw", lambda e: e[0].update(success=False)),
          "validation/raw.json", "failed"),
    Fault("raw: a figure beyond its bound, called a success", _entries("raw", lambda e: e[0].update(observed=5)),
          "validation/raw.json", "failed"),
    Fault("parity: the paths disagree", lambda s: edit(PARITY, lambda r: r.update(max_abs_probability_diff=0.5)),
          "parity.json", "parity"),
    Fault("parity: nothing was compared", lambda s: edit(PARITY, lambda r: r.update(cases=0)), "parity.json", "parity"),
    Fault("parity: a path is missing", lambda s: edit(PARITY, lambda r: r.update(paths=["torch", "onnx"])),
          "parity.json", "parity"),
    Fault("evaluation: a better AUC", lambda s: edit(EVALUATION, lambda r: r["test"].update(auc=0.99)),
          "evaluation.json", "evaluation"),
    Fault("evaluation: another model", lambda s: edit(EVALUATION, lambda r: r["inputs"].update(model=DIGEST)),
          "evaluation.json", "evaluation"),
    Fault("evaluation: a weaker floor", lambda s: edit(EVALUATION, lambda r: r["floors"]["lr"].update(auc=0.5)),
          "evaluation.json", "evaluation"),
]  # fmt: skip
"""Faults of the reports that the gate reads."""


def _column(name: str, values: Callable[[pa.Table], Any]) -> None:
    rows = pq.read_table(PREDICTIONS)
    at = rows.column_names.index(name)
    pq.write_table(rows.set_column(at, name, pa.array(values(rows))), PREDICTIONS)


DATA = [
    Fault("raw log edited", lambda s: Path("data/raw/rows.txt").write_text("other"), "data.raw", "validation_raw"),
    Fault("raw log missing", lambda s: shutil.rmtree("data/raw"), "data.raw", "data/raw"),
    Fault("raw manifest missing", lambda s: Path("data/raw/manifest.json").unlink(), "data.raw", "made_from"),
    Fault("raw manifest of another source", lambda s: edit(
        Path("data/raw/manifest.json"), lambda m: m.update(source="table")), "data.raw", "fetch.source"),
    Fault("features edited", lambda s: Path("data/features/rows.txt").write_text("other"), "data.features",
          "validation_features"),
    Fault("features missing", lambda s: shutil.rmtree("data/features"), "data.features", "data/features"),
    Fault("predictions: labels flipped", lambda s: _column("label", lambda t: 1 - t["label"].to_numpy()),
          "data.predictions", "validation_predictions"),
    Fault("predictions: the labels themselves", lambda s: _column("prediction", lambda t: t["label"].to_numpy() * 0.9),
          "data.predictions", "evaluation"),
    Fault("predictions: not numbers", lambda s: _column("prediction", lambda t: np.full(len(t), np.nan)),
          "data.predictions", "evaluation"),
    Fault("predictions: a bit flipped", lambda s: flip(PREDICTIONS, 1_000), "data.predictions",
          "validation_predictions"),
    Fault("predictions missing", lambda s: shutil.rmtree("reports/predictions"), "data.predictions", "evaluation"),
    Fault("predictions of the other run", lambda s: shutil.copyfile(s.other / PREDICTIONS, PREDICTIONS),
          "data.predictions", "evaluation"),
    Fault("model edited", lambda s: Path("models/din/config.json").write_text("{}"), "data.model", "evaluation"),
    Fault("model missing", lambda s: shutil.rmtree("models/din"), "data.model", "models/din"),
    Fault("the pipeline changed", lambda s: Path("dvc.yaml").write_text("stages: {}\n"), "code", None),
    Fault("the code changed", lambda s: (s.code / "din/__init__.py").write_text("x = 1\n"), "code was", None),
    Fault("another source", lambda s: s.change("fetch", source="table"), "params.fetch.source", "fetch.source"),
    Fault("another namespace", lambda s: s.change("promote", model_name="x"), "model_name", "promote.model_name"),
    Fault("another seed", lambda s: s.change("train", learning=replace(s.params.train.learning, seed=99)),
          "params.train.learning.seed", "train.learning.seed"),
    Fault("another history", lambda s: s.change("featurize", max_history=7), "featurize.max_history",
          "featurize.max_history"),
    Fault("a lower limit", lambda s: s.change("gate", min_auc=0.01), "params.gate.min_auc", None),
    Fault("a laxer suite", lambda s: s.change("validate_raw", min_rows=0), "params.validate_raw", None),
]  # fmt: skip
"""Faults of the data that was judged, and of what judges it."""
