"""Hooks: which events they get, and that nothing depends on them."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from judging import set_gate
from miniature import Run, score
from typer.testing import CliRunner

from din import cli
from din.artifacts import read_json
from din.errors import GateClosed, InputError
from din.params import Hooks, Params, parse, to_json
from din.promotion import commands
from din.promotion.gate import gate
from din.promotion.hooks import Event, notify
from din.promotion.promote import promote

SECRET = "hunter2"
EVENT = Event(
    event="promoted", registry="r", model_name="ads", number=1, version=None, run_id=None, at="2026-01-01T00:00:00Z"
)


def write_to(path: Path) -> tuple[str, ...]:
    """Return a command that appends its input to a file, as one line."""
    code = "import json, sys; open(sys.argv[1], 'a').write(json.dumps(json.load(sys.stdin)) + '\\n')"
    return (sys.executable, "-c", code, str(path))


def with_hooks(params: Params, **hooks: Any) -> Params:
    """Return the parameters with some hooks set."""
    return replace(params, promote=replace(params.promote, hooks=replace(params.promote.hooks, **hooks)))


def told(path: Path) -> list[dict[str, Any]]:
    """Return the events that `write_to` wrote."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_the_events_of_a_candidate(run: Run, quick, registry, tmp_path, monkeypatch):
    """Waiting, rejected by a person, rejected by a gate, promoted, rolled back; a rerun sends nothing twice."""
    log = tmp_path / "events"
    monkeypatch.setenv("DIN_RUN_ID", "nightly")
    quick = with_hooks(quick, command=write_to(log))
    always = set_gate(quick, approval="always")
    gate(run.here, always, score)
    gate(run.here, always, score)
    first = read_json(run.here.gate)["bundle"]
    commands.reject(registry.uri, registry.model_name, "nightly", "bob", "a leak", quick.promote.hooks)
    for noise in (0.3, 0.1):
        run.noise = noise
        run.finish()
        gate(run.here, quick, score)
        promote(run.here, quick, by="ann", score=score)
    promote(run.here, quick, by="ann", score=score)
    auc = read_json(run.here.evaluation)["test"]["auc"]
    with pytest.raises(GateClosed):
        gate(run.here, set_gate(quick, min_auc=auc), score)
    commands.rollback(registry.uri, registry.model_name, "1", "ann", "slow", quick.promote.hooks)
    events = told(log)
    assert [event["event"] for event in events] == [
        "waiting", "rejected", "promoted", "promoted", "rejected", "rolled_back"]  # fmt: skip
    waiting, rejected, one, two, closed, back = events
    assert (waiting["version"], waiting["number"], waiting["run_id"], waiting["gates"]) == (first, 1, "nightly", [])
    assert waiting["expires"] > waiting["at"]
    assert (rejected["version"], rejected["by"], rejected["reason"]) == (first, "bob", "a leak")
    history = registry.history()
    assert [(event["number"], event["version"]) for event in (one, two, back)] == [
        (record.number, record.version) for record in history
    ]
    assert (two["by"], two["reason"], back["reason"]) == ("ann", "gate open", "slow")
    assert closed["gates"] == ["min_auc"] and closed["by"] is None
    keys = {"event", "registry", "model_name", "number", "version", "run_id", "gates", "by", "reason", "expires", "at"}
    assert all(event.keys() == keys for event in events)  # no reasons of gates, which may quote the log


def script(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


BROKEN = {
    "fails": (script(f"import sys; print('{SECRET}'); sys.exit('{SECRET}')"), "it exited 1"),
    "hangs": (script("import time; time.sleep(600)"), "it took longer than 1 s"),
    "hangs with a child": (
        script("import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"),
        "it took longer than 1 s",
    ),
    "is missing": (("no-such-program", SECRET), "it can't be started (FileNotFoundError)"),
    "is a folder": (("/", SECRET), "it can't be started"),
    "has a NUL": (("echo", "a\0b"), "it can't be started"),
    "dies": (script("import os; os.kill(os.getpid(), 9)"), "it exited -9"),
    "reads nothing": (script("pass"), None),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_command_costs_one_line(capfd, how):
    """The line names the program and the problem, and neither its arguments nor its output."""
    command, problem = BROKEN[how]
    began = time.monotonic()
    notify(Hooks(command=command, webhook=None, timeout_seconds=1 if "hangs" in how else 60), EVENT)
    printed = capfd.readouterr()
    assert printed.out == "" and SECRET not in printed.err
    assert time.monotonic() - began < 60
    if problem is None:
        assert printed.err == ""
    else:
        (line,) = printed.err.splitlines()
        assert (
            line.startswith(f"warning: the command {command[0]!r} failed for the event 'promoted'") and problem in line
        )


def test_broken_hooks_change_nothing(run: Run, quick, registry, capsys):
    """Gate, promotion and rollback end as without hooks, with the same files and records."""
    broken = with_hooks(quick, command=("no-such-program",), webhook="http://127.0.0.1:1/", timeout_seconds=5)
    with pytest.raises(GateClosed, match="min_auc"):
        gate(run.here, set_gate(broken, min_auc=0.95), score)
    assert read_json(run.here.gate)["verdict"] == "closed"
    for noise in (0.3, 0.1):
        run.noise = noise
        run.finish()
        gate(run.here, broken, score)
        assert promote(run.here, broken, by="ann", score=score).appended
    commands.rollback(registry.uri, registry.model_name, "1", "ann", "slow", broken.promote.hooks)
    assert [record.action for record in registry.history()] == ["promote", "promote", "rollback"]
    assert registry.verify() == []
    assert capsys.readouterr().err.count("warning: ") == 2 * 4


class Service:
    """A server with an answer to choose, which keeps the bodies that it got."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, Any]]] = []
        self.answer: Callable[[BaseHTTPRequestHandler], None] = lambda handler: reply(handler, 204)
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                service.got.append((f"{self.path} {self.headers['Content-Type']}", body))
                service.answer(self)

            def do_GET(self) -> None:
                service.got.append((self.path, {}))
                reply(self, 200)

            def log_message(self, format: str, *args: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?token={SECRET}"


def reply(handler: BaseHTTPRequestHandler, status: int, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def trickle(handler: BaseHTTPRequestHandler) -> None:
    """Answer a byte every tenth of a second, which no timeout of a socket notices."""
    for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 600:
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()
        time.sleep(0.1)


@pytest.fixture
def service() -> Iterator[Service]:
    """Return a running service."""
    service = Service()
    yield service
    service.server.shutdown()
    service.server.server_close()


def test_a_webhook_gets_the_event_as_json(service: Service, capfd):
    """One POST with the event as its body, and silence."""
    notify(Hooks(command=None, webhook=service.url, timeout_seconds=60), EVENT)
    assert service.got == [(f"/hook?token={SECRET} application/json", json.loads(json.dumps(vars(EVENT))))]
    assert capfd.readouterr() == ("", "")


ANSWERS = {
    "an error": (lambda handler: reply(handler, 500), "it answered 500"),
    "a redirect": (lambda handler: reply(handler, 302, Location="/elsewhere"), "it answered 302"),
    "a redirect to a file": (lambda handler: reply(handler, 307, Location="file:///etc/passwd"), "it answered 307"),
    "no answer": (lambda handler: handler.connection.close(), "no answer"),
    "byte by byte": (trickle, "it took longer than 2 s"),
}


@pytest.mark.parametrize("how", ANSWERS)
def test_a_broken_webhook_costs_one_line(service: Service, capfd, how):
    """The line names the host and the problem, and not the path, which may hold a token; redirects are not followed."""
    service.answer, problem = ANSWERS[how]
    notify(Hooks(command=None, webhook=service.url, timeout_seconds=2 if how == "byte by byte" else 60), EVENT)
    printed = capfd.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith("warning: the webhook http://127.0.0.1 failed for the event 'promoted'") and problem in line
    assert printed.out == "" and SECRET not in line
    assert len(service.got) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"webhook": "file:///etc/passwd"},
        {"webhook": "ftp://host/x"},
        {"webhook": "http://"},
        {"webhook": "http://host/a b"},
        {"webhook": "http://[::1"},
        {"command": []},
        {"command": "notify --ctr"},
        {"timeout_seconds": 0},
        {"timeout_seconds": 1e9},
    ],
)
def test_other_hooks_are_refused_at_start(quick, change):
    """Only http and https, a list of words, and a bounded time."""
    with pytest.raises(InputError, match=next(iter(change))):
        parse(Hooks, to_json(quick.promote.hooks) | change, "params.yaml")


def test_a_rollback_notifies_the_hooks_of_the_parameters_here(run: Run, quick, registry, monkeypatch):
    """Without params.yaml there are none, and with a broken one the rollback goes on and says so."""
    for noise in (0.3, 0.1):
        run.noise = noise
        run.finish()
        gate(run.here, quick, score)
        promote(run.here, quick, by="ann", score=score)
    log = run.here.root / "events"
    monkeypatch.setattr(cli, "HERE", run.here)

    def roll_back(to: str) -> str:
        where = ["--registry", registry.uri, "--model", registry.model_name]
        done = CliRunner().invoke(cli.app, ["registry", "rollback", to, "--reason", "slow", "--by", "ann", *where])
        assert done.exit_code == 0, done.output
        return done.output

    assert "warning" not in roll_back("1")
    run.here.params.write_text("train: {")
    assert "warning: no hook was run" in roll_back("2")
    run.here.params.write_text(json.dumps(to_json(with_hooks(quick, command=write_to(log)))))
    roll_back("1")
    assert [(event["event"], event["number"]) for event in told(log)] == [("rolled_back", 5)]
