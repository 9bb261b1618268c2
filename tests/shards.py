"""Shards of the slow tests: parts that the schedule runs on machines of their own, with an hour for each.

`make test-slow SHARD=name` runs one shard, and `make test-slow` all of them. A test file that no shard names belongs to
`REST`, so no slow test is left out.
"""

from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
REST = "rest"
SHARDS: Mapping[str, tuple[str, ...]] = {
    "lessons": ("tests/benchmarks/test_lessons.py",),
    "defects": ("tests/benchmarks/test_defects.py",),
    "pipelines": ("tests/pipeline/test_pipeline.py", "tests/din_tune", "tests/benchmarks"),
    "pages": ("tests/pipeline/test_pages.py", "tests/din_report", "tests/test_site.py"),
    "airflow": ("tests/dags", "tests/examples/test_five_plugins.py"),
    "loop": ("tests/din_loop",),
    "installations": ("tests/din_start/init", "tests/test_workflows.py", "tests/test_containerfile.py"),
    "spark": ("tests/din_spark",),
}
"""The files and folders of each shard, relative to the root of the repository. The first that names a file has it."""


def shard_of(path: Path) -> str:
    """Return the shard of a test file."""
    return next((name for name, parts in SHARDS.items() if any(path.is_relative_to(ROOT / p) for p in parts)), REST)
