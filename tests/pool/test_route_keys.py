"""Who shares a connection: pair by pair, two requests that differ in any one part of the way never do."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from httpcore import (
    DIRECT,
    ConnectionPool,
    EgressCandidate,
    NetworkConfig,
    Origin,
    PoolLimits,
    Proxy,
    ProxyError,
    ProxyProtocol,
    Request,
    Resolution,
    Response,
    SSLConfig,
)
from httpcore.config import SSLTypes
from httpcore.pins import spki_pin
from httpcore.pool.routes import NO_OPTIONS, Route
from httpcore.protocols.handshake import Versions
from httpcore.proxies import ProxyChooser, ProxyOverride
from httpcore.testing import HTTP2Peer, MemoryConnector
from tests.conftest import TLSFiles
from tests.h11_server import listening
from tests.pool.any_server import AnyServer, Certified
from tests.pool.version_server import VersionServer, offering

UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket"}


class Way(NamedTuple):
    """What a request says of where it goes, and how."""

    url: str
    headers: dict[str, str] = {}
    ssl: SSLTypes = None
    proxy: ProxyOverride | ProxyChooser | None = None
    network: NetworkConfig | None = None
    proxy_protocol: ProxyProtocol | None = None

    @property
    def route(self) -> Route:
        """The pool's key."""
        options = NO_OPTIONS.override(self.ssl, self.proxy, self.network, self.proxy_protocol)
        return Route.of(Request("GET", self.url, self.headers), options, Versions.of(True, True))


class Site:
    """What ways may need: files, sockets, and objects of which there is one."""

    def __init__(self, tls: TLSFiles, port: int = 0) -> None:
        self.tls = tls
        self.port = port
        self.contexts = [tls.client_context, tls.client_context]

    @property
    def pin(self) -> str:
        return spki_pin(ssl.PEM_cert_to_DER_cert(self.tls.cert_path.read_text().split("\n\n")[0]))

    def fields(self) -> dict[str, str]:
        return {"x": "1"}

    @property
    def sockets(self) -> list[str]:
        return [str(self.tls.ca_path.with_name(name)) for name in ("one", "two")]


Pair: TypeAlias = Callable[[Site], tuple[Way, Way]]


def token_one() -> dict[str, str]:
    return {"x-token": "1"}


def token_two() -> dict[str, str]:
    return {"x-token": "1"}


class EqualToAll:
    """A callable that says that it is equal to every other."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1

    def __call__(self) -> dict[str, str]:
        return {}


EQUAL_TO_ALL = [EqualToAll(), EqualToAll()]


async def resolve_one(host: str) -> Resolution:
    return Resolution(("127.0.0.1",))


async def resolve_two(host: str) -> Resolution:
    return Resolution(("127.0.0.1",))


def let_one(candidate: EgressCandidate) -> bool:
    return True


def let_two(candidate: EgressCandidate) -> bool:
    return True


def with_ssl(one: Callable[[Site], SSLTypes], other: Callable[[Site], SSLTypes]) -> Pair:
    return lambda site: (Way("https://a/", ssl=one(site)), Way("https://a/", ssl=other(site)))


def with_proxies(one: Callable[[], ProxyOverride], other: Callable[[], ProxyOverride], url: str = "http://a/") -> Pair:
    return lambda site: (Way(url, proxy=one()), Way(url, proxy=other()))


def proxy_with(first: dict[str, Any], second: dict[str, Any]) -> Pair:
    """Of proxies that give tunnels, so that nothing but the proxy itself changes."""

    def make(changes: dict[str, Any]) -> Proxy:
        return Proxy(**{"url": "http://proxy:3128", "tunnel": True, **changes})

    return with_proxies(lambda: make(first), lambda: make(second))


def socks_with(first: dict[str, Any], second: dict[str, Any]) -> Pair:
    return with_proxies(lambda: Proxy(**first), lambda: Proxy(**second), "http://127.0.0.1/")


def with_network(one: Callable[[Site], dict[str, Any]], other: Callable[[Site], dict[str, Any]]) -> Pair:
    def pair(site: Site) -> tuple[Way, Way]:
        url = f"http://localhost:{site.port}/"
        first, second = (NetworkConfig(**{**_LOOPBACK, **make(site)}) for make in (one, other))
        return Way(url, network=first), Way(url, network=second)

    return pair


_LOOPBACK = {"connect_to": {"localhost": "127.0.0.1"}}  # which is not what the name leads to first everywhere


def saying(first: dict[str, Any], second: dict[str, Any]) -> Pair:
    return lambda site: tuple(
        Way(
            "http://127.0.0.1/",
            proxy_protocol=ProxyProtocol(**{"source": SOURCE, "destination": DESTINATION, **changes}),
        )
        for changes in (first, second)
    )  # type: ignore[return-value]


SOURCE, DESTINATION = ("192.0.2.1", 1), ("192.0.2.2", 2)
NODELAY, BUFFER = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)

# The parts in which the routes of two ways differ, and these two.
PAIRS: list[tuple[str, Pair]] = [
    ("origin.scheme ssl http2 origin.port", lambda site: (Way("http://a/"), Way("https://a/"))),
    ("origin.scheme ssl http2", lambda site: (Way("http://a:443/"), Way("https://a/"))),
    ("origin.host", lambda site: (Way("http://a/"), Way("http://b/"))),
    ("origin.host", lambda site: (Way("https://a/"), Way("https://b/"))),
    ("origin.host", lambda site: (Way("http://a/"), Way("http://a./"))),
    ("origin.host", lambda site: (Way("https://a/"), Way("https://a./"))),
    ("origin.host", lambda site: (Way("http://127.0.0.1/"), Way("http://[::ffff:127.0.0.1]/"))),
    ("origin.port", lambda site: (Way("http://a/"), Way("http://a:81/"))),
    ("origin.port", lambda site: (Way("https://a/"), Way("https://a:444/"))),
    ("http2", lambda site: (Way("https://a/"), Way("https://a/", UPGRADE))),
    # SSLConfig
    ("ssl.server_hostname", with_ssl(lambda site: None, lambda site: SSLConfig(server_hostname="b"))),
    (
        "ssl.server_hostname",
        with_ssl(lambda site: SSLConfig(server_hostname="b"), lambda site: SSLConfig(server_hostname="c")),
    ),
    ("ssl.server_hostname", with_ssl(lambda site: None, lambda site: SSLConfig(server_hostname="a"))),
    ("ssl.verify", with_ssl(lambda site: None, lambda site: SSLConfig(verify=False))),
    ("ssl.verify", with_ssl(lambda site: None, lambda site: SSLConfig(verify=site.tls.ca_path))),
    ("ssl.verify", with_ssl(lambda site: SSLConfig(verify=False), lambda site: SSLConfig(verify=site.tls.ca_path))),
    (
        "ssl.verify",
        with_ssl(lambda site: SSLConfig(verify=site.tls.ca_path), lambda site: SSLConfig(verify=site.tls.cert_path)),
    ),
    ("ssl.verify", with_ssl(lambda site: None, lambda site: site.contexts[0])),
    ("ssl.verify", with_ssl(lambda site: site.contexts[1], lambda site: site.contexts[0])),
    ("ssl.cert", with_ssl(lambda site: None, lambda site: SSLConfig((site.tls.cert_path, site.tls.key_path)))),
    (
        "ssl.cert",
        with_ssl(
            lambda site: SSLConfig((site.tls.cert_path, site.tls.key_path)),
            lambda site: SSLConfig((site.tls.cert_path, site.tls.key_path, "password")),
        ),
    ),
    (
        "ssl.cert",
        with_ssl(
            lambda site: SSLConfig((site.tls.cert_path, site.tls.key_path, "password")),
            lambda site: SSLConfig((site.tls.cert_path, site.tls.key_path, "another")),
        ),
    ),
    ("ssl.pins", with_ssl(lambda site: None, lambda site: SSLConfig(pins=(site.pin,)))),
    (
        "ssl.pins",
        with_ssl(lambda site: SSLConfig(pins=(site.pin,)), lambda site: SSLConfig(pins=(site.pin, "A" * 43 + "="))),
    ),
    ("ssl.trust_store", with_ssl(lambda site: None, lambda site: SSLConfig(trust_store="system"))),
    # Proxy
    ("proxy tunnel", with_proxies(lambda: DIRECT, lambda: Proxy("http://proxy", tunnel=True))),
    ("proxy tunnel", with_proxies(lambda: DIRECT, lambda: "socks5h://proxy")),
    ("proxy origin.host", with_proxies(lambda: DIRECT, lambda: "http://proxy")),
    ("proxy", with_proxies(lambda: DIRECT, lambda: "http://proxy", "http://proxy/")),  # its own origin, by itself
    (
        "tunnel origin.host",
        lambda site: (Way("http://a/", {}, None, "http://p"), Way("http://a/", UPGRADE, None, "http://p")),
    ),
    ("tunnel", lambda site: (Way("http://p/", {}, None, "http://p"), Way("http://p/", UPGRADE, None, "http://p"))),
    ("proxy.scheme proxy.origin.scheme proxy.ssl", proxy_with({}, {"url": "https://proxy:3128"})),
    ("proxy.host proxy.origin.host", proxy_with({}, {"url": "http://proxy2:3128"})),
    ("proxy.host proxy.origin.host", proxy_with({}, {"url": "http://proxy.:3128"})),
    ("proxy.port proxy.origin.port", proxy_with({}, {"url": "http://proxy:3129"})),
    ("proxy.auth", proxy_with({}, {"url": "http://u:p@proxy:3128"})),
    ("proxy.auth", proxy_with({"auth": ("u", "p")}, {"auth": ("u", "p2")})),
    ("proxy.auth", proxy_with({"auth": ("u", "p")}, {"auth": ("u2", "p")})),
    ("proxy.auth", proxy_with({}, {"auth": ("", "")})),
    ("proxy.headers", proxy_with({}, {"headers": {"x": "1"}})),
    ("proxy.headers", proxy_with({"headers": {"x": "1"}}, {"headers": {"x": "2"}})),
    ("proxy.headers", proxy_with({"headers": {"x": "1"}}, {"headers": {"y": "1"}})),
    ("proxy.headers", proxy_with({"headers": {"x": "1"}}, {"headers": [("x", "1"), ("x", "1")]})),
    ("proxy.headers", proxy_with({"headers": token_one}, {"headers": {"x-token": "1"}})),
    ("proxy.headers", proxy_with({"headers": token_one}, {"headers": token_two})),
    ("proxy.headers", proxy_with({"headers": EQUAL_TO_ALL[0]}, {"headers": EQUAL_TO_ALL[1]})),
    (
        "proxy.ssl.verify",
        proxy_with({"url": "https://proxy"}, {"url": "https://proxy", "ssl": SSLConfig(verify=False)}),
    ),
    (
        "proxy.ssl.server_hostname",
        proxy_with({"url": "https://proxy"}, {"url": "https://proxy", "ssl": SSLConfig(server_hostname="b")}),
    ),
    ("proxy.tunnel tunnel origin.host", with_proxies(lambda: "http://p", lambda: Proxy("http://p", tunnel=True))),
    # Proxies that forward, which are the origin too.
    ("proxy.host proxy.origin.host origin.host", with_proxies(lambda: "http://p", lambda: "http://q")),
    ("proxy.auth", with_proxies(lambda: "http://p", lambda: "http://u:p@p")),
    ("proxy.auth", with_proxies(lambda: "http://u:p@p", lambda: "http://u:p2@p")),
    ("proxy.headers", with_proxies(lambda: Proxy("http://p", token_one), lambda: Proxy("http://p", token_two))),
    (
        "proxy.ssl.verify ssl.verify",
        with_proxies(lambda: "https://p", lambda: Proxy("https://p", ssl=SSLConfig(verify=False))),
    ),
    # SOCKS
    ("proxy.scheme proxy.origin.scheme", socks_with({"url": "socks5://p"}, {"url": "socks5h://p"})),
    ("proxy.scheme proxy.origin.scheme", socks_with({"url": "socks4://p"}, {"url": "socks4a://p"})),
    ("proxy.scheme proxy.origin.scheme", socks_with({"url": "socks4a://u:@p"}, {"url": "socks4://u:@p"})),
    ("proxy.auth", socks_with({"url": "socks5://p"}, {"url": "socks5://u:p@p"})),
    ("proxy.auth", socks_with({"url": "socks5://u:p@p"}, {"url": "socks5://u:q@p"})),
    ("proxy.auth", socks_with({"url": "socks5h://u:p@p"}, {"url": "socks5h://v:p@p"})),
    ("proxy.auth", socks_with({"url": "socks4://u:@p"}, {"url": "socks4://v:@p"})),
    # NetworkConfig
    (
        "network",
        lambda site: (
            Way(f"http://127.0.0.1:{site.port}/"),
            Way(f"http://127.0.0.1:{site.port}/", network=NetworkConfig(connect_to={"b": "c"})),
        ),
    ),
    ("network.uds", with_network(lambda site: {}, lambda site: {"uds": site.sockets[0]})),
    ("network.uds", with_network(lambda site: {"uds": site.sockets[0]}, lambda site: {"uds": site.sockets[1]})),
    ("network.local_address", with_network(lambda site: {}, lambda site: {"local_address": "127.0.0.2"})),
    (
        "network.local_address",
        with_network(lambda site: {"local_address": "127.0.0.2"}, lambda site: {"local_address": "127.0.0.3"}),
    ),
    ("network.socket_options", with_network(lambda site: {}, lambda site: {"socket_options": [NODELAY]})),
    (
        "network.socket_options",
        with_network(lambda site: {"socket_options": [NODELAY, BUFFER]}, lambda site: {"socket_options": [NODELAY]}),
    ),
    ("network.connect_to", with_network(lambda site: {}, lambda site: {"connect_to": {"localhost": "127.0.0.2"}})),
    ("network.resolver", with_network(lambda site: {}, lambda site: {"resolver": resolve_one})),
    (
        "network.resolver",
        with_network(lambda site: {"resolver": resolve_one}, lambda site: {"resolver": resolve_two}),
    ),
    ("network.egress", with_network(lambda site: {}, lambda site: {"egress": let_one})),
    ("network.egress", with_network(lambda site: {"egress": let_one}, lambda site: {"egress": let_two})),
    # ProxyProtocol
    ("proxy_protocol", lambda site: (Way("http://a/"), Way("http://a/", proxy_protocol=ProxyProtocol()))),
    ("proxy_protocol.version", saying({"version": 1}, {"version": 2})),
    ("proxy_protocol.source", saying({}, {"source": ("192.0.2.9", 1)})),
    ("proxy_protocol.source", saying({}, {"source": ("192.0.2.1", 9)})),
    ("proxy_protocol.destination", saying({}, {"destination": ("192.0.2.2", 9)})),
    ("proxy_protocol.destination", saying({}, {"destination": None})),
    ("proxy_protocol.tlvs", saying({}, {"tlvs": ((2, b"a"),)})),
    ("proxy_protocol.tlvs", saying({"tlvs": ((2, b"b"),)}, {"tlvs": ((2, b"a"),)})),
]
_names = [name for name, _ in PAIRS]
PARAMS = [
    pytest.param(name, pair, id=f"{name.replace(' ', '+')}-{_names[:index].count(name)}")
    for index, (name, pair) in enumerate(PAIRS)
]


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


@asynccontextmanager
async def pool_for(
    name: str, tls: TLSFiles, limits: PoolLimits | None = None
) -> AsyncIterator[tuple[ConnectionPool, Site, list[AnyServer]]]:
    """A pool over links in memory, or over sockets for what is about these; and the servers' ends, as they connect."""
    servers: list[AnyServer] = []

    def accept() -> AnyServer:
        servers.append(AnyServer(len(servers)))
        return servers[-1]

    if not name.startswith("network"):
        connector = MemoryConnector(accept, client_extra={"ssl_object": Certified(tls)})
        async with connector, ConnectionPool(connector=connector, limits=limits) as pool:
            yield pool, Site(tls), servers
        return
    loop = asyncio.get_running_loop()
    site = Site(tls)
    listeners = [await loop.create_unix_server(accept, path) for path in site.sockets]
    listeners.append(await loop.create_server(accept, "0.0.0.0", 0))
    site.port = listeners[-1].sockets[0].getsockname()[1]
    try:
        async with ConnectionPool(limits=limits) as pool:
            yield pool, site, servers
    finally:
        for listener in listeners:
            listener.close()
        for server in servers:
            server.transport.abort()


async def ask(pool: ConnectionPool, way: Way) -> int:
    """Sends a request; returns the number of the connection that it came on to the server."""
    response = await pool.request(
        "GET",
        way.url,
        way.headers,
        ssl=way.ssl,
        proxy=way.proxy,
        network=way.network,
        proxy_protocol=way.proxy_protocol,
    )
    return int(response.body)


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
        Way("https://a/", {}, SSLConfig(verify=True, cert=None, pins=[]), DIRECT, NetworkConfig()),
        Way("https://a/", {}, None, refuse),
        Way("https://a/", {"authorization": "x", "cookie": "y", "proxy-authorization": "z"}),
    ),
    "ways to write pins": lambda site: (
        Way("https://a/", ssl=SSLConfig(pins=[site.pin, "A" * 43 + "="])),
        Way("https://a/", ssl=SSLConfig(pins={"sha256//" + "A" * 43 + "=", site.pin, site.pin})),
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
