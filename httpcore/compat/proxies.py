"""The proxies of httpcore 1.x: pools that send everything by one."""

from __future__ import annotations

import ssl
from typing import TypeAlias, Unpack

from httpcore.compat.models import URL, HeaderTypes, URLTypes
from httpcore.compat.pools import AsyncConnectionPool, ConnectionPool, PoolKeywords
from httpcore.proxies import Proxy

__all__ = ["AsyncHTTPProxy", "AsyncSOCKSProxy", "HTTPProxy", "SOCKSProxy"]

_Auth: TypeAlias = tuple[bytes | str, bytes | str] | None


def _make_proxy(
    url: URLTypes, auth: _Auth, headers: HeaderTypes = None, ssl_context: ssl.SSLContext | None = None
) -> Proxy:
    where: bytes | str
    if isinstance(url, URL):
        where = bytes(URL(scheme=url.scheme, host=url.host, port=url.port))
    else:
        where = url if isinstance(url, (bytes, str)) else str(url)
    proxy = Proxy(where, () if headers is None else headers, ssl_context, auth)
    if proxy.scheme == "socks5":
        # In httpcore 1.x both schemes give names to the proxy, to be looked up there.
        proxy = Proxy(str(proxy).replace("socks5:", "socks5h:", 1), auth=proxy.auth)
    return proxy


class _OnHTTPProxy:
    """Two attributes that are nobody's but httpcore's, which pytest-httpx reads all the same."""

    _proxy: Proxy

    @property
    def _proxy_url(self) -> URL:
        proxy = self._proxy
        return URL(scheme=proxy.scheme, host=proxy.host, port=proxy.port, target=b"/")

    @property
    def _proxy_headers(self) -> list[tuple[bytes, bytes]]:
        return self._proxy.fields()


class AsyncHTTPProxy(_OnHTTPProxy, AsyncConnectionPool):
    """An async pool on an HTTP proxy: it forwards requests for `http` URLs, and gives tunnels for all others.

    Args:
        proxy_url: where it is; `http` or `https`.
        proxy_auth: user and password.
        proxy_headers: fields for it alone.
        ssl_context: for TLS with origins; `None` verifies against certifi's authorities.
        proxy_ssl_context: for TLS with an `https` proxy; `None` as for `ssl_context`.
        options: see `PoolKeywords`.

    Raises:
        TypeError, ValueError: an argument is something else, or impossible.
        UnsupportedProtocol, InvalidURL, LocalProtocolError: the URL is none, or a header field not for a proxy.
    """

    def __init__(
        self,
        proxy_url: URLTypes,
        proxy_auth: _Auth = None,
        proxy_headers: HeaderTypes = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy_ssl_context: ssl.SSLContext | None = None,
        **options: Unpack[PoolKeywords],
    ) -> None:
        self._proxy = _make_proxy(proxy_url, proxy_auth, proxy_headers, proxy_ssl_context)
        super().__init__(ssl_context, self._proxy, **options)


class HTTPProxy(_OnHTTPProxy, ConnectionPool):
    """A blocking pool on an HTTP proxy; otherwise the same as `AsyncHTTPProxy`."""

    def __init__(
        self,
        proxy_url: URLTypes,
        proxy_auth: _Auth = None,
        proxy_headers: HeaderTypes = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy_ssl_context: ssl.SSLContext | None = None,
        **options: Unpack[PoolKeywords],
    ) -> None:
        self._proxy = _make_proxy(proxy_url, proxy_auth, proxy_headers, proxy_ssl_context)
        super().__init__(ssl_context, self._proxy, **options)


class AsyncSOCKSProxy(AsyncConnectionPool):
    """An async pool on a SOCKS5 proxy, which looks up the names.

    Args:
        proxy_url: where it is; `socks5` or `socks5h`, which are the same here.
        proxy_auth: user and password.
        ssl_context: for TLS with origins; `None` verifies against certifi's authorities.
        options: see `PoolKeywords`.

    Raises:
        TypeError, ValueError: an argument is something else, or impossible.
        UnsupportedProtocol, InvalidURL: the URL is none.
    """

    def __init__(
        self,
        proxy_url: URLTypes,
        proxy_auth: _Auth = None,
        ssl_context: ssl.SSLContext | None = None,
        **options: Unpack[PoolKeywords],
    ) -> None:
        super().__init__(ssl_context, _make_proxy(proxy_url, proxy_auth), **options)


class SOCKSProxy(ConnectionPool):
    """A blocking pool on a SOCKS5 proxy; otherwise the same as `AsyncSOCKSProxy`."""

    def __init__(
        self,
        proxy_url: URLTypes,
        proxy_auth: _Auth = None,
        ssl_context: ssl.SSLContext | None = None,
        **options: Unpack[PoolKeywords],
    ) -> None:
        super().__init__(ssl_context, _make_proxy(proxy_url, proxy_auth), **options)
