"""UpgradedStream: its transport given away (`detach`), bytes put back (`unread`), and `Relay`."""

from __future__ import annotations

import asyncio
import gc
from typing import cast

import pytest

from httpcore import ConnectionPool, ReadError, ReadTimeout, ResponseClosed, UpgradedStream, WriteError
from httpcore.testing import MemoryConnector, MemoryTransport, ScriptedPeer, memory_link
from httpcore.upgraded import Relay, within
from tests.clock import turns, until
from tests.test_upgraded import MEBIBYTE, end, read_exactly, upgrade
from tests.testing.links import Recorder

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


async def relayed() -> tuple[UpgradedStream, ScriptedPeer]:
    """Returns a stream where no HTTP was, and the server's end of it."""
    relay, peer = Relay(), ScriptedPeer()
    memory_link(relay, peer)
    await asyncio.sleep(0)
    return UpgradedStream(relay.receiver), peer


async def taken_over(transport: asyncio.Transport) -> Recorder:
    recorder = Recorder()
    transport.set_protocol(recorder)
    recorder.connection_made(transport)
    return recorder


@pytest.fixture(params=["relay", "HTTP/1.1"])
def make(request: pytest.FixtureRequest):
    return relayed if request.param == "relay" else upgrade


# detach


async def test_transport_is_given_away_with_what_was_not_read(make) -> None:
    stream, peer = await make()
    peer.send(b"0123456789")
    assert await stream.read(4) == b"0123"
    transport, unread = stream.detach()
    assert unread == b"456789"
    recorder = await taken_over(transport)
    peer.send(b"more")
    await recorder.until_received(4)
    assert bytes(recorder.received) == b"more"
    transport.write(b"answer")
    assert await peer.receive(6) == b"answer"
    transport.close()
    await recorder.until("lost")
    peer.close()


async def test_stream_is_over_for_its_user_once_the_transport_is_given_away(make) -> None:
    stream, peer = await make()
    transport, unread = stream.detach()
    recorder = await taken_over(transport)
    assert unread == b""
    assert await stream.read() == b""
    with pytest.raises(WriteError):
        stream.write(b"x")
    with pytest.raises(WriteError):
        await stream.drain()
    with pytest.raises(ReadError, match="the connection was closed"):
        stream.detach()
    await stream.wait_closed()
    transport.abort()
    await recorder.until("lost")
    peer.close()


async def test_stream_that_gave_its_transport_away_may_be_dropped(make) -> None:
    stream, peer = await make()
    transport, _ = stream.detach()
    recorder = await taken_over(transport)
    del stream
    gc.collect()
    await turns()
    assert not transport.is_closing()
    peer.send(b"still there")
    await recorder.until_received(11)
    transport.abort()
    await recorder.until("lost")
    peer.close()


async def test_reader_that_waits_while_the_transport_is_given_away_sees_the_end(make) -> None:
    stream, peer = await make()
    reading = asyncio.ensure_future(stream.read())
    await turns()
    transport, _ = stream.detach()
    recorder = await taken_over(transport)
    peer.send(b"x")
    assert await reading == b""
    await recorder.until_received(1)
    transport.abort()
    await recorder.until("lost")
    peer.close()


async def test_more_than_the_high_water_mark_is_given_away_and_reading_goes_on(make) -> None:
    stream, peer = await make()
    peer.send(MEBIBYTE)
    transport = cast(MemoryTransport, stream._receiver.transport)
    await until(lambda: not transport.is_reading())
    detached, unread = stream.detach()
    assert detached is transport
    recorder = await taken_over(transport)
    assert transport.is_reading()
    await recorder.until_received(len(MEBIBYTE) - len(unread))
    assert unread + bytes(recorder.received) == MEBIBYTE
    assert len(unread) > 64 * 1024
    transport.abort()
    await recorder.until("lost")
    peer.close()


async def test_attached_protocol_keeps_the_transport(make) -> None:
    stream, peer = await make()
    recorder = Recorder()
    stream.set_protocol(recorder)
    with pytest.raises(RuntimeError, match="has a protocol already"):
        stream.detach()
    peer.send(b"x")
    await recorder.until_received(1)
    stream.abort()
    await recorder.until("lost")
    peer.close()


async def test_transport_that_is_given_away_tells_nobody_of_its_end(make) -> None:
    """Whoever has it may end it before a protocol of its own is there."""
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
    stream, peer = await make()
    transport, _ = stream.detach()
    peer.send(b"to nobody")
    transport.abort()
    await stream.wait_closed()
    peer.close()
    await peer.closed()
    assert reported == []


@pytest.mark.parametrize("how", ["eof", "reset", "close", "abort"])
async def test_connection_that_is_over_cannot_be_given_away(make, how: str) -> None:
    stream, peer = await make()
    if how == "eof":
        peer.send_eof()
        assert await stream.read() == b""
    elif how == "reset":
        peer.abort()
        await stream.wait_closed()
    else:
        getattr(stream, how)()
    with pytest.raises(ReadError, match="the connection was closed") as caught:
        stream.detach()
    if how == "reset":
        assert isinstance(caught.value.__cause__, ConnectionResetError)
    await stream.wait_closed()
    peer.close()


async def test_place_in_the_pool_is_free_once_the_transport_is_given_away() -> None:
    connector: MemoryConnector[ScriptedPeer] = MemoryConnector()
    pool = ConnectionPool(connector=connector)
    asking = asyncio.ensure_future(
        pool.request("CONNECT", "http://proxy.example/", target="example.org:443", stream=True)
    )
    peer = await connector.accept()
    await peer.receive_until(b"\r\n\r\n")
    peer.send(ESTABLISHED + b"leftover")
    stream = (await asking).upgraded
    assert stream is not None
    assert pool.num_connections == 1
    transport, unread = stream.detach()
    assert unread == b"leftover"
    assert pool.num_connections == 0
    recorder = await taken_over(transport)
    await pool.close(force=True)
    assert not transport.is_closing(), "it is the pool's no more"
    peer.send(b"x")
    await recorder.until_received(1)
    transport.close()
    await recorder.until("lost")
    peer.close()
    await connector.all_closed()


# unread


async def test_what_is_put_back_is_read_next(make) -> None:
    stream, peer = await make()
    peer.send(b"0123456789")
    assert await stream.read(4) == b"0123"
    stream.unread(b"23")
    assert await read_exactly(stream, 8) == b"23456789"
    stream.unread(b"89")
    _, unread = stream.detach()
    assert unread == b"89"
    stream._receiver.transport.abort()
    await turns()
    peer.close()


async def test_what_is_put_back_goes_to_a_protocol_that_is_attached(make) -> None:
    stream, peer = await make()
    stream.unread(b"first, ")
    peer.send(b"second")
    await turns()
    recorder = Recorder()
    stream.set_protocol(recorder)
    await recorder.until_received(13)
    assert bytes(recorder.received) == b"first, second"
    await end(stream, peer)


# Relay


async def test_relay_hands_everything_on() -> None:
    stream, peer = await relayed()
    peer.send(b"ping")
    assert await stream.read() == b"ping"
    stream.write(b"pong")
    assert await peer.receive(4) == b"pong"
    peer.pause()
    stream.write(MEBIBYTE)
    draining = asyncio.ensure_future(stream.drain())
    await turns()
    assert not draining.done()
    peer.resume()
    await draining
    assert await peer.receive(len(MEBIBYTE)) == MEBIBYTE
    peer.send_eof()
    assert await stream.read() == b""
    stream.write(b"half-open")
    assert await peer.receive(9) == b"half-open"
    stream.close()
    await stream.wait_closed()
    with pytest.raises(WriteError):
        stream.write(b"x")
    peer.close()


async def test_stream_on_a_relay_that_is_dropped_is_aborted_with_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    stream, peer = await relayed()
    del stream
    gc.collect()
    assert [str(warning.message) for warning in recwarn.list] == ["unclosed <UpgradedStream to ('127.0.0.1', 80)>"]
    recwarn.clear()
    await peer.receive_eof()
    peer.close()
    await peer.closed()


async def test_reader_of_an_aborted_relay_is_told() -> None:
    stream, peer = await relayed()
    reading = asyncio.ensure_future(stream.read())
    await turns()
    stream.abort()
    with pytest.raises(ResponseClosed):
        await reading
    await stream.wait_closed()
    peer.close()


# within


async def test_timeout_of_what_is_awaited_is_told_apart_from_the_limit() -> None:
    async def fail() -> None:
        raise error

    error = TimeoutError("of the system's")
    for seconds in (None, 60):
        with pytest.raises(TimeoutError) as caught:
            await within(fail(), seconds, ReadTimeout)
        assert caught.value is error
    with pytest.raises(ReadTimeout, match="not done within 0 seconds"):
        await within(asyncio.sleep(60), 0, ReadTimeout)
