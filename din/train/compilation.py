"""`torch.compile` of a step's forward and backward pass: a quarter less time, after some 40 s of compiling. For runs
whose operations are references (`din.ops.backend`): native ones take less still.

A compiled run has other bits than an eager one, so which it is belongs to a checkpoint's identity, and is decided by
parameters and data alone. For a resumed run to have the bits of an uninterrupted one, both must use the same graph:
it is traced from the run's first batch, wherever the run goes on, and a batch that it does not fit runs eagerly.
"""

import warnings
from collections.abc import Callable
from textwrap import shorten
from typing import Any

import torch
import torch.compiler.config
from torch import Tensor

from din.errors import InputError
from din.params import Train
from din.train.device import choose

WORTHWHILE = 5_000_000  # impressions that are sure to be trained on; each saves 8 µs at 9 behaviours, 21 µs at 25

NEEDS = "it needs a C++ compiler, on a GPU also Triton"


def compiles(params: Train, impressions: int, processes: int = 1) -> bool:
    """Whether a run over so many training impressions is to be compiled (`train.compile`).

    Several processes exchange moments inside the graph, so theirs isn't.

    Raises:
        InputError: `always`, but there are several processes, or compiling does not work here.
    """
    if processes > 1:
        if params.compile == "always":
            raise InputError(f"train.compile: always needs one process, not {processes}; lower them or use `auto`")
        return False
    sure = impressions * min(params.epochs, params.patience + 1)
    if params.compile == "never" or (params.compile == "auto" and (params.model != "din" or sure < WORTHWHILE)):
        return False
    try:
        # A cached graph would need no compiler. That the caches are off is no news to the user.
        with torch.compiler.config.patch(force_disable_caches=True), warnings.catch_warnings():  # pyright: ignore[reportAttributeAccessIssue]
            warnings.simplefilter("ignore")
            probe = torch.ones(2, device=choose(params.device), requires_grad=True)
            torch.compile(torch.neg)(probe).sum().backward()
    except RuntimeError as error:
        reason = shorten(str(error), 200)
        if params.compile == "always":
            raise InputError(
                f"train.compile: always, but torch.compile fails ({reason}); {NEEDS}, or use `auto`"
            ) from None
        print(f"training without torch.compile, which fails here ({reason}) and would save time; {NEEDS}", flush=True)
        return False
    return True


def compiled(model: torch.nn.Module, first: Callable[[Callable[..., Tensor]], Any]) -> Callable[..., Tensor]:
    """The model's forward pass, compiled for training.

    Args:
        first: runs a callable on the run's first batch, backward pass included. The model's buffers are left as before.
    """
    torch.compiler.reset()
    graph = torch.compile(model, dynamic=True)
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    first(graph)
    model.zero_grad()
    for name, buffer in model.named_buffers():
        buffer.copy_(buffers[name])

    def run(*inputs: Any) -> Tensor:
        with torch.compiler.set_stance("eager_on_recompile"):
            return graph(*inputs)

    return run
