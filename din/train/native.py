"""Whether a run trains through the kernels of `din.native` (`train.kernels`).

They have other bits than torch, and others on another processor, so which they are belongs to a checkpoint's identity.
"""

from din.errors import InputError
from din.native.library import Kernels, Unusable, kernels
from din.params import Train
from din.train.device import choose
from din.train.distributed import ALONE, Ranks


def native(params: Train, ranks: Ranks = ALONE) -> Kernels | None:
    """The kernels that a run uses; None = torch alone. All ranks call this and use the same ones.

    Raises:
        InputError: `always`, but they can't be had here.
    """
    found = _found(params)
    identities = ranks.collect(found and found.identity)
    if len(set(identities)) == 1:
        return found
    if params.kernels == "always":
        raise InputError(
            f"train.kernels: always, but the ranks' kernels differ ({', '.join(map(str, identities))}): "
            "use machines with one kind of processor and compiler, or `auto`"
        )
    return None


def _found(params: Train) -> Kernels | None:
    fits = choose(params.device).type == "cpu" and params.precision == "float32" and params.compile != "always"
    if params.kernels == "never" or (params.kernels == "auto" and not fits):
        return None
    if not fits:
        raise InputError(
            "train.kernels: always needs train.device cpu, precision float32 and no `compile: always`; "
            f"got {params.device}, {params.precision}, {params.compile}"
        )
    try:
        return kernels()
    except Unusable as error:
        if params.kernels == "always":
            raise InputError(f"train.kernels: always, but {error}; install a C compiler or use `auto`") from None
        print(f"training without native kernels, which would save half the time ({error}); install a C compiler")
        return None
