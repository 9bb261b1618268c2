"""Keys that only S3 can hold, and that no listing returns."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from s3 import BUCKET, allow, store

from din.errors import GateClosed, InputError
from din.registry import commands
from din.registry.registry import Registry
from tests.factories.bundles import bundle, crown


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Start a store with one bucket."""
    with store() as address:
        yield address.url


@pytest.fixture
def client(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a client for keys that the registry would not write, and set the environment of a permitted user."""
    allow(monkeypatch, endpoint)
    return boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")


@pytest.fixture
def registry(client: Any, tmp_path: Path) -> Registry:
    """Return a registry of two records in a namespace of the test's own."""
    registry = Registry(f"s3://{BUCKET}/ctr", tmp_path.name)
    crown(registry, bundle(tmp_path / "one"))
    crown(registry, bundle(tmp_path / "two", "two"))
    return registry


@pytest.mark.parametrize("key", ["/000002.json", "./000004.json", "../x.json", "a\x01b.json", "a//b"])
def test_an_unlistable_key_does_no_harm(
    key: str, client: Any, registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The key is reported, records are found by lookup, and the next one is appended and seen."""
    client.put_object(Bucket=BUCKET, Key=f"ctr/{registry.model_name}/promotions/{key}", Body=b"{}")
    history = registry.history()
    assert [record.number for record in history] == [1, 2]
    assert registry.champion() == history[-1]
    commands.verify(registry.uri, registry.model_name)
    assert "promotions: can't be listed" in capsys.readouterr().out
    assert crown(registry, bundle(tmp_path / "three", "three")).number == 3
    assert len(registry.history()) == 3


def test_an_unlistable_seal_does_no_harm(
    client: Any, registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each record's seal is looked up, and `verify` names the reason."""
    client.put_object(Bucket=BUCKET, Key=f"ctr/{registry.model_name}/seals//x", Body=b"{}")
    assert [record.number for record in registry.history()] == [1, 2]
    assert crown(registry, bundle(tmp_path / "three", "three")).number == 3
    commands.verify(registry.uri, registry.model_name)
    assert "seals: can't be listed" in capsys.readouterr().out


def test_a_removed_record_is_missed_without_a_listing(client: Any, registry: Registry) -> None:
    """The seal of a removed newest record still names it, so an odd key does not hide the removal."""
    folder = f"ctr/{registry.model_name}/promotions"
    client.put_object(Bucket=BUCKET, Key=f"{folder}//x", Body=b"{}")
    client.delete_object(Bucket=BUCKET, Key=f"{folder}/000002.json")
    with pytest.raises(InputError, match=r"000002\.json"):
        registry.champion()
    assert any("000002.json" in problem for problem in registry.verify())


@pytest.mark.parametrize("area", ["looks", "approvals"])
def test_an_unlistable_look_or_request_stops_no_other_check(area: str, client: Any, registry: Registry) -> None:
    """`verify` names the key as damage, beside the damage that it finds elsewhere."""
    client.put_object(Bucket=BUCKET, Key=f"ctr/{registry.model_name}/{area}//x", Body=b"{}")
    client.delete_object(Bucket=BUCKET, Key=f"ctr/{registry.model_name}/promotions/000001.json")
    with pytest.raises(GateClosed) as found:
        commands.verify(registry.uri, registry.model_name)
    assert "000001.json: missing" in str(found.value)
    assert f"{area}: can't be listed" in str(found.value) and "remove that key" in str(found.value)
