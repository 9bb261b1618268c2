"""What a bundle holds besides its graphs, and `models/bundle/` as the stage `export` leaves it.

    request.onnx batch.onnx weights/    the model, twice (see export.py)
    model/                              the same as trained, for `train.warm_start`; nothing here reads it
    vocab/ items.parquet users.parquet  raw values to ids and table rows; copies of the features'
    signature.json                      fields with kinds, edges, moments and offsets; longest history; graph inputs
    facts.json MODEL_CARD.md            where it comes from and how good it is, for programs and for people
    manifest.json                       every file's sha256; the version is its own (`din.bundle`)

A bundle holds only what is known at export, and no clock, path or commit: the same training gives the same version.
"""

# pyarrow.compute makes its functions at import, where pyright can't see them.
# pyright: reportAttributeAccessIssue=false

import shutil
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from din import documents
from din.artifacts import MANIFEST, hash_files, hash_tree, sha256_file, write_bytes, write_json
from din.bundle import FACTS
from din.errors import InputError
from din.eventlog.packing import TableLayout
from din.eventlog.reader import Features
from din.forms import FORMAT, Evaluation, Facts
from din.model import artifact
from din.params import Params
from din.schema import SPLITS, TIMESTAMP
from din.serve.card import model_card
from din.serve.encode import SIGNATURE

DIRECTORY = Path("models/bundle")
REPORTS = Path("reports")
_PACKAGES = ("din-ctr", "torch", "onnx", "onnxscript", "onnxruntime", "numpy", "pyarrow", "duckdb", "ibis-framework")
_PROTOCOL = ("seed", "valid_fraction", "test_fraction", "valid_days", "test_days")


def complete(
    folder: Path, features: Features, layout: TableLayout, inputs: dict[str, list[str]], params: Params
) -> str:
    """Add everything but the graphs, which are in `folder`, then the manifest.

    Args:
        inputs: input names by graph.

    Returns:
        The version.

    Raises:
        InputError: the evaluation or a validation verdict is missing.
    """
    shutil.copytree(artifact.DIRECTORY, folder / artifact.IN_BUNDLE)
    shutil.copytree(features.root / "vocab", folder / "vocab")
    for name in ("items.parquet", "users.parquet"):
        shutil.copyfile(features.root / name, folder / name)
    facts = gather_facts(features, params)
    write_json(folder / SIGNATURE, _signature(features, layout, inputs))
    write_json(folder / FACTS, facts)
    write_bytes(folder / "MODEL_CARD.md", model_card(facts, features.fields).encode())
    return seal(folder)


def seal(folder: Path) -> str:
    """Write the manifest of all files in `folder`; returns the version."""
    files = {name: digest for name, digest in hash_files(folder).items() if name != MANIFEST}
    write_json(folder / MANIFEST, {"files": files})
    return sha256_file(folder / MANIFEST)


def gather_facts(features: Features, params: Params) -> Facts:
    """Gather the contents of facts.json.

    Raises:
        InputError: the evaluation or a validation verdict is missing.
    """
    manifest = features.manifest
    train = artifact.read_config(artifact.DIRECTORY)["train"]
    facts = {
        "format": FORMAT,
        "model_name": params.model_name,
        "model": train["model"],
        "train_until": manifest["train_until"],
        "until": _last_day(features),
        "protocol": {
            "name": manifest["protocol"],
            "order": manifest["order"],
            **{key: manifest["params"][key] for key in _PROTOCOL},
        },
        "rows": manifest["rows"],
        "inputs": {
            "raw": manifest["raw"],
            "features": hash_tree(features.root),
            "model": hash_tree(artifact.DIRECTORY),
        },
        "params": {"featurize": manifest["params"], "train": train},
        "seed": train["seed"],
        "packages": {name: version(name) for name in _PACKAGES},
        "validation": {name: _verdict(name) for name in ("raw", "features", "predictions")},
        "evaluation": documents.read(Evaluation, REPORTS / "evaluation.json", "run `dvc repro evaluate`"),
    }
    return documents.check(Facts, facts, f"the facts of {DIRECTORY}")


def _verdict(name: str) -> str:
    path = REPORTS / "validation" / f"{name}.verdict"
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise InputError(f"{path}: not found; run `dvc repro validate_{name}`, a bundle states its verdict") from None


def _last_day(features: Features) -> str:
    """The day (UTC) of the last impression. Not `data.until`, which may name a day that no log has reached."""
    paths = (
        features.root / "shards" / f"{n:05d}" / f"{s}.parquet"
        for n in range(features.manifest["shards"])
        for s in SPLITS
    )
    last = max(pc.max(pq.read_table(path, columns=[TIMESTAMP])[TIMESTAMP]).as_py() or 0 for path in paths)
    return datetime.fromtimestamp(last / 1e6, UTC).date().isoformat()


def _signature(features: Features, layout: TableLayout, inputs: dict[str, list[str]]) -> dict[str, Any]:
    records = features.manifest["fields"]
    return {
        "format": FORMAT,
        "fields": [record | {"offset": layout.offsets[record["name"]]} for record in records],
        "max_history": features.manifest["max_history"],
        "inputs": inputs,
    }
