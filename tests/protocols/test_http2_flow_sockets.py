"""Flow control of HTTP2Protocol on real sockets, both ways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest_asyncio

from httpcore.protocols import HTTP2Protocol
from httpcore.request import BodyTypes, Request
from httpcore.testing import HTTP2Peer
from tests.clock import until
from tests.protocols.http2_downloads import MIB, Reader, content, resume
from tests.protocols.http2_uploads import WINDOW, pieces, post, received
from tests.protocols.recording import NO_TIMEOUT, URL, Recorder


class Ends(NamedTuple):
    transport: asyncio.Transport
    protocol: HTTP2Protocol
    peer: HTTP2Peer


@pytest_asyncio.fixture
async def ends() -> AsyncIterator[Ends]:
    """Both ends of a connection over loopback."""
    loop = asyncio.get_running_loop()
    peer = HTTP2Peer()
    server = await loop.create_server(lambda: peer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport, protocol = await loop.create_connection(HTTP2Protocol, "127.0.0.1", port)
    await until(lambda: protocol.h2.remote_settings.max_concurrent_streams == 100)
    yield Ends(transport, protocol, peer)
    protocol.close("the test is over")
    await protocol.wait_closed()
    await peer.closed()
    server.close()
    await server.wait_closed()


async def test_paused_stream_on_a_socket_holds_up_nobody(ends):
    transport, protocol, peer = ends
    body = content(3 * MIB)
    slow = Reader()
    slow.on("response", lambda: slow.exchange.pause_reading())
    readers = [slow, *(Reader() for _ in range(10))]
    for reader in readers:
        protocol.dispatch(Request("GET", URL), reader, timeout=NO_TIMEOUT)
    for _ in readers:
        peer.respond((await peer.receive_request()).stream_id, body=body)
    for reader in readers[1:]:
        assert (await reader.end()).body == body
    assert protocol.window.waiting == MIB
    assert transport.is_reading()
    await resume(slow)
    assert slow.body == body
    assert protocol.window.waiting == 0
    assert [reader.violations for reader in readers] == [[]] * 11


async def test_uploads_on_a_socket_arrive_whole_and_the_small_one_first(ends):
    _, protocol, peer = ends
    body = content(2 * MIB)
    recorders = [Recorder() for _ in range(4)]
    bodies: list[BodyTypes] = [body, pieces(body), pieces(body, 200_000), body[:1000]]
    for recorder, given in zip(recorders, bodies, strict=True):
        protocol.dispatch(post(given), recorder, timeout=NO_TIMEOUT)
    assert await peer.receive_body(7) == body[:1000]
    assert max(received(peer, stream_id) for stream_id in (1, 3, 5)) < 2 * MIB
    for stream_id in (1, 3, 5):
        assert await peer.receive_body(stream_id) == body
    for stream_id in (1, 3, 5, 7):
        peer.respond(stream_id)
    for recorder in recorders:
        assert (await recorder.end()).names == ["started", "response", "complete"]
        assert recorder.violations == []
    assert protocol.h2.outbound_flow_control_window == WINDOW
