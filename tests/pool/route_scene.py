"""A proxy with credentials and an origin with others, both in this process and both writing down what they get."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from httpcore import ConnectionPool, Proxy, SSLConfig
from tests.conftest import TLSFiles
from tests.h11_server import H11Server, Listener, listening
from tests.proxies.http2_proxy import HTTP2Proxy, http2_proxy
from tests.proxies.http_proxy import HTTPProxy, http_proxy
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

    @property
    def host(self) -> str:
        """The origin's; an address where a name would be looked up here, and may be another's too."""
        return "127.0.0.1" if self.proxy.scheme == "socks5" else "localhost"

    async def ask(self, **options: Any) -> None:
        url = f"{self.origin.scheme}://{self.host}:{self.origin.port}{ORIGIN_PATH}"
        response = await self.pool.request("POST", url, ORIGIN_HEADERS, ORIGIN_BODY, **options)
        assert response.body == b"hello"


KINDS = ["http", "https", "h2", "socks5", "socks5h", "socks4a"]


@asynccontextmanager
async def scene(
    kind: str, scheme: str, tls: TLSFiles, *, tunnel: bool = False, headers: Any = None, **options: Any
) -> AsyncIterator[Scene]:
    """Opens one; `options` are the in-process proxy's."""
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
            server = await stack.enter_async_context(make(None if kind == "http" else tls.server_context, **options))
            url = server.url
            given |= {"headers": {"X-For-Proxy": TOKEN} if headers is None else headers, "tunnel": tunnel}
            if kind != "http":
                given["ssl"] = trusted
        proxy = Proxy(url, **given)
        pool = await stack.enter_async_context(ConnectionPool(trusted, proxy=proxy))
        yield Scene(server, proxy, origin, pool)


def told(at: Scene) -> list[tuple[str, str | None]]:
    """The credentials that the proxy was told."""
    if isinstance(at.server, SOCKSServer):
        return [(request.user or "", request.password) for request in at.server.requests]
    credentials = [request.credentials for request in at.server.requests]
    return [pair for pair in credentials if pair is not None]
