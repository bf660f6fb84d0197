"""Connectors that fail between the socket and the request, and what is open then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

from httpcore import (
    ClientConnection,
    ConnectError,
    ConnectionPool,
    HTTP11Protocol,
    LocalProtocolError,
    NetworkConfig,
    Origin,
    ProxyProtocol,
    TCPConnector,
)
from httpcore.testing import HTTP11Peer, memory_link
from tests.clock import until
from tests.conftest import TLSFiles
from tests.h11_server import H11Server, listening

P = TypeVar("P", bound=asyncio.Protocol)
ORIGIN = Origin("http", "example.org", 80)


class _Other:
    """Makes connections as `connect` does, and returns something else than the protocol."""

    def __init__(self, *, connected: bool) -> None:
        self._connected = connected

    async def connect(self, protocol_factory: Callable[[], P], origin: Origin, **options: object) -> object:
        if self._connected:
            return await asyncio.get_running_loop().create_connection(protocol_factory, "127.0.0.1", origin.port)
        return None, protocol_factory()


class _Unconnected:
    """Returns a protocol that it has given no transport."""

    async def connect(self, protocol_factory: Callable[[], P], origin: Origin, **options: object) -> P:
        return protocol_factory()


@pytest.mark.parametrize("proxy_protocol", [None, ProxyProtocol()], ids=["to HTTP", "to bytes"])
@pytest.mark.parametrize("connected", [True, False])
async def test_connector_that_returns_a_pair_is_a_connect_error_that_leaves_nothing_open(
    proxy_protocol: ProxyProtocol | None, connected: bool
) -> None:
    connector = cast(Any, _Other(connected=connected))
    async with listening() as listener, ConnectionPool(connector=connector, proxy_protocol=proxy_protocol) as pool:
        with pytest.raises(ConnectError, match=r"the connector failed: .*tuple"):
            await pool.request("GET", listener.url())
        if connected:
            await until(lambda: len(listener.protocols) == 1)
            assert await cast(H11Server, listener.protocols[0]).lost is None
        assert pool.num_connections == 0


@pytest.mark.parametrize("proxy_protocol", [None, ProxyProtocol()], ids=["to HTTP", "to bytes"])
async def test_connector_that_gives_a_protocol_without_a_transport_is_a_connect_error(
    proxy_protocol: ProxyProtocol | None,
) -> None:
    async with ConnectionPool(connector=_Unconnected(), proxy_protocol=proxy_protocol) as pool:
        with pytest.raises(ConnectError, match="connection_made was not called"):
            await pool.request("GET", "http://example.org/")
        assert pool.num_connections == 0


async def test_network_is_refused_beside_a_connector_of_the_callers_own() -> None:
    network, refusal = NetworkConfig(uds="/nowhere"), "network= is for the TCPConnector"
    with pytest.raises(ValueError, match=refusal):
        ConnectionPool(connector=_Unconnected(), network=network)
    with pytest.raises(ValueError, match=refusal):
        await ClientConnection.connect("http://example.org/", connector=_Unconnected(), network=network)
    async with ConnectionPool(connector=_Unconnected()) as pool:
        with pytest.raises(ValueError, match=refusal):
            await pool.request("GET", "http://example.org/", network=network)


async def test_proxy_header_that_cannot_be_made_closes_the_connection(tmp_path: Path) -> None:
    path, accepted = tmp_path / "socket", [H11Server()]
    server = await asyncio.get_running_loop().create_unix_server(lambda: accepted[0], str(path))
    network, header = NetworkConfig(uds=str(path)), ProxyProtocol(source=("192.0.2.1", 1))
    async with server, ConnectionPool(network=network, proxy_protocol=header) as pool:
        with pytest.raises(LocalProtocolError, match="give ProxyProtocol destination= too"):
            await pool.request("GET", "http://example.org/")
        assert await accepted[0].lost is None
        assert pool.num_connections == 0


async def test_protocol_that_cannot_be_made_leaves_no_socket_open_ahead_of_tls(tls: TLSFiles) -> None:
    def fail() -> asyncio.Protocol:
        raise RuntimeError("no protocol")

    async with listening() as listener:
        with pytest.raises(RuntimeError, match="no protocol"):
            await TCPConnector().connect(
                fail, Origin("https", *listener.address), ssl_context=tls.client_context, server_hostname="localhost"
            )
        await until(lambda: len(listener.protocols) == 1)
        assert await cast(H11Server, listener.protocols[0]).lost is None


@pytest.mark.parametrize("force", [False, True])
async def test_connection_around_a_protocol_of_the_callers_own_is_closed_with_it(force: bool) -> None:
    protocol, peer = HTTP11Protocol(), HTTP11Peer()
    memory_link(protocol, peer)
    await asyncio.sleep(0)
    connection = ClientConnection(protocol, ORIGIN)
    asking = asyncio.ensure_future(connection.request("GET", "http://example.org/"))
    await peer.receive_request()
    peer.send_response(200)
    assert (await asking).status_code == 200
    await connection.close(force=force)
    assert protocol.closed
    await peer.closed()
