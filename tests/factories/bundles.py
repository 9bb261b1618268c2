"""Small bundles and their promotion, for tests of the registry."""

import json
from pathlib import Path

from din.base.artifacts import hash_files, write_json
from din.release.registry.records import Record
from din.release.registry.registry import Registry
from tests.factories import documents_of


def bundle(root: Path, content: str = "one", **files: str) -> Path:
    """Write a small bundle with a nested and an empty file."""
    facts = json.dumps(documents_of.facts(model=content))
    for name, text in {"facts.json": facts, "vocab/a.txt": content, "empty": "", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "manifest.json").unlink(missing_ok=True)
    write_json(root / "manifest.json", {"files": hash_files(root)})
    return root


def crown(registry: Registry, directory: Path, **settings) -> Record:
    return registry.append(registry.put_bundle(directory), registry.champion(), by="ann", reason="test", **settings)
