"""A store that speaks S3, played by moto, with one empty bucket."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from urllib.request import Request, urlopen

import pytest
from moto.server import ThreadedMotoServer

BUCKET = "models"


class Address(NamedTuple):
    """The address of the store."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """The endpoint of the store."""
        return f"http://{self.host}:{self.port}"


@contextmanager
def store() -> Iterator[Address]:
    """Serve while the context lasts."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    address = Address(*server.get_host_and_port())
    urlopen(Request(f"{address.url}/{BUCKET}", method="PUT")).close()
    yield address
    server.stop()


def allow(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Set the environment of a permitted user."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
