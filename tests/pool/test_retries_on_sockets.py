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
from httpcore.protocols.http2_frames import FrameType
from httpcore.trace import RequestReplayed, TraceEvent
from tests.pool.conftest import Watch
from tests.pool.peers import RecordingHandler
from tests.protocols import http2_wire as wire

RESET_ON_CLOSE = (socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


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
                first.setsockopt(*RESET_ON_CLOSE)
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
                first.setsockopt(*RESET_ON_CLOSE)
            first.close()
            if survives:
                first = await accept_and_answer(listener)
                assert (await request).body == b"ok"
            else:
                with pytest.raises((NetworkError, RemoteProtocolError)) as caught:
                    await request
                assert caught.value.request_sent
        assert pool.num_connections == 0


async def accept_and_answer_http2(listener: socket.socket) -> socket.socket:
    """Answers the first request of a connection, as HTTP/2."""
    loop = asyncio.get_running_loop()
    sock, _ = await loop.sock_accept(listener)
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a reset takes with it what the kernel has kept back
    await loop.sock_sendall(sock, wire.FIRST)
    received = await loop.sock_recv(sock, 65536)
    while not any(kind == FrameType.HEADERS for kind in frame_types(received[24:])):
        data = await loop.sock_recv(sock, 65536)
        assert data
        received += data
    await loop.sock_sendall(sock, wire.answer(1))
    return sock


def frame_types(data: bytes) -> list[int]:
    types = []
    while len(data) >= 9 and len(data) >= (size := 9 + int.from_bytes(data[:3])):
        types.append(data[3])
        data = data[size:]
    return types


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("way", ["end", "reset", "goaway, end", "goaway, reset"])
async def test_an_end_of_http2_that_asyncio_has_not_read_yet_is_survived_where_nothing_can_be_done_twice(
    watched: Watch, method: str, way: str
) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    pool = watched(ConnectionPool(http1=False, limits=PoolLimits(hard_limit=1)))
    with listener:
        served = asyncio.create_task(accept_and_answer_http2(listener))
        assert (await pool.request(method, url)).body == b"ok"
        first = await served
        # No turn of the loop between the server's act and the requests.
        if "goaway" in way:
            first.send(wire.goaway(1))
        if "reset" in way:
            first.setsockopt(*RESET_ON_CLOSE)
        first.close()
        handler = RecordingHandler()
        pool.dispatch(Request(method, url), handler)
        if method == "POST" and "goaway" not in way:
            await handler.until_ended()
            assert isinstance(handler.error, (NetworkError, RemoteProtocolError))
            assert handler.error.request_sent
            return
        second = await accept_and_answer_http2(listener)
        await handler.until_ended()
        assert handler.content == b"ok", handler.error
        second.close()
