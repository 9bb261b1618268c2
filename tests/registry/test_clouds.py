"""The errors of S3, GCS and Azure, as their own clients raise them for the answers that each store gives."""

import base64
import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from din.errors import InputError, Unavailable
from din.registry import objects
from din.registry.objects import Objects, Refused

Say = Callable[[int, str], None]


@pytest.fixture(scope="module")
def server() -> Iterator[type[BaseHTTPRequestHandler]]:
    """Serve one answer for every request; return the class that holds it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        status = 200
        code = ""
        port = 0

        def reply(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = f"<?xml version='1.0'?><Error><Code>{self.code}</Code><Message>m</Message></Error>".encode()
            self.send_response(self.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = reply

        def log_message(self, format: str, *args: object) -> None: ...

    serving = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.port = serving.server_port
    Thread(target=serving.serve_forever, daemon=True).start()
    yield Handler
    serving.shutdown()
    serving.server_close()


@pytest.fixture
def say(server: type, monkeypatch: pytest.MonkeyPatch) -> Say:
    """Return a function that sets the answer of all three stores."""
    url = f"http://127.0.0.1:{server.port}"
    monkeypatch.setattr(objects, "RETRY", {"max_retries": 0})
    account = {"gcs_base_url": url, "disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
    settings = {
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": url,
        "AWS_ALLOW_HTTP": "true",
        "GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(account),
        "GOOGLE_ALLOW_HTTP": "true",
        "AZURE_STORAGE_ACCOUNT_NAME": "account",
        "AZURE_STORAGE_ACCOUNT_KEY": base64.b64encode(b"k" * 32).decode(),
        "AZURE_ENDPOINT": url,
        "AZURE_ALLOW_HTTP": "true",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    def answer(status: int, code: str) -> None:
        server.status, server.code = status, code

    return answer


USES = {
    "read": lambda store: store.read("promotions/000001.json"),
    "exists": lambda store: store.exists("promotions/000001.json"),
    "keys": lambda store: store.keys("promotions"),
    "put": lambda store: store.put("bundles/x", b"1"),
    "create": lambda store: store.create("promotions/000001.json", b"1"),
    "delete": lambda store: store.delete("bundles/x"),
}
BUSY = {
    "s3": [
        (409, "OperationAborted"),
        (412, "PreconditionFailed"),
        (429, "SlowDown"),
        (500, "InternalError"),
        (503, "SlowDown"),
    ],
    "gs": [
        (409, "Conflict"),
        (412, "PreconditionFailed"),
        (429, "rateLimitExceeded"),
        (500, "InternalError"),
        (503, "x"),
    ],
    "az": [
        (409, "BlobAlreadyExists"),
        (412, "ConditionNotMet"),
        (429, "x"),
        (500, "InternalError"),
        (503, "ServerBusy"),
    ],
}
REFUSALS = {
    "s3": [(403, "AccessDenied"), (403, "RequestTimeTooSkewed"), (400, "ExpiredToken"), (401, "Unauthorized")],
    "gs": [(403, "AccessDenied"), (401, "AuthenticationRequired")],
    "az": [
        (403, "AuthenticationFailed"),
        (403, "AuthorizationPermissionMismatch"),
        (401, "NoAuthenticationInformation"),
    ],
}
NO_BUCKET = {"s3": "NoSuchBucket", "gs": "NoSuchBucket", "az": "ContainerNotFound"}
MISSING = {"s3": "NoSuchKey", "gs": "NoSuchKey", "az": "BlobNotFound"}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("scheme", BUSY)
def test_a_busy_store_is_worth_a_retry(scheme: str, use: str, say: Say) -> None:
    """Conflicts, too many requests and inner errors are exit code 1, in one line that names the place."""
    for status, code in BUSY[scheme]:
        say(status, code)
        with pytest.raises(Unavailable, match=rf"^{scheme}://models/ctr/ads/[^\n]*; run it again[^\n]*$"):
            USES[use](Objects(f"{scheme}://models/ctr", "ads"))


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("scheme", REFUSALS)
def test_a_refusal_is_bad_input(scheme: str, use: str, say: Say) -> None:
    """Wrong, expired or insufficient credentials are exit code 2. The answer to HEAD has no body to tell more."""
    for status, code in REFUSALS[scheme]:
        if use == "exists" and status == 400:
            continue
        say(status, code)
        with pytest.raises(Refused, match=rf"^{scheme}://models/ctr/ads/.*the store refused the credentials"):
            USES[use](Objects(f"{scheme}://models/ctr", "ads"))


@pytest.mark.parametrize("use", sorted(USES.keys() - {"exists"}))
@pytest.mark.parametrize("scheme", NO_BUCKET)
def test_a_missing_bucket_is_bad_input(scheme: str, use: str, say: Say) -> None:
    """The message names the bucket."""
    say(404, NO_BUCKET[scheme])
    with pytest.raises(Refused, match=rf"^{scheme}://models/ctr/ads/.*there is no bucket 'models'"):
        USES[use](Objects(f"{scheme}://models/ctr", "ads"))


@pytest.mark.parametrize("scheme", MISSING)
def test_a_missing_object_is_bad_input_only_to_readers(scheme: str, say: Say) -> None:
    """A read names the object; `exists` returns False."""
    say(404, MISSING[scheme])
    store = Objects(f"{scheme}://models/ctr", "ads")
    with pytest.raises(InputError, match=r"promotions/000001\.json: not found in the object store"):
        store.read("promotions/000001.json")
    assert not store.exists("promotions/000001.json")
