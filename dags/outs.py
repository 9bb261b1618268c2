"""DVC in a run's checkout, whose stages run in forks (`dags.forks`) instead of shells."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dvc.exceptions import CheckoutError, DvcException
from dvc.repo import Repo
from dvc.repo.reproduce import reproduce
from dvc.stage import run
from dvc.stage.exceptions import StageCmdFailedError

from dags import forks
from din.errors import Unavailable
from din.process import Done

_PLAIN = re.compile(r"(din|python -m validation) [\w-]+")
"""A stage's command that needs no shell."""


class Outs:
    """The outs of the pipeline in a checkout, and the stages that make them."""

    def __init__(self, root: Path) -> None:
        self._repo = Repo(str(root))
        self._printed = ""
        run._run = self._in_fork  # where DVC would start a shell

    def reproduce(self, stage: str) -> Done:
        """Run a stage if it has changed, and return its exit code, 1 for every failure, and what it printed."""
        self._printed = ""
        try:
            reproduce(self._repo, stage, single_item=True)
        except DvcException as error:
            return Done(1, self._printed or f"{error}: {error.__cause__}")
        return Done(0, self._printed)

    def push(self, targets: Sequence[str]) -> None:
        """Push the outs of stages.

        Raises:
            Unavailable: the remote can't be reached.
        """
        with _reaching("push"):
            self._repo.push([*targets])

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

    def _in_fork(self, executable: str, command: str, **options: Any) -> None:
        words = command.split() if _PLAIN.fullmatch(command) else [executable, "-c", command]
        done = forks.run(words, options["cwd"], options["env"])
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
