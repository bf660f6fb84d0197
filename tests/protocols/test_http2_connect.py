"""CONNECT and extended CONNECT on HTTP/2: the stream is the caller's from 2xx on (RFC 9113 8.5, RFC 8441)."""

from __future__ import annotations

import asyncio
import gc
import ssl
from typing import cast

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from httpcore.config import HTTP2Config
from httpcore.exceptions import LocalProtocolError, ReadError, RemoteProtocolError, ResponseClosed, WriteError
from httpcore.request import Request
from httpcore.testing import HTTP2Peer
from httpcore.upgraded import UpgradedStream
from tests.protocols.http2_script import HTTP2Client, shape
from tests.protocols.recording import Recorder

CONNECT = Request("CONNECT", "http://proxy:3128", {"X": "y"}, target="example.org:443")
WEBSOCKET = Request("CONNECT", "https://example.org/chat?x", {"Origin": "o"}, protocol="websocket")
EXTENDED = {SettingCodes.ENABLE_CONNECT_PROTOCOL: 1}


@pytest.fixture
async def cut(connect_http2, segment) -> HTTP2Client:
    """A client whose server takes extended CONNECT."""
    return await connect_http2(HTTP2Peer(EXTENDED), segment=segment)  # type: ignore[no-any-return]


@pytest.fixture
async def client(connect_http2) -> HTTP2Client:
    return await connect_http2(HTTP2Peer(EXTENDED))  # type: ignore[no-any-return]


async def tunnel(client: HTTP2Client, request: Request = CONNECT) -> UpgradedStream:
    """Opens a tunnel on the next stream."""
    recorder, incoming = await client.ask(request)
    assert not incoming.end_stream
    client.peer.respond(incoming.stream_id, end_stream=False)
    await recorder.end()
    assert recorder.names == ["started", "response", "upgraded", "complete"]
    assert recorder.stream is not None
    stream, recorder.stream = recorder.stream, None  # the test's reference is the only one
    return stream


async def test_connect_names_its_target_alone(cut):
    recorder, incoming = await cut.ask(CONNECT)
    assert incoming.fields == [(b":method", b"CONNECT"), (b":authority", b"example.org:443"), (b"x", b"y")]
    assert not incoming.end_stream
    recorder.exchange.abort()


async def test_extended_connect_says_where_and_what(cut):
    recorder, incoming = await cut.ask(WEBSOCKET)
    assert incoming.fields == [
        (b":method", b"CONNECT"),
        (b":protocol", b"websocket"),
        (b":scheme", b"https"),
        (b":authority", b"example.org"),
        (b":path", b"/chat?x"),
        (b"origin", b"o"),
    ]
    assert not incoming.end_stream
    recorder.exchange.abort()


@pytest.mark.parametrize("status", [200, 299])
@pytest.mark.parametrize("fields", [(), [("content-length", "2")]])  # which mean nothing: RFC 9110 9.3.6
@pytest.mark.parametrize("request_", [CONNECT, WEBSOCKET], ids=["CONNECT", "websocket"])
async def test_gives_a_raw_stream_both_ways(cut, request_, status, fields):
    recorder, _ = await cut.ask(request_)
    cut.peer.respond(1, 103, end_stream=False)
    cut.peer.respond(1, status, fields, b"at once", end_stream=False)
    await recorder.end()
    assert recorder.names == ["started", "informational", "response", "upgraded", "complete"]
    stream = recorder.stream
    assert stream is not None
    assert cut.protocol.in_flight == 1  # it has its place among the streams until it is closed
    cut.peer.send_data(1, b", and more")
    received = b""
    while len(received) < 17:
        received += await stream.read()
    assert received == b"at once, and more"
    stream.write(b"up")
    assert await cut.peer.receive_data(1) == b"up"
    await cut.still_works()
    cut.peer.send_data(1, b"", end_stream=True)
    assert await stream.read() == b""
    stream.write(b"half-closed")
    assert await cut.peer.receive_data(1) == b"half-closed"
    stream.close()
    await stream.wait_closed()
    assert await cut.peer.receive_body(1) == b""
    assert cut.protocol.in_flight == 0
    await cut.still_works()


async def test_end_by_the_caller_leaves_the_other_direction_open(cut):
    stream = await tunnel(cut)
    stream.write(b"last words")
    stream.write_eof()
    assert await cut.peer.receive_body(1) == b"last words"
    cut.peer.send_data(1, b"answer", end_stream=True)
    received = b""
    while part := await stream.read():
        received += part
    assert received == b"answer"
    await stream.wait_closed()
    assert cut.protocol.in_flight == 0


async def test_close_sends_what_was_written_first(cut):
    cut.peer.auto_credit = False
    stream = await tunnel(cut)
    stream.write(bytes(100_000))
    stream.close()
    cut.peer.credit(100_000, 1)
    cut.peer.credit(100_000)
    assert len(await cut.peer.receive_body(1)) == 100_000
    await stream.wait_closed()
    assert cut.protocol.in_flight == 1  # the server may take its time to end its side
    cut.peer.send_data(1, b"", end_stream=True)
    await cut.settle()
    assert cut.protocol.in_flight == 0
    cut.peer.auto_credit = True
    await cut.still_works()


async def test_close_does_not_wait_for_ever_for_the_servers_end(client, clock):
    stream = await tunnel(client)
    stream.close()
    assert await client.peer.receive_body(1) == b""
    client.peer.send_data(1, b"still talking")
    assert client.protocol.in_flight == 1
    assert await client.peer.receive_reset(1) is ErrorCodes.CANCEL
    assert 1000.0 < clock.now <= 1010.0
    assert client.protocol.in_flight == 0
    await client.still_works()


async def test_abort_resets_the_stream_only(cut):
    stream = await tunnel(cut)
    stream.write(b"some")
    stream.abort()
    assert await cut.peer.receive_reset(1) is ErrorCodes.CANCEL
    await stream.wait_closed()
    with pytest.raises(ResponseClosed):
        await stream.read()
    with pytest.raises(WriteError):
        stream.write(b"more")
    await cut.still_works()


async def test_reset_by_the_server_breaks_the_stream_only(cut):
    stream = await tunnel(cut)
    cut.peer.reset(1, ErrorCodes.CONNECT_ERROR)
    await stream.wait_closed()
    with pytest.raises(ReadError) as caught:
        await stream.read()
    assert "CONNECT_ERROR" in str(caught.value.__cause__)
    with pytest.raises(WriteError):
        stream.write(b"more")
    await cut.still_works()


async def test_end_of_the_connection_ends_the_stream(cut):
    stream = await tunnel(cut)
    cut.peer.abort()
    await stream.wait_closed()
    with pytest.raises(ReadError):
        await stream.read()
    assert cut.protocol.closed


async def test_connection_that_is_to_close_waits_for_its_tunnels(cut):
    stream = await tunnel(cut)
    cut.peer.goaway()
    await cut.settle()
    assert cut.protocol.closing
    stream.write(b"still here")
    assert await cut.peer.receive_data(1) == b"still here"
    stream.close()
    cut.peer.send_data(1, b"", end_stream=True)
    await stream.wait_closed()
    await cut.protocol.wait_closed()


async def test_stream_that_is_dropped_is_reset(client):
    stream = await tunnel(client)
    with pytest.warns(ResourceWarning, match="unclosed <UpgradedStream"):
        del stream
        gc.collect()
    assert await client.peer.receive_reset(1) is ErrorCodes.CANCEL
    await client.still_works()


async def test_slow_reader_withholds_its_own_credit_only(connect_http2, segment):
    # The stream's window of 10,000 bytes counts for what the queue in front of the reader has no room for.
    config = HTTP2Config(stream_window=10_000, max_stream_window=10_000)
    client = await connect_http2(config=config, segment=segment)
    stream = await tunnel(client)
    client.peer.send_data(1, bytes(200_000))
    unsent = -1
    while client.peer.pending(1) != unsent:
        unsent = client.peer.pending(1)
        await client.settle()
    assert 200_000 - 128 * 1024 < unsent < 200_000  # nobody has read anything
    await client.still_works()
    assert client.peer.pending(1) == unsent
    received = 0
    while received < 200_000:
        received += len(await stream.read())
    stream.abort()


async def test_slow_server_pauses_the_writer(client):
    client.peer.auto_credit = False
    stream = await tunnel(client)
    stream.write(bytes(200_000))
    drained = asyncio.ensure_future(stream.drain())
    await client.settle()
    assert not drained.done()
    client.peer.credit(200_000, 1)
    client.peer.credit(200_000)
    await drained
    client.peer.auto_credit = True
    stream.abort()


async def test_protocol_of_the_callers_is_served_like_on_any_transport(cut):
    calls: list[object] = []

    class Caller(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            transport = cast(asyncio.Transport, transport)
            self.transport = transport
            calls.append("made")

        def data_received(self, data: bytes) -> None:
            calls.append(data)
            self.transport.write(data.upper())

        def eof_received(self) -> None:
            calls.append("eof")

        def connection_lost(self, exc: Exception | None) -> None:
            calls.append(exc)
            lost.set()

    lost = asyncio.Event()
    stream = await tunnel(cut)
    cut.peer.send_data(1, b"early")
    await cut.settle()
    caller = Caller()
    stream.set_protocol(caller)
    cut.peer.send_data(1, b"late", end_stream=True)
    assert await cut.peer.receive_body(1) == b"EARLYLATE"
    await lost.wait()
    assert calls == ["made", b"early", b"late", "eof", None]
    assert caller.transport.is_closing()
    await cut.still_works()


async def test_protocol_of_the_callers_that_raises_ends_its_tunnel_only(cut):
    contexts: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: contexts.append(context))
    error = ValueError("from the protocol")

    class Caller(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            raise error

    stream = await tunnel(cut)
    stream.set_protocol(Caller())
    cut.peer.send_data(1, b"x")
    assert await cut.peer.receive_reset(1) is ErrorCodes.CANCEL
    assert [context["exception"] for context in contexts] == [error]
    await cut.still_works()


# TLS inside


async def test_tls_inside_a_tunnel(client, tls):
    stream = await tunnel(client)
    inside = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = tls.server_context.wrap_bio(*inside, server_side=True)

    async def serve() -> bytes:
        while True:
            try:
                server.do_handshake()
            except ssl.SSLWantReadError:
                client.peer.send_data(1, inside[1].read())
                inside[0].write(await client.peer.receive_data(1))
            else:
                break
        server.write(b"hello from inside")
        client.peer.send_data(1, inside[1].read())
        while True:
            try:
                return bytes(server.read(100))
            except ssl.SSLWantReadError:
                inside[0].write(await client.peer.receive_data(1))

    serving = asyncio.ensure_future(serve())
    await stream.start_tls(tls.client_context, server_hostname="example.org")
    assert isinstance(stream.get_extra_info("ssl_object"), ssl.SSLObject)
    assert await stream.read() == b"hello from inside"
    stream.write(b"and back")
    assert await serving == b"and back"
    stream.abort()
    await stream.wait_closed()
    await client.still_works()


async def test_tls_is_not_begun_behind_bytes_that_nobody_read(client, tls):
    stream = await tunnel(client)
    client.peer.send_data(1, b"not TLS")
    await client.settle()
    with pytest.raises(RuntimeError, match="bytes came before TLS began"):
        await stream.start_tls(tls.client_context)
    stream.abort()


async def test_tunnel_does_not_pass_the_connections_security_off_as_its_own(connect_http2):
    client = await connect_http2()
    client.transport._extra["ssl_object"] = object()
    stream = await tunnel(client)
    assert stream.get_extra_info("ssl_object") is None
    assert stream.get_extra_info("peername") == client.transport.get_extra_info("peername")
    stream.abort()


# Refusals


@pytest.mark.parametrize("request_", [CONNECT, WEBSOCKET], ids=["CONNECT", "websocket"])
@pytest.mark.parametrize("status", [302, 403, 501])
async def test_refusal_is_a_response_like_any_other(cut, request_, status):
    recorder, _ = await cut.ask(request_)
    cut.peer.respond(1, status, [("content-length", "2")], b"no")
    await recorder.end()
    assert recorder.names == ["started", "response", "data", "complete"]
    assert (recorder.statuses, recorder.body) == ([status], b"no")
    await cut.still_works()


async def test_tunnel_that_ends_with_its_head_is_at_its_end(cut):
    recorder, _ = await cut.ask(CONNECT)
    cut.peer.respond(1)
    await recorder.end()
    assert recorder.names == ["started", "response", "upgraded", "complete"]
    assert recorder.stream is not None
    assert await recorder.stream.read() == b""
    recorder.stream.close()
    await recorder.stream.wait_closed()
    assert cut.protocol.in_flight == 0
    await cut.still_works()


async def test_101_is_an_error_of_its_stream(cut):
    recorder, _ = await cut.ask()
    cut.peer.send_headers(1, [(":status", "101"), ("upgrade", "websocket")])
    await recorder.end()
    assert type(recorder.error) is RemoteProtocolError
    assert await cut.peer.receive_reset(1) is ErrorCodes.PROTOCOL_ERROR
    await cut.still_works()


async def test_extended_connect_is_refused_where_the_server_does_not_take_it(http2):
    recorder = http2.dispatch(WEBSOCKET)
    await recorder.end()
    assert type(recorder.error) is LocalProtocolError
    assert "8441" in str(recorder.error)
    assert not recorder.error.request_sent
    await http2.still_works()
    assert shape(http2.peer) == ["HEADERS END"]  # of the request that still_works sends


@pytest.mark.parametrize("settings", [EXTENDED, {}], ids=["taken", "refused"])
async def test_extended_connect_waits_for_the_servers_settings(connect_http2, settings):
    client = await connect_http2(HTTP2Peer(None), settled=False)
    recorder = client.dispatch(WEBSOCKET)
    plain, _ = await client.ask()  # which does not wait behind it
    assert plain.exchange.stream_id == 1
    assert recorder.names == ["started"]
    client.peer.update_settings(settings)
    if settings:
        assert (await client.peer.receive_request()).stream_id == 3
        recorder.exchange.abort()
    else:
        await recorder.end()
        assert type(recorder.error) is LocalProtocolError
    client.peer.respond(1)
    await plain.end()
    await client.still_works()


# Handlers


async def test_handler_that_does_not_want_the_stream_has_it_reset(client):
    class Plain(Recorder):
        def connection_upgraded(self, stream):
            self._note("upgraded")
            super(Recorder, self).connection_upgraded(stream)

    recorder, _ = await client.ask(CONNECT, Plain())
    client.peer.respond(1, end_stream=False)
    await recorder.end()
    assert recorder.names == ["started", "response", "upgraded", "complete"]
    assert await client.peer.receive_reset(1) is ErrorCodes.CANCEL
    await client.still_works()


async def test_handler_that_raises_in_upgraded_fails_and_resets(client):
    error = ValueError("from the handler")

    def fail() -> None:
        raise error

    recorder, _ = await client.ask(CONNECT, Recorder().on("upgraded", fail))
    client.peer.respond(1, body=b"leftover", end_stream=False)
    await recorder.end()
    assert recorder.error is error
    assert await client.peer.receive_reset(1) is ErrorCodes.CANCEL
    await client.still_works()


async def test_handler_that_aborts_in_upgraded_fails_and_resets(client):
    recorder = Recorder()
    await client.ask(CONNECT, recorder.on("upgraded", lambda: recorder.exchange.abort()))
    client.peer.respond(1, body=b"leftover", end_stream=False)
    await recorder.end()
    assert type(recorder.error) is ResponseClosed
    assert await client.peer.receive_reset(1) is ErrorCodes.CANCEL
    await client.still_works()


@pytest.mark.parametrize("name", ["started", "response"])
async def test_abort_before_it_is_a_tunnel(client, name):
    recorder = Recorder()
    client.dispatch(CONNECT, recorder.on(name, lambda: recorder.exchange.abort()))
    if name == "response":
        await client.peer.receive_request()
        client.peer.respond(1, body=b"leftover", end_stream=False)
        assert await client.peer.receive_reset(1) is ErrorCodes.CANCEL
    await recorder.end()
    assert recorder.stream is None
    await client.still_works()
