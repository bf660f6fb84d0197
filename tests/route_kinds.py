"""The kinds of routes there are, through real proxies to real origins: what tests/test_interop_routes.py goes through.

A kind opens the way to an origin: it says what a pool needs for it, and which port its sockets then lead to, by which a
test sees that the way was taken indeed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeVar

import httpcore
from tests.conftest import TLSFiles
from tests.content import blocks
from tests.servers import Nginx
from tests.servers_h2 import H2Server
from tests.servers_proxies import HAProxy, Lighttpd, ProxyServer, Squid

Scheme = Literal["http", "https"]
Version = Literal["HTTP/1.1", "HTTP/2"]
Fixture = Callable[[str], Any]  # gives a fixture, whose server is started when first asked for
P = TypeVar("P", bound=asyncio.Protocol)

HELLO: Final = b"Hello, world"
SIZE: Final = 1_000_003  # bytes of downloads and uploads


# Origins


@dataclass(frozen=True)
class Site:
    """An origin of a cell's.

    Attributes:
        url: what a path is put behind.
        hello: the path of some text.
        text: what that begins with.
        download: the path of `SIZE` bytes of `tests.content`; `None` where there is none.
        upload: the path that answers with a JSON object which has an upload's `sha256`; `None` where there is none.
        picks: whether it speaks both versions on this port, so that a client has to insist on HTTP/1.1.
        streams: how many it takes at once on a connection of HTTP/2.
    """

    url: str
    hello: str
    text: bytes
    download: str | None
    upload: str | None
    picks: bool
    streams: int = 100

    @property
    def port(self) -> int:
        return httpcore.URL(self.url).port


def _nginx(fixture: Fixture, scheme: Scheme, version: Version) -> Site:
    nginx: Nginx = fixture("nginx")
    _add_download(nginx.root)
    http2 = version == "HTTP/2"
    if scheme == "http":
        url = nginx.h2c_url if http2 else nginx.url
    else:
        url = nginx.h2_url if http2 else nginx.tls_url
    return Site(url, "/hello.txt", HELLO, "/routes.bin", "/app/upload", picks=False)


def _hypercorn(fixture: Fixture, scheme: Scheme, version: Version) -> Site:
    hypercorn: H2Server = fixture("hypercorn")
    url = hypercorn.h2c_url if scheme == "http" else hypercorn.h2_url
    return Site(url, "/hello", HELLO, f"/bytes/{SIZE}", "/upload", picks=True)


def _lighttpd(fixture: Fixture, scheme: Scheme, version: Version) -> Site:
    lighttpd: Lighttpd = fixture("lighttpd")
    _add_download(fixture("web_root"))
    url = lighttpd.url if scheme == "http" else lighttpd.tls_url
    return Site(url, "/hello.txt", HELLO, "/routes.bin", None, picks=True, streams=8)


_SOURCE, _DESTINATION = ("192.0.2.1", 40000), ("198.51.100.2", 443)


def _haproxy(fixture: Fixture, scheme: Scheme, version: Version) -> Site:
    haproxy: HAProxy = fixture("haproxy")
    told = b"%s:%d %s:%d" % (_SOURCE[0].encode(), _SOURCE[1], _DESTINATION[0].encode(), _DESTINATION[1])
    return Site(haproxy.url if scheme == "http" else haproxy.tls_url, "/", told, None, None, picks=True)


def _add_download(root: Path) -> None:
    path = root / "routes.bin"
    if not path.exists():
        path.write_bytes(b"".join(blocks(SIZE)))


ORIGINS: Final[dict[str, Callable[[Fixture, Scheme, Version], Site]]] = {
    "nginx": _nginx,
    "hypercorn": _hypercorn,
    "lighttpd": _lighttpd,
    "haproxy": _haproxy,
}


# Ways


class Way(NamedTuple):
    """What it takes to get to an origin.

    Attributes:
        url: what a path is put behind.
        pool_arguments: for a pool that takes this way.
        port: of the other end of the pool's sockets; `None` where that has none.
        kept: whether a second request goes on the same connection.
    """

    url: str
    pool_arguments: dict[str, Any]
    port: int | None
    kept: bool = True


Open = Callable[[Fixture, Site], Way]


def _direct(fixture: Fixture, site: Site) -> Way:
    return Way(site.url, {}, site.port)


def _uds(fixture: Fixture, site: Site) -> Way:
    nginx: Nginx = fixture("nginx")
    return Way(site.url, {"network": httpcore.NetworkConfig(uds=nginx.sockets[site.url])}, None)


def _elsewhere(site: Site) -> str:
    """The URL of a host that is none of this machine's, but for which there is a certificate."""
    return f"{site.url.partition(':')[0]}://example.org"


def _connect_to(fixture: Fixture, site: Site) -> Way:
    network = httpcore.NetworkConfig(connect_to={"example.org": f"127.0.0.1:{site.port}"})
    return Way(_elsewhere(site), {"network": network}, site.port)


async def _loopback(host: str) -> list[str]:
    assert host == "example.org"
    return ["127.0.0.1"]


def _resolver(fixture: Fixture, site: Site) -> Way:
    network = httpcore.NetworkConfig(
        resolver=_loopback,
        local_address="127.0.0.1",
        socket_options=[(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)],
        egress=lambda candidate: candidate.port == site.port,
    )
    return Way(f"{_elsewhere(site)}:{site.port}", {"network": network}, site.port)


class SocketPairConnector:
    """A connector as a caller may bring it: by a pair of sockets, of which another part of the program has the other.

    That relays to a port of the loopback address, whatever the origin is.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._relays: set[asyncio.Task[None]] = set()

    async def connect(
        self,
        protocol_factory: Callable[[], P],
        origin: httpcore.Origin,
        *,
        ssl_context: ssl.SSLContext | None,
        server_hostname: str | None,
        trace: Callable[[httpcore.TraceEvent], object] | None,
    ) -> P:
        ours, theirs = socket.socketpair()
        relay = asyncio.get_running_loop().create_task(self._relay(theirs))
        self._relays.add(relay)
        relay.add_done_callback(self._relays.discard)
        try:
            _, protocol = await asyncio.get_running_loop().create_connection(
                protocol_factory, sock=ours, ssl=ssl_context, server_hostname=server_hostname
            )
        except BaseException:
            ours.close()
            raise
        return protocol

    async def _relay(self, theirs: socket.socket) -> None:
        near_reader, near_writer = await asyncio.open_connection(sock=theirs)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        back = asyncio.get_running_loop().create_task(_pump(far_reader, near_writer))
        try:
            await _pump(near_reader, far_writer)  # clients of ours do not half-close: this is the end
        finally:
            back.cancel()
            await asyncio.gather(back, return_exceptions=True)
            near_writer.transport.abort()
            far_writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):  # a reset is an end, too
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


def _own_connector(fixture: Fixture, site: Site) -> Way:
    return Way(_elsewhere(site), {"connector": SocketPairConnector(site.port)}, None)


def _proxy_protocol(version: Literal[1, 2]) -> Open:
    header = httpcore.ProxyProtocol(version=version, source=_SOURCE, destination=_DESTINATION)
    return lambda fixture, site: Way(site.url, {"proxy_protocol": header}, site.port)


# Proxies


def proxy_of(
    server: ProxyServer,
    tls: TLSFiles,
    *,
    tunnel: bool = False,
    scheme: str | None = None,
    auth: tuple[str, str] | None = None,
) -> httpcore.Proxy:
    """Returns the proxy that a fixture runs, with its credentials unless others are given."""
    if auth is None and server.username is not None and server.password is not None:
        auth = server.username, server.password
    verify = httpcore.SSLConfig(verify=tls.ca_path) if server.scheme == "https" else None
    return httpcore.Proxy(server.url_as(scheme or server.scheme), ssl=verify, auth=auth, tunnel=tunnel)


def _by(
    find: Callable[[Fixture], ProxyServer],
    *,
    tunnel: bool = False,
    scheme: str | None = None,
    kept: bool = True,
    **arguments: object,
) -> Open:
    def open_way(fixture: Fixture, site: Site) -> Way:
        server = find(fixture)
        proxy = proxy_of(server, fixture("tls"), tunnel=tunnel, scheme=scheme)
        return Way(site.url, {"proxy": proxy, **arguments}, server.port, kept)

    return open_way


def _squid(name: str) -> Callable[[Fixture], ProxyServer]:
    def find(fixture: Fixture) -> ProxyServer:
        squid: Squid = fixture("squid")
        server = getattr(squid, name)
        assert isinstance(server, ProxyServer)
        return server

    return find


def _named(name: str) -> Callable[[Fixture], ProxyServer]:
    return lambda fixture: fixture(name)


# The table

Cell = tuple[Scheme, Version]
_EVERYWHERE: Final[tuple[Cell, ...]] = (
    ("http", "HTTP/1.1"),
    ("http", "HTTP/2"),
    ("https", "HTTP/1.1"),
    ("https", "HTTP/2"),
)
_HTTP11: Final[tuple[Cell, ...]] = (("http", "HTTP/1.1"), ("https", "HTTP/1.1"))
# Only http is forwarded, and the version is the one that is spoken with the proxy.
_FORWARDED: Final[tuple[Cell, ...]] = (("http", "HTTP/1.1"),)
_ALL: Final = ("nginx", "hypercorn", "lighttpd")


class Kind(NamedTuple):
    """A row of the table.

    Attributes:
        name: what it is called there.
        open: opens the way to an origin.
        cells: where it is possible.
        origins: those that it leads to.
        why_not: why the other cells are empty; "" if none is.
        forwards: whether HTTP is spoken with a proxy, which then speaks HTTP/1.1 with the origin.
    """

    name: str
    open: Open
    cells: tuple[Cell, ...] = _EVERYWHERE
    origins: tuple[str, ...] = _ALL
    why_not: str = ""
    forwards: bool = False

    def site(self, fixture: Fixture, cell: Cell, origin: str) -> Site:
        """Returns the origin for that cell."""
        scheme, version = cell
        return ORIGINS[origin](fixture, scheme, "HTTP/1.1" if self.forwards else version)


_FORWARDS = "https is never forwarded, and squid and tinyproxy speak HTTP/1.1"
KINDS: Final[tuple[Kind, ...]] = (
    Kind("direct", _direct),
    Kind("uds", _uds, origins=("nginx",)),
    Kind("connect_to", _connect_to),
    Kind("resolver, local address", _resolver),
    Kind("own connector", _own_connector),
    Kind("PROXY protocol v1", _proxy_protocol(1), origins=("haproxy",)),
    Kind("PROXY protocol v2", _proxy_protocol(2), origins=("haproxy",)),
    Kind("squid, forward", _by(_squid("open")), _FORWARDED, why_not=_FORWARDS, forwards=True),
    Kind("squid, forward with auth", _by(_squid("auth")), _FORWARDED, why_not=_FORWARDS, forwards=True),
    Kind("squid, forward over TLS", _by(_squid("tls")), _FORWARDED, why_not=_FORWARDS, forwards=True),
    Kind("squid, CONNECT", _by(_squid("open"), tunnel=True)),
    Kind("squid, CONNECT with auth", _by(_squid("auth"), tunnel=True)),
    Kind("squid, CONNECT over TLS", _by(_squid("tls"), tunnel=True)),  # for https: TLS in TLS
    Kind(
        "tinyproxy, forward with auth",
        _by(_named("tinyproxy"), kept=False),
        _FORWARDED,
        why_not=_FORWARDS,
        forwards=True,
    ),
    Kind("tinyproxy, CONNECT with auth", _by(_named("tinyproxy"), tunnel=True)),
    Kind(
        "nghttpx, forward over HTTP/1.1",
        _by(_named("nghttpx"), http2=False),
        _FORWARDED,
        why_not="https is never forwarded, and HTTP/2 is the next row",
        forwards=True,
    ),
    Kind(
        "nghttpx, forward over HTTP/2",
        _by(_named("nghttpx")),
        (("http", "HTTP/2"),),
        why_not="https is never forwarded, and HTTP/1.1 is the row above",
        forwards=True,
    ),
    Kind(
        "nghttpx, CONNECT over HTTP/1.1",
        _by(_named("nghttpx"), tunnel=True, http2=False),
        _HTTP11,
        why_not="what a pool may speak goes for the proxy and for the origin",
    ),
    Kind("nghttpx, CONNECT over HTTP/2", _by(_named("nghttpx"), tunnel=True)),  # for https: TLS in a stream
    Kind("microsocks, socks5", _by(_named("microsocks"))),
    Kind("microsocks, socks5h", _by(_named("microsocks"), scheme="socks5h")),
    Kind("microsocks, socks5 with auth", _by(_named("microsocks_auth"))),
    Kind("microsocks, socks5h with auth", _by(_named("microsocks_auth"), scheme="socks5h")),
    Kind("danted, socks5", _by(_named("danted"))),
    Kind("danted, socks5h", _by(_named("danted"), scheme="socks5h")),
    Kind("danted, socks4", _by(_named("danted"), scheme="socks4")),
)
