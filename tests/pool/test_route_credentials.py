"""Who sees which credentials: byte for byte what a proxy got, what the origin got, and what is said of it elsewhere."""

from __future__ import annotations

import asyncio
import base64
import logging
import traceback
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from httpcore import (
    DIRECT,
    ClientConnection,
    ConnectError,
    ConnectionPool,
    HTTPCoreError,
    LocalProtocolError,
    Origin,
    Proxy,
    ProxyError,
    Request,
    SSLConfig,
)
from httpcore.testing import MemoryConnector
from httpcore.trace import TraceEvent, TunnelEstablished, TunnelStarted
from tests.clock import turns
from tests.conftest import TLSFiles
from tests.h11_server import H11Server, Listener, listening
from tests.pool.any_server import AnyServer
from tests.proxies.http2_proxy import HTTP2Proxy, StreamAnswer, http2_proxy
from tests.proxies.http_proxy import HTTPProxy, ProxyRequest, http_proxy
from tests.proxies.script import Answer, Then
from tests.proxies.socks_server import SOCKSServer, socks_server

USER, PASSWORD, TOKEN = "proxyuser", "proxypassword", "proxytoken"
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
FOR_PROXY = [USER, PASSWORD, TOKEN, BASIC, "proxy-authorization", "x-for-proxy", "Basic"]

ORIGIN_TOKEN, ORIGIN_COOKIE, ORIGIN_BODY, ORIGIN_PATH = "origintoken", "origincookie", "originbody", "/originpath"
ORIGIN_HEADERS = {"Authorization": f"Bearer {ORIGIN_TOKEN}", "Cookie": ORIGIN_COOKIE, "X-For-Origin": "originheader"}
FOR_ORIGIN = [ORIGIN_TOKEN, ORIGIN_COOKIE, ORIGIN_BODY, ORIGIN_PATH, "originheader", "x-for-origin", "\nauthorization:"]


def found(secrets: Iterable[str], data: bytes | bytearray | str) -> list[str]:
    """Which of these occur, in whatever case."""
    text = data if isinstance(data, str) else data.decode("latin-1")
    return [secret for secret in secrets if secret.lower() in text.lower()]


@dataclass
class Scene:
    """A proxy, an origin behind it, and a pool that trusts both."""

    server: HTTPProxy | HTTP2Proxy | SOCKSServer
    proxy: Proxy
    origin: Listener
    pool: ConnectionPool

    @property
    def origin_received(self) -> bytes:
        """All that the origin got, TLS removed."""
        return b"".join(bytes(each.received) for each in self.origin.protocols if isinstance(each, H11Server))

    @property
    def proxy_received(self) -> bytes:
        """All that the proxy got, its TLS removed. Over HTTP/2, the fields and what came through tunnels."""
        if not isinstance(self.server, HTTP2Proxy):
            return b"".join(bytes(record.received) for record in self.server.received)
        lines = [b"%b: %b\r\n" % field for request in self.server.requests for field in request.headers]
        return b"".join([*lines, *(bytes(record.tunnelled) for record in self.server.received)])

    @property
    def tunnelled(self) -> bytes:
        """What of that went through tunnels."""
        return b"".join(bytes(record.tunnelled) for record in self.server.received)

    async def ask(self, **options: Any) -> None:
        url = f"{self.origin.scheme}://localhost:{self.origin.port}{ORIGIN_PATH}"
        response = await self.pool.request("POST", url, ORIGIN_HEADERS, ORIGIN_BODY, **options)
        assert response.body == b"hello"


KINDS = ["http", "https", "h2", "socks5", "socks5h", "socks4a"]


@asynccontextmanager
async def scene(
    kind: str, scheme: str, tls: TLSFiles, *, tunnel: bool = False, headers: Any = None, **options: Any
) -> AsyncIterator[Scene]:
    """Opens one. Names that end in `options` are the in-process proxy's."""
    async with AsyncExitStack() as stack:
        origin = await stack.enter_async_context(
            listening(H11Server, ssl_context=tls.server_context if scheme == "https" else None)
        )
        trusted = SSLConfig(verify=tls.ca_path)
        server: HTTPProxy | HTTP2Proxy | SOCKSServer
        given: dict[str, Any] = {"auth": (USER, "" if kind == "socks4a" else PASSWORD)}
        if kind.startswith("socks"):
            options.setdefault("auth", given["auth"])
            server = await stack.enter_async_context(socks_server(**options))
            url = f"{kind}://127.0.0.1:{server.port}"
        else:
            make = http2_proxy if kind == "h2" else http_proxy
            server = await stack.enter_async_context(
                make(None if kind == "http" else tls.server_context, **options)
            )
            url = server.url
            given |= {"headers": {"X-For-Proxy": TOKEN} if headers is None else headers, "tunnel": tunnel}
            if kind != "http":
                given["ssl"] = trusted
        proxy = Proxy(url, **given)
        pool = await stack.enter_async_context(ConnectionPool(trusted, proxy=proxy))
        yield Scene(server, proxy, origin, pool)


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


def told(at: Scene) -> list[tuple[str, str | None]]:
    """The credentials that the proxy was told."""
    if isinstance(at.server, SOCKSServer):
        return [(request.user or "", request.password) for request in at.server.requests]
    credentials = [request.credentials for request in at.server.requests]
    return [pair for pair in credentials if pair is not None]


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
async def test_refused_tunnel_has_shown_the_proxy_nothing_of_the_request(
    kind: str, status: int, tls: TLSFiles
) -> None:
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
        response = await at.pool.request("GET", url)
        assert response.request is not None
        assert [name for name, _ in response.request.headers] == [b"Host"]
        before = len(at.origin_received)
        request = Request("GET", url)
        for proxy in (at.proxy, DIRECT):
            await at.pool.send(request, proxy=proxy)
            assert request.headers == [(b"Host", f"localhost:{at.origin.port}".encode())]
            assert request.target == b"/"
        assert found(FOR_PROXY, at.origin_received[before:].replace(b"x-for-proxy: proxytoken\r\n", b"")) == []
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
        assert found(FOR_PROXY, one) == [USER, PASSWORD, BASIC, "proxy-authorization", "Basic"][2:]
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
        with pytest.raises(ConnectError, match="^the proxy's headers could not be had") as caught:
            await pool.request("GET", url)
        assert caught.value.__cause__ is not None
        assert TOKEN not in "".join(traceback.format_exception(caught.value)).replace("TOKEN", "")
        assert (caught.value.host, pool.num_connections, connector.dials) == ("a", 0, [])
        if url.startswith("http:"):
            assert (await pool.request("GET", url)).body == b"0"
            assert source == []


# A proxy-authorization of the caller's own.

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


@pytest.mark.parametrize("proxy", ["http://p", f"http://{USER}:{PASSWORD}@p", Proxy("http://p", Tokens())])
async def test_own_proxy_authorization_goes_to_a_proxy_that_forwards_in_place_of_its_own(proxy: Any) -> None:
    connector = MemoryConnector(lambda: AnyServer(0))
    async with connector:
        async with ConnectionPool(connector=connector, proxy=proxy) as pool:
            await pool.request("GET", "http://a/", OWN)
        async with await ClientConnection.connect("http://a/", proxy=proxy, connector=connector) as connection:
            await connection.request("GET", "http://a/", OWN)
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
            await pool.request("GET", "http://a/", OWN)
        async with await ClientConnection.connect("http://a/", connector=connector) as connection:
            await connection.request("GET", "http://a/", OWN)
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
    said += [record.getMessage() for record in caplog.records]
    assert len(events) > 2 and len(caplog.records) > 2
    assert [text for text in said if found(NEVER_SAID, text)] == []


@pytest.mark.parametrize("kind", KINDS)
async def test_events_of_a_tunnel_name_the_proxy_and_the_target(kind: str, tls: TLSFiles) -> None:
    events: list[TraceEvent] = []
    async with scene(kind, "https", tls) as at:
        await at.ask(trace=events.append)
        tunnel = [event for event in events if isinstance(event, (TunnelStarted, TunnelEstablished))]
        named = [(type(event), event.proxy, event.host, event.port) for event in tunnel]
        url = str(Origin(at.proxy.scheme, at.proxy.host, at.proxy.port))
        assert named == [(kind, url, "localhost", at.origin.port) for kind in (TunnelStarted, TunnelEstablished)]
