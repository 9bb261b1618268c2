"""The three ways a command fails that are not bugs. Everything else is exit code 1, with a traceback."""


class InputError(Exception):
    """Bad usage or bad input: exit code 2.

    The message names the file, the row or column, the value, what was expected and what to do next.
    """

    exit_code = 2


class Unavailable(Exception):
    """What a command needs can't be had now, such as a store that doesn't answer: exit code 1, worth a retry.

    The message names the place, the cause and what to do.
    """

    exit_code = 1


class GateClosed(Exception):
    """A gate judged and said no, or could not judge: exit code 3, never retried.

    Args:
        message: what failed and what to do, ready to print (tables included).
        report: path of the full report, relative to the workspace.
    """

    exit_code = 3

    def __init__(self, message: str, report: str | None = None) -> None:
        super().__init__(message)
        self.report = report
