"""ClientConnection by way of a proxy: one connection, whatever it goes through, of which nothing is left in the end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import cast

import pytest

from httpcore import (
    DIRECT,
    ClientConnection,
    ConnectError,
    ConnectTimeout,
    HTTPCoreError,
    LocalProtocolError,
    NetworkConfig,
    Proxy,
    ProxyError,
    ProxyProtocol,
    SSLConfig,
    TimeoutConfig,
)
from httpcore.testing import MemoryConnector
from tests.clock import Clock, turns, until
from tests.conftest import TLSFiles
from tests.h11_server import listening
from tests.pool.tunnelling import HTTP_PROXY, HTTPS_PROXY, Origins, chosen, unverified
from tests.pool.version_server import AutoHTTP2Peer, version_server
from tests.proxies.http2_proxy import HTTP2Proxy, StreamAnswer, http2_proxy
from tests.proxies.http_proxy import AUTHENTICATE, HTTPProxy, http_proxy
from tests.proxies.relay import Proxy as ProxyServer
from tests.proxies.script import HANG, Answer, Then
from tests.proxies.socks_server import SOCKSServer, socks_server
from tests.proxies.ways import to_protocol

FORWARDING = Proxy("http://proxy:3128")
SOCKS = Proxy("socks5h://proxy")


@contextlib.asynccontextmanager
async def leading_to(proxy: ProxyServer, version: str = "") -> AsyncIterator[MemoryConnector]:
    """A connector to `proxy`, with no connection to which left in the end."""
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
    connector = MemoryConnector(proxy.accept, client_extra=chosen(*[version] * 10) if version else None)
    async with proxy, connector:
        yield connector
        await connector.all_closed()
    assert reported == []


WAYS = {
    "forwarding": (lambda: HTTPProxy(connect=Origins().connect), FORWARDING, ""),
    "tunnel": (lambda: HTTPProxy(connect=Origins().connect), HTTP_PROXY, ""),
    "HTTP/1.1 tunnel of an https proxy": (lambda: HTTPProxy(connect=Origins().connect), HTTPS_PROXY, "http/1.1"),
    "HTTP/2 tunnel": (lambda: HTTP2Proxy(connect=Origins().connect), HTTPS_PROXY, "h2"),
    "SOCKS": (lambda: SOCKSServer(connect=Origins().connect), SOCKS, ""),
}
on_every_way = pytest.mark.parametrize("way", WAYS)


@on_every_way
async def test_one_connection_carries_request_after_request_and_leaves_nothing(way: str) -> None:
    make, config, version = WAYS[way]
    async with leading_to(make(), version) as connector:
        connection = await ClientConnection.connect("http://origin/", proxy=config, connector=connector)
        for _ in range(3):
            response = await connection.request("GET", "http://origin/")
            assert response.body == b"hello"
        assert len(connector.peers) == 1
        assert (connection.in_flight, connection.closed) == (0, False)
        await connection.close()
        assert connection.closed


@on_every_way
async def test_forced_close_in_the_middle_of_a_response_leaves_nothing(way: str) -> None:
    make, config, version = WAYS[way]
    proxy = make()
    proxy.connect = to_protocol(_Half)
    async with leading_to(proxy, version) as connector:
        connection = await ClientConnection.connect("http://origin/", proxy=config, connector=connector)
        response = await connection.request("GET", "http://origin/", stream=True)
        await connection.close(force=True)
        with pytest.raises(HTTPCoreError):
            await response.read()


class _Half(asyncio.Protocol):
    """Answers with a half of a response."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        cast(asyncio.Transport, self.transport).write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n01234")


@on_every_way
async def test_connection_that_is_lost_leaves_nothing(way: str) -> None:
    make, config, version = WAYS[way]
    proxy = make()
    async with leading_to(proxy, version) as connector:
        connection = await ClientConnection.connect("http://origin/", proxy=config, connector=connector)
        await connection.request("GET", "http://origin/")
        proxy.received[0].reset()
        await until(lambda: connection.closed)
        with pytest.raises(HTTPCoreError, match="closed"):
            await connection.request("GET", "http://origin/")
        await connection.close()


async def test_http2_in_a_tunnel_of_http2() -> None:
    async with leading_to(HTTP2Proxy(connect=to_protocol(AutoHTTP2Peer)), "h2") as connector:
        connection = await ClientConnection.connect(
            "http://origin/", proxy=HTTPS_PROXY, connector=connector, http1=False
        )
        responses = await asyncio.gather(*[connection.request("GET", "http://origin/") for _ in range(5)])
        assert [response.body for response in responses] == [b"over HTTP/2"] * 5
        await connection.close()


@pytest.mark.parametrize("kind", ["http", "https", "https on HTTP/2", "socks"])
async def test_tls_through_every_kind_of_proxy_on_sockets(tls: TLSFiles, kind: str) -> None:
    config = unverified(tls)
    servers = {
        "http": lambda: http_proxy(),
        "https": lambda: http_proxy(tls.server_context),
        "https on HTTP/2": lambda: http2_proxy(tls.server_context),
        "socks": lambda: socks_server(),
    }
    async with version_server(tls, "h2", "http/1.1") as origin, servers[kind]() as proxy:
        url = origin.url("localhost")
        given = Proxy(proxy.url, ssl=config if kind.startswith("https") else None)
        connection = await ClientConnection.connect(url, ssl=config, proxy=given)
        assert (await connection.request("GET", url)).body == b"over HTTP/2"
        assert connection.info.ssl_object is not None
        await connection.close()
        await proxy.until(lambda: not proxy.ends)


# What fails


@pytest.mark.parametrize(
    "proxy, config, version, error",
    [
        (HTTPProxy(answer=lambda request: AUTHENTICATE), HTTP_PROXY, "", ProxyError),
        (HTTPProxy(answer=lambda request: Answer(b"", Then.CLOSE)), HTTP_PROXY, "", ProxyError),
        (HTTPProxy(answer=lambda request: Answer(b"garbage\r\n\r\n")), HTTP_PROXY, "", ProxyError),
        (HTTP2Proxy(answer=lambda request: StreamAnswer(407, [], b"no")), HTTPS_PROXY, "h2", ProxyError),
        (HTTP2Proxy(answer=lambda request: StreamAnswer(reset=2)), HTTPS_PROXY, "h2", ProxyError),
        (HTTP2Proxy(answer=lambda request: StreamAnswer(goaway=0)), HTTPS_PROXY, "h2", ConnectTimeout),
        (SOCKSServer(answer=lambda step, data: b"\x05\xff"), SOCKS, "", ProxyError),
        (SOCKSServer(on_accept=Answer(b"", Then.CLOSE)), SOCKS, "", ProxyError),
    ],
)
async def test_connection_that_was_not_made_leaves_nothing(
    proxy: ProxyServer, config: Proxy, version: str, error: type[HTTPCoreError], clock: Clock
) -> None:
    async with leading_to(proxy, version) as connector:
        connecting = asyncio.ensure_future(
            ClientConnection.connect("http://origin/", proxy=config, connector=connector, timeout=3)
        )
        await clock.advance(3.1)
        with pytest.raises(error) as caught:
            await connecting
        assert (caught.value.host, caught.value.port) == ("origin", 80)
        await turns()
        assert connector.open_transports == []


async def test_proxy_that_cannot_be_reached_is_a_connect_error() -> None:
    async with leading_to(HTTPProxy()) as connector:
        connector.fail_next(ConnectError("refused"))
        with pytest.raises(ConnectError, match="no connection to the proxy http://proxy:3128: refused"):
            await ClientConnection.connect("http://origin/", proxy=HTTP_PROXY, connector=connector)


@pytest.mark.parametrize("kind", ["http", "HTTP/2", "socks"])
@pytest.mark.parametrize("how", ["timeout", "cancel"])
async def test_proxy_that_hangs_is_left(kind: str, how: str, clock: Clock) -> None:
    proxy, config, version = {
        "http": (HTTPProxy(answer=lambda request: HANG), HTTP_PROXY, ""),
        "HTTP/2": (HTTP2Proxy(answer=lambda request: StreamAnswer()), HTTPS_PROXY, "h2"),
        "socks": (SOCKSServer(on_accept=HANG), SOCKS, ""),
    }[kind]
    assert isinstance(proxy, ProxyServer) and isinstance(config, Proxy)
    async with leading_to(proxy, version) as connector:
        timeout = TimeoutConfig(None, connect_timeout=3)
        connecting = asyncio.ensure_future(
            ClientConnection.connect("http://origin/", proxy=config, connector=connector, timeout=timeout)
        )
        await proxy.until(lambda: len(proxy.received) == 1 and len(proxy.received[0].received) > 0)
        if how == "cancel":
            connecting.cancel()
        else:
            await clock.advance(3.1)
        with pytest.raises(asyncio.CancelledError if how == "cancel" else ConnectTimeout):
            await connecting
        await connector.all_closed()


@pytest.mark.parametrize("count", range(1, 30, 2))
async def test_connect_that_is_cancelled_after_any_number_of_turns_leaves_nothing(count: int, tls: TLSFiles) -> None:
    config = unverified(tls)
    async with (
        listening(ssl_context=tls.server_context) as origin,
        http2_proxy(tls.server_context) as proxy,
    ):
        connecting = asyncio.ensure_future(
            ClientConnection.connect(origin.url("localhost"), ssl=config, proxy=Proxy(proxy.url, ssl=config))
        )
        await turns(count)
        connecting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await (await connecting).close()
        await proxy.until(lambda: not proxy.ends)


# What is connect's alone


@pytest.mark.parametrize(
    "options",
    [
        {"ssl": SSLConfig(verify=False)},
        {"proxy": "http://other"},
        {"proxy": DIRECT},
        {"network": NetworkConfig(uds="/nowhere")},
        {"proxy_protocol": ProxyProtocol(version=1)},
    ],
)
async def test_way_of_a_connection_cannot_be_changed_by_a_request(options: dict[str, object]) -> None:
    async with leading_to(HTTPProxy(connect=Origins().connect)) as connector:
        connection = await ClientConnection.connect("http://origin/", proxy=HTTP_PROXY, connector=connector)
        with pytest.raises(LocalProtocolError, match=r"ssl, proxy, network and proxy_protocol are for connect\(\)"):
            await connection.request("GET", "http://origin/", **options)  # type: ignore[arg-type]
        assert (await connection.request("GET", "http://origin/")).body == b"hello"
        await connection.close()
