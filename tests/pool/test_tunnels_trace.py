"""What a trace hook hears of tunnels: the proxy's connection and the tunnel, and not the exchange that asks for it."""

from __future__ import annotations

import pytest

from httpcore import ConnectError, ConnectionPool, Proxy, ProxyError
from httpcore.trace import (
    ConnectFailed,
    TLSEstablished,
    TraceEvent,
    TunnelEstablished,
    TunnelStarted,
)
from tests.conftest import TLSFiles
from tests.h11_server import listening
from tests.pool.tunnelling import HTTP_PROXY, HTTPS_PROXY, Origins, tunnelled, unverified
from tests.proxies.http2_proxy import HTTP2Proxy, StreamAnswer, http2_proxy
from tests.proxies.http_proxy import AUTHENTICATE, HTTPProxy, http_proxy
from tests.proxies.socks_server import SOCKSServer, reply5, socks_server

RESOLVED = ["connect.resolve_started", "connect.resolve_complete", "connect.tcp_connected"]
TUNNEL = ["connect.tunnel_started", "connect.tunnel_established"]
EXCHANGE = [
    "slot.assigned",
    "request.head_sent",
    "request.body_sent",
    "response.head_received",
]
TLS = "connect.tls_established"


def names(events: list[TraceEvent]) -> list[str]:
    """The names of the events up to the response's head."""
    found = [event.name for event in events]
    return found[: found.index("response.head_received") + 1]


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("http", ["connect.tunnel_started", *RESOLVED, "connect.tunnel_established", TLS]),
        ("https", ["connect.tunnel_started", *RESOLVED, TLS, "connect.tunnel_established", TLS]),
        ("https on HTTP/2", ["connect.tunnel_started", *RESOLVED, TLS, "connect.tunnel_established", TLS]),
        ("socks", [*RESOLVED, *TUNNEL, TLS]),
    ],
)
async def test_layers_are_heard_of_in_their_order_and_connect_is_not(
    tls: TLSFiles, kind: str, expected: list[str]
) -> None:
    config = unverified(tls)
    servers = {
        "http": lambda: http_proxy(),
        "https": lambda: http_proxy(tls.server_context),
        "https on HTTP/2": lambda: http2_proxy(tls.server_context),
        "socks": lambda: socks_server(),
    }
    events: list[TraceEvent] = []
    async with listening(ssl_context=tls.server_context) as origin, servers[kind]() as proxy:
        given = Proxy(proxy.url, ssl=config if kind.startswith("https") else None)
        async with ConnectionPool(config, proxy=given) as pool:
            await pool.request("GET", origin.url("localhost"), trace=events.append)
            assert names(events) == ["slot.wait_started", *expected, *EXCHANGE]
            started, established = (e for e in events if isinstance(e, (TunnelStarted, TunnelEstablished)))
            assert isinstance(started, TunnelStarted) and isinstance(established, TunnelEstablished)
            where = (str(given), "localhost", origin.port)
            assert (started.proxy, started.host, started.port) == where
            assert (established.proxy, established.host, established.port) == where
            handshakes = [event for event in events if isinstance(event, TLSEstablished)]
            assert len(handshakes) == 1 + kind.startswith("https")
            if kind == "https on HTTP/2":
                assert [event.alpn_protocol for event in handshakes] == ["h2", None]
            assert [event.time for event in events] == sorted(event.time for event in events)
            events.clear()
            await pool.request("GET", origin.url("localhost"), trace=events.append)
            assert names(events) == EXCHANGE


async def test_second_tunnel_on_a_connection_is_heard_of_alone() -> None:
    async with tunnelled(HTTP2Proxy(connect=Origins().connect), HTTPS_PROXY, version="h2") as (pool, _):
        await pool.request("GET", "http://a/")
        events: list[TraceEvent] = []
        await pool.request("GET", "http://b/", trace=events.append)
        assert names(events) == ["slot.wait_started", *TUNNEL, *EXCHANGE]


async def test_refusal_of_a_socks_proxy_is_heard_of_once() -> None:
    server = SOCKSServer(answer=lambda step, data: reply5(1) if step == "reply" else None)
    async with tunnelled(server, Proxy("socks5h://proxy")) as (pool, _):
        events: list[TraceEvent] = []
        with pytest.raises(ProxyError):
            await pool.request("GET", "http://a/", trace=events.append)
        assert [event.name for event in events] == [
            "slot.wait_started",
            "connect.tunnel_started",
            "connect.failed",
            "exchange.failed",
        ]


@pytest.mark.parametrize("version", ["http/1.1", "h2"])
async def test_refusal_is_heard_of_once_and_as_the_request_does(version: str) -> None:
    refusals = {
        "http/1.1": HTTPProxy(connect=Origins().connect, answer=lambda request: AUTHENTICATE),
        "h2": HTTP2Proxy(connect=Origins().connect, answer=lambda request: StreamAnswer(407, [], b"no")),
    }
    async with tunnelled(refusals[version], HTTPS_PROXY, version=version) as (pool, _):
        events: list[TraceEvent] = []
        with pytest.raises(ProxyError) as caught:
            await pool.request("GET", "http://a/", trace=events.append)
        assert [event.name for event in events] == [
            "slot.wait_started",
            "connect.tunnel_started",
            "connect.failed",
            "exchange.failed",
        ]
        [failed] = [event for event in events if isinstance(event, ConnectFailed)]
        assert failed.error is caught.value


async def test_proxy_that_cannot_be_reached_is_heard_of_once() -> None:
    async with tunnelled(HTTPProxy(), HTTP_PROXY) as (pool, connector):
        connector.fail_next(ConnectError("refused"))
        events: list[TraceEvent] = []
        with pytest.raises(ConnectError) as caught:
            await pool.request("GET", "http://a/", trace=events.append)
        [failed] = [event for event in events if isinstance(event, ConnectFailed)]
        assert failed.error is caught.value and "no connection to the proxy" in str(failed.error)
