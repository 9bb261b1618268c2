"""Notifications: real servers and commands get each event once, and a failed delivery changes nothing else."""

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
from typer.testing import CliRunner

from din import cli
from din.base import documents
from din.base.artifacts import read_json, write_json
from din.base.errors import InputError, Unavailable
from din.base.workspace import Workspace
from din.bundle.bundle_writer import seal
from din.bundle.contents import FACTS
from din.cli.run import tell
from din.contracts.verdicts import GateReport, Harm
from din.params.reading import Params, load
from din.release.events import Event, recorded, refused
from din.release.gates.gate import gate
from din.release.registry.registry import Registry
from din_loop import notify
from din_loop.notify import deliver
from din_start.params.defaults import defaults
from tests.factories.run import Run, crown, quick, registry, run, score, workspace
from tests.helpers.ports import free_port

__all__ = ["quick", "registry", "run", "workspace"]
KEEP = "import pathlib, sys; pathlib.Path('told.json').open('a').write(sys.stdin.read() + chr(0))"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait hardly at all between tries."""
    monkeypatch.setattr(notify, "_PAUSE", 0.01)


class Receiver(ThreadingHTTPServer):
    """A server on loopback that keeps what is posted. `answer` treats each request by its number."""

    daemon_threads = True

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler, int], None]) -> None:
        self.posted: list[tuple[str, bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.posted.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
                answer(self, len(receiver.posted))

            do_GET = do_POST

            def log_message(self, format: str, *args: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def receive() -> Iterator[Callable[..., Receiver]]:
    servers: list[Receiver] = []

    def start(answer: Callable[[BaseHTTPRequestHandler, int], None]) -> Receiver:
        servers.append(Receiver(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def answer_with(handler: BaseHTTPRequestHandler, code: int, **headers: str) -> None:
    handler.send_response(code)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()


def drip(handler: BaseHTTPRequestHandler, number: int) -> None:
    """Send a byte before any limit of a single read, and never an end."""
    while True:
        handler.wfile.write(b"H")
        time.sleep(0.05)


def test_a_server_that_fails_twice_gets_it_at_the_third_try(
    receive: Callable[..., Receiver], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The body is the same each time, and a secret of the environment is part of the address, without its line end."""
    server = receive(lambda handler, number: answer_with(handler, 200 if number == 3 else 503))
    monkeypatch.setenv("HOOK", "s3cret\n")
    deliver(f"{server.url}/${{HOOK}}", b"{}", tmp_path)
    assert server.posted == [("/s3cret", b"{}")] * 3


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (lambda handler, number: answer_with(handler, 404), "answered 404, 3 times"),
        (lambda handler, number: answer_with(handler, 302, Location="/"), "answered 302, 3 times"),
        (drip, "no answer within 0.2 s, 3 times"),
        (None, "Connection refused, 3 times"),
    ],
    ids=["refuses", "redirects", "hangs", "is gone"],
)
def test_a_server_that_fails_for_good(
    answer: Callable[[BaseHTTPRequestHandler, int], None] | None,
    problem: str,
    receive: Callable[..., Receiver],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is left after three tries, and the message has no secret."""
    url = receive(answer).url if answer else f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("HOOK", "s3cret")
    with pytest.raises(Unavailable, match=problem) as raised:
        deliver(f"{url}/${{HOOK}}", b"{}", tmp_path, seconds=0.2)
    assert "${HOOK}" in str(raised.value) and "s3cret" not in str(raised.value)


def test_an_address_that_no_request_can_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own message would quote the secret; a variable that is not set is named."""
    monkeypatch.setenv("HOOK", "s3 cret\x07")
    with pytest.raises(Unavailable, match="InvalidURL, 3 times") as raised:
        deliver("http://127.0.0.1/${HOOK}", b"{}", tmp_path)
    assert "cret" not in str(raised.value)
    monkeypatch.delenv("HOOK")
    with pytest.raises(InputError, match="environment variable HOOK is not set"):
        deliver("http://127.0.0.1/${HOOK}", b"{}", tmp_path)


def test_a_command(tmp_path: Path) -> None:
    """No shell reads its words. What it prints explains a failure, and what it leaves behind keeps nobody waiting."""
    deliver([sys.executable, "-c", f"{KEEP}; open(sys.argv[1], 'w')", "$(touch a); touch b"], b"{}", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"told.json", "$(touch a); touch b"}
    with pytest.raises(Unavailable, match=r"exited 3 \(no token\), 3 times"):
        deliver([sys.executable, "-c", "print('no token'); exit(3)"], b"{}", tmp_path)
    with pytest.raises(Unavailable, match="can't be run: No such file or directory, 3 times"):
        deliver(["no-such-command"], b"{}", tmp_path)
    with pytest.raises(Unavailable, match=r"did not end within 0\.2 s, 3 times"):
        deliver(["sh", "-c", "sleep 60 | sleep 60"], b"{}", tmp_path, seconds=0.2)
    deliver(["sh", "-c", "sleep 2 &"], b"{}", tmp_path)


class Place:
    """A workspace that the commands run in, and what its notifications left there."""

    def __init__(self, workspace: Workspace, params: Params) -> None:
        self.workspace = workspace
        self.params = params

    def notify(self, *command: str) -> None:
        self.workspace.params.write_text(defaults(params=replace(self.params, notify=command)))

    def din(self, *words: str) -> str:
        done = CliRunner().invoke(cli.app, words)
        assert done.exit_code == 0, done.output
        return done.stderr

    @property
    def told(self) -> list[dict[str, Any]]:
        path = self.workspace.root / "told.json"
        return [json.loads(text) for text in path.read_text().split("\0")[:-1]] if path.exists() else []


@pytest.fixture
def place(workspace: Workspace, quick: Params, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.chdir(workspace.root)
    monkeypatch.setenv("GITHUB_ACTOR", "octocat")
    return Place(workspace, quick)


def test_a_rollback_is_told_once(place: Place, run: Run, registry: Registry) -> None:
    """A failed delivery is a warning, and the exit code stays; a rerun delivers the event, and then nothing again."""
    for run.noise in (0.2, 0.1):
        run.become(run.noise)
        crown(registry, run)
    back = ("registry", "rollback", "1", "--reason", "latency", "--by", "ann")
    place.notify("false")
    assert "warning: notify told nobody: notify: false: exited 1, 3 times" in place.din(*back)
    place.notify(sys.executable, "-c", KEEP)
    for _ in range(2):
        assert "warning" not in place.din(*back)
    (event,) = place.told
    record = registry.champion()
    assert record is not None and record.number == 3
    assert (event["event"], event["record"]["nonce"], event["registry"]) == ("rollback", record.nonce, "registry")
    assert event["text"] == (
        f"{registry.model_name}: rollback: {record.version[:12]} is the champion (record 3), by ann, run by octocat "
        "(claimed: GITHUB_ACTOR): latency"
    )
    assert event["evaluation"]["test"]["auc"] == registry.facts(record.version).evaluation.test.auc
    facts = run.here.bundle / FACTS
    write_json(facts, {key: value for key, value in read_json(facts).items() if key != "negatives_drawn"})
    seal(run.here.bundle)
    earlier = replace(record, version=registry.put_bundle(run.here.bundle))
    assert recorded(registry, earlier).facts["evaluation"] is None  # of an earlier form


def test_a_listener_that_fails_stops_no_other(
    place: Place,
    registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each failure is a warning. If the registry can't note that an event arrived, the warning says that it did."""
    package = tmp_path / "broken-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Name: broken\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[din_ctr.listeners]\nbroken = no_such_module:listen\n")
    monkeypatch.syspath_prepend(tmp_path)
    marks = Path(registry.uri, registry.model_name, "notified")
    marks.parent.mkdir(parents=True)
    place.notify(sys.executable, "-c", f"{KEEP}; open('{marks}', 'w')")  # no folder can be there any more
    tell(lambda: Event("alarm", 1, "an alarm", {}, registry))
    assert [event["text"] for event in place.told] == [f"{registry.model_name}: an alarm"]
    broken, unmarked = capsys.readouterr().err.splitlines()
    assert broken == "warning: broken told nobody: ModuleNotFoundError: No module named 'no_such_module'"
    assert "it was delivered, and will be sent again" in unmarked


@pytest.mark.slow
def test_a_promotion_is_told_once(place: Place, run: Run, registry: Registry) -> None:
    """The promotion holds although nobody can be notified, and the next `din promote` makes up for it."""
    place.notify("false")
    gate(place.workspace, load(place.workspace.params), score)
    assert "warning: notify told nobody" in place.din("promote")
    place.notify(sys.executable, "-c", KEEP)
    for _ in range(2):
        assert "warning" not in place.din("promote")
    (record,) = registry.history()
    assert [(event["event"], event["record"]["nonce"]) for event in place.told] == [("promotion", record.nonce)]
    assert (record.by, record.identity and record.identity.source) == ("octocat", "GITHUB_ACTOR")


def test_a_refusal_is_told_once(
    place: Place, run: Run, registry: Registry, monkeypatch: pytest.MonkeyPatch, receive: Callable[..., Receiver]
) -> None:
    """`din gate` exits 3 whether the server answers or not, and a preview tells nobody."""
    server = receive(lambda handler, number: answer_with(handler, 500 if number <= 3 else 204))
    place.workspace.pipeline.write_text("stages: {}\n")
    params = replace(place.params, notify=f"{server.url}/hook")
    place.workspace.params.write_text(defaults(params=params))
    run.become(3.0)
    monkeypatch.setenv("DIN_PREVIEW", "1")
    assert CliRunner().invoke(cli.app, ["gate"]).exit_code == 3
    assert server.posted == []
    monkeypatch.delenv("DIN_PREVIEW")
    warned = [CliRunner().invoke(cli.app, ["gate"]) for _ in range(3)]
    assert [done.exit_code for done in warned] == [3, 3, 3]
    assert ["answered 500, 3 times" in done.stderr for done in warned] == [True, False, False]
    bodies = {body for _, body in server.posted}
    assert len(server.posted) == 4 and len(bodies) == 1
    event = json.loads(bodies.pop())
    assert event["event"] == "refusal" and event["champion"] is None
    assert "there is no champion yet" in event["text"] and "auc_over_lr" in event["text"]
    assert all(held["verdict"] != "open" for held in event["gates"]) and event["harm"] is None
    report = documents.read(GateReport, place.workspace.gate)
    harmful = refused(registry, report.model_copy(update={"harm": Harm(record=2, back_to=1, reason="AUC fell")}))
    assert harmful is not None and harmful.facts["harm"]["reason"] == "AUC fell"
    assert harmful.text.endswith("; the champion's last step harmed: go back to record 1")
