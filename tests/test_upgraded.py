"""UpgradedStream: the raw duplex stream behind 101 and CONNECT, read and written, or given to another protocol."""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from httpcore import (
    ConnectError,
    ConnectionPool,
    HTTP11Protocol,
    LocalProtocolError,
    ReadError,
    Request,
    ResponseClosed,
    ResponseHandler,
    ResponseHead,
    UpgradedStream,
    WriteError,
)
from httpcore.headers import Headers
from httpcore.testing import MemoryConnector, MemoryTransport, ScriptedPeer, memory_link
from tests.clock import until
from tests.conftest import TLSFiles
from tests.h11_server import listening
from tests.testing.links import Recorder

MEBIBYTE = bytes(range(256)) * 4096

REQUESTS = {
    "101": lambda: Request("GET", "http://example.org/", {"Connection": "upgrade", "Upgrade": "echo"}),
    "CONNECT": lambda: Request("CONNECT", "http://proxy.example/", target="example.org:443"),
}
ANSWERS = {
    "101": b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n",
    "CONNECT": b"HTTP/1.1 200 Connection established\r\n\r\n",
}


class Upgrading(ResponseHandler):
    """Keeps the stream, and writes down what happens."""

    def __init__(self) -> None:
        self.events: list[object] = []
        self.upgraded: asyncio.Future[UpgradedStream] = asyncio.get_running_loop().create_future()

    def response_received(self, head: ResponseHead) -> None:
        self.events.append(head.status_code)

    def connection_upgraded(self, stream: UpgradedStream) -> None:
        self.events.append("upgraded")
        self.upgraded.set_result(stream)

    def response_complete(self, trailers: Headers) -> None:
        self.events.append("complete")

    def exchange_failed(self, exc: BaseException) -> None:
        self.events.append(exc)


async def upgrade(kind: str = "CONNECT", leftover: bytes = b"") -> tuple[UpgradedStream, ScriptedPeer]:
    """Returns a stream, and the server's end of it."""
    protocol, peer, handler = HTTP11Protocol(), ScriptedPeer(), Upgrading()
    memory_link(protocol, peer)
    await asyncio.sleep(0)
    protocol.dispatch(REQUESTS[kind](), handler)
    await peer.receive_until(b"\r\n\r\n")
    peer.send(ANSWERS[kind] + leftover)
    stream = await handler.upgraded
    await asyncio.sleep(0)
    assert handler.events == [int(ANSWERS[kind].split()[1]), "upgraded", "complete"]
    return stream, peer


async def read_exactly(stream: UpgradedStream, count: int) -> bytes:
    received = b""
    while len(received) < count:
        part = await stream.read()
        assert part
        received += part
    return received


async def end(stream: UpgradedStream, peer: ScriptedPeer) -> None:
    stream.abort()
    await stream.wait_closed()
    peer.close()
    await peer.closed()


# Reading and writing


async def test_stream_that_is_dropped_is_aborted_with_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    stream, peer = await upgrade()
    del stream
    gc.collect()
    assert [str(warning.message) for warning in recwarn.list] == ["unclosed <UpgradedStream to ('127.0.0.1', 80)>"]
    recwarn.clear()
    await peer.receive_eof()
    peer.close()
    await peer.closed()


async def test_stream_with_a_protocol_may_be_dropped() -> None:
    stream, peer = await upgrade()
    recorder = Recorder()
    stream.set_protocol(recorder)
    transport = stream._receiver.transport
    del stream
    gc.collect()
    await asyncio.sleep(0)
    assert not transport.is_closing()
    transport.abort()
    await peer.receive_eof()
    peer.close()
    await peer.closed()


@pytest.mark.parametrize("kind", ANSWERS)
async def test_bytes_go_both_ways(kind: str) -> None:
    stream, peer = await upgrade(kind)
    stream.write(b"ping")
    stream.write(bytearray(b", "))
    stream.write(memoryview(b"ping"))
    await stream.drain()
    assert await peer.receive(10) == b"ping, ping"
    peer.send(b"pong")
    assert await stream.read() == b"pong"
    stream.write(b"HTTP/1.1 is over\r\n\r\n")
    assert await peer.receive_until(b"\r\n\r\n") == b"HTTP/1.1 is over\r\n\r\n"
    await end(stream, peer)


@pytest.mark.parametrize("kind", ANSWERS)
async def test_bytes_behind_the_head_are_the_first_to_be_read(kind: str) -> None:
    stream, peer = await upgrade(kind, b"HTTP/1.1 200 OK\r\n\r\nleftover")
    peer.send(b" and more")
    assert await read_exactly(stream, 36) == b"HTTP/1.1 200 OK\r\n\r\nleftover and more"
    await end(stream, peer)


async def test_large_leftover_is_complete() -> None:
    stream, peer = await upgrade(leftover=MEBIBYTE)
    assert await read_exactly(stream, len(MEBIBYTE)) == MEBIBYTE
    await end(stream, peer)


async def test_read_gives_no_more_than_was_asked_for() -> None:
    stream, peer = await upgrade(leftover=b"0123456789")
    assert [await stream.read(4), await stream.read(4), await stream.read(4)] == [b"0123", b"4567", b"89"]
    waiting = asyncio.create_task(stream.read(1))
    await asyncio.sleep(0)
    peer.send(b"ab")
    assert await waiting == b"a"
    assert await stream.read(100) == b"b"
    await end(stream, peer)


async def test_stream_knows_its_transport() -> None:
    stream, peer = await upgrade()
    assert stream.get_extra_info("peername") == ("127.0.0.1", 80)
    assert stream.get_extra_info("ssl_object") is None
    assert stream.get_extra_info("nothing", "default") == "default"
    await end(stream, peer)


# The end


async def test_end_of_the_peers_stream_leaves_the_other_direction_open() -> None:
    stream, peer = await upgrade(leftover=b"last")
    peer.send_eof()
    assert [await stream.read(), await stream.read(), await stream.read()] == [b"last", b"", b""]
    stream.write(b"still here")
    assert await peer.receive(10) == b"still here"
    stream.close()
    await stream.wait_closed()
    assert await peer.receive_eof() == b""
    peer.close()


async def test_write_eof_ends_one_direction_only() -> None:
    stream, peer = await upgrade()
    stream.write(b"request")
    stream.write_eof()
    assert await peer.receive_eof() == b"request"
    peer.send(b"answer")
    peer.close()
    assert [await stream.read(), await stream.read()] == [b"answer", b""]
    stream.close()
    await stream.wait_closed()


async def test_close_sends_what_was_written_first() -> None:
    stream, peer = await upgrade()
    peer.pause()
    stream.write(MEBIBYTE)
    stream.close()
    closing = asyncio.create_task(stream.wait_closed())
    await asyncio.sleep(0)
    assert not closing.done()
    peer.resume()
    assert await peer.receive(len(MEBIBYTE)) == MEBIBYTE
    await closing
    await stream.wait_closed()
    peer.close()


async def test_abort_drops_what_was_written() -> None:
    stream, peer = await upgrade()
    peer.pause()
    stream.write(MEBIBYTE)
    stream.abort()
    await stream.wait_closed()
    peer.resume()
    assert len(await peer.receive_eof()) < len(MEBIBYTE)
    peer.close()


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_closed_stream_can_neither_be_read_nor_written(how: str) -> None:
    stream, peer = await upgrade()
    waiting = asyncio.create_task(stream.read())
    await asyncio.sleep(0)
    getattr(stream, how)()
    with pytest.raises(ResponseClosed, match=f"the upgraded stream was {how.rstrip('e')}ed"):
        await waiting
    with pytest.raises(ResponseClosed):
        await stream.read()
    with pytest.raises(WriteError, match="the upgraded connection is closed"):
        stream.write(b"x")
    await stream.wait_closed()
    with pytest.raises(WriteError):
        stream.write(b"x")
    with pytest.raises(WriteError):
        await stream.drain()
    getattr(stream, how)()
    peer.close()


async def test_connection_that_breaks_is_an_error_with_its_cause() -> None:
    stream, peer = await upgrade(leftover=b"last")
    peer.abort()
    await stream.wait_closed()
    assert await stream.read() == b"last"
    with pytest.raises(ReadError, match="the upgraded connection broke") as caught:
        await stream.read()
    assert isinstance(caught.value.__cause__, ConnectionResetError)
    with pytest.raises(WriteError) as written:
        stream.write(b"x")
    assert isinstance(written.value.__cause__, ConnectionResetError)
    with pytest.raises(WriteError) as drained:
        await stream.drain()
    assert isinstance(drained.value.__cause__, ConnectionResetError)


async def test_wait_closed_can_be_cancelled_and_called_again() -> None:
    stream, peer = await upgrade()
    waiting = asyncio.create_task(stream.wait_closed())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await end(stream, peer)


# Back-pressure


async def test_stream_that_nobody_reads_stops_the_peer() -> None:
    stream, peer = await upgrade()
    transport = cast(MemoryTransport, stream._receiver.transport)
    peer.send(MEBIBYTE)
    while transport.is_reading():  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0)
    assert peer.writing_paused
    assert stream._receiver.queue.size <= 64 * 1024 + 256 * 1024
    assert await read_exactly(stream, len(MEBIBYTE)) == MEBIBYTE
    assert transport.is_reading() and not peer.writing_paused
    await end(stream, peer)


async def test_drain_waits_until_the_peer_reads() -> None:
    stream, peer = await upgrade()
    peer.pause()
    await stream.drain()
    stream.write(MEBIBYTE)
    draining = asyncio.create_task(stream.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    peer.resume()
    await draining
    assert await peer.receive(len(MEBIBYTE)) == MEBIBYTE
    await end(stream, peer)


async def test_drain_ends_with_the_connection() -> None:
    stream, peer = await upgrade()
    peer.pause()
    stream.write(MEBIBYTE)
    draining = asyncio.create_task(stream.drain())
    await asyncio.sleep(0)
    peer.abort()
    with pytest.raises(WriteError):
        await draining


async def test_reader_that_resumes_after_the_end_asks_nothing_of_the_transport() -> None:
    stream, peer = await upgrade()
    peer.send(bytes(60 * 1024))
    peer.send(bytes(60 * 1024))
    while stream._receiver.queue.size <= 64 * 1024:  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0)
    stream._receiver.transport.abort()  # as by a pool that is closed
    await stream.wait_closed()
    assert await read_exactly(stream, 120 * 1024) == bytes(120 * 1024)
    peer.close()


# A protocol of the caller's own


async def test_attached_protocol_gets_all_that_a_transport_would_give() -> None:
    stream, peer = await upgrade(leftover=b"0123456789")
    assert await stream.read(2) == b"01"
    peer.send(b" more")
    while not stream._receiver.queue.size:  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0)
    recorder = Recorder()
    recorder.on("eof", lambda: True)
    stream.set_protocol(recorder)
    assert recorder.events == ["made", "data"]
    assert bytes(recorder.received) == b"23456789 more"
    recorder.transport.write(b"ping")
    assert await peer.receive(4) == b"ping"
    peer.send(b" and more")
    await recorder.until_received(22)
    peer.send_eof()
    await recorder.until("eof")
    recorder.transport.write(b"pong")
    assert await peer.receive(4) == b"pong"
    recorder.transport.close()
    await recorder.until("lost")
    assert recorder.error is None
    assert recorder.events == ["made", "data", "eof", "lost"]
    await stream.wait_closed()
    peer.close()


async def test_attached_protocol_is_told_nothing_if_nothing_came() -> None:
    stream, peer = await upgrade()
    recorder = Recorder()
    stream.set_protocol(recorder)
    assert recorder.events == ["made"]
    with pytest.raises(RuntimeError, match="has a protocol already"):
        stream.set_protocol(Recorder())
    await end(stream, peer)
    assert recorder.events[-1] == "lost"


async def test_attached_protocol_that_ends_at_eof_closes_the_connection() -> None:
    stream, peer = await upgrade()
    recorder = Recorder()  # whose eof_received returns False
    stream.set_protocol(recorder)
    peer.send_eof()
    await recorder.until("lost")
    assert recorder.events == ["made", "eof", "lost"]
    peer.close()


@pytest.mark.parametrize("stays", [False, True])
async def test_eof_that_came_before_is_passed_on_and_its_answer_heeded(stays: bool) -> None:
    stream, peer = await upgrade(leftover=b"last")
    peer.send_eof()
    assert [await stream.read(1), await stream.read(), await stream.read()] == [b"l", b"ast", b""]
    recorder = Recorder()
    recorder.on("eof", lambda: stays)
    stream.set_protocol(recorder)
    assert recorder.events == ["made", "eof"]
    assert recorder.transport.is_closing() is not stays
    recorder.transport.close()
    await recorder.until("lost")
    peer.close()


async def test_loss_that_came_before_is_passed_on() -> None:
    stream, peer = await upgrade(leftover=b"last")
    peer.abort()
    await stream.wait_closed()
    recorder = Recorder()
    stream.set_protocol(recorder)
    assert recorder.events == ["made", "data", "lost"]
    assert isinstance(recorder.error, ConnectionResetError)


async def test_loss_after_attaching_carries_the_error() -> None:
    stream, peer = await upgrade()
    recorder = Recorder()
    stream.set_protocol(recorder)
    peer.abort()
    await recorder.until("lost")
    assert isinstance(recorder.error, ConnectionResetError)


async def test_attached_protocol_is_paused_and_resumed() -> None:
    stream, peer = await upgrade()
    recorder = Recorder()
    stream.set_protocol(recorder)
    peer.pause()
    recorder.transport.write(MEBIBYTE)
    assert recorder.events == ["made", "pause"]
    peer.resume()
    await recorder.until("resume")
    assert await peer.receive(len(MEBIBYTE)) == MEBIBYTE
    await end(stream, peer)


async def test_protocol_attached_while_writing_is_paused_is_told_so() -> None:
    stream, peer = await upgrade()
    peer.pause()
    stream.write(MEBIBYTE)
    recorder = Recorder()
    stream.set_protocol(recorder)
    assert recorder.events == ["made", "pause"]
    peer.resume()
    await recorder.until("resume")
    await end(stream, peer)


async def test_protocol_attached_while_reading_is_paused_gets_everything() -> None:
    stream, peer = await upgrade()
    peer.send(MEBIBYTE)
    transport = cast(MemoryTransport, stream._receiver.transport)
    while transport.is_reading():  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0)
    recorder = Recorder()
    stream.set_protocol(recorder)
    await recorder.until_received(len(MEBIBYTE))
    assert bytes(recorder.received) == MEBIBYTE
    await end(stream, peer)


async def test_protocol_that_raises_loses_its_connection_as_on_any_transport() -> None:
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
    stream, peer = await upgrade()

    def fail() -> None:
        raise KeyError("mine")

    recorder = Recorder()
    recorder.on("data", fail)
    stream.set_protocol(recorder)
    peer.send(b"x")
    await recorder.until("lost")
    assert isinstance(recorder.error, KeyError)
    assert [str(context["exception"]) for context in reported] == ["'mine'"]
    peer.close()


# Handlers and pools


@pytest.mark.parametrize("kind", ANSWERS)
async def test_handler_that_wants_no_stream_closes_it(kind: str) -> None:
    protocol, peer = HTTP11Protocol(), ScriptedPeer(close_on_eof=True)
    memory_link(protocol, peer)
    await asyncio.sleep(0)
    protocol.dispatch(REQUESTS[kind](), ResponseHandler())
    await peer.receive_until(b"\r\n\r\n")
    peer.send(ANSWERS[kind])
    await protocol.wait_closed()
    assert protocol.closed


async def test_handler_that_raises_when_it_gets_the_stream_loses_it() -> None:
    class Raising(Upgrading):
        def connection_upgraded(self, stream: UpgradedStream) -> None:
            raise KeyError("mine")

    protocol, peer, handler = HTTP11Protocol(), ScriptedPeer(close_on_eof=True), Raising()
    memory_link(protocol, peer)
    await asyncio.sleep(0)
    protocol.dispatch(REQUESTS["101"](), handler)
    await peer.receive_until(b"\r\n\r\n")
    peer.send(ANSWERS["101"])
    await protocol.wait_closed()
    assert handler.events[0] == 101
    assert isinstance(handler.events[1], KeyError) and len(handler.events) == 2


@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize("stream", [False, True])
async def test_stream_of_a_pools_response_outlives_it_and_frees_its_place_in_the_end(kind: str, stream: bool) -> None:
    async with MemoryConnector() as connector, ConnectionPool(connector=connector) as pool:
        asking = asyncio.create_task(pool.send(REQUESTS[kind](), stream=stream))
        peer = await connector.accept()
        await peer.receive_until(b"\r\n\r\n")
        peer.send(ANSWERS[kind] + b"leftover")
        async with await asking as response:
            assert await response.read() == b""
            upgraded = response.upgraded
        assert upgraded is not None
        assert await upgraded.read() == b"leftover"
        upgraded.write(b"ping")
        assert await peer.receive(4) == b"ping"
        assert (pool.num_active_connections, pool.num_keepalive_connections) == (1, 0)
        upgraded.close()
        await upgraded.wait_closed()
        assert pool.num_connections == 0


async def test_pool_that_is_closed_leaves_the_stream_and_closes_it_by_force() -> None:
    async with MemoryConnector() as connector, ConnectionPool(connector=connector) as pool:
        asking = asyncio.create_task(pool.send(REQUESTS["101"]()))
        peer = await connector.accept()
        await peer.receive_until(b"\r\n\r\n")
        peer.send(ANSWERS["101"])
        stream = (await asking).upgraded
        assert stream is not None
        await pool.close()
        stream.write(b"still here")
        assert await peer.receive(10) == b"still here"
        await pool.close(force=True)
        await stream.wait_closed()
        assert await stream.read() == b""
        assert pool.num_connections == 0


async def test_upgraded_connection_takes_no_further_request() -> None:
    stream, peer = await upgrade()
    protocol = cast(MemoryTransport, stream._receiver.transport).get_protocol()
    assert isinstance(protocol, HTTP11Protocol) and protocol.available == 0
    with pytest.raises(LocalProtocolError, match="can take no exchange"):
        protocol.dispatch(Request("GET", "http://example.org/"), ResponseHandler())
    await end(stream, peer)


# TLS inside


class Tunnel(asyncio.Protocol):
    """Answers CONNECT; then speaks TLS, and sends back in capitals what it gets."""

    def __init__(self, context: ssl.SSLContext, leftover: bytes = b"", greeting: bytes = b"") -> None:
        self.context = context
        self.leftover = leftover
        self.greeting = greeting  # sent as soon as TLS is there
        self.transport = cast(asyncio.Transport, None)
        self.task: asyncio.Task[None] | None = None
        self.received = b""
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self.task is None and self.received.endswith(b"\r\n\r\n"):
            self.received = b""
            self.transport.write(ANSWERS["CONNECT"] + self.leftover)
            self.task = asyncio.get_running_loop().create_task(self.start_tls())
        self.send_back()

    async def start_tls(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            transport = await loop.start_tls(self.transport, self, self.context, server_side=True)
        except OSError:
            return  # refused by the client
        assert transport is not None
        self.transport = transport
        transport.write(self.greeting)
        self.send_back()

    def send_back(self) -> None:
        if self.transport.get_extra_info("ssl_object") is not None:
            data, self.received = self.received, b""
            self.transport.write(data.upper())

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


async def through(tunnel: Tunnel, use: Callable[[UpgradedStream], Awaitable[None]]) -> None:
    """Goes through the tunnel over a real socket, and lets `use` use its stream, and end it."""
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)  # the server's own complaint
    async with listening(lambda: tunnel) as listener, ConnectionPool() as pool:
        response = await pool.request("CONNECT", listener.url(), target="example.org:443", stream=True)
        assert response.upgraded is not None
        await use(response.upgraded)
        await response.upgraded.wait_closed()
        assert pool.num_connections == 0
        tunnel.transport.abort()
        assert tunnel.task is not None
        await tunnel.task
        await tunnel.lost


async def test_tls_inside_of_a_tunnel(tls: TLSFiles, caplog: pytest.LogCaptureFixture) -> None:
    async def use(stream: UpgradedStream) -> None:
        await stream.start_tls(tls.client_context, server_hostname="example.org")
        tls_object = stream.get_extra_info("ssl_object")
        assert isinstance(tls_object, ssl.SSLObject) and tls_object.server_hostname == "example.org"
        stream.write(b"hello")
        await stream.drain()
        assert await read_exactly(stream, 5) == b"HELLO"
        stream.write_eof()  # which TLS cannot say
        stream.write(MEBIBYTE)
        assert await read_exactly(stream, len(MEBIBYTE)) == MEBIBYTE.upper()
        stream.close()

    await through(Tunnel(tls.server_context), use)
    assert caplog.messages == []


async def test_end_of_tls_inside_of_a_tunnel_is_the_end_of_the_stream(
    tls: TLSFiles, caplog: pytest.LogCaptureFixture
) -> None:
    tunnel = Tunnel(tls.server_context)

    async def use(stream: UpgradedStream) -> None:
        await stream.start_tls(tls.client_context, server_hostname="example.org")
        stream.write(b"hello")
        assert await read_exactly(stream, 5) == b"HELLO"
        tunnel.transport.close()
        assert await stream.read() == b""

    await through(tunnel, use)
    assert caplog.messages == []  # not "returning true from eof_received() has no effect when using ssl"


async def test_tls_cannot_begin_under_a_protocol_that_is_attached(tls: TLSFiles) -> None:
    async def use(stream: UpgradedStream) -> None:
        stream.set_protocol(asyncio.Protocol())
        with pytest.raises(RuntimeError, match="has a protocol already"):
            await stream.start_tls(tls.client_context, server_hostname="example.org")
        stream.abort()

    await through(Tunnel(tls.server_context), use)


async def test_much_that_comes_together_with_the_end_of_the_handshake_is_read_and_does_not_block(
    tls: TLSFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("httpcore.tls_transport._READ_SIZE", 256 * 1024)  # or less would come at once
    context = tls.server_context
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # in which the server has the last word
    greeting = MEBIBYTE * 2

    async def use(stream: UpgradedStream) -> None:
        stream._receiver.queue._high_water = (
            32 * 1024
        )  # a server on uvloop begins with 48 KiB, one on asyncio with more
        await stream.start_tls(tls.client_context, server_hostname="example.org")
        assert stream._receiver.queue.size > 32 * 1024  # more than the high-water mark came before we got here
        assert not stream._receiver.transport.is_reading()
        assert await read_exactly(stream, len(greeting)) == greeting
        stream.close()

    await through(Tunnel(context, greeting=greeting), use)


@pytest.mark.parametrize("why", ["name", "authority"])
async def test_handshake_that_fails_inside_of_a_tunnel_ends_it(tls: TLSFiles, why: str) -> None:
    context = tls.client_context if why == "name" else ssl.create_default_context()

    async def use(stream: UpgradedStream) -> None:
        with pytest.raises(ConnectError, match="the server's certificate was refused: ") as caught:
            await stream.start_tls(context, server_hostname="else.example" if why == "name" else "example.org")
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)

    await through(Tunnel(tls.server_context), use)


@pytest.mark.parametrize("how", ["reset", "end", "cancel"])
async def test_connection_that_is_lost_in_the_handshake_is_given_up(tls: TLSFiles, how: str) -> None:
    """asyncio tells the protocol nothing of it."""
    peer = ScriptedPeer(close_on_eof=True)
    async with listening(lambda: peer) as listener, ConnectionPool() as pool:
        asking = asyncio.ensure_future(pool.request("CONNECT", listener.url(), target="example.org:443", stream=True))
        await until(lambda: peer.connected)
        await peer.receive_until(b"\r\n\r\n")
        peer.send(ANSWERS["CONNECT"])
        stream = (await asking).upgraded
        assert stream is not None
        starting = asyncio.ensure_future(stream.start_tls(tls.client_context, server_hostname="example.org"))
        assert await peer.receive(1) == b"\x16"
        if how == "cancel":
            starting.cancel()
        elif how == "reset":
            peer.abort()
        else:
            peer.close()
        with pytest.raises(asyncio.CancelledError if how == "cancel" else ConnectError):
            await starting
        await stream.wait_closed()
        assert pool.num_connections == 0
        await peer.closed()


async def test_bytes_before_tls_are_refused(tls: TLSFiles) -> None:
    async def use(stream: UpgradedStream) -> None:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="bytes came before TLS began"):
                await stream.start_tls(tls.client_context, server_hostname="example.org")
            assert await stream.read(2) == b"in"  # which leaves some for the second time
        stream.abort()

    await through(Tunnel(tls.server_context, leftover=b"ininjected"), use)
