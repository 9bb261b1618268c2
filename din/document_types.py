"""Types of the JSON documents that stages and bundles write; `din.documents` reads them strictly.

    reports/evaluation.json         Evaluation        models/bundle/facts.json        Facts
    reports/validation/*.json       ValidationReport  models/bundle/signature.json    Signature
    reports/gate.json               GateReport        data/raw/manifest.json          RawManifest
    data/features/manifest.json     FeaturesManifest  reports/fetch.json              FetchReport

A key that is missing, unknown or of another type is refused, so a reader may rely on the declared types. Other
documents are beside their writers.
"""

from typing import Annotated, Any, Literal, NotRequired, TypeVar

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt, with_config
from typing_extensions import TypedDict

from din.documents import STRICT, Document
from din.names import Day, Digest, ModelName, Moment, Version
from din.schema import Group, Kind, SplitName, form_of, name_problem
from din.workspace import Format

Verdict = Literal["open", "closed", "borderline"]
Protocol = Literal["temporal", "leave_last_out", "by_user"]
Order = Literal["strict", "sequence"]


@with_config(STRICT)
class Metrics(TypedDict):
    """Metrics of one set of probabilities; an undefined metric is None."""

    rows: NonNegativeInt
    users: NonNegativeInt
    one_class_users: NonNegativeInt
    ctr: float | None
    auc: float | None
    gauc: float | None
    log_loss: float | None
    normalized_entropy: float | None
    calibration_ratio: float | None
    ece: float | None


@with_config(STRICT)
class SliceMetrics(Metrics):
    """Metrics of one slice of the rows."""

    by: str
    value: str


@with_config(STRICT)
class Ranking(TypedDict):
    """Metrics of scores that only rank."""

    auc: float | None
    gauc: float | None


@with_config(STRICT)
class Floors(TypedDict):
    """The models a candidate must beat; LR is not trained for a candidate that continues the champion."""

    popularity: Ranking
    lr: Metrics | None


@with_config(STRICT)
class Judged(TypedDict):
    """Hashes of the directories that an evaluation used."""

    features: Digest
    model: Digest


@with_config(STRICT)
class Bounded(TypedDict):
    """A figure and its bounds, None where they are undefined."""

    value: float | None
    interval: tuple[float | None, float | None]


RankingMetric = Literal["auc", "gauc"]


@with_config(STRICT)
class Gain(TypedDict):
    """A metric on the test rows before and after the pass over the validation days, and the difference."""

    before: float | None
    after: float | None
    difference: Bounded


@with_config(STRICT)
class LearnedUntil(TypedDict):
    """The last time of the rows that a model had learned when it scored a split."""

    valid: Moment
    test: Moment


@with_config(STRICT)
class Oracle(TypedDict):
    """The true probabilities of a simulated log."""

    auc: float


@with_config(STRICT)
class Slices(TypedDict):
    """Slices by split."""

    test: list[SliceMetrics]


@with_config(STRICT)
class Evaluation(TypedDict):
    """Metrics of the validation and the test rows that the model had not learned.

    Attributes:
        valid: of the model before its pass over the validation days; None if it had learned all validation rows.
        test: of the model after it.
        learned_until: what either had learned.
        advance: what the pass changed on the test rows; None without a pass.
    """

    valid: Metrics | None
    test: Metrics
    learned_until: LearnedUntil
    advance: dict[RankingMetric, Gain] | None
    floors: Floors
    inputs: Judged
    oracle: Oracle | None
    slices: Slices


@with_config(STRICT)
class SplitProtocol(TypedDict):
    """The split of the rows."""

    name: Protocol
    order: Order
    seed: NonNegativeInt
    valid_fraction: float
    test_fraction: float
    valid_days: PositiveInt
    test_days: PositiveInt


@with_config(STRICT)
class Inputs(TypedDict):
    """Hashes of the directories that a bundle was made from."""

    raw: Digest
    features: Digest
    model: Digest
    shipped: Digest


@with_config(STRICT)
class Window(TypedDict):
    """The keys of the block `data` that bound the days before the last one."""

    window_days: PositiveInt | None
    history_days: NonNegativeInt | None


@with_config(STRICT)
class FactParams(TypedDict):
    """The parts of params.yaml that shaped a bundle."""

    data: Window
    featurize: dict[str, Any]
    train: dict[str, Any]


@with_config(STRICT)
class Verdicts(TypedDict):
    """Verdicts of the validation suites."""

    raw: Literal["open"]
    features: Literal["open"]
    predictions: Literal["open"]


Rows = dict[SplitName, NonNegativeInt]


@with_config(STRICT)
class Negatives(TypedDict):
    """Shares of the impressions without a click: those that the log holds, and of these, those that training kept."""

    log: float
    training: float


@with_config(STRICT)
class Facts(TypedDict):
    """The origin of a bundle and its quality.

    Attributes:
        train_until: the time of the last row of the training split.
        judged_until: that of the last row that the judged model had learned; `evaluation` is about this model.
        seen_until: that of the last row that the exported model has learned.
        negatives: there if some were left out.
    """

    format: Format
    model_name: ModelName
    model: str
    train_until: Moment
    judged_until: Moment
    seen_until: Moment
    until: Day
    protocol: SplitProtocol
    rows: Rows
    negatives: NotRequired[Negatives]
    inputs: Inputs
    params: FactParams
    seed: NonNegativeInt
    packages: dict[str, str]
    validation: Verdicts
    evaluation: Evaluation


@with_config(STRICT)
class FieldRecord(TypedDict):
    """A field with the parameters of its encoding: edges, mean and std, or the length of a vector."""

    name: str
    group: Group
    kind: Kind
    buckets: PositiveInt | None
    rows: PositiveInt
    edges: NotRequired[list[float]]
    mean: NotRequired[float]
    std: NotRequired[float]
    length: NotRequired[PositiveInt]


@with_config(STRICT)
class PlacedField(FieldRecord):
    """A field with the first row of its part of the joint table."""

    offset: NonNegativeInt


F = TypeVar("F", bound=FieldRecord)


def _coded(record: F) -> F:
    """Check that the record holds what its form learned, and that the name can be a vocabulary's file name."""
    learned = form_of(record["kind"], record["buckets"], record.get("length")).learned
    if not learned <= record.keys():
        raise ValueError(f"expected {' and '.join(sorted(learned))} of this field")
    if problem := name_problem(record["name"]):
        raise ValueError(problem)
    return record


CodedField = Annotated[FieldRecord, AfterValidator(_coded)]


@with_config(STRICT)
class Signature(TypedDict):
    """The inputs of a bundle's graphs."""

    format: Format
    fields: list[Annotated[PlacedField, AfterValidator(_coded)]]
    max_history: PositiveInt
    inputs: dict[str, list[str]]


@with_config(STRICT)
class RawManifest(TypedDict):
    """The log that fetch wrote.

    `params` are the settings of the source without paths; `fields`, `protocol` and `order` are the source's defaults.
    """

    format: Format
    source: str
    params: dict[str, Any]
    files: dict[str, Digest]
    rows: NonNegativeInt
    days: list[Day]
    fields: dict[Group, dict[str, Any]]
    protocol: Protocol
    order: Order | None
    daily: bool
    until: Day | None


@with_config(STRICT)
class FetchReport(TypedDict):
    """The fingerprint of the source that `data/raw/` was read from, and the hash of its manifest."""

    fingerprint: Digest
    manifest: Digest


@with_config(STRICT)
class HeldOutDay(TypedDict):
    """A day of validation or test rows, and the number of rows of each field's table once its ids are known."""

    day: Day
    split: SplitName
    rows: dict[str, PositiveInt]


@with_config(STRICT)
class FeaturesManifest(TypedDict):
    """The feature shards that featurize wrote; `raw` is the hash of the log they come from.

    `first_day` is the first day of the window. Behaviours of known time begin on the day `history_from`, if it is set.
    `negatives` is there if some were left out.
    """

    format: Format
    raw: Digest
    data: Window
    first_day: Day
    history_from: Day | None
    held_out: list[HeldOutDay]
    params: dict[str, Any]
    protocol: Protocol
    order: Order
    until: Day | None
    max_history: PositiveInt
    fields: list[CodedField]
    shards: PositiveInt
    impressions: NonNegativeInt
    files: dict[str, Digest]
    rows: Rows
    negatives: NotRequired[Negatives]
    train_until: Moment
    items: NonNegativeInt
    users: NonNegativeInt
    behaviours: NonNegativeInt


@with_config(STRICT)
class Expectation(TypedDict):
    """One expectation and its result; sample, advice and reason are there if it failed."""

    name: str
    column: str | None
    observed: Any
    threshold: dict[Literal["min", "max", "in"], Any]
    severity: Literal["critical", "warning"]
    success: bool
    sample: NotRequired[list[dict[str, Any]]]
    advice: NotRequired[str]
    reason: NotRequired[str]


@with_config(STRICT)
class ValidationReport(TypedDict):
    """The result of one suite; `input` is the hash of the judged directory, `params` are the thresholds."""

    verdict: Literal["open", "closed"]
    input: Digest
    params: dict[str, Any]
    expectations: Annotated[list[Expectation], Field(min_length=1)]


@with_config(STRICT)
class Power(TypedDict):
    """How sure a comparison can be.

    Attributes:
        look: the number of this look at the rival, from 1.
        users: the number of users that the verdict rests on.
        excludes: the smallest loss that such a comparison excludes in four of five cases.
        users_needed: the number of users that would decide an undecided comparison; None if it has as many already.
    """

    look: PositiveInt
    users: NonNegativeInt
    excludes: float | None
    users_needed: NonNegativeInt | None


JudgedModel = Literal["judged", "crossfit", "shipped"]


@with_config(STRICT)
class GateEntry(TypedDict):
    """The result of one gate.

    `model` is the model that the figure is about; see `din.gates.verdict.Gate`. `evaluated` is False if the gate
    could not be judged and is closed for that reason alone. `compares` is True if it compares the candidate with an
    earlier champion.
    """

    name: str
    observed: Any
    threshold: Any
    interval: tuple[float | None, float | None] | None
    verdict: Verdict
    look: str
    rows: NonNegativeInt | None
    power: Power | None
    reason: str | None
    model: JudgedModel | None
    evaluated: bool
    compares: bool


@with_config(STRICT)
class ChampionName(TypedDict):
    """The record that a candidate was compared with."""

    number: PositiveInt
    version: Version


@with_config(STRICT)
class About(TypedDict):
    """Everything that the verdict in a gate's report depends on.

    `params` is all of params.yaml, and `code` is the hash of the packages' source. `data` and `reports` are the hashes
    of the judged directories and reports, or None for a missing one.
    """

    source: str
    model_name: ModelName
    params: dict[str, Any]
    code: Digest
    data: dict[str, Digest | None]
    reports: dict[str, Digest | None]


WhyMissed = Literal["late", "changed", "before the window"]


@with_config(STRICT)
class MissedDay(TypedDict):
    """A day of the log that a champion that goes on never learns as it is now; see `din.gates.missed_days`."""

    day: Day
    rows: PositiveInt
    why: WhyMissed


@with_config(STRICT)
class Harm(TypedDict):
    """The certain harm of the champion's last step: its record, the one to go back to, and the finding in words."""

    record: PositiveInt
    back_to: PositiveInt
    reason: str


@with_config(STRICT)
class GateReport(TypedDict):
    """The verdict on a candidate, its gates, and everything it depends on.

    `missed_days` is there if there are any, and `harm` if the champion's last step certainly harmed.
    """

    verdict: Verdict
    bundle: Version | None
    champion: ChampionName | None
    metrics: list[Literal["auc", "gauc"]]
    about: About
    gates: list[GateEntry]
    missed_days: NotRequired[list[MissedDay]]
    harm: NotRequired[Harm]


Backend = Literal["reference", "native"]


class Machine(Document):
    """The machine that ran a stage. Equal inputs give equal bits only on machines that agree in all of this.

    `processor` is its architecture, vendor, family and model, and `instructions` the instruction sets that torch chose
    its kernels for. `device` is "cpu" or the name of a GPU. `backend` says which operations ran, and `library`
    identifies the native ones by their sources, compiler, options and processor.
    """

    processor: str
    instructions: str
    device: str
    backend: Backend
    library: str | None
    threads: PositiveInt
    python: str
    libc: str
