"""The parameters as a whole."""

import re
from pathlib import Path

import pytest

from din.base.errors import InputError
from din.params.blocks import leaves
from din.params.reading import Params, load, plain

ROOT = Path(__file__).parents[3]


def test_every_parameter_is_read() -> None:
    """Each parameter is used by some module outside din/params; `din.data.tabular` derives the names of columns."""
    modules = [
        path for folder in ("din", "din_logs", "din_loop", "validation") for path in (ROOT / folder).rglob("*.py")
    ]
    code = "".join(path.read_text() for path in modules if path.parent.name != "params")
    names = {key.rpartition(".")[2] for key in leaves(Params)}
    unread = {name for name in names if not re.search(rf"\.{name}\b", code)}
    assert unread <= {"items_columns", "users_columns", "history_columns"}


def edited(folder: Path, old: str, new: str) -> Path:
    """Write the repository's parameters with a change, and return the file."""
    text = (ROOT / "params.yaml").read_text()
    assert text.count(old) == 1
    path = folder / "params.yaml"
    path.write_text(text.replace(old, new))
    return path


FAULTS = {
    "an open bracket": ("\ndata:\n", "\ndata: [\n", "not valid YAML: line 11, column 3: did not find expected ',' or"),
    "a merge conflict": (
        "\ndata:\n",
        "\n<<<<<<< yours\ndata:\n=======\n>>>>>>> release\n",
        "not valid YAML: line 9 begins a merge conflict",
    ),
    "a notification of neither": ("\nnotify: null ", "\nnotify: chat ", "notify is 'chat': expected a URL, https://"),
    "an empty separator": ("    separators: {} ", "    separators: {tags: ''} ", "separators.tags: String should"),
    "a wide embedding": (
        "embedding_dim: 16 ",
        "embedding_dim: 1000000000 ",
        "_dim: Input should be less than or equal",
    ),
    "a window of millennia": (
        "  window_days: null ",
        "  window_days: 1000000 ",
        "window_days: Input should be less than",
    ),
    "a history of millennia": (
        "  history_days: null ",
        "  history_days: 1000000 ",
        "history_days: Input should be less",
    ),
    "a test split of millennia": ("  test_days: 2 ", "  test_days: 1000000 ", "test_days: Input should be less than"),
    "a bare date": ("  until: null ", "  until: 2024-05-09 ", "data.until is a bare date; DVC can't read those; write"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line(tmp_path: Path, fault: str) -> None:
    """The line says where the fault is; sizes that would take days or all memory are refused at once."""
    old, new, says = FAULTS[fault]
    path = edited(tmp_path, old, new)
    with pytest.raises(InputError) as error:
        load(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ") and says in message
    assert "\n" not in message and "\\n" not in message


LONG = "9" * 5000
IMPOSSIBLE = ["2026-02-30", "0000-01-01", "2026-01-01T25:00:00Z", "!!int abc", '!!int ""', "!!float abc", "!!bool abc"]


@pytest.mark.parametrize("value", [*IMPOSSIBLE, LONG, f"0x{LONG}", f"0o{'7' * 5000}"], ids=lambda value: value[:20])
def test_a_value_that_yaml_cannot_make_is_one_line(tmp_path: Path, value: str) -> None:
    """A day that no calendar has, text with the tag of a number, or an endless number is named with its place."""
    with pytest.raises(InputError, match=r"not valid YAML: line \d+, column \d+: not a valid \w+: '.*"):
        load(edited(tmp_path, "  until: null ", f"  until: {value} "))


@pytest.mark.parametrize("pairs", ["{a: 1}, {a: 2}", "{[a]: 1}", "{? {a: 1} : 1}"])
def test_an_ordered_mapping_is_refused(pairs: str) -> None:
    """No parameter has this type, whatever its keys are."""
    with pytest.raises(InputError, match=r"not valid YAML: line 1, column 4: could not determine a constructor .*omap"):
        plain(f"a: !!omap [{pairs}]", "a file")


@pytest.mark.parametrize("merge", ["<<: ", "all: "])
def test_aliases_and_merge_keys_make_no_bombs(merge: str) -> None:
    """A few lines that would expand to 10⁸ values are refused before they do."""
    lines = ["a: &b0 {p: 1, q: 2}"]
    lines += [f"b{k}: &b{k}\n  {merge}[{','.join([f'*b{k - 1}'] * 10)}]" for k in range(1, 9)]
    with pytest.raises(InputError, match=r"bomb: not valid YAML: more than 100,000 values"):
        plain("\n".join(lines), "bomb")


LIST = "[" * 49 + "{}" + "]" * 49
DEEP = {
    "open": "a: " + "[" * 30_000,
    "closed": "a: " + "[" * 30_000 + "]" * 30_000,
    "blocks": "- " * 2_000,
    "aliases": f"a: &a {LIST.format(1)}\nb: &b {LIST.format('*a')}\nc: {LIST.format('*b')}",
    "in itself": "a: &a [*a]",
}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP.keys())
def test_deep_nesting_is_refused_before_a_parser_recurses(text: str) -> None:
    """Otherwise the C stack ends in a segmentation fault, or Python's in a RecursionError."""
    assert plain(f"a: {LIST.format(1)}", "a file")
    with pytest.raises(InputError, match=r"a file: not valid YAML: line \d, column \d+: nested deeper than 50 levels"):
        plain(text, "a file")
