"""DVC in a run's checkout. It is a library here, because the command `dvc` takes longer to import than to run."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dvc.exceptions import CheckoutError, DvcException
from dvc.repo import Repo
from dvc.repo.reproduce import reproduce
from dvc.stage import run
from dvc.stage.exceptions import StageCmdFailedError

from dags.forks import Forks
from din.base.errors import Unavailable
from din.base.printing import say
from din.base.process import Done, stream

_OURS = re.compile(r"din [\w-]+|python -m validation \w+")
"""The commands that `Forks` runs."""


def execute(command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> Done:
    """Run a command in this process group, so that an interrupted task ends it too, and print each line as it comes."""
    return stream(command, cwd, env, show=say, own_group=False)


class Outs:
    """The outs of the pipeline in a checkout, and the stages that make them.

    Args:
        root: the checkout.
        forks: runs the commands of this repository; by default, each is a process of its own.
    """

    def __init__(self, root: Path, forks: Forks | None = None) -> None:
        self._repo = Repo(str(root))
        self._forks = forks
        self._printed = ""
        run._run = self._execute  # DVC's own keeps nothing of what a stage prints

    def reproduce(self, stage: str) -> Done:
        """Run a stage if it has changed, and return its exit code, 1 for every failure, and what it printed."""
        self._printed = ""
        try:
            reproduce(self._repo, stage, single_item=True)
        except DvcException as error:
            fault = "" if isinstance(error.__cause__, StageCmdFailedError) else f"{error}: {error.__cause__}"
            return Done(1, self._printed + fault)
        return Done(0, self._printed)

    def push(self, stage: str) -> None:
        """Push the outs of a stage.

        Raises:
            Unavailable: the remote can't be reached.
        """
        with _reaching("push"):
            self._repo.push([stage])

    def pull(self, targets: Sequence[str], needed: bool = True) -> None:
        """Pull outs, or all outs of stages, as dvc.lock records them. DVC replaces whatever differs from that.

        Args:
            targets: paths of outs, and names of stages.
            needed: whether it is an error if the remote lacks one.

        Raises:
            Unavailable: the remote can't be reached, or lacks one that is needed.
        """
        with _reaching("pull"):
            try:
                self._repo.pull([*targets], force=True)
            except CheckoutError as error:
                if needed:
                    raise
                print(f"{', '.join(targets)} can't be taken from an earlier run: {error}")

    def _execute(self, executable: str, command: str, **options: Any) -> None:
        if self._forks and _OURS.fullmatch(command):
            done = self._forks.run(command.split())
        else:
            done = execute(run._make_cmd(executable, command), Path(options["cwd"]), options["env"])
        self._printed += done.output
        if done.code:
            raise StageCmdFailedError(command, done.code)


@contextmanager
def _reaching(command: str) -> Iterator[None]:
    """Turn any failure of DVC, whose remote may raise the errors of any client, into one that is worth a retry."""
    try:
        yield
    except Exception as error:
        raise Unavailable(f"`dvc {command}` failed: {error}") from None
