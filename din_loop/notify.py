"""Notifications: give each event as JSON to the URL or the command that `notify` of params.yaml names.

An event that arrived leaves an empty object in the registry, `<uri>/<model_name>/notified/<id>`. So a command that is
run again sends what did not arrive, and nothing twice. A process killed between the two sends it again with the same
id.

Delivery takes `_TRIES` times `_SECONDS` at most, and short pauses. Then it fails, which is a warning of the command.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from typing_extensions import override

from din.base import documents
from din.base.errors import InputError, Unavailable, shown
from din.base.process import environment
from din.base.waiting import within
from din.cli.run import HERE, params_here
from din.release.events import Event

_TRIES = 3
_SECONDS = 10.0
_PAUSE = 1.0
_VARIABLE = re.compile(r"\$\{(\w+)\}")


def notify(event: Event) -> None:
    """Deliver an event, unless it arrived before or `notify` is not set; a listener of `din.cli.run.tell`.

    A delivery that the registry can't note is a warning.

    Raises:
        InputError: an environment variable is missing that the URL names.
        Unavailable: no try succeeded, or the registry does not answer.
    """
    target = params_here().notify if HERE.params.exists() else None
    mark = f"notified/{event.id}"
    if target is None or event.registry.objects.exists(mark):
        return
    head = {"event": event.kind, "id": event.id, "model": event.registry.model_name, "registry": event.registry.uri}
    text = f"{event.registry.model_name}: {event.text}"
    deliver(target, documents.dump({**head, "text": text, **event.facts}), HERE.root)
    try:
        event.registry.objects.create(mark, b"")
    except (InputError, Unavailable) as error:
        print(f"warning: notify: {event.id}: it was delivered, and will be sent again: {error}", file=sys.stderr)


def deliver(target: str | Sequence[str], content: bytes, root: Path, seconds: float = _SECONDS) -> None:
    """Post bytes to a URL, or give them to a command on its standard input.

    Args:
        target: a URL, in which `${NAME}` is the value of an environment variable, or the words of a command.
        root: the folder in which the command runs.
        seconds: how long a try may take.

    Raises:
        InputError: an environment variable is missing.
        Unavailable: no try succeeded. The message has the target as params.yaml has it, without values of variables.
    """
    problem = None
    for number in range(_TRIES):
        time.sleep(number * _PAUSE)
        problem = _post(target, content, seconds) if isinstance(target, str) else _run(target, content, root, seconds)
        if problem is None:
            return
    name = shown(target if isinstance(target, str) else shlex.join(target), quotes=False)
    raise Unavailable(f"notify: {name}: {problem}, {_TRIES} times; correct it, and run the command again")


def _post(url: str, content: bytes, seconds: float) -> str | None:
    """Return what went wrong, or None."""
    address = _VARIABLE.sub(_value, url)
    headers = {"Content-Type": "application/json", "User-Agent": "din-ctr"}

    def ask() -> None:
        request = Request(address, content, headers, method="POST")
        build_opener(_NoRedirect).open(request, timeout=seconds).close()

    try:
        within(seconds, ask)
    except HTTPError as error:
        return f"answered {error.code}"
    except Exception as error:  # its text may quote the address with its secrets
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, TimeoutError):
            return f"no answer within {seconds:g} s"
        return getattr(reason, "strerror", None) or type(reason).__name__
    return None


class _NoRedirect(HTTPRedirectHandler):
    @override
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Follow no redirect, since it would turn the POST into a GET without the event."""


def _value(variable: re.Match[str]) -> str:
    value = os.environ.get(variable[1], "").strip()
    if not value:
        raise InputError(f"notify: the environment variable {variable[1]} is not set; set it where the command runs")
    return value


def _run(command: Sequence[str], content: bytes, root: Path, seconds: float) -> str | None:
    """Return what went wrong, or None.

    Files, not pipes, hold the command's input and output, so a process that it leaves behind keeps nobody waiting.
    """
    with TemporaryFile() as output, TemporaryFile() as event:
        event.write(content)
        event.seek(0)
        try:
            process = subprocess.Popen(
                command, cwd=root, env=environment(), stdin=event, stdout=output, stderr=output, start_new_session=True
            )
        except OSError as error:
            return f"can't be run: {error.strerror}"
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return f"did not end within {seconds:g} s"
        output.seek(0)
        lines = output.read().decode(errors="replace").split("\n")
    said = next((f" ({shown(line, quotes=False)})" for line in reversed(lines) if line.strip()), "")
    return f"exited {code}{said}" if code else None
