"""abort: ends the exchange at once, wherever it stands."""

from __future__ import annotations

import asyncio

import pytest

from httpcore.exceptions import HTTPCoreError, ResponseClosed
from httpcore.request import PUSHED, Request
from tests.protocols.recording import URL, Recorder, response

CL2, TE = b"Content-Length: 2", b"Transfer-Encoding: chunked"
TRANSCRIPT = response(status=b"103 OK") + response(TE, body=b"1\r\no\r\n1\r\nk\r\n0\r\nX: y\r\n\r\n")
ABORTS = {
    "without an error": lambda exchange: exchange.abort(),
    "with an error": lambda exchange: exchange.abort(KeyError("of one's own")),
    "twice": lambda exchange: (exchange.abort(), exchange.abort(ValueError())),
}


def check(client, recorder: Recorder, how: str) -> None:
    assert type(recorder.error) is (KeyError if how == "with an error" else ResponseClosed)
    assert recorder.names[-1] == "failed"
    assert client.protocol.closing
    assert client.protocol.in_flight == 0


@pytest.mark.parametrize("how", ABORTS)
@pytest.mark.parametrize("name", ["started", "informational", "response", "data"])
async def test_in_a_callback(cut_client, name, how):
    recorder = Recorder()
    cut_client.dispatch(None, recorder.on(name, lambda: ABORTS[how](recorder.exchange)))
    cut_client.peer.send(TRANSCRIPT)
    await recorder.end()
    assert recorder.names[-2:] == [name, "failed"]
    check(cut_client, recorder, how)
    await cut_client.peer.closed()
    if name == "started":
        assert cut_client.peer.received == b""


@pytest.mark.parametrize("how", ABORTS)
async def test_in_the_last_callback_is_ignored(client, how):
    recorder = Recorder()
    client.dispatch(None, recorder.on("complete", lambda: ABORTS[how](recorder.exchange)))
    client.peer.send(TRANSCRIPT)
    await recorder.end()
    assert recorder.names[-1] == "complete"
    assert client.protocol.available == 1
    failed = client.dispatch(None, Recorder().on("failed", lambda: failed.exchange.abort()))
    failed.exchange.abort()
    assert failed.names == ["started", "failed"]


@pytest.mark.parametrize("how", ABORTS)
async def test_at_every_byte_of_the_response(connect, how):
    for count in range(len(TRANSCRIPT)):
        client = await connect()
        recorder = client.dispatch()
        client.peer.send(TRANSCRIPT[:count])
        await asyncio.sleep(1)
        ABORTS[how](recorder.exchange)
        check(client, recorder, how)
        await client.peer.closed()


@pytest.mark.parametrize("how", ABORTS)
@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_in_every_state_of_sending(connect, method, how):
    for writes in range(4):
        client = await connect()
        recorder = client.dispatch(Request(method, URL, body=PUSHED))
        for _ in range(writes):
            recorder.exchange.write(b"a")
        ABORTS[how](recorder.exchange)
        check(client, recorder, how)
        if writes == 0 and method == "GET":
            assert isinstance(recorder.error, KeyError) or recorder.error.request_sent is False
        await client.peer.closed()
        assert not client.peer.received.endswith(b"0\r\n\r\n")


async def test_while_a_body_is_awaited(client):
    async def body():
        await asyncio.Event().wait()
        yield b""

    recorder = client.dispatch(Request("POST", URL, body=body()))
    await asyncio.sleep(1)
    recorder.exchange.abort()
    assert type(recorder.error) is ResponseClosed
    await client.peer.closed()


async def test_drops_what_the_server_has_not_taken(connect):
    client = await connect(capacity=1000)
    client.peer.pause()
    recorder = client.dispatch(Request("POST", URL, body=PUSHED))
    recorder.exchange.write(bytes(50_000))
    assert client.transport.get_write_buffer_size() > 40_000
    recorder.exchange.abort()
    assert client.transport.get_write_buffer_size() == 0
    await client.protocol.wait_closed()


async def test_of_an_error_of_the_library_adds_what_the_exchange_did(client):
    recorder = client.dispatch()
    recorder.exchange.abort(HTTPCoreError("enough"))
    assert str(recorder.error) == "enough (example.org:80, waiting for the response head)"


async def test_in_another_exchanges_start_leaves_the_ended_one_alone(client):
    """The owner gives the connection on before the handler hears of the end; that handler may do anything."""
    first = client.dispatch()
    second = Recorder().on("started", lambda: first.exchange.abort())

    def give_on(protocol) -> None:
        protocol.on_change = None
        client.dispatch(None, second)

    client.protocol.on_change = give_on
    client.peer.send(response(CL2, body=b"ok"))
    await first.end()
    assert type(first.error) is ResponseClosed
    client.peer.send(response(CL2, body=b"ok"))
    await second.end()
    assert second.names[-1] == "complete"
