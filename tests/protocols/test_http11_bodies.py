"""A body of the caller's that goes wrong fails its exchange with its own error, and the connection goes."""

from __future__ import annotations

import asyncio

import pytest

from httpcore.exceptions import LocalProtocolError, ResponseClosed
from httpcore.request import Request
from tests.protocols.recording import URL, Recorder, response

OK = response(b"Content-Length: 2", body=b"ok")


def request(method: str = "POST", **options) -> Request:
    return Request(method, URL, **options)


async def chunks(*parts: object):
    for part in parts:
        await asyncio.sleep(0)
        yield part


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("before", [[], [b"a"]])
async def test_generator_that_raises(client, method, before):
    error = ValueError("from the body")

    async def body():
        for part in before:
            yield part
        raise error

    recorder = client.dispatch(request(method, body=body()))
    await recorder.end()
    assert recorder.error is error
    await client.peer.closed()
    assert not client.peer.received.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("wrong", ["text", 5, None])
async def test_generator_that_yields_what_is_no_bytes(client, wrong):
    recorder = client.dispatch(request(body=chunks(wrong)))
    await recorder.end()
    assert type(recorder.error) is TypeError


async def test_callable_that_returns_no_body(client):
    recorder = client.dispatch(request(body=lambda: 5))
    await recorder.end()
    assert type(recorder.error) is TypeError


async def test_callable_that_raises(client):
    def body():
        raise KeyError("from the callable")

    recorder = client.dispatch(request(body=body))
    await recorder.end()
    assert type(recorder.error) is KeyError


async def test_trailers_that_raise(client):
    def trailers():
        raise KeyError("from the trailers")

    recorder = client.dispatch(request(body=b"a", trailers=trailers))
    await recorder.end()
    assert type(recorder.error) is KeyError


async def test_trailers_that_are_not_allowed(client):
    recorder = client.dispatch(request(body=b"a", trailers=lambda: {"Host": "other"}))
    await recorder.end()
    assert type(recorder.error) is LocalProtocolError


async def test_generator_that_is_cancelled_from_inside(client):
    async def body():
        yield b"a"
        raise asyncio.CancelledError

    recorder = client.dispatch(request(body=body()))
    await recorder.end()
    assert type(recorder.error) is asyncio.CancelledError
    await client.peer.closed()


async def test_generator_that_is_used_twice(client):
    body = chunks(b"a")
    sent = request(body=body)
    recorder = client.dispatch(sent)
    await client.peer.receive_until(b"0\r\n\r\n")
    client.peer.send(OK)
    await recorder.end()
    again = client.dispatch(sent)
    await again.end()
    assert type(again.error) is LocalProtocolError


async def test_generator_is_closed_when_the_exchange_is_aborted(client):
    closed = asyncio.Event()

    async def body():
        try:
            yield b"a"
            await asyncio.Event().wait()
        finally:
            closed.set()

    recorder = client.dispatch(request(body=body()))
    await client.peer.receive_until(b"a\r\n")
    recorder.exchange.abort()
    await closed.wait()
    assert type(recorder.error) is ResponseClosed


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_generator_that_aborts_its_own_exchange_is_read_no_further(client, method):
    given: list[bytes] = []
    recorder = Recorder()

    async def body():
        yield b"first"
        recorder.exchange.abort()
        for _ in range(10):
            given.append(b"more")
            yield b"more"

    client.dispatch(request(method, body=body()), recorder)
    await recorder.end()
    await client.peer.closed()
    assert given == [b"more"]
    assert b"more" not in client.peer.received


@pytest.mark.parametrize("where", ["body", "trailers"])
async def test_end_after_its_own_abort_is_not_sent(client, where):
    recorder = Recorder()

    async def body():
        yield b"a"
        if where == "body":
            recorder.exchange.abort()

    def trailers():
        recorder.exchange.abort()
        return {"X-Sum": "1"}

    client.dispatch(request(body=body(), trailers=trailers), recorder)
    await recorder.end()
    await client.peer.closed()
    assert type(recorder.error) is ResponseClosed
    assert client.peer.received.endswith(b"1\r\na\r\n")


async def test_error_after_the_exchange_ended_is_not_told(client):
    async def body():
        try:
            yield b"a"
            await asyncio.Event().wait()
        finally:
            raise ValueError("nobody listens any more")

    recorder = client.dispatch(request(body=body()))
    await client.peer.receive_until(b"a\r\n")
    recorder.exchange.abort()
    await client.peer.closed()
    assert type(recorder.error) is ResponseClosed
