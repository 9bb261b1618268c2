"""Nothing opens a gate by being left out.

Each key of each document that a gate or a promotion reads is removed, set to null, and emptied, together with all that
states the document's hash. Most keys are required and typed, so their documents are refused. The rest must close a
gate, or is listed here with the reason why no gate needs it.
"""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from din.base import documents
from din.base.artifacts import MANIFEST, hash_files, hash_tree, write_json
from din.base.errors import GateClosed, InputError
from din.base.workspace import SUITES, Workspace
from din.bundle.agreement import ParityReport
from din.bundle.contents import FACTS, verify_bundle
from din.contracts.facts import Evaluation, Facts
from din.contracts.manifests import FeaturesManifest, RawManifest
from din.contracts.verdicts import ValidationReport
from din.params.reading import Params
from din.release.gates.case import Case
from din.release.gates.evidence import Evidence
from din.release.gates.gate import gate
from din.release.promote import promote
from din.release.registry.registry import Registry
from din.train.results import RefitReport
from tests.factories.run import Run, crown, edit, probabilities, score

Place = tuple[str | int, ...]
FORMS: dict[str, tuple[Callable[[Workspace], Path], type[documents.Document]]] = {
    "evaluation": (lambda here: here.evaluation, Evaluation),
    "refit": (lambda here: here.refit, RefitReport),
    "parity": (lambda here: here.parity, ParityReport),
    "facts": (lambda here: here.bundle / FACTS, Facts),
    "raw": (lambda here: here.validation("raw"), ValidationReport),
    "features": (lambda here: here.validation("features"), ValidationReport),
    "predictions": (lambda here: here.validation("predictions"), ValidationReport),
    "raw manifest": (lambda here: here.raw / MANIFEST, RawManifest),
    "features manifest": (lambda here: here.features / MANIFEST, FeaturesManifest),
}
AS_A_WHOLE = ("params", "evaluation", "about")
"""Blocks whose keys are compared with those of params.yaml, evaluation.json or the workspace, so that none needs a test
of its own. A missing key means null in them."""
OPTIONAL = {
    ("evaluation", "valid"): "people read it; the gates judge the test rows",
    ("refit", "days.0.auc"): "a day without a click has none; people read it",
    ("refit", "days.0.gauc"): "a day without a click has none; people read it",
    ("refit", "days.0.log_loss"): "people read it",
    ("parity", "worst"): "shows people one impression; the figures judge",
    ("features manifest", "params"): "facts.json repeats them, and made_from compares those",
    ("facts", "model"): "people read it; params.train names the model too",
    ("facts", "packages"): "people read them; only the warning about missed days depends on pyarrow's",
}
"""The documents and places that may be null or empty, with the places below them."""


def places(value: Any, at: Place = ()) -> Iterator[Place]:
    """Yield the place of each key of a value and below, and of the first element of each list."""
    parts = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, part in parts:
        yield (*at, key)
        if key not in AS_A_WHOLE:
            yield from places(part, (*at, key))


def omissions(document: Any) -> Iterator[tuple[str, Any]]:
    """Yield the place of each key, with the document without it, with null in its place, and with an empty value."""
    for place in places(document):
        *outer, last = place
        value = document
        for part in place:
            value = value[part]
        for instead in (copy, None, type(value)() if isinstance(value, str | list | dict) else value):
            changed = copy.deepcopy(document)
            block = changed
            for part in outer:
                block = block[part]
            if instead is copy:
                del block[last]
            else:
                block[last] = instead
            if changed != document:
                yield ".".join(map(str, place)), changed


def is_accepted(form: type[documents.Document], document: Any) -> bool:
    try:
        documents.parse(form, json.dumps(document).encode(), "here")
    except InputError:
        return False
    return True


def written(name: str, run: Run) -> Iterator[str]:
    """Write each omission that the document's type accepts, with all that states its hash, and yield its place."""
    path, form = FORMS[name][0](run.here), FORMS[name][1]
    for place, document in omissions(json.loads(path.read_text())):
        if is_accepted(form, document):
            before = hash_tree(path.parent)
            path.write_text(json.dumps(document))
            if path.name == MANIFEST:
                state(run, before, hash_tree(path.parent))
            if name == "evaluation":
                edit(run.here.bundle / FACTS, lambda facts, document=document: facts.update(evaluation=document))
            if name in ("evaluation", "facts") or path.name == MANIFEST:
                reseal(run)
            yield place


def state(run: Run, before: str, after: str) -> None:
    """Let all reports and the bundle state another hash of a directory."""
    here = run.here
    for report in (here.evaluation, here.refit, here.bundle / FACTS, *map(here.validation, SUITES)):
        report.write_text(report.read_text().replace(before, after))


def reseal(run: Run) -> None:
    """Write the bundle's manifest again, and let the report on parity name its version."""
    bundle = run.here.bundle
    (bundle / MANIFEST).unlink()
    write_json(bundle / MANIFEST, {"files": hash_files(bundle)})
    edit(run.here.parity, lambda report: report.update(bundle=verify_bundle(bundle).version))


def closed(run: Run, params: Params) -> set[str]:
    registry = Registry.of(run.here, params)
    case = Case(Evidence(run.here, params), registry, registry.history(), score, lambda bundle, other: 1.0)
    return {entry.name for entry in case.judge() if entry.verdict != "open"}


@pytest.mark.parametrize("name", FORMS)
def test_an_omission_closes_a_gate(name: str, run: Run, quick: Params) -> None:
    """Only what is listed as optional leaves all gates open, and all of that does."""
    assert closed(run, quick) == set()
    still_open = {place for place in written(name, run) if not closed(run, quick)}
    optional = [place for document, place in OPTIONAL if document == name]
    assert {place for place in still_open if not f"{place}.".startswith(tuple(f"{at}." for at in optional))} == set()
    assert set(optional) <= still_open


@pytest.mark.parametrize("name", FORMS)
def test_a_document_of_another_type_closes_a_gate(name: str, run: Run, quick: Params) -> None:
    """The gates that read it can't be evaluated."""
    FORMS[name][0](run.here).write_text("{}")
    if name == "facts":
        reseal(run)
    assert closed(run, quick)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
def test_an_omission_opens_no_gate(name: str, run: Run, quick: Params) -> None:
    """Many gates of this run are closed."""
    spoil(run)
    before = closed(run, quick)
    assert len(before) >= 11
    assert [place for place in written(name, run) if before - closed(run, quick)] == []


def spoil(run: Run) -> None:
    """Ship a bad model after a bad lesson, let every report show a failure, and let a baseline be perfect."""
    run.noise = 1.0
    run.rows |= dict.fromkeys(("popularity", "lr"), probabilities(0, run.rows["item"]))
    run.finish()
    path = run.here.crossfit / "predictions.parquet"
    rows = pq.read_table(path)
    for name, noise in (("prediction", 2.0), ("taught", 2.0), ("shipped", 3.0)):
        rows = replaced(rows, name, pa.array(0.3 * probabilities(noise, run.rows["item"])))
    pq.write_table(rows, path)
    run.bundle()
    for suite in SUITES:
        edit(run.here.validation(suite), lambda report: report["expectations"][0].update(observed=1))
    edit(run.here.parity, lambda report: report.update(max_abs_probability_diff=1.0))
    edit(run.here.refit, lambda report: report.update(seen_until="2024-10-04T00:00:00+00:00"))


def replaced(rows: pa.Table, name: str, column: Any) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index(name), name, column)


@pytest.mark.parametrize("name", ["predictions/test.parquet", "crossfit/predictions.parquet"])
def test_rows_and_values_that_are_missing_close_a_gate(name: str, run: Run, quick: Params) -> None:
    """So does a row that appears twice."""
    path = run.here.reports / name
    rows = pq.read_table(path)
    edits = {
        "no rows": rows.slice(0, 0),
        "without the first": rows.slice(1),
        "without the last": rows.slice(0, len(rows) - 1),
        "the first twice": pa.concat_tables([rows.slice(0, 1), rows]),
    }
    for column in rows.schema:
        values: list[float | None] = rows[column.name].to_pylist()
        values[0] = np.nan if pa.types.is_floating(column.type) else None
        edits[f"a missing {column.name}"] = replaced(rows, column.name, pa.array(values, column.type))
        edits[f"no {column.name}"] = rows.drop_columns([column.name])
    still_open = []
    for fault, faulty in edits.items():
        pq.write_table(faulty, path)
        seen = hash_tree(run.here.predictions)
        edit(run.here.validation("predictions"), lambda report, seen=seen: report.update(input=seen))
        run.bundle()
        still_open += [] if closed(run, quick) else [fault]
    assert still_open == []


def test_a_lesson_without_a_crossfit_is_not_promoted(run: Run, quick: Params) -> None:
    """The models tell that there was a lesson, whatever the report says. A model that learned nothing needs none."""
    gate(run.here, quick, score)
    sound = run.here.refit.read_bytes()
    for omitted in ({"crossfit": None}, {"days": []}, {"crossfit": None, "days": []}):
        run.here.refit.write_bytes(sound)
        edit(run.here.refit, lambda report, omitted=omitted: report.update(omitted))
        assert closed(run, quick) == {"refit"}
        with pytest.raises(GateClosed, match="rows was 1200"):
            gate(run.here, quick, score)
        with pytest.raises(GateClosed, match="the gate is closed"):
            promote(run.here, quick, by="ann", score=score)
    run.days, run.crossfit = [], None
    run.finish()
    assert closed(run, quick) == set()


def test_a_bundle_that_hides_its_sampled_negatives_is_not_promoted(run: Run, quick: Params) -> None:
    edit(run.here.features / MANIFEST, lambda manifest: manifest.update(negatives={"log": 1.0, "training": 0.1}))
    run.finish()
    assert closed(run, quick) == {"made_from"}
    run.facts["negatives"] = {"log": 1.0, "training": 0.1}
    run.finish()
    assert closed(run, quick) == set()
    edit(run.here.features / MANIFEST, lambda manifest: manifest.pop("negatives") and None)
    run.finish()
    assert closed(run, quick) == {"made_from"}


def test_an_omission_in_the_gate_report_promotes_nothing(run: Run, quick: Params) -> None:
    crown(Registry.of(run.here, quick), run)
    run.become(0.1)
    gate(run.here, quick, score)
    sound = run.here.gate.read_bytes()
    for _, document in omissions(json.loads(sound)):
        run.here.gate.write_text(json.dumps(document))
        with pytest.raises(GateClosed):
            promote(run.here, quick, by="ann", score=score)
    run.here.gate.write_bytes(sound)
    assert promote(run.here, quick, by="ann", score=score).appended


def test_a_preview_that_hides_it_is_not_promoted(run: Run, quick: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a first run no comparison is missing either."""
    with monkeypatch.context() as environment:
        environment.setenv("DIN_PREVIEW", "1")
        gate(run.here, quick, score)
    edit(run.here.gate, lambda report: report.pop("preview") and None)
    with pytest.raises(GateClosed, match="key 'preview' is missing"):
        promote(run.here, quick, by="ann", score=score)
