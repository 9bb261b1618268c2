"""The machine that ran a stage: the document `reports/machine/<stage>.json`."""

from typing import Literal

from pydantic import PositiveInt

from din.base.documents import Document

RanBackend = Literal["reference", "native"]
"""The form of the operations that ran."""


class Machine(Document):
    """The machine that ran a stage. Equal inputs give equal bits only on machines that agree in all of this.

    `processor` is its architecture, vendor, family and model, and `instructions` the instruction sets that torch chose
    its kernels for. `device` is "cpu" or the name of a GPU. `backend` says which operations ran, and `library`
    identifies the native ones by their sources, compiler, options and processor.
    """

    processor: str
    instructions: str
    device: str
    backend: RanBackend
    library: str | None
    threads: PositiveInt
    python: str
    libc: str
