"""The page about every parameter."""

from din.params import Params
from din.params.blocks import types_of
from din.params.reference import reference


def test_every_parameter_has_a_row_with_its_meaning() -> None:
    """Each key appears in the section of its block, with type, default and meaning."""
    sections: dict[str, set[str]] = {}
    section = ""
    for line in reference().splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
            sections[section] = set()
        elif line.startswith("| `"):
            key, _, _, meaning = (cell.strip() for cell in line.replace("\\|", "/").strip("| ").split(" | "))
            assert meaning, line
            sections[section].add(key.strip("`"))
    found = {f"{block}.{key}" for block, keys in sections.items() for key in keys}
    assert found | {"plugins"} == types_of(Params).keys()
    assert sections["plugins"] == set()  # a key without a block has a section of its own


def test_rows_say_types_and_bounds() -> None:
    """A number has its bounds, a choice its values, and null is named."""
    page = reference()
    assert "| `test_fraction` | number > 0, < 1 | `0.25` | share of users" in page
    assert "| `metric` | `gauc`, `auc` | `auc` |" in page
    assert "| `until` | text or null | `null` |" in page
