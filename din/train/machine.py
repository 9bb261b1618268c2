"""Describe the machine that a stage computes on: the part of an output's origin that no hash of an input covers.

The description holds no time and no name of a machine, so equal machines write equal bytes.
"""

import platform
from pathlib import Path

import torch

from din.contracts.machine import Machine
from din.ops import backend
from din.train.compute import Compute

_CPUINFO = Path("/proc/cpuinfo")  # only Linux has it
_CLASS = ("vendor_id", "cpu family", "model", "CPU implementer", "CPU part")  # keys of /proc/cpuinfo, x86 and ARM


def describe(compute: Compute) -> Machine:
    """Describe this machine as `computing` set it up."""
    library = backend.identity()
    return Machine(
        processor=processor(),
        instructions=torch.backends.cpu.get_cpu_capability(),
        device="cpu" if compute.device.type == "cpu" else torch.cuda.get_device_name(compute.device),
        backend="native" if library else "reference",
        library=library,
        threads=compute.threads,
        python=platform.python_version(),
        libc=" ".join(platform.libc_ver()),
    )


def processor() -> str:
    """Return the class of the processor: architecture, vendor, family and model."""
    if not _CPUINFO.exists():
        return f"{platform.machine()} {platform.processor()}".strip()
    first = _CPUINFO.read_text(encoding="utf-8").partition("\n\n")[0]
    entries = (line.partition(":") for line in first.splitlines())
    values = {key.strip(): value.strip() for key, _, value in entries}
    return " ".join([platform.machine(), *(f"{key} {values[key]}" for key in _CLASS if key in values)])
