"""What a review of the routes has asked. Most of these once went wrong."""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import Callable

import pytest

from httpcore import (
    DIRECT,
    ClientConnection,
    ConnectError,
    ConnectionPool,
    ConnectTimeout,
    HTTPCoreError,
    InvalidURL,
    LocalProtocolError,
    NetworkConfig,
    Origin,
    PoolLimits,
    Proxy,
    ProxyError,
    Request,
    SSLConfig,
    TimeoutConfig,
    proxies_from_environment,
    public_addresses_only,
)
from httpcore.egress import EgressCandidate
from httpcore.pool.routes import NO_OPTIONS, Route
from httpcore.protocols.handshake import Versions
from httpcore.testing import HTTP11Peer, MemoryConnector
from httpcore.tls import ContextCache
from tests.clock import Clock, turns
from tests.conftest import TLSFiles
from tests.h11_server import H11Server, listening
from tests.pool.tunnelling import HTTP_PROXY
from tests.proxies.http_proxy import http_proxy

BOTH = Versions.of(True, True)
PLAIN = Proxy("http://proxy:3128")
ALPN = ("http/1.1",)
REFUSAL = b"HTTP/1.1 407 No\r\ncontent-length: 2\r\n\r\nno"


def chain(error: BaseException | None) -> list[BaseException]:
    """An error, and all that it was raised from or in place of, whether a traceback shows that or not."""
    return [] if error is None else [error, *chain(error.__cause__), *chain(error.__context__)]


# Forwarding goes by what the request line says, whatever else was configured.


def test_where_connect_to_leads_elsewhere_the_proxy_gives_a_tunnel_to_there() -> None:
    network = NetworkConfig(connect_to={"a:80": "b:8080"})
    options = NO_OPTIONS.override(proxy=PLAIN, network=network)
    elsewhere = Route.of(Request("GET", "http://a/"), options, BOTH)
    assert (elsewhere.tunnel, elsewhere.origin) == (True, Origin("http", "a", 80))
    for url in ("http://a:81/", "http://c/"):
        assert not Route.of(Request("GET", url), options, BOTH).tunnel


async def test_connect_to_holds_for_http_through_a_proxy() -> None:
    async with (
        listening(H11Server) as origin,
        http_proxy() as proxy,
        ConnectionPool(
            proxy=proxy.url, network=NetworkConfig(connect_to={"example.org": f"127.0.0.1:{origin.port}"})
        ) as pool,
    ):
        assert (await pool.request("GET", "http://example.org/path")).body == b"hello"
        (server,) = origin.protocols
        assert isinstance(server, H11Server)
        (asked,) = server.asked
        assert (asked.target, asked.get(b"host")) == (b"/path", b"example.org")
        assert [request.target for request in proxy.requests] == [b"127.0.0.1:%d" % origin.port]


def test_address_that_a_proxy_would_forward_to_is_the_one_that_the_egress_policy_sees() -> None:
    seen: list[EgressCandidate] = []

    def policy(candidate: EgressCandidate) -> bool:
        seen.append(candidate)
        return True

    network = NetworkConfig(connect_to={"169.254.169.254": "93.184.216.34"}, egress=policy)
    route = Route.of(Request("GET", "http://169.254.169.254/"), NO_OPTIONS.override(proxy=PLAIN, network=network), BOTH)
    assert [str(candidate.address) for candidate in seen] == ["93.184.216.34"]
    assert route.tunnel  # to there; forwarded, the URL's address would be asked for


@pytest.mark.parametrize("target", ["http://169.254.169.254/", "HTTP://10.0.0.1", "10.0.0.1:80"])
def test_target_of_the_callers_own_is_not_forwarded_past_an_egress_policy(target: str) -> None:
    request = Request("GET", "http://a/", target=target)
    options = NO_OPTIONS.override(proxy=PLAIN)
    assert not Route.of(request, options, BOTH).tunnel
    options = options.override(network=NetworkConfig(egress=public_addresses_only))
    assert Route.of(request, options, BOTH).tunnel
    for other in (
        Request("GET", "http://a/", target="//169.254.169.254/"),
        Request("OPTIONS", "http://a/", target="*"),
    ):
        assert not Route.of(other, options, BOTH).tunnel


async def test_connection_of_ones_own_refuses_to_forward_such_a_target() -> None:
    network = NetworkConfig(egress=public_addresses_only)
    async with http_proxy() as proxy:
        async with await ClientConnection.connect("http://a/", proxy=proxy.url, network=network) as connection:
            with pytest.raises(LocalProtocolError, match="under an egress policy, a target that is no path"):
                await connection.request("GET", "http://a/", target="http://169.254.169.254/")
        assert proxy.requests == []


# Credentials for a proxy are for a proxy, also where a chooser has none for this origin (compare CVE-2023-32681).


async def test_own_proxy_authorization_is_refused_where_the_chooser_chooses_none() -> None:
    chooser = proxies_from_environment({"http_proxy": "http://proxy:3128", "no_proxy": "a"})
    headers = {"Proxy-Authorization": "Basic abc"}
    connector = MemoryConnector(HTTP11Peer)
    async with connector, ConnectionPool(proxy=chooser, connector=connector) as pool:
        with pytest.raises(LocalProtocolError, match="would go to the origin, and not to a proxy"):
            await pool.request("GET", "http://a/", headers)
        assert connector.dials == []
        connection = await ClientConnection.connect("http://a/", proxy=chooser, connector=connector)
        with pytest.raises(LocalProtocolError, match="would go to the origin, and not to a proxy"):
            await connection.request("GET", "http://a/", headers)
        await connection.close()
        assert [bytes(peer.received) for peer in connector.peers] == [b""]


def test_own_proxy_authorization_is_the_callers_affair_where_no_proxy_was_asked_for() -> None:
    request = Request("GET", "http://a/", {"Proxy-Authorization": "Basic abc"})
    chooser = NO_OPTIONS.override(proxy=lambda origin: PLAIN)
    for options in (NO_OPTIONS, chooser.override(proxy=DIRECT)):
        assert Route.of(request, options, BOTH).proxy is None
    assert Route.of(request, chooser, BOTH).proxy is PLAIN


# Nothing is left, and nothing grows.


async def test_pool_that_is_dropped_closes_connections_to_proxies_that_carry_no_tunnel() -> None:
    # On sockets, which the loop holds: what nobody closes would not be collected.
    async with http_proxy(auth=("user", "password")) as proxy:
        pool = ConnectionPool(proxy=proxy.url, limits=PoolLimits(keepalive_expiry=None))
        with pytest.raises(ProxyError):
            await pool.request("GET", "https://a/")
        assert (pool.num_connections, len(proxy.ends)) == (0, 1)
        await turns()  # the step that woke this task up refers to the error, which refers to the pool
        del pool
        gc.collect()
        async with asyncio.timeout(5):
            await proxy.until(lambda: not proxy.ends)


async def test_contexts_that_callers_bring_for_their_requests_are_not_kept() -> None:
    cache = ContextCache()
    for _ in range(10):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        assert await cache.load(SSLConfig(verify=context), ALPN) is context
    assert not cache._contexts


async def test_contexts_are_kept_up_to_a_number_those_used_last(tls: TLSFiles) -> None:
    cache = ContextCache(size=2)
    configs = [SSLConfig(verify=tls.ca_path), SSLConfig(verify=str(tls.ca_path)), SSLConfig(verify=False)]
    first, second = [await cache.load(config, ALPN) for config in configs[:2]]
    assert await cache.load(configs[0], ALPN) is first  # the one used last now
    await cache.load(configs[2], ALPN)
    assert len(cache._contexts) == 2
    assert await cache.load(configs[0], ALPN) is first
    assert await cache.load(configs[1], ALPN) is not second


async def test_sessions_of_a_context_that_is_kept_no_more_are_no_hindrance(tls: TLSFiles) -> None:
    cache = ContextCache(size=1)
    async with listening(H11Server, ssl_context=tls.server_context) as origin, ConnectionPool() as pool:
        pool._contexts = cache
        url = f"https://localhost:{origin.port}/"
        for verify in (tls.ca_path, str(tls.ca_path), tls.ca_path, str(tls.ca_path)):
            response = await pool.request("GET", url, {"Connection": "close"}, ssl=SSLConfig(verify=verify))
            assert response.body == b"hello"


# What errors say.


@pytest.mark.parametrize(
    "make",
    [
        lambda: Proxy("http://proxy", auth=("user", "secret\ud800")),
        lambda: Proxy("http://proxy", auth=("secret\udfff", "")),
        lambda: Proxy("http://user:secret\ud800@proxy"),
        lambda: Request("GET", "http://secret\ud800@a/"),
        lambda: Request("GET", "http://[secret]/x@a/"),
        lambda: Request("GET", "http://secret\u0378/x@a/"),
    ],
)
def test_credentials_that_cannot_be_read_are_in_no_error_behind_the_error(make: Callable[[], object]) -> None:
    with pytest.raises((ValueError, InvalidURL)) as caught:
        make()
    for error in chain(caught.value):
        assert "secret" not in repr(error) + repr(vars(error)) and not isinstance(error, UnicodeError)


@pytest.mark.parametrize("proxy", ["http://proxy:3128", "socks5h://proxy:3128"])
async def test_timeout_on_the_way_through_a_proxy_names_the_proxy(clock: Clock, proxy: str) -> None:
    connector = MemoryConnector(HTTP11Peer)
    async with (
        connector,
        ConnectionPool(proxy=f"{proxy[:-10]}user:pw@proxy:3128", connector=connector, timeout=2) as pool,
    ):
        asking = asyncio.create_task(pool.request("GET", "https://a/"))
        await connector.accept()
        await clock.advance(2.1)
        with pytest.raises(ConnectTimeout) as caught:
            await asking
        assert (
            str(caught.value)
            == f"no connection was made through the proxy {proxy} within 2 seconds (a:443, connecting)"
        )


@pytest.mark.parametrize("seconds", [0.5, 1.0, 1.5])
async def test_refusal_without_its_content_is_one_too_if_little_time_is_left(clock: Clock, seconds: float) -> None:
    connector = MemoryConnector(HTTP11Peer)
    timeout = TimeoutConfig(5, connect_timeout=seconds)
    async with connector, ConnectionPool(proxy=HTTP_PROXY, connector=connector, timeout=timeout) as pool:
        asking = asyncio.create_task(pool.request("GET", "http://a/"))
        peer = await connector.accept()
        await peer.receive_until(b"\r\n\r\n")
        await clock.advance(seconds / 2)
        peer.send(REFUSAL[:-1])
        await turns()
        await clock.advance(seconds / 4 + 0.01)
        with pytest.raises(ProxyError, match="refused a tunnel to a:80 with 407 'No'") as caught:
            await asking
        assert caught.value.body == b"n"


@pytest.mark.parametrize("scheme", ["http", "https", "socks5h"])
@pytest.mark.parametrize("tunnel", [False, True])
@pytest.mark.parametrize("kind", [ConnectError, ConnectTimeout])
async def test_proxy_that_cannot_be_reached_is_named_whatever_it_would_have_done(
    scheme: str, tunnel: bool, kind: type[HTTPCoreError]
) -> None:
    proxy = Proxy(f"{scheme}://user:pw@proxy:3128", tunnel=tunnel and scheme != "socks5h")
    connector = MemoryConnector(HTTP11Peer)
    cause = kind("the cable is cut")
    connector.fail_next(cause)
    async with connector, ConnectionPool(proxy=proxy, connector=connector) as pool:
        with pytest.raises(kind) as caught:
            await pool.request("GET", "http://a/")
        message = f"no connection to the proxy {scheme}://proxy:3128: the cable is cut"
        assert caught.value.args[0] == message and (caught.value.host, caught.value.port) == ("a", 80)
        assert cause in chain(caught.value)


async def test_pin_that_a_proxy_which_forwards_does_not_have_is_said_to_be_the_proxys(tls: TLSFiles) -> None:
    pinned = SSLConfig(verify=tls.ca_path, pins=("sha256/" + "A" * 43 + "=",))
    async with http_proxy(tls.server_context) as proxy, ConnectionPool(proxy=Proxy(proxy.url, ssl=pinned)) as pool:
        with pytest.raises(ConnectError, match=f"no connection to the proxy {proxy.url}: the server's key is none"):
            await pool.request("GET", "http://a/")


# What a proxy was told alone is not repeated because the proxy repeats it.


@pytest.mark.parametrize("repeats", [b"dXNlcjpodW50ZXIy", b"hunter2", b"token-1"])
async def test_proxy_that_repeats_what_it_was_sent_is_not_quoted(repeats: bytes) -> None:
    answer = b"HTTP/1.1 407 " + repeats + b"\r\nproxy-authenticate: x " + repeats + b"\r\ncontent-length: 0\r\n\r\n"
    async with http_proxy(answer=lambda request: answer) as proxy:
        way = Proxy(proxy.url, {"x-token": "token-1"}, auth=("user", "hunter2"))
        async with ConnectionPool(proxy=way) as pool:
            with pytest.raises(ProxyError, match=r"407 .not shown.*asks for credentials: .not shown") as raised:
                await pool.request("GET", "https://example.org/")
    assert repeats.decode() not in str(raised.value)
    assert raised.value.headers[0] == (b"proxy-authenticate", b"x " + repeats)  # which its user asks for
