"""Who sees which credentials: byte for byte what a proxy got, what the origin got, and what is said of it elsewhere."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from httpcore import DIRECT, ConnectError, ConnectionPool, HTTPCoreError, Proxy, ProxyError, Request
from httpcore.testing import MemoryConnector
from httpcore.trace import TraceEvent, TunnelEstablished, TunnelStarted
from tests.clock import turns
from tests.conftest import TLSFiles
from tests.h11_server import H11Server
from tests.pool.any_server import AnyServer
from tests.pool.route_scene import (
    BASIC,
    FOR_ORIGIN,
    FOR_PROXY,
    KINDS,
    ORIGIN_BODY,
    ORIGIN_COOKIE,
    ORIGIN_TOKEN,
    PASSWORD,
    TOKEN,
    USER,
    Scene,
    found,
    scene,
    told,
)
from tests.proxies.http2_proxy import HTTP2Proxy, StreamAnswer
from tests.proxies.http_proxy import ProxyRequest
from tests.proxies.script import Answer, Then
from tests.proxies.socks_server import SOCKSServer

# What goes through tunnels, and what does not.


@pytest.mark.parametrize("kind", KINDS)
async def test_tunnel_to_https_shows_the_proxy_nothing_of_the_request_and_the_origin_nothing_of_the_proxy(
    kind: str, tls: TLSFiles
) -> None:
    async with scene(kind, "https", tls) as at:
        await at.ask()
        await at.ask()
        assert found(FOR_PROXY, at.origin_received) == []
        assert found(FOR_ORIGIN, at.proxy_received) == []
        assert found(FOR_ORIGIN, at.origin_received) == FOR_ORIGIN  # it was sent, and would have been found
        assert at.server.connections == len(at.server.requests) == 1
        assert told(at) == [(USER, None if kind == "socks4a" else PASSWORD)]


@pytest.mark.parametrize("kind", KINDS)
async def test_tunnel_to_http_shows_the_proxy_the_request_only_inside(kind: str, tls: TLSFiles) -> None:
    async with scene(kind, "http", tls, tunnel=True) as at:
        await at.ask()
        assert found(FOR_PROXY, at.origin_received) == found(FOR_PROXY, at.tunnelled) == []
        assert at.tunnelled == at.origin_received
        assert found(FOR_ORIGIN, at.proxy_received.replace(at.tunnelled, b"")) == []
        assert told(at) == [(USER, None if kind == "socks4a" else PASSWORD)]


@pytest.mark.parametrize("kind", ["http", "https", "h2"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_connect_says_where_to_and_the_proxys_fields_and_nothing_else(
    kind: str, scheme: str, tls: TLSFiles
) -> None:
    async with scene(kind, scheme, tls, tunnel=True) as at:
        await at.ask()
        target = b"localhost:%d" % at.origin.port
        fields = [(b"x-for-proxy", TOKEN.encode()), (b"proxy-authorization", b"Basic " + BASIC.encode())]
        host = [] if kind == "h2" else [(b"host", target)]
        assert at.server.requests == [ProxyRequest(b"CONNECT", target, [*host, *fields])]


@pytest.mark.parametrize("kind", ["http", "https", "h2"])
async def test_nothing_of_the_request_is_sent_before_the_tunnel_is_there(kind: str, tls: TLSFiles) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def hold(request: ProxyRequest) -> None:
        asked.set()
        await go_on.wait()

    async with scene(kind, "http", tls, tunnel=True, answer=hold) as at:
        asking = asyncio.create_task(at.ask())
        await asked.wait()
        await turns(50)
        assert at.tunnelled == at.origin_received == b""
        if not isinstance(at.server, HTTP2Proxy):
            assert [bytes(record.received) for record in at.server.received] == [at.server.received[0].head]
        go_on.set()
        await asking
        assert at.tunnelled == at.origin_received != b""


@pytest.mark.parametrize("kind", ["http", "https", "h2"])
@pytest.mark.parametrize("status", [403, 407, 302])
async def test_refused_tunnel_has_shown_the_proxy_nothing_of_the_request(kind: str, status: int, tls: TLSFiles) -> None:
    def refuse(request: ProxyRequest) -> Any:
        head = b"HTTP/1.1 %d No\r\nlocation: /\r\ncontent-length: 0\r\n\r\n" % status
        return StreamAnswer(status) if kind == "h2" else Answer(head, Then.STAY)

    async with scene(kind, "https", tls, answer=refuse) as at:
        with pytest.raises(ProxyError) as caught:
            await at.ask()
        assert caught.value.status_code == status
        assert found(FOR_ORIGIN, at.proxy_received) == []
        assert at.tunnelled == at.origin_received == b""


# Forwarding: the proxy reads everything; what is for it alone is its own affair to keep.


@pytest.mark.parametrize("kind", ["http", "https", "h2"])
async def test_forwarded_request_carries_the_fields_of_both(kind: str, tls: TLSFiles) -> None:
    async with scene(kind, "http", tls) as at:
        await at.ask()
        assert told(at) == [(USER, PASSWORD)]
        names = [name for name, _ in at.server.requests[0].headers]  # type: ignore[union-attr]
        assert names.count(b"proxy-authorization") == names.count(b"x-for-proxy") == names.count(b"authorization") == 1
        assert b"proxy-authorization" not in at.origin_received.lower()
        assert at.tunnelled == b"" or kind == "h2"


@pytest.mark.parametrize("kind", ["http", "https", "h2"])
async def test_proxys_fields_are_not_in_the_request_that_goes_elsewhere_next(kind: str, tls: TLSFiles) -> None:
    async with scene(kind, "http", tls) as at:
        url = f"http://localhost:{at.origin.port}/"
        response = await at.pool.request("GET", url, decode=False)
        assert response.request is not None
        assert [name for name, _ in response.request.headers] == [b"Host"]
        request = Request("GET", url)
        for proxy in (at.proxy, DIRECT):
            await at.pool.send(request, proxy=proxy, decode=False)
            assert request.headers == [(b"Host", f"localhost:{at.origin.port}".encode())]
            assert request.target == b"/"
        assert b"proxy-authorization" not in at.origin_received.lower()
        direct = at.origin.protocols[-1]
        assert isinstance(direct, H11Server)
        assert direct.received == b"GET / HTTP/1.1\r\nHost: localhost:%d\r\n\r\n" % at.origin.port


async def test_origins_that_a_chooser_sends_elsewhere_see_nothing_of_each_others_proxies() -> None:
    numbers = iter(range(9))
    connector = MemoryConnector(lambda: AnyServer(next(numbers)))
    proxies = {"a": Proxy("http://one", auth=(USER, PASSWORD)), "b": Proxy("http://two", {"X-For-Proxy": TOKEN})}
    async with (
        connector,
        ConnectionPool(connector=connector, proxy=lambda origin: proxies.get(origin.host)) as pool,
    ):
        for _ in range(2):
            for host in ("a", "b", "c"):
                await pool.request("GET", f"http://{host}/")
        one, two, direct = (peer.received for peer in connector.peers)
        assert found(FOR_PROXY, one) == [BASIC, "proxy-authorization", "Basic"]
        assert found(FOR_PROXY, two) == [TOKEN, "x-for-proxy"]
        assert found(FOR_PROXY, direct) == []


# One password after another.


@pytest.mark.parametrize("kind", KINDS[:-1])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_new_password_is_never_served_by_what_the_old_one_opened(kind: str, scheme: str, tls: TLSFiles) -> None:
    async with scene(kind, scheme, tls, auth=(USER, "new")) as at:
        # The proxy takes the new one alone; the pool has the old one.
        for _ in range(2):
            if scheme == "http" and not kind.startswith("socks"):
                response = await at.pool.request("GET", f"http://localhost:{at.origin.port}/")
                assert response.status_code == 407
            else:
                with pytest.raises(ProxyError):
                    await at.ask()
        assert at.origin_received == b""
        before = len(told(at))
        renewed = Proxy(str(at.proxy), ssl=at.proxy.ssl, auth=(USER, "new"))
        for _ in range(2):
            await at.ask(proxy=renewed)
        assert set(told(at)[before:]) == {(USER, "new")}
        assert PASSWORD not in at.server.received[-1].received.decode("latin-1")
        # And the other way round.
        before = len(at.origin_received)
        if scheme == "https" or kind.startswith("socks"):
            with pytest.raises(ProxyError):
                await at.ask()
        else:
            response = await at.pool.request("GET", f"http://localhost:{at.origin.port}/")
            assert response.status_code == 407
        assert len(at.origin_received) == before


# Fields that are made for each connection.


class Tokens:
    """Gives a new token each time it is asked."""

    def __init__(self) -> None:
        self.given = 0

    def __call__(self) -> dict[str, str]:
        self.given += 1
        return {"Proxy-Authorization": f"Bearer {self.given}"}


def tokens(at: Scene) -> list[bytes | None]:
    assert not isinstance(at.server, SOCKSServer)
    return [request.get(b"proxy-authorization") for request in at.server.requests]


@pytest.mark.parametrize("kind", ["http", "https", "h2"])
async def test_forwarding_asks_for_fields_once_for_each_connection(kind: str, tls: TLSFiles) -> None:
    source = Tokens()
    async with scene(kind, "http", tls, headers=source) as at:
        for _ in range(3):
            await at.ask()
        assert (source.given, tokens(at)) == (1, [b"Bearer 1"] * 3)
        at.server.received[0].close()
        await at.server.until(lambda: at.server.received[0].lost)
        await at.ask()
        assert (source.given, tokens(at)[3:]) == (2, [b"Bearer 2"])


@pytest.mark.parametrize("kind", ["http", "https", "h2"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_tunnels_ask_for_fields_once_for_each_tunnel(kind: str, scheme: str, tls: TLSFiles) -> None:
    source = Tokens()
    async with scene(kind, scheme, tls, tunnel=True, headers=source) as at:
        for _ in range(3):
            await at.ask()
        assert (source.given, tokens(at)) == (1, [b"Bearer 1"])
        url = f"{scheme}://127.0.0.1:{at.origin.port}/"
        for _ in range(2):
            await at.pool.request("GET", url)
        assert (source.given, tokens(at)) == (2, [b"Bearer 1", b"Bearer 2"])
        assert at.server.connections == (1 if kind == "h2" else 2)


@pytest.mark.parametrize("kind", ["http", "https", "h2"])
async def test_expired_token_is_replaced_for_the_next_tunnel(kind: str, tls: TLSFiles) -> None:
    source = Tokens()

    def check(request: ProxyRequest) -> Any:
        if request.get(b"proxy-authorization") != b"Bearer 1":
            return None
        head = b"HTTP/1.1 407 Expired\r\nproxy-authenticate: Bearer\r\ncontent-length: 0\r\n\r\n"
        return StreamAnswer(407) if kind == "h2" else Answer(head, Then.STAY)

    async with scene(kind, "https", tls, headers=source, answer=check) as at:
        with pytest.raises(ProxyError) as caught:
            await at.ask()
        assert caught.value.status_code == 407
        await at.ask()
        assert (source.given, tokens(at)) == (2, [b"Bearer 1", b"Bearer 2"])
        assert at.server.connections == 1  # the proxy may be asked again on the same connection


async def test_expired_token_is_replaced_on_the_next_connection_to_a_proxy_that_forwards(tls: TLSFiles) -> None:
    source = Tokens()

    def check(request: ProxyRequest) -> Answer | None:
        if request.get(b"proxy-authorization") != b"Bearer 1":
            return None
        return Answer(b"HTTP/1.1 407 Expired\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", Then.CLOSE)

    async with scene("http", "http", tls, headers=source, answer=check) as at:
        url = f"http://localhost:{at.origin.port}/"
        assert [(await at.pool.request("GET", url)).status_code for _ in range(2)] == [407, 200]
        assert tokens(at) == [b"Bearer 1", b"Bearer 2"]


@pytest.mark.parametrize("url", ["http://a/", "https://a/"])
@pytest.mark.parametrize(
    "bad",
    [
        lambda: 1 / 0,
        lambda: {"X": "a\r\nb"},
        lambda: {"Content-Length": TOKEN},
        lambda: {"X": f"{TOKEN}\N{SNOWMAN}"},
        lambda: f"X: {TOKEN}",
        lambda: None,
    ],
)
async def test_fields_that_cannot_be_had_fail_the_request_and_the_next_one_asks_again(
    url: str, bad: Callable[[], Any]
) -> None:
    numbers = iter(range(9))
    connector = MemoryConnector(lambda: AnyServer(next(numbers)))
    source: list[Callable[[], Any]] = [bad, dict]
    proxy = Proxy("http://proxy", lambda: source.pop(0)())
    async with connector, ConnectionPool(connector=connector, proxy=proxy) as pool:
        with pytest.raises(ConnectError, match="the proxy's headers could not be had") as caught:
            await pool.request("GET", url)
        assert caught.value.__cause__ is not None
        assert TOKEN not in "".join(traceback.format_exception(caught.value))
        assert (caught.value.host, pool.num_connections, connector.dials) == ("a", 0, [])
        if url.startswith("http:"):
            assert (await pool.request("GET", url)).body == b"0"
            assert source == []


# What is said of it elsewhere.

NEVER_SAID = [PASSWORD, TOKEN, BASIC, ORIGIN_TOKEN, ORIGIN_COOKIE, ORIGIN_BODY]


def refusing(kind: str) -> dict[str, Any]:
    """What makes a proxy refuse everybody."""
    if kind == "h2":
        return {"answer": lambda request: StreamAnswer(407, [(b"proxy-authenticate", b"Basic")], b"no")}
    if kind.startswith("socks"):
        return {"auth": ("another", "another")}
    refusal = b"HTTP/1.1 407 No\r\nproxy-authenticate: Basic\r\ncontent-length: 2\r\n\r\nno"
    return {"answer": lambda request: Answer(refusal, Then.STAY)}


def hanging_up(kind: str) -> dict[str, Any]:
    return {"on_accept": Answer(b"", Then.CLOSE)}


def babbling(kind: str) -> dict[str, Any]:
    return {"on_accept": Answer(b"\x00\xff" * 50, Then.CLOSE)}


def working(kind: str) -> dict[str, Any]:
    return {}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("how", [refusing, hanging_up, babbling, working])
async def test_no_error_event_log_or_repr_says_a_secret(
    kind: str, scheme: str, how: Callable[[str], dict[str, Any]], tls: TLSFiles, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.get_running_loop()
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    events: list[TraceEvent] = []
    async with scene(kind, scheme, tls, tunnel=True, **how(kind)) as at:
        # Everything that the loop runs is named in the log now, with its arguments.
        loop.set_debug(True)
        loop.slow_callback_duration = 0.0
        try:
            await at.ask(trace=events.append)
            assert how is working
        except HTTPCoreError as exc:
            assert how is not working
            said += [str(exc), repr(exc), *traceback.format_exception(exc)]
        finally:
            loop.set_debug(False)
        slots = at.pool._slots
        assert slots is not None and slots._below is not None
        reprs = [at.proxy, at.pool, at.pool._options, slots.report(), list(slots._lanes), list(slots._below._lanes)]
        said += [repr(each) for each in (*reprs, *vars(at.pool).values())]
        said += [str(at.proxy), f"{at.proxy}", f"{at.proxy!r}"]
    said += [repr(event) for event in events]
    # hpack's own log is the connection's content, and shows what is never indexed only where it decodes: in the proxy.
    said += [record.getMessage() for record in caplog.records if not record.name.startswith("hpack")]
    assert len(events) > 2 and len(caplog.records) > 2
    assert [text for text in said if found(NEVER_SAID, text)] == []


@pytest.mark.parametrize("kind", KINDS)
async def test_events_of_a_tunnel_name_the_proxy_and_the_target(kind: str, tls: TLSFiles) -> None:
    events: list[TraceEvent] = []
    async with scene(kind, "https", tls) as at:
        await at.ask(trace=events.append)
        tunnel = [event for event in events if isinstance(event, (TunnelStarted, TunnelEstablished))]
        named = [(type(event), event.proxy, event.host, event.port) for event in tunnel]
        url = f"{at.proxy.scheme}://{at.proxy.host}:{at.proxy.port}"
        assert named == [(event, url, at.host, at.origin.port) for event in (TunnelStarted, TunnelEstablished)]
