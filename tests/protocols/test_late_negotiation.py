"""Negotiation on a transport that is there already, behind a tunnel or a PROXY header, with TLS begun on it or not."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import cast

import pytest

from httpcore import ConnectError, HTTP2Config, HTTP2Protocol, HTTP11Protocol
from httpcore.pins import spki_pin
from httpcore.protocols.base import HTTPProtocol
from httpcore.protocols.handshake import Negotiation, Versions
from httpcore.testing import ScriptedPeer, memory_link
from httpcore.trace import TLSEstablished, TraceEvent
from httpcore.upgraded import Relay, UpgradedStream
from tests.clock import turns
from tests.conftest import TLSFiles
from tests.h11_server import H11Server, listening
from tests.pool.version_server import offering
from tests.protocols.loops import on_every_loop
from tests.protocols.test_handshake import Selected

BOTH = Versions(True, HTTP2Config())
HTTP1_ALONE = Versions(True, None)
HTTP2_ALONE = Versions(False, HTTP2Config())
SETTINGS_OF_ONE_STREAM = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x01"
OTHER_PIN = "sha256/" + "A" * 43 + "="


async def in_memory(extra: dict[str, object] | None = None) -> tuple[UpgradedStream, ScriptedPeer]:
    """A stream, and the server's end of it."""
    relay, peer = Relay(), ScriptedPeer(close_on_eof=True)
    memory_link(relay, peer, client_extra=extra)
    await turns(2)
    return UpgradedStream(relay.receiver), peer


@contextlib.asynccontextmanager
async def on_a_socket(server_context: ssl.SSLContext | None) -> AsyncIterator[UpgradedStream]:
    """A stream to a server of HTTP/1.1, whatever it selects; aborted in the end."""
    async with listening(H11Server, ssl_context=server_context) as listener:
        _, relay = await asyncio.get_running_loop().create_connection(Relay, "127.0.0.1", listener.port)
        yield UpgradedStream(relay.receiver)


async def ended(protocol: HTTPProtocol) -> None:
    protocol.close("enough")
    protocol._transport.abort()
    await protocol.wait_closed()


# Without TLS


async def test_without_tls_http11_is_spoken_on_the_transport() -> None:
    stream, peer = await in_memory()
    negotiation = Negotiation(BOTH)
    await negotiation.begin(stream, None, None, None)
    protocol = negotiation.result()
    assert isinstance(protocol, HTTP11Protocol) and protocol.available == 1
    assert protocol.info.ssl_object is None
    protocol.close("enough")
    await peer.receive_eof()
    await protocol.wait_closed()


async def test_bytes_that_came_before_reach_http2() -> None:
    stream, peer = await in_memory()
    peer.send(SETTINGS_OF_ONE_STREAM)
    await turns()
    negotiation = Negotiation(HTTP2_ALONE)
    await negotiation.begin(stream, None, None, None)
    protocol = negotiation.result()
    assert isinstance(protocol, HTTP2Protocol)
    assert protocol.available == 1
    protocol.close("enough")
    peer.close()
    await protocol.wait_closed()


async def test_bytes_that_were_put_back_reach_http2() -> None:
    stream, peer = await in_memory()
    peer.send(b"x" + SETTINGS_OF_ONE_STREAM[:5])
    assert await stream.read() == b"x" + SETTINGS_OF_ONE_STREAM[:5]
    stream.unread(SETTINGS_OF_ONE_STREAM[:5])
    peer.send(SETTINGS_OF_ONE_STREAM[5:])
    negotiation = Negotiation(HTTP2_ALONE)
    await negotiation.begin(stream, None, None, None)
    await turns()
    assert negotiation.result().available == 1
    negotiation.result().close("enough")
    peer.close()
    await negotiation.result().wait_closed()


async def test_bytes_that_came_before_the_first_request_close_http11() -> None:
    stream, peer = await in_memory()
    peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
    await turns()
    negotiation = Negotiation(HTTP1_ALONE)
    await negotiation.begin(stream, None, None, None)
    protocol = negotiation.result()
    assert protocol.closing and not protocol.ready()
    await protocol.wait_closed()
    await peer.closed()


async def test_tls_around_a_tunnel_says_nothing_of_what_is_in_it() -> None:
    """An https proxy's certificate and ALPN are its own."""
    stream, peer = await in_memory({"ssl_object": Selected("h2")})
    negotiation = Negotiation(BOTH)
    await negotiation.begin(stream, None, None, None)
    protocol = negotiation.result()
    assert isinstance(protocol, HTTP11Protocol)
    assert protocol.info.ssl_object is None
    protocol.close("enough")
    await peer.receive_eof()
    await protocol.wait_closed()


@pytest.mark.parametrize("how", ["eof", "reset", "abort"])
async def test_connection_that_is_over_already_is_a_connect_error(how: str, tls: TLSFiles) -> None:
    for context in (None, tls.client_context):
        stream, peer = await in_memory()
        if how == "abort":
            stream.abort()
        else:
            peer.send_eof() if how == "eof" else peer.abort()
        await turns()
        negotiation = Negotiation(BOTH)
        with pytest.raises(ConnectError, match="the connection was closed as soon as it was made"):
            await negotiation.begin(stream, context, "localhost" if context else None, None)
        with pytest.raises(ConnectError):
            negotiation.result()
        await stream.wait_closed()
        peer.close()


# With TLS


async def test_bytes_before_tls_are_a_connect_error_and_end_the_transport(tls: TLSFiles) -> None:
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
    stream, peer = await in_memory()
    peer.send(b"injected")
    await turns()
    with pytest.raises(ConnectError, match="the server sent something before TLS began"):
        await Negotiation(BOTH).begin(stream, tls.client_context, "localhost", None)
    await peer.closed()
    assert peer.received == b""
    assert reported == []


async def test_tls_that_does_not_begin_is_a_connect_error_and_nobody_is_told_twice() -> None:
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
    stream, peer = await in_memory()
    with pytest.raises(ConnectError, match="the TLS handshake failed: 'object' object has no attribute"):
        await Negotiation(BOTH).begin(stream, cast(ssl.SSLContext, object()), "localhost", None)
    await peer.closed()
    assert reported == []


@pytest.mark.parametrize(
    "offered, selected, kind",
    [
        (("h2", "http/1.1"), "h2", HTTP2Protocol),
        (("http/1.1",), "http/1.1", HTTP11Protocol),
        ((), None, HTTP11Protocol),
    ],
)
@on_every_loop
async def test_version_is_what_the_server_selects(
    tls: TLSFiles, offered: tuple[str, ...], selected: str | None, kind: type[HTTPProtocol]
) -> None:
    events: list[TraceEvent] = []
    context = tls.client_context
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with on_a_socket(offering(tls, offered)) as stream:
        negotiation = Negotiation(BOTH)
        await negotiation.begin(stream, context, "localhost", events.append)
        protocol = negotiation.result()
        assert type(protocol) is kind
        [event] = events
        assert isinstance(event, TLSEstablished)
        assert (event.version, event.alpn_protocol) == ("TLSv1.3", selected)
        tls_object = protocol.info.ssl_object
        assert tls_object is not None and tls_object.selected_alpn_protocol() == selected
        await ended(protocol)


@pytest.mark.parametrize(
    "offered, versions, text",
    [
        (("h2",), HTTP1_ALONE, "the server selected h2 by ALPN, but HTTP/2 may not be spoken here"),
        (("http/1.1",), HTTP2_ALONE, "the server selected http/1.1 by ALPN, not h2"),
        ((), HTTP2_ALONE, "the server selected nothing by ALPN, not h2"),
    ],
)
@on_every_loop
async def test_version_that_may_not_be_spoken_is_a_connect_error(
    tls: TLSFiles, offered: tuple[str, ...], versions: Versions, text: str
) -> None:
    context = tls.client_context
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with on_a_socket(offering(tls, offered)) as stream:
        negotiation = Negotiation(versions)
        await negotiation.begin(stream, context, "localhost", None)
        with pytest.raises(ConnectError, match=text):
            negotiation.result()
        assert stream._receiver.transport.is_closing()


@on_every_loop
async def test_wrong_name_is_a_connect_error(tls: TLSFiles) -> None:
    async with on_a_socket(tls.server_context) as stream:
        events: list[TraceEvent] = []
        with pytest.raises(ConnectError, match="the server's certificate was refused"):
            await Negotiation(BOTH).begin(stream, tls.client_context, "else.example", events.append)
        assert events == []


def _pin(tls: TLSFiles) -> str:
    pem = tls.cert_path.read_text()
    end = "-----END CERTIFICATE-----"
    return spki_pin(ssl.PEM_cert_to_DER_cert(pem.split(end)[0] + end))


@on_every_loop
async def test_key_that_was_pinned_is_taken(tls: TLSFiles) -> None:
    async with on_a_socket(tls.server_context) as stream:
        negotiation = Negotiation(BOTH, (OTHER_PIN, _pin(tls)))
        await negotiation.begin(stream, tls.client_context, "localhost", None)
        await ended(negotiation.result())


@on_every_loop
async def test_key_that_was_not_pinned_is_a_connect_error_before_anything_is_sent(tls: TLSFiles) -> None:
    async with listening(ssl_context=tls.server_context) as listener:
        _, relay = await asyncio.get_running_loop().create_connection(Relay, "127.0.0.1", listener.port)
        stream = UpgradedStream(relay.receiver)
        negotiation = Negotiation(HTTP1_ALONE, (OTHER_PIN,))
        await negotiation.begin(stream, tls.client_context, "localhost", None)
        with pytest.raises(ConnectError, match="the server's key is none of those that were pinned") as caught:
            negotiation.result()
        assert _pin(tls) in str(caught.value)
        server = listener.protocols[0]
        assert isinstance(server, H11Server)
        assert stream._receiver.transport.is_closing()
        assert server.received == b""


# What comes between the end of the handshake and connection_made


async def made_late() -> tuple[Negotiation, asyncio.Transport, ScriptedPeer]:
    """A negotiation that was put on a transport without being told so."""
    first, peer = asyncio.Protocol(), ScriptedPeer(close_on_eof=True)
    transport, _ = memory_link(first, peer)
    await turns()
    negotiation = Negotiation(HTTP2_ALONE)
    transport.set_protocol(negotiation)
    return negotiation, transport, peer


async def test_bytes_before_connection_made_are_kept() -> None:
    negotiation, transport, peer = await made_late()
    for start in range(0, len(SETTINGS_OF_ONE_STREAM), 4):
        peer.send(SETTINGS_OF_ONE_STREAM[start : start + 4])
        await turns()
    negotiation.connection_made(transport)
    assert negotiation.result().available == 1
    transport.abort()
    await negotiation.result().wait_closed()
    peer.close()


async def test_end_of_stream_before_connection_made_is_passed_on() -> None:
    negotiation, transport, _ = await made_late()
    negotiation.data_received(SETTINGS_OF_ONE_STREAM)
    negotiation.eof_received()
    negotiation.connection_made(transport)
    protocol = negotiation.result()
    assert not protocol.ready()
    await protocol.wait_closed()


async def test_loss_before_connection_made_is_a_connect_error() -> None:
    negotiation, transport, peer = await made_late()
    peer.abort()
    await turns()
    assert transport.is_closing()
    negotiation.connection_made(transport)
    with pytest.raises(ConnectError, match="lost as soon as it was made"):
        negotiation.result()
