"""The description of the machine that a stage computes on."""

from dataclasses import replace
from pathlib import Path

import pytest

from din import documents
from din.code import Machine
from din.params import Params
from din.train.compute import computing
from din.train.machine import describe, processor

X86 = "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\nflags\t\t: fpu\n"
ARM = "processor\t: 0\nBogoMIPS\t: 243.75\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (X86, "vendor_id AuthenticAMD cpu family 25 model 17"),
        (X86 + "\nprocessor\t: 1\nvendor_id\t: Another\n", "vendor_id AuthenticAMD cpu family 25 model 17"),
        (ARM, "CPU implementer 0x41 CPU part 0xd40"),
        ("", ""),
    ],
)
def test_the_class_of_a_processor(text: str, expected: str, tmp_path: Path) -> None:
    """Vendor, family and model of the first processor are named, on x86 and on ARM."""
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(text)
    assert processor(cpuinfo).partition(" ")[2] == expected


def test_a_processor_without_a_description(tmp_path: Path) -> None:
    """Without /proc/cpuinfo, as on macOS, the architecture is still named."""
    assert processor(tmp_path / "missing")


@pytest.mark.parametrize("backend", ["reference", "native"])
def test_the_operations_that_ran(backend: str, params: Params) -> None:
    """The description is a sound document, says which operations run, and is the same each time."""
    with computing(replace(params.train.compute, backend=backend, threads=1)) as compute:
        found = describe(compute)
        assert describe(compute) == found
    assert documents.parse(Machine, documents.dump(found), "machine") == found
    assert (found.backend, found.device, found.threads) == (backend, "cpu", 1)
    assert (found.library is None) == (backend == "reference")
