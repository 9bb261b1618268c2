"""Read params.yaml into frozen dataclasses, one per block. A typo is an error at start.

Every key must be present because DVC can set only keys that the file has (`dvc exp run -S`).

`load()` is the only reader. It reads YAML 1.2, as DVC does. `din.base.documents` checks the values, so `epochs: "3"`
and `epoch: 3` are both errors that name the valid type or keys.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode
from typing_extensions import Doc, override

from din import plugins
from din.base import documents
from din.base.errors import InputError, shown
from din.base.names import ModelName
from din.base.workspace import AT_THE_ROOT
from din.params.blocks import Block, Conflict, Paths, described, leaves, parse
from din.params.data import Data
from din.params.featurize import Featurize
from din.params.fetch import Fetch
from din.params.gate import Gate
from din.params.promote import Promote
from din.params.train import Train
from din.params.validate import ValidateFeatures, ValidatePredictions, ValidateRaw

_MOST_BYTES = 1 << 20
_MOST_VALUES = 100_000
_DEPTH = 50
"""The deepest nesting that is read. A parameter file has six levels; Python's stack ends at some 200."""

T = TypeVar("T", bound=Block)


@dataclass(frozen=True, kw_only=True)
class Params(Block):
    """All of params.yaml: the plugins, and a block for each stage."""

    plugins: Annotated[
        tuple[str, ...], Doc("Python files of this repository that register models, sources …; see docs/plugins.md")
    ] = ()
    notify: Annotated[
        str | tuple[str, ...] | None,
        Doc("URL, or command [word, …], that gets promotions, refusals and alarms as JSON; see docs/operations.md"),
    ] = None
    data: Data = field(default_factory=Data)
    fetch: Fetch = field(default_factory=Fetch)
    validate_raw: ValidateRaw = field(default_factory=ValidateRaw)
    featurize: Featurize = field(default_factory=Featurize)
    validate_features: ValidateFeatures = field(default_factory=ValidateFeatures)
    train: Train = field(default_factory=Train)
    validate_predictions: ValidatePredictions = field(default_factory=ValidatePredictions)
    gate: Gate = field(default_factory=Gate)
    promote: Promote = field(default_factory=Promote)

    def conflicts(self) -> Iterator[Conflict]:
        """Report contradictions between blocks.

        A window has no training day, or `notify` is neither a URL nor a command.
        """
        if self.notify == () or (isinstance(self.notify, str) and not re.fullmatch(r"https?://\S+", self.notify)):
            yield Conflict(("notify",), "expected a URL, https://…, or a command as a list of words")
        split = self.featurize
        window = self.data.window_days
        if window and split.protocol == "temporal" and window <= split.valid_days + split.test_days:
            keys = ("data.window_days", "featurize.valid_days", "featurize.test_days")
            yield Conflict(keys, "no day of the window is left to train on; raise the window, or hold out fewer days")

    @property
    def model_name(self) -> ModelName:
        """The registry's namespace, which by default keeps experiments on different logs apart."""
        return self.promote.model_name or ModelName(self.fetch.source)


def load(path: Path = Path("params.yaml")) -> Params:
    """Read and check the parameter file, and import the plugins that it names.

    Raises:
        InputError: the file is missing, too large, not YAML, or nested too deeply; a key is unknown, missing, given
            twice or of a wrong type; a value is a date without quotes; the values of two keys contradict each other; a
            plugin can't be imported.
    """
    values = plain(read_text(path, AT_THE_ROOT), path)
    _check_dates(values, path)
    params = parse(Params, values, path)
    plugins.load(params.plugins, path.parent)
    return params


def read_text(path: Path, advice: str) -> str:
    """Read a YAML file's text.

    Raises:
        InputError: the file is missing, too large or not UTF-8; `advice` says what to do if it is missing.
    """
    try:
        return documents.read_bytes(path, _MOST_BYTES, advice).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not valid YAML: {error}") from None


def plain(text: str, where: object) -> Any:
    """Read YAML as plain values; `where` names its source in errors.

    Raises:
        InputError: it is not YAML, holds too many values, or is nested too deeply.
    """
    yaml = YAML(typ="safe")
    yaml.Constructor = _Constructor
    try:
        _check_depth(yaml, text)
        _check_extent(yaml.compose(text))
        return yaml.load(text)
    except YAMLError as error:
        raise InputError(f"{where}: not valid YAML: {_fault(error, text)}") from None


def check_model(train: Train, reads: Callable[[str, str], bool], where: object) -> None:
    """Check that the model reads the settings that need it to; `where` names their source in errors.

    Args:
        reads: whether a model, by name, reads a key below `train`.

    Raises:
        InputError: it does not.
    """
    if problems := [described(conflict, train, "train.") for conflict in train.unread(reads)]:
        raise InputError(f"{where}: {'; '.join(problems)}")


def path_keys() -> tuple[str, ...]:
    """Return the dotted keys of all parameters that hold paths; in the options of a source, the key is `path`."""
    return (
        *(key for key, parameter in leaves(Params).items() if Paths in get_args(parameter.hint)),
        "fetch.options.path",
    )


class _Constructor(SafeConstructor):
    """A constructor that reports impossible values, such as the date 2026-02-30, with their place."""

    @override
    def construct_object(self, node: Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
            if isinstance(value, int):
                str(value)  # Python writes no integer of more than 4,300 digits
        except (ValueError, LookupError, ArithmeticError):
            kind = str(node.tag).rpartition(":")[2]
            problem = f"not a valid {kind}: {shown(node.value)}"
            raise ConstructorError(problem=problem, problem_mark=node.start_mark) from None
        return value


# ruamel's own constructor of ordered mappings has tracebacks for repeated keys and for keys that are lists.
_Constructor.add_constructor("tag:yaml.org,2002:omap", SafeConstructor.construct_undefined)


def _fault(error: YAMLError, text: str) -> str:
    """Describe in one line why a text is not YAML, and where."""
    lines = text.splitlines()
    conflicts = [number for number, line in enumerate(lines, 1) if line.startswith("<<<<<<<")]
    if conflicts:
        return f"line {conflicts[0]} begins a merge conflict; keep the lines that you want, and remove the marks"
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return shown(" ".join(str(error).split()), quotes=False)
    mark = error.problem_mark
    problem = shown(error.problem, quotes=False)
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}; correct it"


def _check_dates(value: Any, where: object, prefix: str = "") -> None:
    """Raise InputError for a date without quotes, which DVC does not read."""
    if isinstance(value, date):
        key = prefix.removesuffix(".")
        raise InputError(f'{where}: {key} is a bare date; DVC can\'t read those; write it in quotes: "{value}"')
    for name, part in value.items() if isinstance(value, dict) else ():
        _check_dates(part, where, f"{prefix}{name}.")


def _check_depth(yaml: YAML, text: str) -> None:
    """Raise YAMLError for deep nesting, before a parser that calls itself at every level reads the text."""
    depth = 0
    for event in yaml.parse(text):
        if isinstance(event, CollectionStartEvent):
            depth += 1
        elif isinstance(event, CollectionEndEvent):
            depth -= 1
        if depth > _DEPTH:
            raise _too_deep(event.start_mark)


def _check_extent(root: Node | None) -> None:
    """Raise YAMLError for more values, or deeper ones, than any parameter file has.

    Aliases and merge keys can repeat a block a billion times, so values are counted before any is constructed.
    """
    waiting: list[tuple[Any, int]] = [(root, 0)]
    seen = 0
    while waiting:
        node, depth = waiting.pop()
        seen += 1
        if seen > _MOST_VALUES:
            raise YAMLError(f"more than {_MOST_VALUES:,} values")
        if depth > _DEPTH:
            raise _too_deep(node.start_mark)
        if isinstance(node, MappingNode):
            waiting += [(part, depth + 1) for pair in node.value for part in pair]
        elif isinstance(node, SequenceNode):
            waiting += [(part, depth + 1) for part in node.value]


def _too_deep(mark: Any) -> YAMLError:
    return MarkedYAMLError(problem=f"nested deeper than {_DEPTH} levels", problem_mark=mark)
