"""Replay on real sockets, where the end of a connection may have come without the loop having seen it."""

from __future__ import annotations

import asyncio
import socket

import pytest

from httpcore import (
    ConnectionPool,
    NetworkError,
    PoolLimits,
    RemoteProtocolError,
    Request,
)
from httpcore.trace import RequestReplayed, TraceEvent
from tests.pool.conftest import Watch
from tests.pool.peers import RecordingHandler


async def accept_and_answer(listener: socket.socket) -> socket.socket:
    loop = asyncio.get_running_loop()
    sock, _ = await loop.sock_accept(listener)
    sock.setblocking(False)
    await answer(sock)
    return sock


async def answer(sock: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    request = b""
    while b"\r\n\r\n" not in request:
        data = await loop.sock_recv(sock, 65536)
        assert data
        request += data
    await loop.sock_sendall(sock, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    return request


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("way", ["end", "reset", "bytes"])
async def test_an_end_that_asyncio_has_not_read_yet_is_seen_before_the_request_is_sent(
    watched: Watch, method: str, way: str
) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    events: list[TraceEvent] = []
    pool = watched(ConnectionPool(trace=events.append))
    with listener:
        served = asyncio.create_task(accept_and_answer(listener))
        await pool.request(method, url)
        first = await served
        # No turn of the loop between the server's act and the request.
        if way == "bytes":
            first.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
        else:
            if way == "reset":
                first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            first.close()
        handler = RecordingHandler()
        pool.dispatch(Request(method, url), handler)
        second = await accept_and_answer(listener)
        await handler.until_ended()
        assert handler.content == b"ok"
        assert not any(isinstance(event, RequestReplayed) for event in events)
        first.close()
        second.close()


@pytest.mark.parametrize("reset", [False, True])
async def test_a_connection_that_dies_under_a_request_over_tcp_is_replaced(watched: Watch, reset: bool) -> None:
    loop = asyncio.get_running_loop()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1)))
    with listener:
        served = asyncio.create_task(accept_and_answer(listener))
        await pool.request("GET", url)
        first = await served
        for method, survives in (("GET", True), ("POST", False)):
            request = asyncio.create_task(pool.request(method, url, body=b"x" if method == "POST" else b""))
            assert await loop.sock_recv(first, 65536)
            if reset:
                first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            first.close()
            if survives:
                first = await accept_and_answer(listener)
                assert (await request).body == b"ok"
            else:
                with pytest.raises((NetworkError, RemoteProtocolError)) as caught:
                    await request
                assert caught.value.request_sent
        assert pool.num_connections == 0
