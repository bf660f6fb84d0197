"""Ways that differ in one part: pairs of them, for every part of the pool's key, and where they can be gone."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import pytest

from httpcore import (
    DIRECT,
    ConnectionPool,
    EgressCandidate,
    NetworkConfig,
    PoolLimits,
    Proxy,
    ProxyProtocol,
    Request,
    Resolution,
    SSLConfig,
)
from httpcore.config import SSLTypes
from httpcore.pins import spki_pin
from httpcore.pool.routes import NO_OPTIONS, Route
from httpcore.protocols.handshake import Versions
from httpcore.proxies import ProxyChooser, ProxyOverride
from httpcore.testing import MemoryConnector
from tests.conftest import TLSFiles
from tests.pool.any_server import AnyServer, Certified, certificate_of

__all__ = [
    "PAIRS",
    "PARAMS",
    "UNKNOWN_PIN",
    "UPGRADE",
    "Pair",
    "Site",
    "Way",
    "ask",
    "pool_for",
    "token_one",
    "token_two",
]

UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket"}


class Way(NamedTuple):
    """What a request says of where it goes, and how."""

    url: str
    headers: Mapping[str, str] = MappingProxyType({})
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
        return spki_pin(certificate_of(self.tls))

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

UNKNOWN_PIN = "sha256/" + "A" * 43 + "="

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
        with_ssl(lambda site: SSLConfig(pins=(site.pin,)), lambda site: SSLConfig(pins=(site.pin, UNKNOWN_PIN))),
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
