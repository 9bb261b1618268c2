"""The number of cores that this process may keep busy. Everything that chooses a number of threads asks here.

A container sees all cores of its host. If it runs more threads than its quota allows, the kernel stops them for the
rest of each period, and everything that waits for them stops too. The `cpu_count` of loky reads only the outermost
group's quota, and rounds it up.
"""

import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def available(membership: Path = MEMBERSHIP, cgroups: Path = CGROUPS) -> int:
    """Return the cores that affinity and the CPU quota of the container leave to this process, at least one.

    Args:
        membership: the file that names this process's cgroups; only Linux has one.
        cgroups: where the cgroups of versions 1 and 2 are mounted.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *map(int, _quotas(membership, cgroups))]))


def groups(controller: str, membership: Path = MEMBERSHIP, cgroups: Path = CGROUPS) -> Iterator[Path]:
    """Yield the folder of each cgroup around this process, from its own outwards; see `available`.

    Args:
        controller: the resource that is bounded, e.g. cpu or memory.
    """
    for line in _read(membership).splitlines():
        _, controllers, name = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = cgroups / controllers  # version 2 names no controllers
        group = root / name.strip("/")
        for folder in (group, *group.parents):
            yield folder
            if folder == root:
                break


def _quotas(membership: Path, cgroups: Path) -> Iterator[float]:
    """Yield the quotas of the cgroups around this process, in cores."""
    for folder in groups("cpu", membership, cgroups):
        yield from _quota(folder)


def _quota(group: Path) -> Iterator[float]:
    """Yield the quota of one cgroup, if it has one: `cpu.max` of version 2, two files of version 1."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        numbers = " ".join(_read(group / name) for name in names).split()
        if len(numbers) == 2 and all(number.isdecimal() for number in numbers):  # not `max`, not -1
            yield int(numbers[0]) / int(numbers[1])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
