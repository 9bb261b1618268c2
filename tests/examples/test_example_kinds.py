"""The example of a kind of field. `test_five_plugins.py` takes it through the pipeline."""

import subprocess
import sys
from pathlib import Path

import ibis
import numpy as np
import pyarrow as pa
import pytest

from din import plugins
from din.base.artifacts import write_json
from din.base.errors import InputError
from din.base.names import Digest
from din.base.workspace import FORMAT, Workspace
from din.bundle.contents import SIGNATURE
from din.bundle.encode import Encoder
from din.bundle.graph_inputs import Signature
from din.featurize.coders import coder_of, column
from din.featurize.engine import session
from din.kinds import Level
from din.params.featurize import Featurize
from din.schema import Group, parse_field, parse_fields

ROOT = Path(__file__).parent.parent.parent
FILE = "examples/plugins/logarithm.py"
MODULE = "din_plugins.logarithm"
DIGEST = Digest("0" * 64)
PRICE = {"item": {"price": "logarithm"}}


@pytest.fixture(autouse=True)
def plugin() -> None:
    plugins.load([FILE], ROOT)


def test_a_request_gets_the_code_that_its_value_has_in_the_log(tmp_path: Path) -> None:
    """Both take the logarithm, and standardise it by the moments of the log's."""
    (field,) = parse_fields(PRICE)[1:]
    name = column(field)
    prices = [None, float("nan"), 1e300, 0.0, 1.0, -3.5, 1e12, 7.0]
    with session(Workspace(tmp_path), Featurize(memory_mb=500)) as engine:
        raw = ibis.memtable(pa.table({"row": range(len(prices)), "price": prices}))
        coder_class = coder_of(field)
        table = engine.store("raw", raw.select("row", **{name: coder_class.typed(raw.price, "price")}))
        evidence = table.select(value=table[name], day=ibis.literal(0), weight=ibis.literal(1, "int64"))
        coder = coder_class.learn(engine, field, evidence.filter(evidence.value.notnull()), 1)
        logged = coder.encode(table).order_by("row").to_pyarrow()[name].to_numpy()
    np.testing.assert_allclose(field.form.encode(prices, coder.to_json(), None).values, logged, rtol=1e-6)
    np.testing.assert_array_equal(np.isnan(logged), [True, True, True, False, False, False, False, False])
    finite = logged[np.isfinite(logged)]
    assert abs(finite.mean()) < 1e-6 and abs(finite.std() - 1) < 1e-6


def test_its_extreme_values_are_far_from_all_others() -> None:
    """Parity tries them."""
    (field,) = parse_fields(PRICE)[1:]
    examples = field.form.examples({"mean": 2.0, "std": 1.5})
    lowest, highest = (examples[level].column.values[0] for level in (Level.LOWEST, Level.HIGHEST))
    assert lowest < -15 and highest > 15


def test_a_kind_without_buckets_refuses_them() -> None:
    """The form that it extends has some."""
    with pytest.raises(InputError, match="buckets=3; expected an integer >= 2, on a numeric field only"):
        parse_fields({"item": {"price": {"kind": "logarithm", "buckets": 3}}})


def test_a_field_of_an_unknown_kind_names_the_next_step() -> None:
    """A manifest may come from a repository with another plugin."""
    with pytest.raises(
        InputError, match=r"field 'price': 'root' is not a kind of field; .* name the file that registers"
    ):
        parse_field({"name": "price", "group": "item", "kind": "root"})


def test_a_bundle_is_refused_without_its_plugin() -> None:
    """The message names the plugin and its digest, whether none is loaded or another one of its name."""
    needed = plugins.digest_of(MODULE)
    plugins.require(needed, "bundle")
    needs = f"bundle: needs the plugin logarithm.py with sha256 {DIGEST}, but logarithm.py here has {needed[MODULE]}; "
    with pytest.raises(InputError, match=needs):
        plugins.require({MODULE: DIGEST}, "bundle")
    with pytest.raises(
        InputError, match=r"needs the plugin root.py with sha256 0+, which is not loaded; name its file"
    ):
        plugins.require({"din_plugins.root": DIGEST}, "bundle")
    with pytest.raises(InputError, match=r"root.py: not found; expected a Python file"):
        plugins.load_files([Path("root.py")])


def test_no_request_is_encoded_without_the_plugin(tmp_path: Path) -> None:
    """A bundle is refused before anything else of it is read."""
    field = {"name": "price", "group": Group.CONTEXT, "kind": "root", "buckets": None, "rows": 2, "offset": 0}
    signature = Signature(format=FORMAT, fields=[field], max_history=1, inputs={}, plugins={"din_plugins.root": DIGEST})
    write_json(tmp_path / SIGNATURE, signature)
    with pytest.raises(InputError, match=f"{tmp_path}: needs the plugin root.py with sha256 {DIGEST}, which is not"):
        Encoder(tmp_path)


def test_a_process_that_scores_loads_the_plugin_without_the_engine() -> None:
    """It has no torch, and no package that reads logs."""
    code = f"import sys; from pathlib import Path; from din import plugins; plugins.load_files([Path({FILE!r})]); "
    code += "assert not {'torch', 'duckdb', 'ibis', 'pandas'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
