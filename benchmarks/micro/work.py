"""The work that is looked at: requests through a whole pool, answered in memory with fixed bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import httpcore
from httpcore.testing import MemoryConnector

__all__ = ["CODECS", "WORK", "FixedServer", "Pool", "open_pool"]

Pool = httpcore.ConnectionPool

CODECS: Final = ("h11", "llhttp")
_PIECE: Final = b"p" * 1024
_PIECES: Final = 100


def _response(*parts: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nServer: fixed\r\nContent-Type: text/plain\r\n" + b"".join(parts)


def _chunked(count: int) -> bytes:
    return _response(b"Transfer-Encoding: chunked\r\n\r\n", b"400\r\n%b\r\n" % _PIECE * count, b"0\r\n\r\n")


_SEGMENTS: Final = {
    b"/small": [_response(b"Content-Length: 13\r\n\r\nHello, world!")],
    b"/length": [_response(b"Content-Length: %d\r\n\r\n" % (_PIECES * 1024)), *[_PIECE] * _PIECES],
    b"/chunked": [
        _response(b"Transfer-Encoding: chunked\r\n\r\n"),
        *[b"400\r\n%b\r\n" % _PIECE] * _PIECES,
        b"0\r\n\r\n",
    ],
    b"/together": [_chunked(_PIECES)],
}
"""What is sent for a path, a piece for each turn of the loop, so that each is received by itself."""


class FixedServer(asyncio.Protocol):
    """Answers each request with fixed bytes. A request's head has to come in one piece, without a body."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._send(_SEGMENTS[data.split(b" ", 2)[1]], 0)

    def _send(self, segments: list[bytes], number: int) -> None:
        self._transport.write(segments[number])
        if number + 1 < len(segments):
            # Two turns, as a memory link takes one to deliver.
            loop = asyncio.get_running_loop()
            loop.call_soon(lambda: loop.call_soon(self._send, segments, number + 1))


@asynccontextmanager
async def open_pool(codec: str) -> Any:
    """Gives a pool that speaks HTTP/1.1 by this codec to a `FixedServer` in memory."""
    options: dict[str, Any] = {"http1_codec": codec}
    async with MemoryConnector(FixedServer) as connector, Pool(connector=connector, http2=False, **options) as pool:
        yield pool


async def small(pool: Pool) -> None:
    response = await pool.request("GET", "http://server/small")
    assert response.body == b"Hello, world!"


async def _read(pool: Pool, path: str) -> None:
    received = 0
    async with await pool.request("GET", "http://server" + path, stream=True) as response:
        async for part in response.stream():
            received += len(part)
    assert received == _PIECES * 1024


async def stream_length(pool: Pool) -> None:
    await _read(pool, "/length")


async def stream_chunked(pool: Pool) -> None:
    await _read(pool, "/chunked")


async def stream_together(pool: Pool) -> None:
    await _read(pool, "/together")


class _Counter(httpcore.ResponseHandler):
    """A handler that does next to nothing."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.received = 0

    def data_received(self, data: bytes) -> None:
        self.received += len(data)

    def response_complete(self, trailers: httpcore.Headers) -> None:
        self.ended.set_result(None)

    def exchange_failed(self, exc: BaseException) -> None:
        self.ended.set_exception(exc)


async def push_length(pool: Pool) -> None:
    handler = _Counter()
    pool.dispatch(httpcore.Request("GET", "http://server/length"), handler)
    await handler.ended
    assert handler.received == _PIECES * 1024


Work = Callable[[Pool], Awaitable[None]]

WORK: Final[dict[str, tuple[Work, int]]] = {
    "request": (small, 1),
    "piece, read as a stream": (stream_length, _PIECES),
    "piece, pushed to a handler": (push_length, _PIECES),
    "chunk in a segment of its own": (stream_chunked, _PIECES),
    "chunk, many in a segment": (stream_together, _PIECES),
}
"""By name: what is done, and how many requests or pieces of a body it is."""
