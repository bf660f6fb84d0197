"""Who shares a connection: pair by pair, two requests that differ in any one part of the way never do."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from httpcore import (
    DIRECT,
    ConnectError,
    ConnectionPool,
    NetworkConfig,
    Origin,
    PoolLimits,
    Proxy,
    ProxyError,
    ProxyProtocol,
    Response,
    SSLConfig,
)
from httpcore.pool.routes import Route
from httpcore.testing import HTTP2Peer, MemoryConnector
from tests.conftest import TLSFiles
from tests.h11_server import listening
from tests.pool.any_server import AnyServer, Certified
from tests.pool.route_pairs import (
    PAIRS,
    PARAMS,
    UNKNOWN_PIN,
    UPGRADE,
    Pair,
    Site,
    Way,
    ask,
    pool_for,
    token_one,
    token_two,
)
from tests.pool.version_server import VersionServer, offering

# The table says what it says, and nothing is missing in it.


def fields_of(value: object) -> Iterator[str]:
    """The names of the parts of a route, or of a part of it, by which two of them are told apart."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        yield from value._fields
    elif dataclasses.is_dataclass(value):
        yield from (field.name for field in dataclasses.fields(value) if field.compare)


def differences(one: object, other: object, path: str = "") -> Iterator[str]:
    """The paths of what differs between two routes."""
    if type(one) is type(other) and (names := list(fields_of(one))):
        for name in names:
            yield from differences(getattr(one, name), getattr(other, name), f"{path}.{name}" if path else name)
    elif one is not other and (callable(one) or one != other):
        yield path


def test_every_part_of_a_route_stands_in_the_table(tls: TLSFiles) -> None:
    proxy = Proxy("https://proxy")
    everything = Route(proxy.origin, SSLConfig(), True, proxy, True, NetworkConfig(), ProxyProtocol())

    def paths(value: object, path: str = "") -> Iterator[str]:
        names = list(fields_of(value))
        if path and not (isinstance(value, Origin) and names):  # an origin never differs but in its parts
            yield path
        for name in names:
            yield from paths(getattr(value, name), f"{path}.{name}" if path else name)

    covered = {path for name, _ in PAIRS for path in name.split()}
    # The proxy's own TLS is the same class as the origin's.
    needed = {path for path in paths(everything) if not path.startswith("proxy.ssl.")}
    assert needed <= covered
    # What is not part of the key by itself is all in it: Proxy and NetworkConfig do not leave out anything else.
    assert {field.name for field in dataclasses.fields(NetworkConfig) if not field.compare} == {"_destinations"}
    for cls in (SSLConfig, Proxy, ProxyProtocol):
        assert all(field.compare for field in dataclasses.fields(cls))


@pytest.mark.parametrize("name, pair", PARAMS)
def test_pair_differs_in_what_the_table_says_and_so_in_the_key(name: str, pair: Pair, tls: TLSFiles) -> None:
    site = Site(tls, 80)
    one, other = (way.route for way in pair(site))
    assert set(differences(one, other)) == set(name.split())
    assert one != other
    again, _ = (way.route for way in pair(site))
    assert again == one and hash(again) == hash(one)


# Over connections.


@pytest.mark.parametrize("name, pair", PARAMS)
async def test_two_that_differ_never_share_a_connection(name: str, pair: Pair, tls: TLSFiles) -> None:
    async with pool_for(name, tls) as (pool, site, servers):
        for one, other in (pair(site), pair(site)[::-1]):
            first = await ask(pool, one)
            second = await ask(pool, other)
            assert second != first
            # Both are kept, and each finds its own again.
            assert [await ask(pool, way) for way in (one, other, other, one)] == [first, second, second, first]
        assert (pool.num_connections, pool.num_keepalive_connections) == (2, 2)
        assert len(servers) == 2


@pytest.mark.parametrize("name, pair", PARAMS)
async def test_equal_values_made_anew_share_a_connection(name: str, pair: Pair, tls: TLSFiles) -> None:
    async with pool_for(name, tls) as (pool, site, servers):
        for index in (0, 1):
            assert len({await ask(pool, pair(site)[index]) for _ in range(3)}) == 1
        assert len(servers) == 2


@pytest.mark.parametrize("name, pair", PARAMS)
async def test_connection_that_is_in_the_way_of_another_is_closed_and_not_shared(
    name: str, pair: Pair, tls: TLSFiles
) -> None:
    async with pool_for(name, tls, PoolLimits(hard_limit=1)) as (pool, site, _):
        ways = pair(site)
        numbers = await asyncio.gather(*(ask(pool, ways[index % 2]) for index in range(6)))
        assert not set(numbers[::2]) & set(numbers[1::2])
        assert pool.num_connections == 1


# Who shares.


def same(*ways: Way) -> Callable[[Site], tuple[Way, ...]]:
    return lambda site: ways


def refuse(origin: Origin) -> Proxy | None:
    return None


def choose(origin: Origin) -> str:
    return "http://u:p@p"


SHARED: dict[str, Callable[[Site], tuple[Way, ...]]] = {
    "what is not looked at without TLS": lambda site: (
        Way("http://a/"),
        Way("http://a/", ssl=SSLConfig(verify=False)),
        Way("http://a/", ssl=site.contexts[0]),
        Way("http://a/", UPGRADE),
    ),
    "ways to write an origin": same(
        Way("https://a/"), Way("HTTPS://A:443/"), Way("https://user:password@a:0443/x?y"), Way("https://a/#b")
    ),
    "defaults that are written out": same(
        Way("https://a/"),
        Way("https://a/", {}, SSLConfig(verify=True, cert=None, pins=()), DIRECT, NetworkConfig()),
        Way("https://a/", {}, None, refuse),
        Way("https://a/", {"authorization": "x", "cookie": "y", "proxy-authorization": "z"}),
    ),
    "ways to write pins": lambda site: (
        Way("https://a/", ssl=SSLConfig(pins=(site.pin, UNKNOWN_PIN))),
        Way("https://a/", ssl=SSLConfig(pins=(UNKNOWN_PIN.replace("/", "//"), site.pin, site.pin))),
    ),
    "ways to write a name": same(
        Way("https://a/", ssl=SSLConfig(server_hostname="B")), Way("https://a/", ssl=SSLConfig(server_hostname="b"))
    ),
    "all that a proxy forwards": same(
        Way("http://a/", proxy="http://u:p@p"),
        Way("http://b:81/", proxy=Proxy("http://p:80", auth=(b"u", b"p"))),
        Way("http://a/", {"authorization": "x", "proxy-authorization": "y"}, proxy=choose),
        Way("http://[::1]/", {"host": "c"}, SSLConfig(verify=False), b"HTTP://u:%70@P"),
    ),
    "all that a proxy forwards over TLS": same(
        Way("http://a/", proxy="https://p"), Way("http://b/", proxy=Proxy("https://p", ssl=SSLConfig()))
    ),
    "a tunnel": same(
        Way("http://a/", proxy=Proxy("http://p", {"x": "1"}, tunnel=True)),
        Way("http://a/", UPGRADE, proxy=Proxy("http://p:80", [(b"x", b"1")], tunnel=True)),
    ),
    "a method of one object": lambda site: (
        Way("http://a/", proxy=Proxy("http://p", site.fields)),
        Way("http://a/", proxy=Proxy("http://p", site.fields)),
    ),
}


@pytest.mark.parametrize("what", SHARED)
async def test_what_makes_no_difference_is_not_in_the_key(what: str, tls: TLSFiles) -> None:
    async with pool_for(what, tls) as (pool, site, servers):
        ways = SHARED[what](site)
        assert len({way.route for way in ways}) == 1
        assert {await ask(pool, way) for way in ways} == {0}
        assert len(servers) == pool.num_connections == 1


async def test_default_network_shares_connections_over_sockets_with_none(tls: TLSFiles) -> None:
    async with pool_for("network", tls) as (pool, site, _):
        way = Way(f"http://127.0.0.1:{site.port}/")
        assert {await ask(pool, way._replace(network=network)) for network in (None, NetworkConfig())} == {0}


async def test_default_of_the_pool_is_the_same_as_when_a_request_says_it() -> None:
    servers = itertools.count()
    connector = MemoryConnector(lambda: AnyServer(next(servers)))
    options = {"proxy": "http://u:p@p", "proxy_protocol": ProxyProtocol(version=1)}
    async with connector, ConnectionPool(connector=connector, **options) as pool:  # type: ignore[arg-type]
        assert await ask(pool, Way("http://a/")) == 0
        assert await ask(pool, Way("http://a/", proxy="http://u:p@p", proxy_protocol=ProxyProtocol(version=1))) == 0
        assert await ask(pool, Way("http://a/", proxy=DIRECT)) == 1
        assert await ask(pool, Way("http://a/", proxy="http://p")) == 2


# Connections that can carry several requests at once.


def over_http2(tls: TLSFiles) -> MemoryConnector[HTTP2Peer]:
    return MemoryConnector(HTTP2Peer, client_extra={"ssl_object": Certified(tls, "h2")})


async def responded(asking: list[asyncio.Task[Response]], status: int) -> None:
    """Waits until all requests were answered with this status, by their server or a proxy that refused a tunnel."""
    for answer in await asyncio.gather(*asking, return_exceptions=True):
        assert isinstance(answer, (Response, ProxyError))
        assert answer.status_code == status


HTTP2_PAIRS = [param for param in PARAMS if str(param.id).startswith(("ssl", "origin.host-1", "origin.host-3"))]


@pytest.mark.parametrize("name, pair", HTTP2_PAIRS)
async def test_http2_connection_that_carries_a_request_takes_none_that_is_to_go_another_way(
    name: str, pair: Pair, tls: TLSFiles
) -> None:
    connector = over_http2(tls)
    one, other = pair(Site(tls))
    async with connector, ConnectionPool(connector=connector) as pool:
        asking: list[asyncio.Task[Response]] = []

        def send(way: Way) -> None:
            asking.append(asyncio.create_task(pool.request("GET", way.url, way.headers, ssl=way.ssl)))

        send(one)
        first = await connector.accept()
        await first.receive_request()
        send(other)
        second = await connector.accept()
        await second.receive_request()
        # The third goes with the first, which is still under way: there was room all the time.
        send(one)
        assert (await first.receive_request()).stream_id == 3
        for peer, stream_id in ((first, 1), (first, 3), (second, 1)):
            peer.respond(stream_id, 204)
        await responded(asking, 204)
        assert len(connector.dials) == pool.num_connections == 2


PROXY_PAIRS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "user": ({"url": "https://u:p@p"}, {"url": "https://v:p@p"}),
    "password": ({"url": "https://u:p@p"}, {"url": "https://u:q@p"}),
    "headers": ({"url": "https://p", "headers": {"x": "1"}}, {"url": "https://p", "headers": {"x": "2"}}),
    "callable": ({"url": "https://p", "headers": token_one}, {"url": "https://p", "headers": token_two}),
    "ssl": ({"url": "https://p"}, {"url": "https://p", "ssl": SSLConfig(server_hostname="b")}),
    "host": ({"url": "https://p"}, {"url": "https://q"}),
    "port": ({"url": "https://p"}, {"url": "https://p:444"}),
}


@pytest.mark.parametrize("what", PROXY_PAIRS)
@pytest.mark.parametrize("tunnel", [False, True], ids=["forwarding", "tunnels"])
async def test_http2_connection_to_a_proxy_serves_nobody_who_has_another_proxy(
    what: str, tunnel: bool, tls: TLSFiles
) -> None:
    connector = over_http2(tls)
    one, other = (Proxy(**options, tunnel=tunnel) for options in PROXY_PAIRS[what])
    async with connector, ConnectionPool(connector=connector) as pool:
        asking: list[asyncio.Task[Response]] = []

        def send(host: str, proxy: Proxy) -> None:
            asking.append(asyncio.create_task(pool.request("GET", f"http://{host}/", proxy=proxy)))

        send("a", one)
        first = await connector.accept()
        assert (await first.receive_request()).method == (b"CONNECT" if tunnel else b"GET")
        send("b", one)
        await first.receive_request()
        send("a", other)
        second = await connector.accept()
        await second.receive_request()
        for peer, stream_id in ((first, 1), (first, 3), (second, 1)):
            peer.respond(stream_id, 403)
        await responded(asking, 403)
        assert len(connector.dials) == 2


async def test_forwarding_and_tunnels_have_connections_of_their_own(tls: TLSFiles) -> None:
    connector = over_http2(tls)
    async with connector, ConnectionPool(connector=connector, proxy="https://p") as pool:
        asking = [asyncio.create_task(pool.request("GET", url)) for url in ("http://a/", "https://a/")]
        peers = [await connector.accept(), await connector.accept()]
        methods = {(await peer.receive_request()).method for peer in peers}
        assert methods == {b"GET", b"CONNECT"}
        for peer in peers:
            peer.respond(1, 403)
        await responded(asking, 403)


@pytest.mark.parametrize("version", ["h2", "http/1.1"])
async def test_connection_verified_for_one_name_carries_nothing_for_another_that_its_certificate_has(
    version: str, tls: TLSFiles
) -> None:
    names: list[str | None] = []
    context = offering(tls, [version])
    context.sni_callback = lambda connection, name, context: names.append(name)
    async with listening(VersionServer, ssl_context=context) as listener:
        network = NetworkConfig(connect_to={"example.org": "127.0.0.1", "localhost": "127.0.0.1"})
        trusted = SSLConfig(verify=tls.ca_path)
        async with ConnectionPool(trusted, network=network) as pool:

            async def verified(host: str, server_hostname: str | None = None) -> object:
                config = dataclasses.replace(trusted, server_hostname=server_hostname)
                response = await pool.request("GET", listener.url(host), ssl=config)
                assert response.exchange is not None and response.exchange.connection_info is not None
                tls_object = response.exchange.connection_info.ssl_object
                assert tls_object is not None
                return tls_object.server_hostname

            for _ in range(2):
                assert await verified("localhost") == "localhost"
                assert await verified("example.org") == "example.org"
                assert await verified("localhost", "example.org") == "example.org"
                assert await verified("127.0.0.1") == "127.0.0.1"
            assert pool.num_connections == 4
        assert names == ["localhost", "example.org", "example.org", None]


async def test_pins_are_not_passed_by_a_connector_that_has_no_tls_to_show() -> None:
    connector = MemoryConnector(lambda: AnyServer(0))
    async with connector, ConnectionPool(SSLConfig(pins=(UNKNOWN_PIN,)), connector=connector) as pool:
        with pytest.raises(ConnectError, match="no certificate of the server's to be checked against the pins"):
            await pool.request("GET", "https://a/")
        assert (connector.peers[0].received, pool.num_connections) == (b"", 0)
        assert await ask(pool, Way("http://a/")) == 0  # for which there is nothing to pin


# Any crowd.

IN_MEMORY = [(name, pair) for name, pair in PAIRS if not name.startswith("network")]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(IN_MEMORY) - 1), st.integers(0, 1)), min_size=2, max_size=12),
    st.sampled_from([None, 1, 2, 4]),
    st.integers(1, 4),
)
def test_in_any_crowd_each_connection_goes_one_way(
    tls: TLSFiles, picks: list[tuple[int, int]], hard_limit: int | None, at_once: int
) -> None:
    async def main() -> None:
        async with pool_for("", tls, PoolLimits(hard_limit=hard_limit)) as (pool, site, _):
            ways = [IN_MEMORY[index][1](site)[side] for index, side in picks]
            turnstile = asyncio.Semaphore(at_once)

            async def send(way: Way) -> tuple[int, Route]:
                async with turnstile:
                    return await ask(pool, way), way.route

            taken: dict[int, set[Route]] = {}
            for number, route in await asyncio.gather(*map(send, ways)):
                taken.setdefault(number, set()).add(route)
            assert all(len(routes) == 1 for routes in taken.values())

    asyncio.run(main())
