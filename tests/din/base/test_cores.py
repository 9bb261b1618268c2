"""The cores of a process in a container. Alone: `pytest tests/din/base/test_cores.py`."""

import os
from pathlib import Path

import pytest

from din.base.cores import available

FILES = {
    "no cgroups": ({}, "", 8),
    "no quota": ({"cpu.max": "max 100000"}, "0::/", 8),
    "a core and a half": ({"cpu.max": "150000 100000"}, "0::/", 1),
    "less than one core": ({"cpu.max": "50000 100000"}, "0::/", 1),
    "more than there are": ({"cpu.max": "9900000 100000"}, "0::/", 8),
    "a slice above has less": ({"cpu.max": "200000 100000", "a/b/cpu.max": "500000 100000"}, "0::/a/b", 2),
    "a group that is not mounted": ({"cpu.max": "200000 100000"}, "0::/docker/4f", 2),
    "version 1": (
        {"cpu,cpuacct/a/cpu.cfs_quota_us": "400000", "cpu,cpuacct/a/cpu.cfs_period_us": "100000"},
        "5:memory:/a\n4:cpu,cpuacct:/a",
        4,
    ),
}


@pytest.mark.parametrize(("files", "membership", "cores"), FILES.values(), ids=FILES.keys())
def test_the_quota_of_a_container_bounds_the_cores(
    files: dict[str, str], membership: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a host of eight cores: the least of affinity and the quotas of all groups around the process, one at least."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    if membership:
        (tmp_path / "membership").write_text(membership + "\n")
    assert available(tmp_path / "membership", tmp_path) == cores
