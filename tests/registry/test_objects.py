"""The errors that the faults of an object store become, as the clients of S3, GCS and Azure raise them."""

import base64
import json
from pathlib import Path

import pytest
from s3 import BUCKET, Fault, FaultyStore
from typer.testing import CliRunner

from din import cli
from din.errors import InputError, Unavailable
from din.params import load
from din.registry import objects
from din.registry.objects import Objects, Refused
from din.registry.registry import Registry
from din.workspace import Workspace

ROOT = Path(__file__).parents[2]
URI = f"s3://{BUCKET}/ctr"


@pytest.fixture
def clouds(faulty: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> FaultyStore:
    """Return the store in the place of all three clouds, for clients that don't try again."""
    account = {"gcs_base_url": faulty.url, "disable_oauth": True} | dict.fromkeys(
        ("client_email", "private_key", "private_key_id"), ""
    )
    monkeypatch.setattr(objects, "RETRY", {"max_retries": 0})
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(account))
    monkeypatch.setenv("GOOGLE_ALLOW_HTTP", "true")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", base64.b64encode(b"k" * 32).decode())
    monkeypatch.setenv("AZURE_ENDPOINT", faulty.url)
    monkeypatch.setenv("AZURE_ALLOW_HTTP", "true")
    return faulty


USES = {
    "read": lambda store: store.read("promotions/000001.json"),
    "exists": lambda store: store.exists("promotions/000001.json"),
    "keys": lambda store: store.keys("promotions"),
    "put": lambda store: store.put("bundles/x", b"1"),
    "create": lambda store: store.create("promotions/000001.json", b"1"),
    "delete": lambda store: store.delete("bundles/x"),
}
BUSY = {
    "s3": ["409 OperationAborted", "412 PreconditionFailed", "429 SlowDown", "500 InternalError", "503 SlowDown"],
    "gs": ["409 Conflict", "412 PreconditionFailed", "429 rateLimitExceeded", "500 InternalError", "503 x"],
    "az": ["409 BlobAlreadyExists", "412 ConditionNotMet", "429 x", "500 InternalError", "503 ServerBusy"],
}
REFUSALS = {
    "s3": ["403 AccessDenied", "403 RequestTimeTooSkewed", "400 ExpiredToken", "401 Unauthorized"],
    "gs": ["403 AccessDenied", "401 AuthenticationRequired"],
    "az": ["403 AuthenticationFailed", "403 AuthorizationPermissionMismatch", "401 NoAuthenticationInformation"],
}
NO_BUCKET = {"s3": ["404 NoSuchBucket"], "gs": ["404 NoSuchBucket"], "az": ["404 ContainerNotFound"]}
MISSING = {"s3": "NoSuchKey", "gs": "NoSuchKey", "az": "BlobNotFound"}
ERRORS = {
    "busy": (BUSY, Unavailable, "run it again"),
    "refused": (REFUSALS, Refused, "the store refused the credentials"),
    "no bucket": (NO_BUCKET, Refused, "there is no bucket 'models'"),
}


@pytest.mark.parametrize(
    ("scheme", "use"),
    [*(("s3", use) for use in USES), *((scheme, use) for scheme in ("gs", "az") for use in ("keys", "create"))],
)
@pytest.mark.parametrize("why", ERRORS)
def test_an_answer_becomes_an_error_of_one_line(why: str, scheme: str, use: str, clouds: FaultyStore) -> None:
    """Only a busy store is worth a retry. The answer to HEAD has no body to tell an expired token or a lost bucket."""
    answers, error, says = ERRORS[why]
    for answer in answers[scheme]:
        status, code = answer.split()
        if use == "exists" and status in ("400", "404"):
            continue
        clouds.inject(Fault("answer", status=int(status), code=code))
        with pytest.raises(error, match=rf"^{scheme}://models/ctr/ads/[^\n]*{says}[^\n]*$"):
            USES[use](Objects(f"{scheme}://models/ctr", "ads"))


@pytest.mark.parametrize("scheme", MISSING)
def test_a_missing_object_is_bad_input_only_to_readers(scheme: str, clouds: FaultyStore) -> None:
    """A read names the object; `exists` returns False."""
    clouds.inject(Fault("answer", status=404, code=MISSING[scheme]))
    store = Objects(f"{scheme}://models/ctr", "ads")
    with pytest.raises(InputError, match=r"promotions/000001\.json: not found in the object store"):
        store.read("promotions/000001.json")
    assert not store.exists("promotions/000001.json")


@pytest.mark.parametrize(("status", "code"), [(None, 1), (503, 1), (403, 2)])
def test_commands_end_with_the_code_of_the_fault(
    status: int | None, code: int, clouds: FaultyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stages and short commands end with the code of the fault; a stage leaves it for runners, without a traceback."""
    monkeypatch.chdir(tmp_path)
    params = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(params.replace("registry: registry ", f"registry: {URI} "))
    (tmp_path / "dvc.yaml").write_bytes((ROOT / "dvc.yaml").read_bytes())
    assert load(tmp_path / "params.yaml").promote.registry == URI
    if status:
        clouds.inject(Fault("answer", status=status, code=""))
    else:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")  # nobody listens
    for command in (["gate"], ["registry", "show"]):
        done = CliRunner().invoke(cli.app, command)
        assert done.exit_code == code, command
        assert "Traceback" not in done.stderr and "bug" not in done.stderr and URI in done.stderr
    assert json.loads((Workspace(tmp_path).outcome("gate")).read_text())["exit_code"] == code


def test_a_conflict_without_an_object_is_unavailable(faulty: FaultyStore) -> None:
    """`create` returns False only if an object exists."""
    store = Objects(URI, "conflict")
    for status in (409, 412):
        faulty.inject(Fault("answer", "PUT", "promotions/", status, "Conflict"))
        with pytest.raises(Unavailable, match=f"{status}.*run it again"):
            store.create("promotions/000001.json", b"{}")
    faulty.inject(None)
    assert store.create("promotions/000001.json", b"{}")
    assert not store.create("promotions/000001.json", b"{}")
    faulty.inject(Fault("answer", "PUT", "promotions/", 409, "Conflict"))
    assert not store.create("promotions/000001.json", b"{}")


def test_plain_http_that_was_not_allowed_says_so(faulty: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the setting to change, and nothing is sent."""
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    with pytest.raises(InputError, match="the endpoint is plain http, which is refused unless AWS_ALLOW_HTTP=true"):
        Registry(URI, "ads").history()
    assert faulty.requests == 0


def test_no_credentials_at_all_says_so(faulty: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials in the environment or a machine's role, the message names the variables to set."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(InputError, match=r"no credentials: .* AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        Registry(URI, "ads").history()


def test_reading_stops_at_the_limit(faulty: FaultyStore, tmp_path: Path) -> None:
    """An object larger than the limit is refused with place, limit and advice; one of exactly that size is read."""
    for place in (Objects(URI, "large"), Objects(str(tmp_path / "r"), "ads")):
        place.put("runs/x/big", b"x" * 1_000_000)
        assert len(place.read("runs/x/big", most=1_000_000)) == 1_000_000
        with pytest.raises(InputError, match=r"runs/x/big: larger than 999,999 bytes"):
            place.read("runs/x/big", most=999_999)
