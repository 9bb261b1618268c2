"""Read bodies, with limits on the bytes of one, on the bytes of all that are held, and on the time."""

import asyncio

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from din.errors import shown

CLOSE = {"Connection": "close"}
RETRY = {"Retry-After": "1"}
_MOST_BYTES = 256_000_000
"""The bytes of all bodies that are held. A thousand connections with the largest body must not fill the memory."""


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
            HTTPException: it is compressed, too large or too slow, or all bodies together are too large.
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
        if int(request.headers.get("content-length", 0)) > self._most:
            raise HTTPException(413, too_large, CLOSE)
        async for piece in request.stream():
            body += piece
            self._held += len(piece)
            if len(body) > self._most:
                raise HTTPException(413, too_large, CLOSE)
            if self._held > _MOST_BYTES:
                raise HTTPException(503, "too many large bodies at once; try again in a second", CLOSE | RETRY)
