"""Notify a program and a service of what became of a candidate, after it happened.

The command gets the event as JSON on its standard input, without a shell. The webhook gets it as the body of a POST. A
hook that fails or takes too long costs one line of warning and changes nothing. Neither is tried again, so an event may
be lost. A hook's own output is discarded, and the warning shows neither the arguments nor the path of the URL, since
all of these may hold secrets. Redirects are not followed.
"""

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Thread
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from din import documents
from din.names import RunId, Version
from din.params import Hooks
from din.registry.records import Record
from din.registry.registry import Registry


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, kw_only=True)
class Event:
    """The message to hooks; it names gates without their reasons, which may quote values of the log.

    Attributes:
        event: what happened.
        registry: the registry's URI.
        model_name: the namespace.
        number: the number of the record, or the one that the promotion would have.
        version: the candidate, or the champion after a promotion or rollback; None if the bundle is damaged.
        run_id: the run, or None.
        gates: the names of the gates that are not open.
        by: who promoted, rejected or rolled back. None where no person or service decided.
        reason: the reason that they gave.
        expires: the time until which an answer counts, if the candidate waits for one.
        at: the time of the event.
    """

    event: Literal["promoted", "rejected", "waiting", "rolled_back"]
    registry: str
    model_name: str
    number: int
    version: Version | None
    run_id: RunId | None
    gates: tuple[str, ...] = ()
    by: str | None = None
    reason: str | None = None
    expires: str | None = None
    at: str = field(default_factory=_now)

    @classmethod
    def of_record(
        cls, event: Literal["promoted", "rolled_back"], registry: Registry, record: Record, gates: tuple[str, ...] = ()
    ) -> Self:
        """Return the event of a new record."""
        return cls(
            event=event,
            registry=registry.uri,
            model_name=registry.model_name,
            number=record.number,
            version=record.version,
            run_id=record.run_id,
            gates=gates,
            by=record.by,
            reason=record.reason,
        )


def notify(hooks: Hooks, event: Event) -> None:
    """Run the hooks that are set, one after the other, and print a warning for each that fails."""
    message = documents.dump(event)
    if hooks.command:
        _warn(event, f"the command {hooks.command[0]!r}", _run(hooks.command, message, hooks.timeout_seconds))
    if hooks.webhook:
        place = urlsplit(hooks.webhook)
        name = f"the webhook {place.scheme}://{place.hostname}"
        _warn(event, name, _post(hooks.webhook, message, hooks.timeout_seconds))


def _warn(event: Event, hook: str, problem: str | None) -> None:
    if problem:
        print(f"warning: {hook} failed for the event {event.event!r}: {problem}; nothing else changed", file=sys.stderr)


def _run(command: tuple[str, ...], message: bytes, seconds: float) -> str | None:
    """Run a command with the message as its input, and return its problem, if any."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL in an argument
        return f"it can't be started ({type(error).__name__})"
    with process:
        try:
            process.communicate(message, timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return f"it took longer than {seconds:g} s"
    return f"it exited {process.returncode}" if process.returncode else None


def _post(url: str, message: bytes, seconds: float) -> str | None:
    """Send the message to a URL, and return the problem, if any.

    The request runs in a thread of its own, because a server that answers byte by byte would outlast any timeout of a
    socket.
    """
    problems: list[str] = []

    def send() -> None:
        headers = {"Content-Type": "application/json"}
        try:
            request = urllib.request.Request(url, message, headers, method="POST")
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=seconds):
                pass
        except urllib.error.HTTPError as error:
            problems.append(f"it answered {error.code}")
        except Exception as error:  # a bad URL or server may fail in any way
            problems.append(f"no answer ({type(error).__name__})")

    thread = Thread(target=send, daemon=True)
    thread.start()
    thread.join(seconds)
    return f"it took longer than {seconds:g} s" if thread.is_alive() else next(iter(problems), None)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Treat a redirect as a failure: the URL is the only place that may see the event."""

    def redirect_request(self, *arguments: Any, **options: Any) -> None:
        return None
