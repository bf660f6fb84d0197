"""The ways to reach a server: what a client can do must not depend on which one it takes.

A new way (another HTTP version, a proxy in between) is one more entry in `WAYS`, and a function that opens it; every
test of this folder then runs over it too. All of them lead to `tests/origin_app.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

import httpcore
from tests.asgi_server import asgi_server
from tests.asgi_server_h2 import asgi_server_h2
from tests.behaviours.blocking import BlockingPool, in_thread, left_on_the_background_loop
from tests.conftest import TLSFiles
from tests.origin_app import app
from tests.proxies.http_proxy import http_proxy

Fixture = Callable[[str], Any]  # gives a fixture, such as those of tests/servers.py, made when first asked for


@dataclass(frozen=True)
class Server:
    """A server that is there for one test.

    Attributes:
        url: what a path of the origin's is put behind.
        pool_arguments: what a pool needs to take this way.
        http_version: what its responses say.
        multiplexed: whether one connection carries many exchanges at once.
        blocking: whether the pools are `SyncConnectionPool`s, with the async one's words.
    """

    url: str
    pool_arguments: dict[str, Any] = field(default_factory=dict)
    http_version: bytes = b"HTTP/1.1"
    multiplexed: bool = False
    blocking: bool = False

    def pool(self, **arguments: Any) -> httpcore.ConnectionPool:
        """Returns a new pool that takes this way."""
        arguments = {**self.pool_arguments, **arguments}
        if self.blocking:
            return cast(httpcore.ConnectionPool, BlockingPool(**arguments))
        return httpcore.ConnectionPool(**arguments)


@asynccontextmanager
async def _h1(tls: TLSFiles, fixture: Fixture) -> AsyncIterator[Server]:
    async with asgi_server(app) as origin:
        yield Server(origin.url)


@asynccontextmanager
async def _h1_tls(tls: TLSFiles, fixture: Fixture) -> AsyncIterator[Server]:
    async with asgi_server(app, tls.server_context) as origin:
        yield Server(origin.url, {"ssl": httpcore.SSLConfig(verify=tls.ca_path)})


@asynccontextmanager
async def _uvicorn(tls: TLSFiles, fixture: Fixture) -> AsyncIterator[Server]:
    yield Server(fixture("origin_app_url"))


@asynccontextmanager
async def _nginx(tls: TLSFiles, fixture: Fixture) -> AsyncIterator[Server]:
    yield Server(fixture("nginx").url + "/app")


@asynccontextmanager
async def _nginx_tls(tls: TLSFiles, fixture: Fixture) -> AsyncIterator[Server]:
    yield Server(fixture("nginx").tls_url + "/app", {"ssl": httpcore.SSLConfig(verify=tls.ca_path)})


@asynccontextmanager
async def _h2_tls(tls: TLSFiles, fixture: Fixture) -> AsyncIterator[Server]:
    async with asgi_server_h2(app, tls.server_context) as origin:
        yield Server(origin.url, {"ssl": httpcore.SSLConfig(verify=tls.ca_path)}, b"HTTP/2", multiplexed=True)


@asynccontextmanager
async def _h2c(tls: TLSFiles, fixture: Fixture) -> AsyncIterator[Server]:
    async with asgi_server_h2(app) as origin:
        yield Server(origin.url, {"http1": False}, b"HTTP/2", multiplexed=True)


@asynccontextmanager
async def _nginx_h2(tls: TLSFiles, fixture: Fixture) -> AsyncIterator[Server]:
    pool_arguments = {"ssl": httpcore.SSLConfig(verify=tls.ca_path)}
    yield Server(fixture("nginx").h2_url + "/app", pool_arguments, b"HTTP/2", multiplexed=True)


@asynccontextmanager
async def _hypercorn_h2(tls: TLSFiles, fixture: Fixture) -> AsyncIterator[Server]:
    pool_arguments = {"ssl": httpcore.SSLConfig(verify=tls.ca_path)}
    yield Server(fixture("hypercorn").h2_url, pool_arguments, b"HTTP/2", multiplexed=True)


@asynccontextmanager
async def _uds(tls: TLSFiles, fixture: Fixture) -> AsyncIterator[Server]:
    path = fixture("tmp_path") / "origin"
    async with asgi_server(app, uds=path) as origin:
        yield Server(origin.url, {"network": httpcore.NetworkConfig(uds=path)})


@asynccontextmanager
async def _squid(tls: TLSFiles, fixture: Fixture) -> AsyncIterator[Server]:
    async with asgi_server(app) as origin:
        yield Server(origin.url, {"proxy": fixture("squid").open.url})


@asynccontextmanager
async def _connect_tls(tls: TLSFiles, fixture: Fixture) -> AsyncIterator[Server]:
    async with asgi_server(app, tls.server_context) as origin, http_proxy() as proxy:
        yield Server(origin.url, {"ssl": httpcore.SSLConfig(verify=tls.ca_path), "proxy": proxy.url})


@asynccontextmanager
async def _connect_h2(tls: TLSFiles, fixture: Fixture) -> AsyncIterator[Server]:
    ssl = httpcore.SSLConfig(verify=tls.ca_path)
    proxy = httpcore.Proxy(fixture("squid").tls.url, ssl=ssl)
    async with asgi_server_h2(app, tls.server_context) as origin:
        yield Server(origin.url, {"ssl": ssl, "proxy": proxy}, b"HTTP/2", multiplexed=True)


@asynccontextmanager
async def _h2proxy_h1(tls: TLSFiles, fixture: Fixture) -> AsyncIterator[Server]:
    ssl = httpcore.SSLConfig(verify=tls.ca_path)
    proxy = httpcore.Proxy(fixture("nghttpx").url, ssl=ssl)
    async with asgi_server(app, tls.server_context) as origin:
        yield Server(origin.url, {"ssl": ssl, "proxy": proxy})


@asynccontextmanager
async def _h2proxy_h2(tls: TLSFiles, fixture: Fixture) -> AsyncIterator[Server]:
    ssl = httpcore.SSLConfig(verify=tls.ca_path)
    proxy = httpcore.Proxy(fixture("nghttpx").url, ssl=ssl)
    async with asgi_server_h2(app, tls.server_context) as origin:
        yield Server(origin.url, {"ssl": ssl, "proxy": proxy}, b"HTTP/2", multiplexed=True)


@asynccontextmanager
async def _socks5(tls: TLSFiles, fixture: Fixture) -> AsyncIterator[Server]:
    async with asgi_server(app) as origin:
        # Not microsocks, which waits in the middle of a write: neither end may be slow to take what goes both ways.
        yield Server(origin.url, {"proxy": fixture("danted").url})


Way = Callable[[TLSFiles, Fixture], AbstractAsyncContextManager[Server]]


def _blocking(way: Way) -> Way:
    """Returns the same way, for blocking pools."""

    @asynccontextmanager
    async def opened(tls: TLSFiles, fixture: Fixture) -> AsyncIterator[Server]:
        async with way(tls, fixture) as server:
            yield replace(server, blocking=True)
            assert await in_thread(left_on_the_background_loop) == []

    return opened


WAYS: dict[str, Way] = {
    "h1": _h1,
    "h1+tls": _h1_tls,
    "uvicorn": _uvicorn,
    "nginx": _nginx,
    "nginx+tls": _nginx_tls,
    "h2+tls": _h2_tls,
    "h2c": _h2c,
    "nginx+h2": _nginx_h2,
    "hypercorn+h2": _hypercorn_h2,
    "uds": _uds,
    "squid": _squid,  # forwards
    "connect+tls": _connect_tls,
    "connect+h2": _connect_h2,  # TLS inside of TLS
    "h2proxy+h1": _h2proxy_h1,  # TLS inside of streams of HTTP/2, which are many tunnels on one connection
    "h2proxy+h2": _h2proxy_h2,
    "socks5": _socks5,
}
BLOCKING: dict[str, Way] = {  # whose loop is not the test's, but of the same kind
    f"sync-{name}": _blocking(WAYS[name]) for name in ("h1", "h1+tls", "h2+tls", "h2c", "connect+tls")
}
WAYS |= BLOCKING
# Where an origin of ours is at the other end, and nobody in between who looks at what is said.
_OURS = ["h1", "h1+tls", "h2+tls", "h2c", "uds", "connect+tls", "connect+h2", "h2proxy+h1", "h2proxy+h2", "socks5"]
_OURS += BLOCKING

# uvicorn sends neither interim responses of an app's nor trailers; squid drops trailers.
extended = pytest.mark.parametrize("server", [*_OURS, "squid"], indirect=True)
trailed = pytest.mark.parametrize("server", _OURS, indirect=True)
# nginx answers Expect itself, holds a refusal back until it has the request's body, and stops taking that body when
# the response that comes meanwhile does not fit its buffers.
duplex = pytest.mark.parametrize("server", [*_OURS, "uvicorn", "squid"], indirect=True)
# hypercorn leaves a stream open whose app has left.
cutting = pytest.mark.parametrize("server", [name for name in WAYS if name != "hypercorn+h2"], indirect=True)
