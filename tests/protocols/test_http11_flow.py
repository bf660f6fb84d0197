"""Back-pressure, both ways, through the transport."""

from __future__ import annotations

import asyncio

import pytest

from httpcore.request import PUSHED, Request
from tests.protocols.recording import URL, Recorder, response

MEGABYTE = 1024 * 1024
IN_HAND = 256 * 1024  # what asyncio reads at a time, and may still come after a pause


async def feed(client, size: int) -> None:
    """Sends `size` bytes of content, as fast as they are taken."""
    peer = client.peer
    peer.send(response(b"Content-Length: %d" % size))
    for _ in range(size // 10_000):
        await peer.drain()
        peer.send(bytes(10_000))


@pytest.mark.parametrize("pause_in", ["started", "response", "data", "outside"])
async def test_paused_reading_stops_the_server(client, pause_in):
    recorder = Recorder()
    if pause_in != "outside":
        recorder.on(pause_in, lambda: recorder.exchange.pause_reading())
    client.dispatch(None, recorder)
    if pause_in == "outside":
        recorder.exchange.pause_reading()
    feeding = asyncio.ensure_future(feed(client, MEGABYTE * 10 // 10_000 * 10_000))
    await asyncio.sleep(1)
    assert len(recorder.body) <= IN_HAND
    assert client.peer.writing_paused
    recorder.reactions.clear()
    await asyncio.sleep(10)
    assert len(recorder.body) <= IN_HAND
    recorder.exchange.resume_reading()
    await feeding
    await recorder.end()
    assert len(recorder.body) == MEGABYTE * 10 // 10_000 * 10_000
    assert recorder.names[-1] == "complete"


async def test_pause_and_resume_are_idempotent_and_bound_what_comes(client):
    recorder = Recorder()
    client.dispatch(None, recorder.on("data", lambda: recorder.exchange.pause_reading()))
    feeding = asyncio.ensure_future(feed(client, 500_000))
    while not recorder.ended:
        before = len(recorder.body)
        recorder.exchange.resume_reading()
        recorder.exchange.resume_reading()
        await asyncio.sleep(1)
        assert len(recorder.body) - before <= IN_HAND
    await feeding
    assert len(recorder.body) == 500_000


async def test_reading_goes_on_with_the_next_exchange(client):
    """A pause ends with its exchange, also when the last piece is what it was asked for in."""
    recorder = Recorder()
    client.dispatch(None, recorder.on("data", lambda: recorder.exchange.pause_reading()))
    client.peer.send(response(b"Content-Length: 2", body=b"ok"))
    await recorder.end()
    again = await client.answer(response(b"Content-Length: 2", body=b"ok"))
    assert again.body == b"ok"


async def test_pause_of_an_exchange_that_ended_does_not_touch_the_next(client):
    first = await client.answer(response(b"Content-Length: 2", body=b"ok"))
    second = client.dispatch()
    first.exchange.pause_reading()
    client.peer.send(response(b"Content-Length: 2", body=b"ok"))
    await second.end()
    assert second.body == b"ok"


async def test_end_of_the_connection_is_seen_when_a_paused_exchange_is_aborted(client):
    recorder = client.dispatch()
    recorder.exchange.pause_reading()
    recorder.exchange.abort()
    await client.peer.closed()
    assert client.protocol.closed


@pytest.fixture
async def narrow(connect):
    """A client whose peer reads nothing, on a link that holds little."""
    client = await connect(capacity=1000)
    client.peer.pause()
    return client


async def test_full_transport_stops_the_body_and_goes_on_when_there_is_room(narrow):
    given = 0

    async def body():
        nonlocal given
        while given < MEGABYTE:
            given += 1024
            yield bytes(1024)

    recorder = narrow.dispatch(Request("POST", URL, body=body()))
    await asyncio.sleep(100)
    assert given <= 70_000
    narrow.peer.resume()
    received = await narrow.peer.receive_until(b"\r\n0\r\n\r\n")
    assert given == MEGABYTE
    assert received.count(b"400\r\n") == 1024
    narrow.peer.send(response(b"Content-Length: 0"))
    await recorder.end()
    assert recorder.names[-1] == "complete"


async def test_full_transport_asks_who_pushes_to_stop(narrow):
    recorder = Recorder()
    narrow.dispatch(Request("POST", URL, body=PUSHED), recorder)
    pushed = 0

    def push() -> None:
        nonlocal pushed
        while not recorder.writing_paused and pushed < 300:
            recorder.exchange.write(bytes(1024))
            pushed += 1
        if pushed == 300:
            recorder.exchange.write_eof()

    recorder.on("resume_writing", push)
    push()
    await asyncio.sleep(100)
    assert recorder.names == ["started", "pause_writing"]
    assert pushed < 70
    narrow.peer.resume()
    await narrow.peer.receive_until(b"\r\n0\r\n\r\n")
    assert pushed == 300
    narrow.peer.send(response(b"Content-Length: 0"))
    await recorder.end()
    assert recorder.names.count("pause_writing") == recorder.names.count("resume_writing") > 2


@pytest.mark.parametrize("name", ["pause_writing", "resume_writing"])
async def test_handler_that_raises_when_asked_to_stop_fails_its_exchange(narrow, name):
    error = ValueError("from the handler")

    def fail() -> None:
        raise error

    recorder = narrow.dispatch(Request("POST", URL, body=PUSHED), Recorder().on(name, fail))
    recorder.exchange.write(bytes(100_000))
    narrow.peer.resume()
    await recorder.end()
    assert recorder.error is error
    await narrow.protocol.wait_closed()


async def test_handler_that_aborts_when_the_end_of_its_body_fills_the_transport(connect):
    client = await connect(capacity=1000)
    client.peer.pause()
    recorder = Recorder()
    recorder.on("pause_writing", lambda: recorder.exchange.abort())
    client.dispatch(Request("POST", URL, body=PUSHED), recorder)
    recorder.exchange.write(bytes(1000))
    client.transport.set_write_buffer_limits(high=client.transport.get_write_buffer_size())
    recorder.exchange.write_eof()
    assert recorder.names == ["started", "pause_writing", "failed"]
    assert client.protocol.closing


async def test_exchange_that_starts_on_a_full_transport_waits_for_room(narrow):
    """The server answered before it had read the request; what is left of that stands before the next one."""
    narrow.transport.set_write_buffer_limits(high=1000)
    await narrow.answer_early(Request("POST", URL, body=bytes(60_000)))
    assert narrow.protocol.available == 1
    given = 0

    async def body():
        nonlocal given
        while given < 10:
            given += 1
            yield b"x"

    recorder = narrow.dispatch(Request("PUT", URL, body=body()))
    await asyncio.sleep(10)
    assert given == 1
    narrow.peer.resume()
    await narrow.peer.receive_until(b"\r\n0\r\n\r\n")
    narrow.peer.send(response(b"Content-Length: 0"))
    await recorder.end()
    assert given == 10


async def test_handler_that_aborts_when_the_transport_is_full_at_the_start(narrow):
    narrow.transport.set_write_buffer_limits(high=1000)
    await narrow.answer_early(Request("POST", URL, body=bytes(60_000)))
    recorder = Recorder()
    recorder.on("pause_writing", lambda: recorder.exchange.abort())
    narrow.dispatch(Request("PUT", URL, body=PUSHED), recorder)
    assert recorder.names == ["started", "pause_writing", "failed"]
    await narrow.protocol.wait_closed()


async def test_transport_that_fills_and_empties_while_idle_changes_nothing(narrow):
    narrow.transport.set_write_buffer_limits(high=1000)
    await narrow.answer_early(Request("POST", URL, body=bytes(60_000)))
    narrow.peer.resume()
    await narrow.peer.receive_until(b"\0" * 60_000)
    assert narrow.transport.get_write_buffer_size() == 0
    recorder = narrow.dispatch(Request("PUT", URL, body=PUSHED))
    assert recorder.names == ["started"]
    recorder.exchange.write_eof()
    narrow.peer.send(response(b"Content-Length: 0"))
    await recorder.end()
