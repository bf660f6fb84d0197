"""The pools of httpcore 1.x: their keywords, over this library's pools."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import NamedTuple, Self, TypeAlias, TypedDict, TypeVar, Unpack

from httpcore.adapters._httpx import Wrap, assemble_url
from httpcore.adapters._httpx_async import AsyncAdapter, AsyncAnswer, AsyncContent
from httpcore.adapters._httpx_sync import SyncAdapter, SyncAnswer, SyncContent
from httpcore.adapters._options import PoolOptions
from httpcore.compat.models import ByteStream, Content, HeaderTypes, Request, Response, URLTypes
from httpcore.config import PoolLimits, TimeoutConfig
from httpcore.exceptions import (
    ConnectError,
    ConnectTimeout,
    HTTPCoreError,
    InvalidURL,
    LocalProtocolError,
    NetworkError,
    PoolClosed,
    ProtocolError,
    ProxyError,
    ReadError,
    StreamConsumed,
    TimeoutException,
    UnsupportedProtocol,
)
from httpcore.network import NetworkConfig
from httpcore.pool import ConnectionPool as CorePool
from httpcore.pool import TCPConnector
from httpcore.proxies import ProxyTypes
from httpcore.request import BodyTypes
from httpcore.request import Request as CoreRequest
from httpcore.sync import SyncConnectionPool
from httpcore.trace import TraceHook
from httpcore.urls import Origin

__all__ = ["AsyncConnectionPool", "ConnectionPool", "PoolKeywords", "RequestKeywords"]

_P = TypeVar("_P", bound=asyncio.Protocol)
_SocketOption: TypeAlias = tuple[int, int, int | bytes | bytearray]

_SCHEMES = {b"ws": b"http", b"wss": b"https"}  # whose handshakes are HTTP
_BACKOFF = 0.5  # seconds before the second retry; it doubles for each one after
# What who used httpcore 1.x catches. Anything else is told as one of these.
_FAMILIAR = (TimeoutException, NetworkError, ProtocolError, ProxyError, UnsupportedProtocol)
_UNFAMILIAR: dict[type[HTTPCoreError], type[HTTPCoreError]] = {
    InvalidURL: LocalProtocolError,
    PoolClosed: ConnectError,
    StreamConsumed: LocalProtocolError,
}


class PoolKeywords(TypedDict, total=False):
    """The keywords of the pools, which are those of httpcore 1.x.

    max_connections: how many connections there may be, `None` without limit.
    max_keepalive_connections: how many of them may be kept while idle, `None` without limit.
    keepalive_expiry: seconds for which they are kept, `None` for ever.
    http1, http2: which versions may be spoken. They are what an `ssl_context` offers from then on (ALPN).
    retries: how often a connection that could not be made is tried again.
    local_address: the IP address to connect from.
    uds: the path of a unix socket to connect to, whatever the host is.
    socket_options: (level, option, value) triples.
    network_backend: has to be `None`: there are none.
    """

    max_connections: int | None
    max_keepalive_connections: int | None
    keepalive_expiry: float | None
    http1: bool
    http2: bool
    retries: int
    local_address: str | None
    uds: str | None
    socket_options: Iterable[_SocketOption] | None
    network_backend: None


class RequestKeywords(TypedDict, total=False):
    """The keywords of `request` and `stream`, which are those of `Request`."""

    headers: HeaderTypes
    content: Content
    extensions: Mapping[str, object] | None


class _Connector(TCPConnector):
    """A connector that has the caller's context offer what this pool speaks; another pool may share the context."""

    def __init__(self, network: NetworkConfig | None, context: ssl.SSLContext, protocols: list[str]) -> None:
        super().__init__(network)
        self._offer: Callable[[], None] = lambda: context.set_alpn_protocols(protocols)

    async def connect(
        self,
        protocol_factory: Callable[[], _P],
        origin: Origin,
        *,
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        trace: TraceHook | None = None,
    ) -> _P:
        def make() -> _P:  # just before TLS begins
            self._offer()
            return protocol_factory()

        return await super().connect(
            make, origin, ssl_context=ssl_context, server_hostname=server_hostname, trace=trace
        )


def _core_options(
    ssl_context: ssl.SSLContext | None,
    proxy: ProxyTypes | None,
    *,
    max_connections: int | None = 10,
    max_keepalive_connections: int | None = None,
    keepalive_expiry: float | None = None,
    http1: bool = True,
    http2: bool = False,
    retries: int = 0,
    local_address: str | None = None,
    uds: str | None = None,
    socket_options: Iterable[_SocketOption] | None = None,
    network_backend: None = None,
) -> PoolOptions:
    if network_backend is not None:
        raise TypeError("network_backend is not supported: httpcore.ConnectionPool(connector=...) is")
    network = None
    if uds is not None or local_address is not None or socket_options is not None:
        network = NetworkConfig(
            uds=uds,
            local_address=local_address if uds is None else None,
            socket_options=[
                (level, option, bytes(value) if isinstance(value, bytearray) else value)
                for level, option, value in socket_options or ()
            ],
        )
    kept_for_no_time = keepalive_expiry is not None and keepalive_expiry <= 0
    options: PoolOptions = {
        "ssl": ssl_context,
        "timeout": TimeoutConfig(),  # none, unless a request says so
        "limits": PoolLimits(
            hard_limit=max_connections,
            soft_limit=0 if kept_for_no_time else max_keepalive_connections,
            keepalive_expiry=None if kept_for_no_time else keepalive_expiry,
        ),
        "http1": http1,
        "http2": http2,
        "proxy": proxy,
    }
    if ssl_context is None:
        options["network"] = network
    else:
        versions = [name for name, spoken in (("h2", http2), ("http/1.1", http1)) if spoken]
        options["connector"] = _Connector(network, ssl_context, versions)
    return options


class _Call(NamedTuple):
    """A request of httpcore 1.x."""

    request: Request

    @property
    def extensions(self) -> Mapping[str, object]:
        return self.request.extensions

    def outgoing(self, wrap: Wrap) -> CoreRequest:
        request = self.request
        url = request.url
        scheme = _SCHEMES.get(url.scheme, url.scheme)
        parsed, target = assemble_url(scheme, url.host, url.port, url.target)
        return CoreRequest(request.method, parsed, request.headers, self._body(wrap), target=target)

    def _body(self, wrap: Wrap) -> BodyTypes:
        stream = self.request.stream
        if isinstance(stream, ByteStream):
            return stream.content
        # Whose stream is httpx's has imported it, and with these most requests come. One whose content is known can be
        # sent again, and has no need to be looked into.
        client = sys.modules.get("httpx")
        if client is not None and isinstance(stream, client.ByteStream):
            return b"".join(stream)
        return wrap(stream)

    def translated(self, error: HTTPCoreError) -> Exception:
        if isinstance(error, _FAMILIAR):
            return error
        familiar = _UNFAMILIAR.get(type(error), ReadError)(*error.args)
        familiar.__dict__.update(error.__dict__)
        return familiar


class _Backoff:
    """Counts the retries of a request.

    Args:
        retries: how many there may be.
    """

    def __init__(self, retries: int) -> None:
        self._left = retries
        self._seconds = 0.0

    def after(self, error: HTTPCoreError) -> float:
        """Returns the seconds to wait before the next one; raises `error` where there is none."""
        if not self._left or isinstance(error.__cause__, PoolClosed):
            raise error
        self._left -= 1
        seconds, self._seconds = self._seconds, self._seconds * 2 or _BACKOFF
        return seconds


class AsyncConnectionPool(AsyncAdapter):
    """An async pool, for asyncio. Closing it ends what goes on.

    Args:
        ssl_context: for TLS; `None` verifies against certifi's authorities.
        proxy: a `httpcore.Proxy`, or the URL of one.
        options: see `PoolKeywords`.

    Raises:
        TypeError, ValueError: an argument is something else, or impossible.
    """

    def __init__(
        self,
        ssl_context: ssl.SSLContext | None = None,
        proxy: ProxyTypes | None = None,
        **options: Unpack[PoolKeywords],
    ) -> None:
        self._retries = options.get("retries", 0)
        super().__init__(CorePool(**_core_options(ssl_context, proxy, **options)))

    async def handle_async_request(self, request: Request) -> Response:
        """Sends a request, and returns the response, to be read or closed.

        Raises:
            TimeoutException, NetworkError, ProtocolError, ProxyError, UnsupportedProtocol: one of `httpcore`'s.
            Exception: what the request's content or the `trace` callback raised.
        """
        call = _Call(request)
        answer = await (self._persist(call) if self._retries else self._perform(call))
        response = answer.response
        return Response(
            response.status_code,
            headers=response.raw_headers,
            content=AsyncContent(answer),
            extensions=answer.extensions,
        )

    async def _persist(self, call: _Call) -> AsyncAnswer:
        backoff = _Backoff(self._retries)
        while True:
            try:
                return await self._perform(call)
            except (ConnectError, ConnectTimeout) as exc:
                await asyncio.sleep(backoff.after(exc))

    async def request(self, method: bytes | str, url: URLTypes, **parts: Unpack[RequestKeywords]) -> Response:
        """Sends a request, and returns the response with its content read. See `handle_async_request`."""
        async with self.stream(method, url, **parts) as response:
            await response.aread()
        return response

    @contextlib.asynccontextmanager
    async def stream(
        self, method: bytes | str, url: URLTypes, **parts: Unpack[RequestKeywords]
    ) -> AsyncIterator[Response]:
        """Sends a request, and gives the response, which ends with the context. See `handle_async_request`."""
        response = await self.handle_async_request(Request(method, url, **parts))
        try:
            yield response
        finally:
            await response.aclose()

    async def aclose(self) -> None:
        """Closes the pool, and ends what goes on."""
        await self._pool.close(force=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()


class ConnectionPool(SyncAdapter):
    """A blocking pool, which threads may share; otherwise the same as `AsyncConnectionPool`."""

    def __init__(
        self,
        ssl_context: ssl.SSLContext | None = None,
        proxy: ProxyTypes | None = None,
        **options: Unpack[PoolKeywords],
    ) -> None:
        self._retries = options.get("retries", 0)
        super().__init__(SyncConnectionPool(**_core_options(ssl_context, proxy, **options)))

    def handle_request(self, request: Request) -> Response:
        """See `AsyncConnectionPool.handle_async_request`."""
        call = _Call(request)
        answer = self._persist(call) if self._retries else self._perform(call)
        response = answer.response
        return Response(
            response.status_code,
            headers=response.raw_headers,
            content=SyncContent(answer),
            extensions=answer.extensions,
        )

    def _persist(self, call: _Call) -> SyncAnswer:
        backoff = _Backoff(self._retries)
        while True:
            try:
                return self._perform(call)
            except (ConnectError, ConnectTimeout) as exc:
                time.sleep(backoff.after(exc))

    def request(self, method: bytes | str, url: URLTypes, **parts: Unpack[RequestKeywords]) -> Response:
        """Sends a request, and returns the response with its content read. See `handle_request`."""
        with self.stream(method, url, **parts) as response:
            response.read()
        return response

    @contextlib.contextmanager
    def stream(self, method: bytes | str, url: URLTypes, **parts: Unpack[RequestKeywords]) -> Iterator[Response]:
        """Sends a request, and gives the response, which ends with the context. See `handle_request`."""
        response = self.handle_request(Request(method, url, **parts))
        try:
            yield response
        finally:
            response.close()

    def close(self) -> None:
        """Closes the pool, and ends what goes on."""
        self._pool.close(force=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.close()
