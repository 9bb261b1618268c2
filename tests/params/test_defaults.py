"""The defaults in the dataclasses, and the files that are written from them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
from typing_extensions import Doc

from din import documents
from din.errors import InputError
from din.params import Params, load, parse, to_json
from din.params.defaults import defaults, written
from din.params.reading import plain

ROOT = Path(__file__).parents[2]


def test_the_committed_file_is_that_of_the_defaults() -> None:
    """Byte for byte, as `make params` writes it."""
    assert (ROOT / "params.yaml").read_text(encoding="utf-8") == defaults()


def test_the_file_of_defaults_reads_as_the_defaults(tmp_path: Path) -> None:
    """Values of all types survive being written and read."""
    (tmp_path / "params.yaml").write_text(defaults(), encoding="utf-8")
    assert load(tmp_path / "params.yaml") == Params()


@pytest.mark.parametrize(
    "text", ["", "null", "3", "0.5", "true", "a: b", "a, b", "a # b", "[a]", "*a", ":0", ", | ;", "é b"]
)
def test_text_is_quoted_where_yaml_would_read_something_else(text: str) -> None:
    """Alone, and in lists and mappings."""
    for value in (text, (text, text), {text: text}):
        assert plain(f"key: {written(value)}", "here") == {"key": to_plain(value)}


def to_plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True, kw_only=True)
class Transformer:
    """The parameters of a plugin."""

    __pydantic_config__ = documents.STRICT

    heads: Annotated[int, Doc("attention heads")] = 4
    dropout: Annotated[float, Doc("share of weights that a step drops")] = 0.1


def test_only_the_blocks_of_a_file_need_every_key() -> None:
    """A plugin's own parameters have their defaults where a mapping is silent; unknown keys are refused in both."""
    assert documents.check(Transformer, {"heads": 8}, "here") == Transformer(heads=8)
    with pytest.raises(InputError, match="key 'head' is unknown in the document; valid keys: heads, dropout"):
        documents.check(Transformer, {"head": 8}, "here")
    values = to_json(Params())
    del values["train"]["model"]["softmax"]
    with pytest.raises(InputError, match=r"here: key 'softmax' is missing in train\.model; valid keys: name, "):
        parse(Params, values, "here")
