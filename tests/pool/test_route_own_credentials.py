"""A proxy-authorization of the caller's own, and what else a route does not let through."""

from __future__ import annotations

from typing import Any

import pytest

from httpcore import ClientConnection, ConnectionPool, LocalProtocolError, Proxy
from httpcore.testing import MemoryConnector
from tests.pool.any_server import AnyServer
from tests.pool.route_scene import BASIC, PASSWORD, USER

OWN = {"Proxy-Authorization": "own"}


@pytest.mark.parametrize(
    "url, proxy",
    [
        ("https://a/", "http://p"),
        ("https://a/", "https://p"),
        ("https://a/", "socks5h://p"),
        ("http://a/", "socks5h://p"),
        ("http://a/", Proxy("http://p", tunnel=True)),
    ],
)
async def test_own_proxy_authorization_is_refused_before_a_tunnel_is_dialled(url: str, proxy: Any) -> None:
    connector = MemoryConnector(lambda: AnyServer(0))
    async with connector, ConnectionPool(connector=connector, proxy=proxy) as pool:
        with pytest.raises(LocalProtocolError, match=r"proxy-authorization .* use Proxy\(auth=\)") as caught:
            await pool.request("GET", url, OWN)
        assert not caught.value.request_sent
        assert (connector.dials, pool.num_connections) == ([], 0)


async def test_own_proxy_authorization_is_refused_on_a_connection_of_ones_own_that_is_a_tunnel() -> None:
    connector = MemoryConnector(lambda: AnyServer(0))
    async with connector:
        proxy = Proxy("http://p", tunnel=True)
        async with await ClientConnection.connect("http://a/", proxy=proxy, connector=connector) as connection:
            with pytest.raises(LocalProtocolError, match=r"proxy-authorization .* use Proxy\(auth=\)"):
                await connection.request("GET", "http://a/", OWN)
            assert (await connection.request("GET", "http://a/")).body == b"0"
        assert b"own" not in connector.peers[0].received


@pytest.mark.parametrize(
    "proxy", ["http://p", f"http://{USER}:{PASSWORD}@p", Proxy("http://p", lambda: {"Proxy-Authorization": "token"})]
)
async def test_own_proxy_authorization_goes_to_a_proxy_that_forwards_in_place_of_its_own(proxy: Any) -> None:
    connector = MemoryConnector(lambda: AnyServer(0))
    async with connector:
        async with ConnectionPool(connector=connector, proxy=proxy) as pool:
            await pool.request("GET", "http://a/", OWN, decode=False)
        async with await ClientConnection.connect("http://a/", proxy=proxy, connector=connector) as connection:
            await connection.request("GET", "http://a/", OWN, decode=False)
        head = b"GET http://a/ HTTP/1.1\r\nHost: a\r\nProxy-Authorization: own\r\n\r\n"
        assert [peer.received for peer in connector.peers] == [head, head]


async def test_own_proxy_authorization_is_for_its_request_alone() -> None:
    connector = MemoryConnector(lambda: AnyServer(0))
    async with connector, ConnectionPool(connector=connector, proxy=f"http://{USER}:{PASSWORD}@p") as pool:
        for headers in ({}, OWN, {}):
            await pool.request("GET", "http://a/", headers)
        (peer,) = connector.peers
        line = b"Proxy-Authorization: Basic " + BASIC.encode() + b"\r\n"
        assert [line in head for head in peer.heads] == [True, False, True]
        assert [b"own" in head for head in peer.heads] == [False, True, False]


async def test_own_proxy_authorization_is_not_touched_where_there_is_no_proxy() -> None:
    connector = MemoryConnector(lambda: AnyServer(0))
    async with connector:
        async with ConnectionPool(connector=connector) as pool:
            await pool.request("GET", "http://a/", OWN, decode=False)
        async with await ClientConnection.connect("http://a/", connector=connector) as connection:
            await connection.request("GET", "http://a/", OWN, decode=False)
        head = b"GET / HTTP/1.1\r\nHost: a\r\nProxy-Authorization: own\r\n\r\n"
        assert [peer.received for peer in connector.peers] == [head, head]


@pytest.mark.parametrize(
    "method, headers", [("GET", {"Connection": "Upgrade", "Upgrade": "websocket"}), ("CONNECT", {})]
)
async def test_what_no_proxy_forwards_is_refused_on_a_connection_of_ones_own(
    method: str, headers: dict[str, str]
) -> None:
    connector = MemoryConnector(lambda: AnyServer(0))
    async with connector:
        async with await ClientConnection.connect("http://a/", proxy="http://p", connector=connector) as connection:
            with pytest.raises(LocalProtocolError, match=r"no proxy forwards .* use Proxy\(tunnel=True\)"):
                await connection.request(method, "http://a/", headers)
        assert connector.peers[0].received == b""
