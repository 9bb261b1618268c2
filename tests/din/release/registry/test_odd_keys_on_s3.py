"""Keys that only S3 can hold, and that no listing returns."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from din.base.errors import GateClosed, InputError
from din.release.registry import commands
from din.release.registry.registry import Registry
from tests.factories.bundles import bundle, crown
from tests.helpers.s3 import BUCKET, allow, store


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


@pytest.mark.parametrize("area", ["promotions", "seals"])
def test_an_unlistable_key_is_named(area: str, client: Any, registry: Registry) -> None:
    """Nothing is read or written until somebody has removed it."""
    for key in ("/000002.json", "./000004.json", "../x.json", "a\x01b.json", "a//b"):
        place = {"Bucket": BUCKET, "Key": f"ctr/{registry.model_name}/{area}/{key}"}
        client.put_object(**place, Body=b"{}")
        for read in (registry.champion, registry.history, registry.verify):
            with pytest.raises(InputError, match=rf"{area}: not a valid key: .*; remove or rename it"):
                read()
        client.delete_object(**place)
    assert registry.verify() == []


def test_an_unlistable_comparison_stops_no_other_check(client: Any, registry: Registry) -> None:
    """`verify` names the key as damage, beside the damage that it finds elsewhere."""
    client.put_object(Bucket=BUCKET, Key=f"ctr/{registry.model_name}/looks//x", Body=b"{}")
    client.delete_object(Bucket=BUCKET, Key=f"ctr/{registry.model_name}/promotions/000001.json")
    with pytest.raises(GateClosed) as found:
        commands.verify(registry.uri, registry.model_name)
    assert "000001.json: missing" in str(found.value)
    assert "looks: not a valid key" in str(found.value) and "remove or rename it" in str(found.value)
