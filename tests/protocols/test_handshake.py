"""Negotiation: which version a new connection speaks, on transports of every kind."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, cast

import pytest

from httpcore import ConnectError, HTTP2Config, HTTP2Protocol, HTTP11Protocol, Request
from httpcore.protocols.handshake import Negotiation, Versions
from httpcore.testing import ScriptedPeer, memory_link
from httpcore.upgraded import Relay, UpgradedStream
from tests.clock import turns
from tests.protocols.recording import Recorder

BOTH = Versions(True, HTTP2Config())
HTTP1_ALONE = Versions(True, None)
HTTP2_ALONE = Versions(False, HTTP2Config())
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Selected:
    """As much of a TLS object as says what ALPN selected."""

    def __init__(self, protocol: str | None) -> None:
        self.protocol = protocol

    def selected_alpn_protocol(self) -> str | None:
        return self.protocol


async def negotiate(versions: Versions, tls: Selected | None) -> tuple[Negotiation, ScriptedPeer]:
    negotiation, peer = Negotiation(versions), ScriptedPeer(close_on_eof=True)
    memory_link(negotiation, peer, client_extra={} if tls is None else {"ssl_object": tls})
    await turns()
    return negotiation, peer


# What may be spoken.


@pytest.mark.parametrize(
    "http1, http2, expected, alpn",
    [
        (True, True, BOTH, ("h2", "http/1.1")),
        (True, False, HTTP1_ALONE, ("http/1.1",)),
        (False, True, HTTP2_ALONE, ("h2",)),
        (True, HTTP2Config(stream_window=5), Versions(True, HTTP2Config(stream_window=5)), ("h2", "http/1.1")),
    ],
)
def test_versions_are_what_is_asked_for_and_http2_is_preferred(
    http1: bool, http2: bool | HTTP2Config, expected: Versions, alpn: tuple[str, ...]
) -> None:
    versions = Versions.of(http1, http2)
    assert versions == expected
    assert versions.alpn_protocols == alpn


def test_no_version_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="http1 and http2 are both False"):
        Versions.of(False, False)


@pytest.mark.parametrize("value", [None, 1, 0, "yes", HTTP2Config()])
def test_http1_of_another_type_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match=f"^http1 takes a bool, not {type(value).__name__}$"):
        Versions.of(value, True)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [None, 1, 0, "h2", HTTP2Config])
def test_http2_of_another_type_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match=f"^http2 takes a bool or an HTTP2Config, not {type(value).__name__}$"):
        Versions.of(True, value)  # type: ignore[arg-type]


# What is spoken.


@pytest.mark.parametrize("tls", [None, Selected(None), Selected("http/1.1"), Selected("mine")])
@pytest.mark.parametrize("versions", [BOTH, HTTP1_ALONE])
async def test_http11_is_spoken_unless_h2_was_selected(versions: Versions, tls: Selected | None) -> None:
    negotiation, peer = await negotiate(versions, tls)
    protocol = negotiation.result()
    assert isinstance(protocol, HTTP11Protocol)
    assert protocol.connected and protocol.available == 1
    assert bytes(peer.received) == b""  # HTTP/1.1 says nothing by itself
    protocol.close("enough")
    await protocol.wait_closed()


@pytest.mark.parametrize("versions, tls", [(BOTH, "h2"), (HTTP2_ALONE, "h2"), (HTTP2_ALONE, None)])
async def test_http2_is_spoken_where_h2_was_selected_or_nothing_else_may_be(
    versions: Versions, tls: str | None
) -> None:
    negotiation, peer = await negotiate(versions, None if tls is None else Selected(tls))
    protocol = negotiation.result()
    assert isinstance(protocol, HTTP2Protocol)
    assert protocol.config is versions.http2
    assert protocol.connected and protocol.available > 1
    assert bytes(peer.received).startswith(PREFACE)
    protocol.close("enough")
    peer.close()
    await protocol.wait_closed()


@pytest.mark.parametrize(
    "versions, selected, text",
    [
        (HTTP1_ALONE, "h2", r"the server selected h2 by ALPN, but HTTP/2 may not be spoken here: http2=False, or"),
        (HTTP2_ALONE, "http/1.1", r"the server selected http/1\.1 by ALPN, not h2, and http1=False forbids"),
        (HTTP2_ALONE, None, r"the server selected nothing by ALPN, .*set_alpn_protocols\(\['h2'\]\)"),
    ],
)
async def test_version_that_may_not_be_spoken_aborts_the_transport(
    versions: Versions, selected: str | None, text: str
) -> None:
    negotiation, peer = Negotiation(versions), ScriptedPeer(close_on_eof=True)
    client, _ = memory_link(negotiation, peer, client_extra={"ssl_object": Selected(selected)})
    await turns(2)
    peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
    await turns()
    assert client.is_closed()
    with pytest.raises(ConnectError, match=text):
        negotiation.result()
    assert bytes(peer.received) == b""


# Transports that do not do as asyncio's do.


class Stubborn:
    """A transport that goes on calling the protocol it was made with."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        pass

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)


class OnStubborn(Negotiation):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(Stubborn(transport))  # type: ignore[arg-type]  # that is the point


async def test_transport_that_goes_on_calling_the_first_protocol_loses_nothing() -> None:
    negotiation, peer = OnStubborn(BOTH), ScriptedPeer(close_on_eof=True)
    memory_link(negotiation, peer, capacity=1024)
    await turns()
    protocol = negotiation.result()
    peer.pause()
    recorder = Recorder()
    protocol.dispatch(Request("POST", "http://a/", body=[b"x" * 100_000, b"y" * 100_000]), recorder)
    await turns(50)
    assert protocol._write_gate.paused
    peer.resume()
    await peer.receive_until(b"0\r\n\r\n")
    assert not protocol._write_gate.paused
    peer.send(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
    peer.send_eof()
    await recorder.end()
    assert bytes(recorder.body) == b"until the end"
    peer.close()
    await protocol.wait_closed()
    assert protocol.closed


class Refusing(Stubborn):
    """A transport that takes no other protocol."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        raise RuntimeError("not this one")


async def test_transport_that_takes_no_other_protocol_is_aborted() -> None:
    class OnRefusing(Negotiation):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(Refusing(transport))  # type: ignore[arg-type]  # that is the point

    negotiation, peer = OnRefusing(BOTH), ScriptedPeer(close_on_eof=True)
    client, _ = memory_link(negotiation, peer)
    await turns()
    assert client.is_closed()
    with pytest.raises(ConnectError, match=r"the transport cannot be used: RuntimeError\('not this one'\)") as caught:
        negotiation.result()
    assert isinstance(caught.value.__cause__, RuntimeError)


async def test_tls_that_does_not_even_begin_tells_whom_the_transport_had_once() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    relay, peer = Relay(), ScriptedPeer(close_on_eof=True)
    client, _ = memory_link(relay, peer)
    await turns()
    stream, no_context = UpgradedStream(relay.receiver), cast(ssl.SSLContext, object())
    with pytest.raises(ConnectError, match="the TLS handshake failed: 'object' object has no attribute"):
        await Negotiation(BOTH).begin(stream, no_context, "localhost", None)
    await turns()
    assert client.is_closed()
    assert relay.receiver.closed.done()
    assert not told


async def test_before_and_without_connection_made_nothing_happens() -> None:
    negotiation = Negotiation(BOTH)
    with pytest.raises(ConnectError, match="a protocol whose connection_made was not called"):
        negotiation.result()
    negotiation.data_received(b"x")
    negotiation.pause_writing()
    negotiation.resume_writing()
    assert cast(object, negotiation.eof_received()) is None
    negotiation.connection_lost(None)
    with pytest.raises(ConnectError):
        negotiation.result()
