"""`HTTP11Peer`: requests and responses instead of bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import h11
import pytest

from httpcore.testing import HTTP11Peer, ScriptedPeer, memory_link
from tests.testing.links import turns

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(params=[None, 1], ids=["whole", "byte by byte"])
async def linked(request: pytest.FixtureRequest) -> AsyncIterator[tuple[ScriptedPeer, HTTP11Peer]]:
    client, server = ScriptedPeer(close_on_eof=True), HTTP11Peer()
    memory_link(client, server, segment=request.param)
    await turns()
    yield client, server
    client.transport.abort()
    server.transport.abort()
    await client.closed()
    await server.closed()


async def test_requests_and_responses_with_bodies_follow_each_other(linked):
    client, server = linked
    for _ in range(2):
        client.send(b"POST /path HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
        request, body = await server.receive_request()
        assert (request.method, request.target, body) == (b"POST", b"/path", b"body")
        server.send_response(200, [("x", "y")], b"answer")
        assert await client.receive_until(b"answer") == b"HTTP/1.1 200 \r\nx: y\r\ncontent-length: 6\r\n\r\nanswer"


async def test_pipelined_requests_are_received_one_by_one(linked):
    client, server = linked
    client.send(GET * 2)
    await server.receive_request()
    with pytest.raises(ConnectionError, match=r"no request came but .*PAUSED"):
        await server.receive_request()
    server.send_response()
    await server.receive_request()


async def test_response_frames_its_body_as_its_headers_say(linked):
    client, server = linked
    client.send(GET)
    await server.receive_request()
    server.send_response(200, [(b"Transfer-Encoding", b"chunked")], b"answer")
    assert await client.receive_until(b"0\r\n\r\n") == (
        b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n6\r\nanswer\r\n0\r\n\r\n"
    )


async def test_response_to_head_counts_its_body_and_keeps_it(linked):
    client, server = linked
    client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    await server.receive_request()
    server.send_response(200, body=b"answer")
    assert await client.receive_until(b"\r\n\r\n") == b"HTTP/1.1 200 \r\ncontent-length: 6\r\n\r\n"
    client.send_eof()
    assert await client.receive_eof() == b""


@pytest.mark.parametrize("status", [204, 304])
async def test_response_that_has_no_body_gets_no_length(linked, status):
    client, server = linked
    client.send(GET)
    await server.receive_request()
    server.send_response(status)
    assert await client.receive_until(b"\r\n\r\n") == b"HTTP/1.1 %d \r\n\r\n" % status


async def test_client_that_expects_100_continue_gets_it(linked):
    client, server = linked
    client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
    receiving = asyncio.ensure_future(server.receive_request())
    assert await client.receive_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"body")
    _, body = await receiving
    assert body == b"body"


async def test_response_event_by_event(linked):
    client, server = linked
    client.send(GET)
    assert isinstance(await server.receive_event(), h11.Request)
    assert isinstance(await server.receive_event(), h11.EndOfMessage)
    server.send_event(h11.InformationalResponse(status_code=103, headers=[("link", "</a>")]))
    assert await client.receive_until(b"\r\n\r\n") == b"HTTP/1.1 103 \r\nlink: </a>\r\n\r\n"
    server.send_event(h11.Response(status_code=200, headers=[("content-length", "2")]))
    assert await client.receive_until(b"\r\n\r\n") == b"HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\n"
    server.send_event(h11.Data(data=b"ab"))
    assert await client.receive(2) == b"ab"
    server.send_event(h11.EndOfMessage())
    assert server.h11_connection.our_state is h11.DONE


@pytest.mark.parametrize(
    ("request_head", "headers"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", []),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", []),
        (GET, [("connection", "close")]),
    ],
)
async def test_last_response_closes_the_connection(linked, request_head, headers):
    client, server = linked
    client.send(request_head)
    await server.receive_request()
    server.send_response(200, headers, b"answer")
    assert (await client.receive_eof()).endswith(b"\r\n\r\nanswer")
    assert await server.closed() is None


async def test_close_instead_of_a_request_is_a_connection_error(linked):
    client, server = linked
    client.close()
    with pytest.raises(ConnectionError, match="no request came but ConnectionClosed"):
        await server.receive_request()
    assert await server.closed() is None


@pytest.mark.parametrize("part", [b"GET / HT", b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo"])
async def test_close_amid_a_request_is_a_connection_error(linked, part):
    client, server = linked
    client.send(part)
    client.close()
    with pytest.raises(ConnectionError, match=r"(ended|was lost) before the rest of the request"):
        await server.receive_request()


async def test_reset_amid_a_request_is_a_connection_error(linked):
    client, server = linked
    client.send(b"GET / HT")
    client.abort()
    with pytest.raises(ConnectionError, match="was lost before bytes came"):
        await server.receive_request()


async def test_bytes_that_are_not_http_are_h11s_error(linked):
    client, server = linked
    client.send(b"this is not HTTP\r\n\r\n")
    with pytest.raises(h11.RemoteProtocolError):
        await server.receive_request()


async def test_response_without_a_request_is_h11s_error(linked):
    client, server = linked
    client.send(GET)
    await server.receive_request()
    server.send_response()
    with pytest.raises(h11.LocalProtocolError):
        server.send_response()
