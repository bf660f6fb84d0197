"""What goes through tunnels on HTTP/2: protocols of the caller's, and TLS; and extended CONNECT that has to wait."""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from httpcore.config import TimeoutConfig
from httpcore.exceptions import (
    ConnectError,
    LocalProtocolError,
    ReadError,
    RemoteProtocolError,
    ResponseClosed,
    WriteTimeout,
)
from httpcore.testing import HTTP2Peer
from httpcore.upgraded import UpgradedStream
from tests.clock import Clock, clock, turns, until
from tests.protocols.http2_owner import LOSSES, Watch, gone, unprocessed
from tests.protocols.http2_script import HTTP2Client, shape
from tests.protocols.http2_tunnels import CONNECT, PATTERN, WEBSOCKET, Caller, attached, read_all, tunnel
from tests.protocols.recording import Recorder

__all__ = ["clock"]


@pytest.fixture
async def reported() -> list[BaseException]:
    errors: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: errors.append(context["exception"]))
    return errors


# Protocols of the caller's


@pytest.mark.parametrize("callback", ["data", "eof", "pause", "resume"])
async def test_protocol_that_raises_ends_its_tunnel_and_nothing_else(cut_http2, reported, callback):
    client, error = cut_http2, ValueError("from the protocol")
    caller, other = await attached(client), await attached(client)

    def fail() -> None:
        raise error

    caller.on(callback, fail)
    if callback in ("pause", "resume"):
        client.peer.auto_credit = False
        caller.transport.write(bytes(150_000))
        client.peer.credit(150_000)
        client.peer.credit(150_000, 1)
    else:
        client.peer.send_data(1, b"content", end_stream=True)
    await caller.until("lost")
    assert reported == [error]
    assert await client.peer.receive_reset(1) == ErrorCodes.CANCEL
    client.peer.auto_credit = True
    other.transport.write(b"alive")
    assert await client.peer.receive_data(3) == b"alive"
    other.transport.abort()
    await other.until("lost")


async def test_protocol_that_raises_in_connection_lost_is_reported(cut_http2, reported):
    caller, error = await attached(cut_http2), ValueError("from the protocol")

    def fail() -> None:
        raise error

    caller.on("lost", fail)
    cut_http2.peer.reset(1)
    await caller.until("lost")
    await turns()
    assert reported == [error]
    await cut_http2.still_works()


@pytest.mark.parametrize("act", ["abort", "close"])
@pytest.mark.parametrize("callback", ["data", "eof", "pause", "resume"])
async def test_protocol_may_end_the_tunnel_in_a_callback(cut_http2, callback, act):
    client = cut_http2
    caller = await attached(client)
    caller.on(callback, lambda: getattr(caller.transport, act)() or True)
    if callback in ("pause", "resume"):
        client.peer.auto_credit = False
        caller.transport.write(bytes(150_000))
        client.peer.credit(150_000)
        client.peer.credit(150_000, 1)
        if act == "close":
            assert len(await client.peer.receive_body(1)) == 150_000
    client.peer.auto_credit = True
    if act == "close" or callback in ("data", "eof"):
        client.peer.send_data(1, b"content")
        client.peer.send_data(1, b"more", end_stream=True)
    await caller.until("lost")
    assert caller.error is None
    await until(lambda: client.protocol.in_flight == 0)
    if callback == "data":
        assert caller.received == b"content"
    await client.settle()


async def test_protocol_that_is_attached_late_gets_what_came_and_the_end(cut_http2):
    stream = await tunnel(cut_http2)
    cut_http2.peer.send_data(1, b"early", end_stream=True)
    await until(lambda: stream._receiver.eof)
    caller = Caller()
    caller.on("eof", lambda: False)
    stream.set_protocol(caller)
    await caller.until("lost")
    assert caller.events == ["made", "data", "eof", "lost"]
    assert caller.received == b"early"
    with pytest.raises(RuntimeError, match="has a protocol already"):
        stream.set_protocol(caller)
    assert await cut_http2.peer.receive_body(1) == b""


class Buffered(asyncio.BufferedProtocol):
    """A protocol with a buffer of its own, smaller than what comes."""

    def __init__(self) -> None:
        self.received = b""
        self.ended = asyncio.Event()
        self._buffer = bytearray(1000)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received += self._buffer[:nbytes]

    def eof_received(self) -> None:
        self.ended.set()


async def test_protocol_with_buffers_of_its_own_may_take_the_transport_over(cut_http2):
    transport, unread = (await tunnel(cut_http2)).detach()
    assert unread == b""
    buffered = Buffered()
    transport.set_protocol(buffered)
    transport.resume_reading()
    cut_http2.peer.send_data(1, PATTERN[:40_000])
    cut_http2.peer.send_data(1, b"", end_stream=True)
    await buffered.ended.wait()
    assert buffered.received == PATTERN[:40_000]
    assert await cut_http2.peer.receive_body(1) == b""
    await cut_http2.settle()


# TLS inside, to a real server behind a scripted proxy


@asynccontextmanager
async def proxied(
    client: HTTP2Client, context: ssl.SSLContext, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]
) -> AsyncIterator[UpgradedStream]:
    """A tunnel through the peer to a TLS server on a socket."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)  # type: ignore[misc]
        finally:
            writer.close()

    async def upstream() -> None:
        try:
            while data := await client.peer.receive_data(1):
                writer.write(data)
                await writer.drain()
            writer.write_eof()
        except ConnectionError:
            writer.transport.abort()

    async def downstream() -> None:
        try:
            while data := await reader.read(30_000):
                client.peer.send_data(1, data)
            client.peer.send_data(1, b"", end_stream=True)
        except Exception:  # h2's, once the client has reset the stream
            assert 1 in client.peer._over or not client.peer.connected

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    stream = await tunnel(client)
    relays = [asyncio.ensure_future(relay()) for relay in (upstream, downstream)]
    try:
        yield stream
    finally:
        stream.abort()
        await stream.wait_closed()
        await client.settle()
        await asyncio.gather(*relays)
        writer.close()
        server.close()
        await server.wait_closed()


async def send_back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(50_000):
            writer.write(data)
            await writer.drain()
    except OSError:
        return


async def test_much_goes_both_ways_in_tls(http2, tls):
    content = PATTERN * 8
    async with proxied(http2, tls.server_context, send_back) as stream:
        await stream.start_tls(tls.client_context, server_hostname="example.org")
        assert isinstance(stream.get_extra_info("ssl_object"), ssl.SSLObject)
        assert stream.get_extra_info("peername") == http2.transport.get_extra_info("peername")

        async def send() -> None:
            for start in range(0, len(content), 100_000):
                stream.write(content[start : start + 100_000])
                await stream.drain()

        sending = asyncio.ensure_future(send())
        received = bytearray()
        while len(received) < len(content):
            received += await stream.read()
        await sending
        assert received == content
        await http2.still_works()
    await http2.still_works()


async def test_end_of_tls_is_the_end_of_the_stream(http2, tls):
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello and goodbye")

    async with proxied(http2, tls.server_context, greet) as stream:
        await stream.start_tls(tls.client_context, server_hostname="example.org")
        assert await read_all(stream) == b"hello and goodbye"
        stream.close()
        await stream.wait_closed()
        await until(lambda: http2.protocol.in_flight == 0)


async def test_certificate_that_is_not_trusted_ends_the_tunnel(http2, tls):
    async with proxied(http2, tls.server_context, send_back) as stream:
        with pytest.raises(ConnectError, match="certificate"):
            await stream.start_tls(ssl.create_default_context(), server_hostname="example.org")
        await stream.wait_closed()
        await until(lambda: http2.protocol.in_flight == 0)
    await http2.still_works()


@pytest.mark.parametrize("how", ["reset", "lost", "end", "cancel"])
async def test_tunnel_that_is_lost_in_the_handshake(http2, tls, how):
    stream = await tunnel(http2)
    starting = asyncio.ensure_future(stream.start_tls(tls.client_context, server_hostname="example.org"))
    assert (await http2.peer.receive_data(1)).startswith(b"\x16\x03")
    if how == "reset":
        http2.peer.reset(1)
    elif how == "lost":
        http2.peer.abort()
    elif how == "cancel":
        starting.cancel()
    else:
        http2.peer.send_data(1, b"", end_stream=True)
    with pytest.raises(asyncio.CancelledError if how == "cancel" else ConnectError):
        await starting
    await stream.wait_closed()
    if how == "end":
        http2.peer.reset(1)
        await until(lambda: http2.protocol.in_flight == 0)


async def test_garbage_in_place_of_tls_is_an_error_of_the_stream(http2, tls):
    async with proxied(http2, tls.server_context, send_back) as stream:
        await stream.start_tls(tls.client_context, server_hostname="example.org")
        http2.peer.send_data(1, b"this is no TLS record, not at all")
        with pytest.raises(ReadError) as caught:
            await stream.read()
        assert isinstance(caught.value.__cause__, ssl.SSLError)
        assert await http2.peer.receive_reset(1) == ErrorCodes.CANCEL
    await http2.still_works()


# Extended CONNECT that waits


@pytest.mark.parametrize("loss", LOSSES)
async def test_extended_connect_that_waits_is_lost_with_the_connection(connect_http2, loss):
    client = await connect_http2(HTTP2Peer(None), settled=False)
    recorder = client.dispatch(WEBSOCKET)
    await turns()
    LOSSES[loss](client.peer)
    await recorder.end()
    assert type(recorder.error) is (ReadError if loss == "reset" else RemoteProtocolError)
    assert not recorder.error.request_sent and unprocessed(recorder)
    await gone(client)


async def test_extended_connect_that_waits_for_too_long_ends_with_a_write_timeout(connect_http2, clock: Clock):
    client = await connect_http2(HTTP2Peer(None), settled=False)
    recorder = client.dispatch(WEBSOCKET, timeout=TimeoutConfig(write_timeout=3.0))
    await clock.advance(3.1)
    await recorder.end()
    assert type(recorder.error) is WriteTimeout
    assert not recorder.error.request_sent
    client.peer.update_settings({SettingCodes.ENABLE_CONNECT_PROTOCOL: 1})
    await client.peer.receive_settings_ack()
    assert client.protocol.available > 0
    await client.still_works()
    assert shape(client.peer, 1) == ["HEADERS END"]  # of the request that still_works has sent


async def test_extended_connects_that_wait_go_out_within_the_limit(connect_http2):
    client = await connect_http2(HTTP2Peer(None), settled=False)
    recorders = [client.dispatch(WEBSOCKET) for _ in range(3)]
    recorders.pop(1).exchange.abort()
    client.peer.update_settings({SettingCodes.ENABLE_CONNECT_PROTOCOL: 1, SettingCodes.MAX_CONCURRENT_STREAMS: 1})
    first = await client.peer.receive_request()
    client.peer.respond(first.stream_id, end_stream=False)
    await recorders[0].end()
    assert recorders[0].stream is not None
    assert recorders[1].names == ["started"]
    recorders[0].stream.abort()
    second = await client.peer.receive_request()
    client.peer.respond(second.stream_id, 403)
    await recorders[1].end()
    assert (recorders[1].statuses, recorders[1].stream) == ([403], None)


async def test_extended_connects_that_wait_all_fail_where_the_server_does_not_take_them(connect_http2):
    client = await connect_http2(HTTP2Peer(None), settled=False)
    watch = Watch(client)
    recorders = [client.dispatch(WEBSOCKET) for _ in range(100)]
    recorders[0].on("failed", recorders[1].exchange.abort)
    client.peer.update_settings({})
    for recorder in recorders:
        await recorder.end()
    assert type(recorders.pop(1).error) is ResponseClosed
    assert {type(recorder.error) for recorder in recorders} == {LocalProtocolError}
    assert watch.last[1:] == (0, False, False)
    await client.still_works()


async def test_handler_that_keeps_no_stream_has_it_closed_with_a_warning(http2, recwarn):
    recorder, _ = await http2.ask(CONNECT, Recorder())
    http2.peer.respond(1, end_stream=False)
    await recorder.end()
    recorder.stream = None
    gc.collect()
    assert [str(warning.message).partition(" ")[0] for warning in recwarn.list] == ["unclosed"]
    recwarn.clear()
    assert await http2.peer.receive_reset(1) == ErrorCodes.CANCEL
