"""Bind an open verdict to all that it depends on, so that `din promote` judges nothing twice.

`din gate` leaves one hash in `.din/verdict`. It covers the report, what the report is about, plugins, packages, and
what the registry held. `din promote` hashes all of this again. If anything differs, or there is no hash, e.g. because
the gate was killed or ran on another machine, it judges every gate again.

The hash is not a signature. Whoever can write it can write the code that judges, too.
"""

import json
import sys
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

from din.base.artifacts import sha256_file, write_bytes
from din.plugins import installed, located
from din.release.gates.evidence import Evidence
from din.release.registry.records import Record
from din.release.registry.registry import Registry


def bind(evidence: Evidence, registry: Registry) -> None:
    """Leave the hash of an open verdict in the workspace of the candidate."""
    write_bytes(evidence.workspace.bound, _hash(evidence, registry, registry.champion()))


def is_bound(evidence: Evidence, registry: Registry, champion: Record | None) -> bool:
    """Return whether nothing that the open verdict depends on has changed since the gate judged.

    Args:
        champion: the newest record of the registry, or None if there is none.
    """
    bound = evidence.workspace.bound
    return bound.is_file() and bound.read_bytes() == _hash(evidence, registry, champion)


def _hash(evidence: Evidence, registry: Registry, champion: Record | None) -> bytes:
    workspace = evidence.workspace
    plugins = [*installed(), *located(evidence.params.plugins, workspace.root)]
    stored = registry.objects.keys(f"looks/{champion.version}") if champion else registry.versions_once_recorded()
    depends_on = {
        "report": sha256_file(workspace.gate),
        "about": evidence.about.model_dump(),
        "bundle": evidence.version,
        "plugins": {str(path): sha256_file(path) for path in plugins},
        "packages": sorted(path.name for place in sys.path for path in Path(place).glob("*-info")),
        "python": sys.version,
        "registry": registry.uri,
        "champion": asdict(champion) if champion else None,
        "comparisons": stored,
    }
    return sha256(json.dumps(depends_on, sort_keys=True, default=str).encode()).hexdigest().encode()
