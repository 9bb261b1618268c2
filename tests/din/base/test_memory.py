"""The memory that a container leaves to this process."""

from pathlib import Path

from din.base import memory


def test_a_memory_limit_of_a_container_counts(tmp_path: Path) -> None:
    """The least limit of the groups around the process is taken, and a group without one has no say."""
    limits = {"a": "max", "b": "30000000", "c": "9223372036854771712"}
    for name, text in limits.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "memory.max").write_text(f"{text}\n")
    assert memory.available_mb([tmp_path / name for name in limits]) == 30
    assert memory.available_mb([tmp_path / "a"]) > 100
