"""The parameters as a whole."""

import re
from pathlib import Path

import pytest

from din.errors import InputError
from din.params import Params, load
from din.params.blocks import types_of

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("key", list(types_of(Params)))
def test_every_parameter_is_read(key: str) -> None:
    """Each parameter is used by some module outside din/params."""
    modules = [path for folder in ("din", "validation") for path in (ROOT / folder).rglob("*.py")]
    code = "".join(path.read_text() for path in modules if path.parent.name != "params")
    assert re.search(rf"\.{key.rpartition('.')[2]}\b", code)


def edited(folder: Path, old: str, new: str) -> Path:
    """Write the repository's parameters with a change, and return the file."""
    text = (ROOT / "params.yaml").read_text()
    assert text.count(old) == 1
    path = folder / "params.yaml"
    path.write_text(text.replace(old, new))
    return path


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("\ndata:\n", "\ndata: [\n", "line 7, column 3: did not find expected ',' or ']'; correct it"),
        ("\ndata:\n", "\n<<<<<<< yours\ndata:\n=======\n>>>>>>> release\n", "line 5 begins a merge conflict"),
    ],
)
def test_a_fault_of_yaml_is_one_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    """The line says where the fault is, and names an open merge conflict."""
    path = edited(tmp_path, old, new)
    with pytest.raises(InputError) as error:
        load(path)
    message = str(error.value)
    assert message.startswith(f"{path}: not valid YAML: {says}")
    assert "\n" not in message and "\\n" not in message


def test_a_bare_date_is_refused(tmp_path: Path) -> None:
    """DVC refuses a parameter file with a date that is not in quotes."""
    with pytest.raises(InputError, match=r'data\.until is a bare date; .* in quotes: "2024-05-09"'):
        load(edited(tmp_path, "  until: null ", "  until: 2024-05-09 "))
    assert load(edited(tmp_path, "  until: null ", '  until: "2024-05-09" ')).data.until is not None
