"""Each gate reads the predictions of the model that it states to judge, and not those of the other one."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from din.base.workspace import Workspace
from din.params.reading import Params
from din.release.gates import GATES
from din.release.registry.registry import Registry
from tests.factories.run import Run, crown, for_a_small_log, judge

FILES = {"judged": "predictions/test.parquet", "crossfit": "crossfit/predictions.parquet"}
GATES_OF_MODELS = [name for name in GATES if GATES.traits[name].model in FILES]
READ_BOTH = {"lesson_delta_{metric}", "implausible_gain"}
"""They compare the judged model's predictions with the cross-fitted ones."""

Entries = dict[str, dict[str, Any]]


def another(file: Path) -> None:
    """Let the predictions of a file be lower, and know the labels."""
    rows = pq.read_table(file)
    known = 0.4 * (rows["prediction"].to_numpy() + rows["label"].to_numpy())
    pq.write_table(rows.set_column(rows.schema.get_field_index("prediction"), "prediction", pa.array(known)), file)


def entries(root: Path, params: Params, is_first: bool, other: str | None) -> Entries:
    """Judge a run, of which one file may hold other predictions."""
    here = Workspace(root)
    run = Run(here, params)
    if not is_first:
        for noise in (0.15, 0.2):  # the anchor, and a champion that is a little worse
            run.become(noise)
            crown(Registry.of(here, params), run)
        run.noise = 0.1
    run.finish()
    if other:
        another(here.reports / FILES[other])
    judged = ("verdict", "observed", "interval", "evaluated")
    return {one["name"]: {key: one[key] for key in judged} for one in judge(here, params)["gates"]}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory, params: Params) -> dict[tuple[bool, str | None], Entries]:
    """Entries of the gates for a first and a later run, and for each with one file of other predictions."""
    quick = for_a_small_log(params)
    return {
        (is_first, other): entries(tmp_path_factory.mktemp("run"), quick, is_first, other)
        for is_first in (True, False)
        for other in (None, *FILES)
    }


@pytest.mark.parametrize("name", GATES_OF_MODELS)
def test_a_gate_reads_the_model_that_it_states(name: str, reports: dict[tuple[bool, str | None], Entries]) -> None:
    """A gate's entry changes with the predictions of the model that it states, and with no others."""
    entry = name.format(metric="auc")
    states = GATES.traits[name].model
    changed = {
        other
        for other in FILES
        for is_first in (True, False)
        if reports[is_first, other].get(entry) != reports[is_first, None].get(entry)
    }
    expected = {*FILES} if name in READ_BOTH else {states}
    assert changed == expected, (
        f"{name} states model={states!r}, so its entry must follow from {FILES[states]}, e.g. from "
        f"case.evidence.{states}_rows. A gate that only repeats a figure of a report states no model."
    )
