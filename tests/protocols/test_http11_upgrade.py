"""101 and 2xx to CONNECT: the connection is the caller's from then on."""

from __future__ import annotations

import asyncio

import pytest

from httpcore.exceptions import RemoteProtocolError, ResponseClosed
from httpcore.protocols.states import ConnectionState
from httpcore.request import PUSHED, Request
from tests.protocols.recording import URL, Recorder, response

CONNECT = Request("CONNECT", "http://proxy:3128", target="example.org:443")
UPGRADE = Request("GET", URL, {"Connection": "upgrade", "Upgrade": "websocket"})
GET = Request("GET", URL)
HEAD = Request("HEAD", URL)
CL2, TE = b"Content-Length: 2", b"Transfer-Encoding: chunked"
CHUNKS = b"2\r\nok\r\n0\r\n\r\n"


@pytest.mark.parametrize("leftover", [b"", b"left over"])
@pytest.mark.parametrize(
    ("request_", "transcript"),
    [
        (UPGRADE, response(b"Connection: upgrade", b"Upgrade: websocket", status=b"101 OK")),
        (CONNECT, response()),
        (CONNECT, response(CL2, status=b"299 OK")),
        (CONNECT, response(TE)),
        (CONNECT, response(status=b"103 OK") + response(version=b"HTTP/1.0")),
    ],
)
async def test_gives_a_raw_stream_with_what_came_behind_the_head(cut_client, request_, transcript, leftover):
    recorder = await cut_client.answer(transcript + leftover, request_)
    assert [name for name in recorder.names if name != "informational"] == [
        "started",
        "response",
        "upgraded",
        "complete",
    ]
    stream = recorder.stream
    assert stream is not None
    assert cut_client.protocol.state == ConnectionState.UPGRADED
    assert cut_client.protocol.available == cut_client.protocol.in_flight == 0
    cut_client.peer.send(b", and more")
    received = b""
    while len(received) < len(leftover) + 10:
        received += await stream.read()
    assert received == leftover + b", and more"
    stream.write(b"up")
    assert await cut_client.peer.receive(2) == b"up"
    cut_client.peer.send_eof()
    assert await stream.read() == b""
    stream.write(b"half-closed")
    assert await cut_client.peer.receive(11) == b"half-closed"
    stream.close()
    await stream.wait_closed()
    assert cut_client.protocol.closed


async def test_flow_control_reaches_the_stream(connect):
    client = await connect(capacity=1000)
    recorder = await client.answer(response(), CONNECT)
    stream = recorder.stream
    client.peer.pause()
    stream.write(bytes(200_000))
    drained = asyncio.ensure_future(stream.drain())
    await asyncio.sleep(0.1)
    assert not drained.done()
    client.peer.resume()
    await drained
    stream.abort()


async def test_reset_reaches_the_stream(client):
    recorder = await client.answer(response(), CONNECT)
    client.peer.abort()
    await recorder.stream.wait_closed()
    assert client.protocol.closed
    assert recorder.names[-1] == "complete"


async def test_handler_that_does_not_want_the_stream_has_it_closed(client):
    class Plain(Recorder):
        def connection_upgraded(self, stream):
            self._note("upgraded")
            super(Recorder, self).connection_upgraded(stream)

    recorder = client.dispatch(CONNECT, Plain())
    client.peer.send(response())
    await recorder.end()
    assert recorder.names == ["started", "response", "upgraded", "complete"]
    await client.peer.closed()


async def test_handler_that_raises_in_upgraded_fails_and_closes(client):
    error = ValueError("from the handler")

    def fail() -> None:
        raise error

    recorder = client.dispatch(CONNECT, Recorder().on("upgraded", fail))
    client.peer.send(response() + b"leftover")
    await recorder.end()
    assert recorder.error is error
    await client.peer.closed()


async def test_handler_that_aborts_in_upgraded_fails_and_closes(client):
    recorder = Recorder()
    client.dispatch(CONNECT, recorder.on("upgraded", lambda: recorder.exchange.abort()))
    client.peer.send(response() + b"leftover")
    await recorder.end()
    assert type(recorder.error) is ResponseClosed
    await client.peer.closed()


@pytest.mark.parametrize("name", ["started", "response"])
async def test_abort_before_it_is_upgraded_closes(client, name):
    recorder = Recorder()
    client.dispatch(CONNECT, recorder.on(name, lambda: recorder.exchange.abort()))
    client.peer.send(response() + b"leftover")
    await recorder.end()
    assert recorder.stream is None
    await client.peer.closed()


async def test_unasked_for_is_an_error(cut_client):
    recorder = await cut_client.answer(response(b"Upgrade: websocket", status=b"101 OK"))
    assert type(recorder.error) is RemoteProtocolError
    await cut_client.peer.closed()


@pytest.mark.parametrize("expect", [{}, {"Expect": "100-continue"}])
async def test_before_the_request_ended_is_an_error(cut_client, expect):
    """RFC 9110 7.8: the server has to receive the whole request before it switches."""
    headers = {"Connection": "upgrade", "Upgrade": "websocket", **expect}
    recorder = cut_client.dispatch(Request("POST", URL, headers, PUSHED))
    cut_client.peer.send(response(b"Connection: upgrade", b"Upgrade: websocket", status=b"101 OK"))
    await recorder.end()
    assert type(recorder.error) is RemoteProtocolError
    await cut_client.peer.closed()
