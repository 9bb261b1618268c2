"""The three ways a command fails that are not bugs. Everything else is exit code 1, with a traceback."""

SHOWN = 200
"""Characters of a value from outside that a message may hold."""


def shown(value: object, quotes: bool = True) -> str:
    """Return a value as a message may show it: its repr (or text, without quotes), cut at `SHOWN` characters."""
    if isinstance(value, str | bytes):
        value = value[: SHOWN + 1]
    try:
        text = repr(value) if quotes else str(value)
    except RecursionError:
        text = f"a deeply nested {type(value).__name__}"
    except ValueError:  # an integer of more digits than Python prints
        text = f"a huge {type(value).__name__}"
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


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
