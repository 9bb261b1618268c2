"""Who a record says ran the command: by a token, by a scheduler's variable, or by the machine's user."""

import json
from base64 import urlsafe_b64encode
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from din.cli.identity import identity

VARIABLES = ("DIN_ID_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL", "DIN_AIRFLOW_USER", "GITHUB_ACTOR", "GITLAB_USER_LOGIN")
GITLAB = {"iss": "https://gitlab.example.com", "sub": "project_path:shop/ctr", "user_login": "jane", "aud": "din-ctr"}
GITHUB = {"iss": "https://token.actions.githubusercontent.com", "sub": "repo:o/r", "actor": "octocat", "run_id": "7"}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOGNAME", "ann")


def token(claims: object) -> str:
    parts = [{"alg": "RS256"}, claims]
    return ".".join([*(urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts), "c2ln"])


def test_the_surest_source_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user of the machine, a variable of CI, Airflow's user, a token: each counts more than the one before."""
    assert identity().in_words == "ann (claimed: user of the machine)"
    monkeypatch.setenv("GITHUB_ACTOR", "octocat")
    assert identity().in_words == "octocat (claimed: GITHUB_ACTOR)"
    monkeypatch.setenv("DIN_AIRFLOW_USER", "bob")
    assert identity().in_words == "bob (claimed: DIN_AIRFLOW_USER)"
    monkeypatch.setenv("DIN_ID_TOKEN", token(GITLAB))
    who = identity()
    assert who.in_words == "jane (unverified token of https://gitlab.example.com)"
    assert who.claims == {"sub": "project_path:shop/ctr"}


def test_github_issues_a_token_to_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """The job asks for one with its own key; if that fails, GitHub's variable is a claim, and nothing stops."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = self.headers["Authorization"] == "bearer key" and self.path == "/t?api=2&audience=din-ctr"
            self.send_response(200 if allowed else 403)
            self.end_headers()
            self.wfile.write(json.dumps({"value": token(GITHUB)}).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("GITHUB_ACTOR", "octocat")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"http://127.0.0.1:{server.server_port}/t?api=2")
    assert identity().source == "GITHUB_ACTOR"
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "key")
    who = identity()
    server.shutdown()
    server.server_close()
    assert (who.name, who.issuer, who.claims) == ("octocat", GITHUB["iss"], {"sub": "repo:o/r", "run_id": "7"})


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "a.é.c", token([1]), token({"sub": "x"}), token({"iss": 1})])
def test_a_token_that_is_none(text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The promotion goes on under the claimed name, with a warning that does not quote the token."""
    monkeypatch.setenv("DIN_ID_TOKEN", text)
    monkeypatch.setenv("GITLAB_USER_LOGIN", "jane\n\x1b[31m" + "x" * 2000)
    who = identity()
    assert who.source == "GITLAB_USER_LOGIN" and len(who.name) < 300 and who.name.isprintable()
    warning = capsys.readouterr().err
    assert "IndexError" not in warning
    assert ("no ID token can be read" in warning) == bool(text) and (len(text) < 3 or text not in warning)
