"""The manifests of the raw log and of the features, `manifest.json` in either folder, and the report of `din fetch`."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, NonNegativeInt, PositiveInt, with_config
from typing_extensions import TypedDict

from din.base.documents import STRICT, Document
from din.base.names import Day, Digest, Moment
from din.base.workspace import Format
from din.kinds import KINDS, LearnedValues, form_of
from din.schema import Group, SplitName, name_problem

Protocol = Literal["temporal", "leave_last_out", "by_user"]
Order = Literal["strict", "sequence", "daily"]


@with_config(STRICT)
class SplitRows(TypedDict):
    """The number of rows of each split."""

    train: NonNegativeInt
    valid: NonNegativeInt
    test: NonNegativeInt


class RawManifest(Document):
    """The log that fetch wrote.

    `params` are the settings of the source without paths; `fields`, `protocol` and `order` are the source's defaults.
    `sampled` is the share of the impressions without a click that the log holds.
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
    sampled: Annotated[float, Field(gt=0, le=1)] = 1.0


class FetchReport(Document):
    """The fingerprint of the source that `data/raw/` was read from, and the hash of its manifest."""

    fingerprint: Digest
    manifest: Digest


class Window(Document):
    """The keys of the block `data` that bound the days before the last one."""

    window_days: PositiveInt | None
    history_days: NonNegativeInt | None


class Negatives(Document):
    """Shares of the impressions without a click: `log` of them is in the log, and training kept `training` of those."""

    log: float
    training: float


_OPEN = STRICT | ConfigDict(extra="allow")


@with_config(_OPEN)
class FieldRecord(LearnedValues):
    """A field, with the values that its coder learned. A plugin's kind may learn values under keys of its own."""

    name: str
    group: Group
    kind: str
    buckets: PositiveInt | None
    rows: PositiveInt


@with_config(_OPEN)
class PlacedField(FieldRecord):
    """A field with the first row of its part of the joint table."""

    offset: NonNegativeInt


F = TypeVar("F", bound=FieldRecord)


def _coded(record: F) -> F:
    """Check that a record holds the learned values of its form alone, and that its name can name a file."""
    if problem := name_problem(record["name"]):
        raise ValueError(problem)
    if record["kind"] in tuple(KINDS):  # if not, `parse_field` names the plugin that is missing
        learned = form_of(record["kind"], record["buckets"], record.get("length")).learned
        if not learned <= record.keys():
            raise ValueError(f"expected {' and '.join(sorted(learned))} of this field")
        if unknown := record.keys() - PlacedField.__annotations__.keys() - learned:
            raise ValueError(f"a field of kind {record['kind']} has no {' and no '.join(sorted(unknown))}")
    return record


CodedField = Annotated[FieldRecord, AfterValidator(_coded)]
CodedPlacedField = Annotated[PlacedField, AfterValidator(_coded)]


class HeldOutDay(Document):
    """A day of validation or test rows, and the number of rows of each field's table once its ids are known."""

    day: Day
    split: SplitName
    rows: dict[str, PositiveInt]


class FeaturesManifest(Document):
    """The feature shards that featurize wrote; `raw` is the hash of the log they come from.

    `first_day` is the first day of the window. Behaviours of known time begin on the day `history_from`, if it is set.
    `negatives` is None if none were left out.
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
    rows: SplitRows
    negatives: Negatives | None = None
    train_until: Moment
    items: NonNegativeInt
    users: NonNegativeInt
    behaviours: NonNegativeInt

    @property
    def negatives_drawn(self) -> bool:
        """Whether the log holds clicks only, so that featurize drew a negative for each."""
        return self.protocol == "leave_last_out"
