"""start_tls on every transport: a socket's, one with TLS already, a stream of HTTP/2; on asyncio and uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import cast

import pytest

from httpcore import ConnectError, ConnectionPool, ConnectTimeout, Proxy
from httpcore.testing import ScriptedPeer
from httpcore.tls_begin import start_tls
from tests.clock import turns
from tests.conftest import TLSFiles
from tests.h11_server import Listener, listening
from tests.pool.tunnelling import unverified
from tests.protocols.loops import on_every_loop
from tests.proxies.clients import Echo
from tests.proxies.http2_proxy import http2_proxy
from tests.proxies.http_proxy import http_proxy
from tests.proxies.relay import Proxy as ProxyServer

KINDS = ["socket", "TLS", "HTTP/2"]
MEGABYTE = bytes(range(256)) * 4096
on_every_transport = pytest.mark.parametrize("kind", KINDS)


class Greeter(Echo):
    """Speaks first, and sends back what it gets."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(b"welcome")


@contextlib.asynccontextmanager
async def opened(kind: str, tls: TLSFiles, port: int) -> AsyncIterator[tuple[asyncio.Transport, ProxyServer]]:
    """A transport on which the bytes from and to a port are, and the proxy that gave it. Both end with the block."""
    context = None if kind == "socket" else tls.server_context
    server = http2_proxy(context) if kind == "HTTP/2" else http_proxy(context)
    async with server as proxy, ConnectionPool(unverified(tls)) as pool:
        target = f"127.0.0.1:{port}"
        response = await pool.request("CONNECT", proxy.url, target=target, stream=True)
        assert response.upgraded is not None
        transport, unread = response.upgraded.detach()
        assert not unread
        try:
            yield transport, proxy
        finally:
            transport.abort()


@contextlib.asynccontextmanager
async def origin(tls: TLSFiles, *, old: bool = False) -> AsyncIterator[Listener]:
    context = tls.server_context
    if old:  # in TLS 1.2 the server has the last word of the handshake, and may go on in the same packet
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with listening(Greeter, ssl_context=context) as listener:
        yield listener


@on_every_transport
@pytest.mark.parametrize("old", [False, True])
@on_every_loop
async def test_what_the_server_says_right_behind_the_handshake_is_not_lost(tls: TLSFiles, kind: str, old: bool) -> None:
    async with origin(tls, old=old) as listener, opened(kind, tls, listener.port) as (transport, _):
        client = ScriptedPeer()
        inner = await start_tls(transport, client, tls.client_context, "localhost")
        client.connection_made(inner)
        assert await client.receive(7) == b"welcome"
        tls_object = inner.get_extra_info("ssl_object")
        assert tls_object.version() == ("TLSv1.2" if old else "TLSv1.3")
        client.send(MEGABYTE)
        assert await client.receive(len(MEGABYTE)) == MEGABYTE
        inner.close()
        assert await client.closed() is None


@on_every_transport
@pytest.mark.parametrize("name", ["else.example", "localhost"])
@on_every_loop
async def test_wrong_certificate_is_named_and_ends_the_transport(tls: TLSFiles, kind: str, name: str) -> None:
    context = tls.client_context if name == "else.example" else ssl.create_default_context()
    async with origin(tls) as listener, opened(kind, tls, listener.port) as (transport, proxy):
        with pytest.raises(ConnectError, match="the server's certificate was refused: ") as caught:
            await start_tls(transport, ScriptedPeer(), context, name)
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
        assert transport.is_closing()
        await proxy.until(lambda: _over(proxy))


def _over(proxy: ProxyServer) -> bool:
    """Whether the tunnel's ends are gone; of HTTP/2, the stream's."""
    return not proxy.ends or all(end in proxy.ends for end in [record.connection for record in proxy.received])


@on_every_transport
@on_every_loop
async def test_server_that_does_not_speak_tls_is_a_connect_error(tls: TLSFiles, kind: str) -> None:
    async with listening(Echo) as listener, opened(kind, tls, listener.port) as (transport, _):
        with pytest.raises(ConnectError) as caught:
            await start_tls(transport, ScriptedPeer(), tls.client_context, "localhost")
        assert caught.value.__cause__ is not None
        assert transport.is_closing()


@on_every_transport
@pytest.mark.parametrize("how", ["close", "reset", "abort here"])
@on_every_loop
async def test_connection_that_is_lost_in_the_handshake_is_a_connect_error(tls: TLSFiles, kind: str, how: str) -> None:
    peer = ScriptedPeer(close_on_eof=True)
    async with listening(lambda: peer) as listener, opened(kind, tls, listener.port) as (transport, _):
        starting = asyncio.ensure_future(start_tls(transport, ScriptedPeer(), tls.client_context, "localhost"))
        assert await peer.receive(1) == b"\x16"
        if how == "abort here":
            transport.abort()
        else:
            peer.close() if how == "close" else peer.abort()
        with pytest.raises(ConnectError):
            await starting
        assert transport.is_closing()
        await peer.closed()


@on_every_transport
@on_every_loop
async def test_transport_that_is_closing_is_a_connect_error_at_once(tls: TLSFiles, kind: str) -> None:
    async with origin(tls) as listener, opened(kind, tls, listener.port) as (transport, _):
        transport.abort()
        with pytest.raises(ConnectError, match="the connection was lost before TLS began"):
            await start_tls(transport, ScriptedPeer(), tls.client_context, "localhost")


@on_every_transport
@on_every_loop
async def test_cancelled_handshake_aborts_the_transport(tls: TLSFiles, kind: str) -> None:
    peer = ScriptedPeer(close_on_eof=True)
    async with listening(lambda: peer) as listener, opened(kind, tls, listener.port) as (transport, _):
        starting = asyncio.ensure_future(start_tls(transport, ScriptedPeer(), tls.client_context, "localhost"))
        assert await peer.receive(1) == b"\x16"
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert transport.is_closing()
        await peer.closed()


@on_every_transport
@on_every_loop
async def test_handshake_cancelled_after_any_number_of_turns_leaves_nothing(tls: TLSFiles, kind: str) -> None:
    async with origin(tls) as listener:
        for count in range(1, 12):
            async with opened(kind, tls, listener.port) as (transport, _):
                client = ScriptedPeer()
                starting = asyncio.ensure_future(start_tls(transport, client, tls.client_context, "localhost"))
                await turns(count)
                starting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    (await starting).abort()
                await turns()
                assert transport.is_closing()


@on_every_transport
@on_every_loop
async def test_peer_that_never_answers_close_notify_is_not_waited_for(tls: TLSFiles, kind: str) -> None:
    async with origin(tls) as listener, opened(kind, tls, listener.port) as (transport, _):
        client = ScriptedPeer()
        inner = await start_tls(transport, client, tls.client_context, "localhost")
        client.connection_made(inner)
        assert await client.receive(7) == b"welcome"
        server = cast(Greeter, listener.protocols[0])
        server.transport.pause_reading()
        inner.close()
        await client.closed()  # the test's own timeout says if not


class Immovable(asyncio.Transport):
    """A transport that keeps its protocol."""

    aborted = False

    def is_closing(self) -> bool:
        return self.aborted

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        raise NotImplementedError("this protocol stays")

    def abort(self) -> None:
        self.aborted = True


@on_every_loop
async def test_transport_that_cannot_carry_tls_is_a_connect_error_and_aborted(tls: TLSFiles) -> None:
    transport = Immovable()
    with pytest.raises(ConnectError, match="this protocol stays"):
        await start_tls(transport, ScriptedPeer(), tls.client_context, "localhost")
    assert transport.is_closing()


@on_every_loop
async def test_context_that_is_none_is_a_connect_error(tls: TLSFiles) -> None:
    async with origin(tls) as listener, opened("socket", tls, listener.port) as (transport, _):
        with pytest.raises(ConnectError):
            await start_tls(transport, ScriptedPeer(), cast(ssl.SSLContext, object()), "localhost")
        assert transport.is_closing()


@on_every_loop
async def test_three_layers_of_tls(tls: TLSFiles) -> None:
    """TLS to a proxy, in it TLS to another one, in it TLS to the origin."""
    config = unverified(tls)
    async with (
        listening(ssl_context=tls.server_context) as server,
        http_proxy(tls.server_context) as second,
        http_proxy(tls.server_context) as first,
        ConnectionPool(config, proxy=Proxy(first.url, ssl=config)) as pool,
    ):
        target = f"127.0.0.1:{server.port}"
        response = await pool.request("CONNECT", second.url, target=target, stream=True)
        stream = response.upgraded
        assert stream is not None
        await stream.start_tls(tls.client_context, server_hostname="localhost")
        stream.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        received = b""
        while not received.endswith(b"hello"):
            part = await stream.read()
            assert part
            received += part
        assert received.startswith(b"HTTP/1.1 200")
        stream.close()
        await stream.wait_closed()
        assert pool.num_connections == 0
        assert (first.tunnels, second.tunnels) == (1, 1)


async def test_handshake_in_which_the_peer_says_nothing_is_a_connect_timeout(
    tls: TLSFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("httpcore.tls_transport.HANDSHAKE_TIMEOUT", 0.01)
    peer = ScriptedPeer(close_on_eof=True)
    async with listening(lambda: peer) as listener, opened("socket", tls, listener.port) as (transport, _):
        with pytest.raises(ConnectTimeout, match="the TLS handshake was not done in time"):
            await start_tls(transport, ScriptedPeer(), tls.client_context, "localhost")
        assert transport.is_closing()
        await peer.closed()
