"""Read bodies, with limits on the bytes of one, on the bytes of all that are held, on the time, and on the memory."""

import asyncio

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from din.base.errors import InputError, shown

CLOSE = {"Connection": "close"}
RETRY = {"Retry-After": "1"}
_TEXT_TYPE = "text/plain"
_FORM_TYPES = ("", "application/x-www-form-urlencoded", "multipart/form-data")
"""A browser lets any page send these types, and text, to any site without asking it first. It then names the page as
the origin, which curl, whose `-d` has the second of them, does not."""
_MOST_BYTES = 256_000_000
"""The bytes of all bodies that are held. A thousand connections with the largest body must not fill the memory."""
_MOST_PARSED = 100_000_000
"""The most memory that a parsed body may take. While one is parsed, for up to 0.2 s, no other request is served."""
_MOST_BODIES = 6
"""The most memory that a parsed body may take as a multiple of the largest body, where that is more."""
_TEXT = 4
"""The bytes of a character of a string, if one of them is not Latin."""
_COSTS = {b"[": 64, b"{": 192, b",": 40, b":": 320, b'"': 16}
"""At most the bytes of Python's objects for each of these characters of JSON, and for the value that follows it. A key
takes less than its 320, but as much time as several other values."""


class Bodies:
    """The bodies of all requests that are under way.

    Args:
        most: the bytes of the largest body.
        seconds: the time in which a body must arrive.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._held = 0

    async def read(self, request: Request) -> bytes:
        """Return the body of a request, which counts as held until its bytes are released.

        Raises:
            HTTPException: it is compressed, of another type, too large or too slow, or all bodies together are too
                large.
        """
        body = bytearray()
        try:
            try:
                async with asyncio.timeout(self._seconds):
                    await self._read(request, body)
            except TimeoutError:
                message = f"the body took longer than {self._seconds:g} s; send it faster, or raise --timeout"
                raise HTTPException(408, message, CLOSE) from None
            except ClientDisconnect:
                raise HTTPException(400, "the connection was closed before the end of the body") from None
        except BaseException:
            self.release(len(body))
            raise
        return bytes(body)

    def release(self, size: int) -> None:
        """Let the bytes of a body go."""
        self._held -= size

    async def _read(self, request: Request, body: bytearray) -> None:
        too_large = (
            f"the body is larger than {self._most / 1e6:g} MB; send fewer candidates in each, or raise --max-request-mb"
        )
        coding = request.headers.get("content-encoding", "identity")
        if coding != "identity":
            raise HTTPException(415, f"content-encoding: {shown(coding)}; expected none: send the JSON as it is", CLOSE)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == _TEXT_TYPE or (kind in _FORM_TYPES and "origin" in request.headers):
            message = f"content-type: {shown(kind)}; expected application/json"
            raise HTTPException(415, message, CLOSE)
        if int(request.headers.get("content-length", 0)) > self._most:
            raise HTTPException(413, too_large, CLOSE)
        async for piece in request.stream():
            body += piece
            self._held += len(piece)
            if len(body) > self._most:
                raise HTTPException(413, too_large, CLOSE)
            if self._held > _MOST_BYTES:
                raise HTTPException(503, "too many large bodies at once; try again in a second", CLOSE | RETRY)


def parsed_bytes(body: bytes, most: int) -> int:
    """Return at most how many bytes a body takes once it is parsed: `[{}]` takes 60 times its four.

    It counts characters, since neither memory nor time can be limited while a body is parsed. Many short numbers take
    less.

    Args:
        most: the bytes of the largest body.

    Raises:
        InputError: they are more than `_MOST_PARSED`, or than `_MOST_BODIES` of the largest bodies if that is more.
    """
    text = len(body) if body.isascii() and b"\\" not in body else _TEXT * len(body)
    size = text + sum(cost * body.count(character) for character, cost in _COSTS.items())
    limit = max(_MOST_PARSED, _MOST_BODIES * most)
    if size > limit:
        raise InputError(
            f"the body of {len(body) / 1e6:.1f} MB holds so many values that it may take {size / 1e6:.0f} MB of "
            f"memory; expected at most {limit / 1e6:g} MB: send fewer candidates in each, or raise --max-request-mb"
        )
    return size
