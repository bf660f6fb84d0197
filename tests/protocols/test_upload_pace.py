"""How fast a streamed body is sent: no faster than the server takes it, and never so that nothing else gets a turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest

import httpcore
from httpcore.protocols import base
from httpcore.testing import MemoryConnector

PIECE = bytes(65536)


@pytest.mark.parametrize("writelines_pauses", [base._WRITELINES_PAUSES, False])
async def test_server_that_does_not_read_stops_a_chunked_upload(
    writelines_pauses: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "_WRITELINES_PAUSES", writelines_pauses)
    ended = False

    async def body() -> AsyncIterator[bytes]:
        nonlocal ended
        for _ in range(1000):  # 64 MiB: more than all buffers on the way hold
            yield PIECE
        ended = True

    class Stuck(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            transports.append(cast(asyncio.Transport, transport))

        def data_received(self, data: bytes) -> None:
            transports[-1].pause_reading()  # not in connection_made: uvloop begins to read behind it

    transports: list[asyncio.Transport] = []
    server = await asyncio.get_running_loop().create_server(Stuck, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    timeout = httpcore.TimeoutConfig(5, write_timeout=0.1, read_timeout=0.1)
    async with httpcore.ConnectionPool(timeout=timeout) as http:
        # A body that was taken whole, into our own memory, would end in ReadTimeout.
        with pytest.raises(httpcore.WriteTimeout):
            await http.request("POST", f"http://127.0.0.1:{port}/", body=body)
    assert not ended
    for transport in transports:
        transport.abort()
    server.close()
    await server.wait_closed()


async def test_body_that_never_waits_leaves_others_their_turns() -> None:
    turn = asyncio.Event()
    turns_before_the_end: list[bool] = []

    async def body() -> AsyncIterator[bytes]:
        asyncio.get_running_loop().call_soon(turn.set)
        for _ in range(100):
            yield PIECE
        turns_before_the_end.append(turn.is_set())

    # A link that takes everything never pauses the sender.
    async with MemoryConnector(capacity=1 << 30) as connector, httpcore.ConnectionPool(connector=connector) as http:
        task = asyncio.create_task(http.request("POST", "http://a/", body=body))
        peer = await connector.accept()
        await peer.receive_until(b"\r\n0\r\n\r\n")
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await task
    assert turns_before_the_end == [True]
