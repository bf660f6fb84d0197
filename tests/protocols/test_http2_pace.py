"""A reader that keeps up with the server leaves next to nothing waiting, whatever the windows would allow."""

from __future__ import annotations

import asyncio

import httpcore
from httpcore.protocols.http2 import HTTP2Protocol
from httpcore.testing import HTTP2Peer, MemoryConnector
from tests.content import blocks

KIB = 1024
MIB = 1024 * KIB


async def test_what_waits_for_a_reader_that_keeps_up_is_bounded_by_what_is_read_at_once():
    content = b"".join(blocks(16 * MIB))
    async with MemoryConnector(HTTP2Peer, capacity=4 * MIB) as connector:
        connection = await httpcore.ClientConnection.connect("http://example.org", http1=False, connector=connector)
        asking = asyncio.create_task(connection.request("GET", "http://example.org/", stream=True))
        peer = await connector.accept()
        request = await peer.receive_request()
        peer.respond(request.stream_id, body=content)
        response = await asking
        [transport] = connector.open_transports
        protocol = transport.get_protocol()
        assert isinstance(protocol, HTTP2Protocol)
        received, most_waiting = bytearray(), 0
        async for part in response.stream():
            received += part
            most_waiting = max(most_waiting, protocol.window.waiting)
        assert received == content
        # The transport reads up to 256 KiB in each of the two turns of the loop that the reader takes to ask for more.
        assert most_waiting <= 512 * KIB
        await connection.close()
