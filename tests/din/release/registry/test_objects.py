"""A store whose answers or connections fail: the errors that this becomes, and promotions that are rerun.

The simulation plays the faults that change what is stored.
"""

import base64
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from din import cli
from din.base.artifacts import hash_files
from din.base.errors import InputError, Unavailable
from din.release.registry import objects
from din.release.registry.objects import Objects, Refused
from din.release.registry.registry import Registry
from tests.factories.bundles import bundle, crown
from tests.helpers.s3 import BUCKET, Fault, FaultyStore, allow, store

URI = f"s3://{BUCKET}/ctr"


@pytest.fixture(scope="module")
def started() -> Iterator[FaultyStore]:
    with store() as faulty:
        yield faulty


@pytest.fixture
def faulty(started: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyStore]:
    """Return the store without a fault, with the environment of a permitted user and short pauses."""
    allow(monkeypatch, started.url)
    backoff = {"init_backoff": timedelta(milliseconds=5), "max_backoff": timedelta(milliseconds=20), "base": 2}
    monkeypatch.setattr(objects, "RETRY", {"max_retries": 1, "backoff": backoff, "retry_timeout": timedelta(seconds=2)})
    started.inject(None)
    yield started
    started.inject(None)


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
    own = Objects(f"{scheme}://models/ctr", "ads")
    with pytest.raises(InputError, match=r"promotions/000001\.json: not found in the object store"):
        own.read("promotions/000001.json")
    assert not own.exists("promotions/000001.json")


@pytest.mark.parametrize(("reached", "code"), [(False, 1), (True, 2)])
def test_a_command_ends_with_the_code_of_the_fault(
    reached: bool, code: int, clouds: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that nobody reaches may answer later; one that forbids needs another user. Neither is called a bug."""
    if reached:
        clouds.inject(Fault("answer", status=403, code="AccessDenied"))
    else:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    done = CliRunner().invoke(cli.app, ["registry", "show", "--registry", URI, "--model", "ads"])
    assert done.exit_code == code and URI in done.stderr
    assert "Traceback" not in done.stderr and "bug" not in done.stderr


def test_a_conflict_without_an_object_is_unavailable(faulty: FaultyStore) -> None:
    """`create` returns False only if an object exists."""
    own = Objects(URI, "conflict")
    for status in (409, 412):
        faulty.inject(Fault("answer", "PUT", "promotions/", status, "Conflict"))
        with pytest.raises(Unavailable, match=f"{status}.*run it again"):
            own.create("promotions/000001.json", b"{}")
    faulty.inject(None)
    assert own.create("promotions/000001.json", b"{}")
    assert not own.create("promotions/000001.json", b"{}")
    faulty.inject(Fault("answer", "PUT", "promotions/", 409, "Conflict"))
    assert not own.create("promotions/000001.json", b"{}")


SETTINGS = {
    "the endpoint is plain http; use https, or set AWS_ALLOW_HTTP=true": ["AWS_ALLOW_HTTP"],
    "no credentials: .* AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY": ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"],
}


@pytest.mark.parametrize("says", SETTINGS)
def test_a_missing_setting_is_named(says: str, faulty: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has the variables of the environment to set, and nothing is sent."""
    for name in SETTINGS[says]:
        monkeypatch.delenv(name)
    with pytest.raises(InputError, match=says):
        Registry(URI, "ads").history()
    assert faulty.requests == 0


def test_reading_stops_at_the_limit(faulty: FaultyStore, tmp_path: Path) -> None:
    """An object larger than the limit is refused with place, limit and advice; one of exactly that size is read."""
    for place in (Objects(URI, "large"), Objects(str(tmp_path / "r"), "ads")):
        place.put("runs/x/big", b"x" * 1_000_000)
        assert len(place.read("runs/x/big", most=1_000_000)) == 1_000_000
        with pytest.raises(InputError, match=r"runs/x/big: larger than 999,999 bytes"):
            place.read("runs/x/big", most=999_999)


@pytest.fixture
def registry(faulty: FaultyStore, tmp_path: Path) -> Registry:
    registry = Registry(URI, tmp_path.name)
    crown(registry, bundle(tmp_path / "one", "one" * 2_000))
    return registry


def deliver(registry: Registry, directory: Path, target: Path) -> dict[str, str]:
    """Make a bundle the champion, unless it is already, and return the files that a service then fetches."""
    version = registry.put_bundle(directory)
    champion = registry.champion()
    if champion is None or champion.version != version:
        champion = registry.append(version, champion, by="ann", reason="test")
    return hash_files(registry.fetch(champion.version, target))


FAULTS = [
    Fault("lose", "PUT", "manifest.json", 500, times=1),
    Fault("landed", "PUT", "promotions/", 500, times=1),
    Fault("refuse", "PUT", "vocab", 500, times=1_000),
    Fault("truncate", "GET", "vocab", 500, times=1),
    Fault("delay", "GET", "promotions%2F", 500, seconds=0.4, times=1_000),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.kind} at the {fault.method}")
def test_a_fault_never_corrupts_and_a_rerun_completes(
    fault: Fault, registry: Registry, faulty: FaultyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A promotion under a fault fails in one line that names the place, never doubles a record, and can be rerun."""
    second = bundle(tmp_path / "two", "two" * 2_000)
    faulty.inject(fault)
    try:
        with monkeypatch.context() as patched:
            if fault.kind == "delay":
                patched.setenv("AWS_READ_TIMEOUT", "200ms")
            struck = Registry(URI, registry.model_name)
        deliver(struck, second, tmp_path / "delivered")
    except Unavailable as error:
        assert str(error).startswith(f"{URI}/{registry.model_name}/") and "\n" not in str(error)
        assert len(str(error)) < 800 and "<" not in str(error)
    else:
        assert fault.times == 1
    assert faulty.hits > 0
    faulty.inject(None)
    assert deliver(registry, second, tmp_path / "delivered") == hash_files(second)
    assert [one.number for one in registry.history()] == [1, 2] and registry.verify() == []


def test_an_expired_token_is_no_damage(registry: Registry, faulty: FaultyStore) -> None:
    """If it expires while `verify` reads the records, nothing is known about them."""
    faulty.inject(Fault("answer", "GET", "promotions/0", 403, "ExpiredToken"))
    with pytest.raises(Refused):
        registry.verify()
