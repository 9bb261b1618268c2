"""Complete a bundle: add the files other than the graphs and the golden requests, and then the manifest.

`models/bundle/` then has:

    request.onnx batch.onnx weights/    the model as two graphs (see export.py)
    model/                              the trained model, for later training; scoring does not read it
    vocab/ items.parquet users.parquet  the raw values that the model knows, with their ids and table rows
    signature.json                      fields with kinds, edges, moments and offsets; longest history; graph inputs;
                                        the plugins that the kinds need
    facts.json MODEL_CARD.md            origin and quality, for programs and for people
    golden.json                         made-up requests with PyTorch's probabilities (`din.bundle.golden`)
    manifest.json                       the sha256 of every file; its own is the version (`din.bundle.contents`)

A bundle has no times of creation, paths or commits, so equal trainings give equal versions.
"""

import shutil
from collections import ChainMap
from importlib.metadata import version
from pathlib import Path

import pyarrow.parquet as pq

from din import plugins
from din.base import documents
from din.base.artifacts import MANIFEST, hash_files, hash_tree, sha256_file, write_bytes, write_json
from din.base.errors import InputError
from din.base.names import Digest
from din.base.workspace import FORMAT, SUITES, Suite, Workspace
from din.bundle.card import model_card
from din.bundle.contents import FACTS, SIGNATURE
from din.bundle.graph_inputs import Signature
from din.contracts.facts import Evaluation, FactParams, Facts, InputDigests, SplitProtocol, Verdicts
from din.contracts.manifests import PlacedField
from din.features.packing import TableLayout
from din.features.reader import Features
from din.kinds import KINDS
from din.model import artifact
from din.params.reading import Params
from din.schema import Group

_PACKAGES = ("din-ctr", "torch", "onnx", "onnxscript", "onnxruntime", "numpy", "pyarrow", "duckdb", "ibis-framework")
_PROTOCOL = ("seed", "valid_fraction", "test_fraction", "valid_days", "test_days")


def add_values_and_facts(
    folder: Path, workspace: Workspace, features: Features, inputs: dict[str, list[str]], params: Params
) -> None:
    """Add the model, what requests are encoded with, and the facts to the graphs in `folder`.

    Args:
        features: the features that the model was trained on, with the ids that it knows.
        inputs: the names of the inputs, by graph.

    Raises:
        InputError: the evaluation or a validation verdict is missing.
    """
    shutil.copytree(workspace.shipped, folder / artifact.IN_BUNDLE, ignore=shutil.ignore_patterns(artifact.BEFORE))
    write_values(folder, features)
    facts = gather_facts(workspace, features, params)
    offsets = TableLayout.of(features.fields, features.rows).offsets
    placed = [PlacedField(**record, offset=offsets[record["name"]]) for record in features.records]
    needed = [plugins.digest_of(KINDS[field.kind].module) for field in features.fields]
    signature = Signature(
        format=FORMAT,
        fields=placed,
        max_history=features.manifest.max_history,
        inputs=inputs,
        **({"plugins": dict(ChainMap(*needed))} if any(needed) else {}),
    )
    write_json(folder / SIGNATURE, signature)
    write_json(folder / FACTS, facts)
    write_bytes(folder / "MODEL_CARD.md", model_card(facts, features.fields).encode())


def write_values(folder: Path, features: Features) -> None:
    """Write the vocabularies and the tables of items and users, with the ids known to `features`."""
    (folder / "vocab").mkdir()
    for field in features.fields:
        pq.write_table(features.vocabulary(field.name), folder / "vocab" / f"{field.name}.parquet", compression="zstd")
    for group in (Group.ITEM, Group.USER):
        pq.write_table(features.table(group), folder / f"{group}s.parquet", compression="zstd")


def seal(folder: Path) -> str:
    """Write the manifest of all files in `folder`, and return the version."""
    files = {name: digest for name, digest in hash_files(folder).items() if name != MANIFEST}
    write_json(folder / MANIFEST, {"files": files})
    return sha256_file(folder / MANIFEST)


def gather_facts(workspace: Workspace, features: Features, params: Params) -> Facts:
    """Gather the contents of facts.json.

    Raises:
        InputError: the evaluation or a validation verdict is missing.
    """
    manifest = features.manifest
    shipped = artifact.read_config(workspace.shipped)
    train = shipped.train
    split = {key: manifest.params[key] for key in _PROTOCOL}
    verdicts = {suite: _verdict(workspace, suite) for suite in SUITES}
    return Facts(
        format=FORMAT,
        model_name=params.model_name,
        model=train["model"]["name"],
        train_until=manifest.train_until,
        judged_until=artifact.read_config(workspace.model).seen_until,
        seen_until=shipped.seen_until,
        until=features.last_day().isoformat(),
        protocol=SplitProtocol(name=manifest.protocol, order=manifest.order, **split),
        rows=manifest.rows,
        inputs=InputDigests(
            raw=manifest.raw,
            features=Digest(hash_tree(features.root)),
            model=Digest(hash_tree(workspace.model)),
            shipped=Digest(hash_tree(workspace.shipped)),
        ),
        params=FactParams(data=manifest.data, featurize=manifest.params, train=train),
        seed=train["learning"]["seed"],
        packages={name: version(name) for name in _PACKAGES},
        validation=documents.check(Verdicts, verdicts, "the verdicts of validation"),
        evaluation=documents.read(Evaluation, workspace.evaluation, "run `dvc repro evaluate`"),
        negatives_drawn=manifest.negatives_drawn,
        **({"negatives": manifest.negatives} if manifest.negatives else {}),
    )


def _verdict(workspace: Workspace, suite: Suite) -> str:
    path = workspace.verdict(suite)
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise InputError(f"{path}: not found; run `dvc repro validate_{suite}`: a bundle states its verdict") from None
