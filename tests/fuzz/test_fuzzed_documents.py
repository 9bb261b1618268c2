"""Laws that hold for every document, sound or faulty."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from din.base import documents as reader
from din.base.errors import InputError
from din.bundle.agreement import ParityReport
from din.bundle.contents import Manifest
from din.bundle.graph_inputs import Signature
from din.contracts.facts import Evaluation, Facts
from din.contracts.machine import Machine
from din.contracts.manifests import FeaturesManifest, FetchReport, RawManifest
from din.contracts.verdicts import GateReport, ValidationReport
from din.model.artifact import ModelConfig
from din.params import blocks
from din.params.reading import Params
from din.release.registry.promoted import GitState
from din.release.registry.records import Record
from din.stages.code import StageCode
from din.stages.stage import StageOutcome
from din.train.results import RefitReport, TrainingSummary, TrainingTimes
from tests.helpers.strategies import PLAIN, REQUESTS, documents, faulty

FORMS = (
    Evaluation, Facts, FeaturesManifest, FetchReport, GateReport, GitState, Machine, Manifest,
    ModelConfig, Params, ParityReport, RawManifest, Record, RefitReport, Signature,
    StageCode, StageOutcome, TrainingSummary, TrainingTimes, ValidationReport,
)  # fmt: skip
PLACE = "some/place.json"
MOST_CHARACTERS = 2_000
CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much, HealthCheck.large_base_example]
fewer = settings(max_examples=settings.default.max_examples // 2, suppress_health_check=CHECKS)  # of each of many forms


def dumped(form: Any, value: Any) -> bytes:
    """Return the bytes of a parsed document; parameters hold dates and have their own form of JSON."""
    return reader.dump(blocks.to_json(value) if form is Params else value)


def check_refusal(message: str) -> None:
    """Check that a message names the place first, and has short printable lines."""
    assert message.startswith(f"{PLACE}: ")
    assert all(line.isprintable() for line in message.split("\n"))
    assert len(message) <= MOST_CHARACTERS


@pytest.mark.parametrize("form", FORMS)
@fewer
@given(data=st.data())
def test_a_sound_document_comes_back(form: Any, data: st.DataObject) -> None:
    """Parsing a dumped document gives the value, and dumping the value gives the document."""
    value = data.draw(documents(form))
    parsed = reader.parse(form, reader.dump(value), PLACE)
    content = dumped(form, parsed)
    assert json.loads(content) == value
    assert reader.parse(form, content, PLACE) == parsed


@pytest.mark.parametrize("form", FORMS)
@fewer
@given(data=st.data())
def test_a_faulty_document_is_refused_in_a_few_lines(form: Any, data: st.DataObject) -> None:
    """A changed document, or any JSON, is either valid and comes back, or gives an InputError that names the place."""
    content = data.draw(documents(form).flatmap(faulty) | PLAIN.map(reader.dump))
    try:
        parsed = reader.parse(form, content, PLACE)
    except InputError as error:
        check_refusal(str(error))
    else:
        assert reader.parse(form, dumped(form, parsed), PLACE) == parsed


ARBITRARY = st.one_of(
    st.binary(max_size=200),
    st.text('{}[]",:\\ \n0123456789.eE+-truefalsnNaIity/*', max_size=80).map(str.encode),
    st.text(max_size=40).map(lambda text: text.encode(errors="surrogatepass")),
    PLAIN.flatmap(faulty),
    REQUESTS.flatmap(faulty),
)


@fewer
@given(content=ARBITRARY)
def test_arbitrary_bytes_are_json_or_bad_input(content: bytes) -> None:
    """For any bytes, `decode` returns a value of JSON or raises InputError, never anything else."""
    try:
        value = reader.decode(content, PLACE)
    except InputError as error:
        check_refusal(str(error))
    else:
        assert reader.decode(reader.dump(value), PLACE) == value
