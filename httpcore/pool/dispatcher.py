"""Dispatcher: `dispatch()`, `request()` and `send()`, for whatever can start an exchange; who negotiates codings."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from httpcore.body import DEFAULT_HIGH_WATER, DEFAULT_LOW_WATER, BodyQueue
from httpcore.config import SSLConfig, SSLTypes, TimeoutConfig, TimeoutTypes
from httpcore.decoders import accept_encoding
from httpcore.handlers import Exchange, ResponseHandler
from httpcore.headers import HeaderTypes
from httpcore.network import NetworkConfig
from httpcore.pool.routes import RouteOptions
from httpcore.protocols.base import DEFAULT_TIMEOUT
from httpcore.protocols.exchange import HTTPExchange
from httpcore.proxies import ProxyChooser, ProxyOverride
from httpcore.proxy_protocol import ProxyProtocol
from httpcore.request import BodyTypes, Request, Trailers
from httpcore.response import Response, ResponseCollector
from httpcore.trace import TraceHook
from httpcore.urls import URL

__all__ = ["DEFAULT_MAX_BODY_SIZE", "Dispatcher"]

DEFAULT_MAX_BODY_SIZE = 100 * 1024 * 1024  # bytes: more than a body that belongs into memory, less than the memory


class Dispatcher(ABC):
    """Makes exchanges, for callbacks and for the async API. A subclass starts them, in `_submit`.

    Args:
        options: how servers are reached for exchanges that do not say otherwise.
        timeout: of exchanges that have none of their own: a `TimeoutConfig`, or seconds for each; `None` is 5 seconds
            each, and no total.
        trace: a hook for exchanges that have none of their own.
        max_body_size: bytes that a response which is not streamed may have, once decoded; `None` sets no limit.
        high_water: bytes of content that wait to be read before the server is asked to pause (64 KiB).
        low_water: bytes at or below which it may go on (16 KiB).

    Raises:
        ValueError: `low_water` is over `high_water`, or one of them is negative.
    """

    def __init__(
        self,
        options: RouteOptions,
        timeout: TimeoutTypes = None,
        *,
        trace: TraceHook | None = None,
        max_body_size: int | None = DEFAULT_MAX_BODY_SIZE,
        high_water: int = DEFAULT_HIGH_WATER,
        low_water: int = DEFAULT_LOW_WATER,
    ) -> None:
        if not 0 <= low_water <= high_water:
            raise ValueError(f"0 <= low_water <= high_water does not hold: {low_water}, {high_water}")
        self._options = options
        self._timeout = TimeoutConfig.of(timeout, DEFAULT_TIMEOUT)
        self._trace = trace
        self._max_body_size = max_body_size
        self._high_water = high_water
        self._low_water = low_water

    @property
    def ssl(self) -> SSLConfig:
        """How TLS is made for requests that do not say otherwise."""
        return self._options.ssl

    @property
    def timeout(self) -> TimeoutConfig:
        """The deadlines of requests that have none of their own."""
        return self._timeout

    def dispatch(
        self,
        request: Request,
        handler: ResponseHandler,
        *,
        timeout: TimeoutTypes = None,
        trace: TraceHook | None = None,
        ssl: SSLTypes = None,
        proxy: ProxyOverride | ProxyChooser | None = None,
        network: NetworkConfig | None = None,
        proxy_protocol: ProxyProtocol | None = None,
    ) -> Exchange:
        """Sends `request` and tells `handler` what comes of it. Never waits, never blocks.

        To be called on the loop's thread. `request` and `send` do the same with a handler that makes a `Response`.

        Args:
            request: the request.
            handler: called on the loop; see `ResponseHandler`. What cannot be sent is told to it as well.
            timeout: a `TimeoutConfig`, or seconds for each; `None` is what was set for all requests.
            trace: a hook for this exchange; `None` is the one that was set for all.
            ssl, proxy, network, proxy_protocol: as for `request`.

        Returns:
            The exchange. It may have ended already.

        Raises:
            TypeError, ValueError: an argument is something else, or a proxy's URL is malformed.
        """
        options = self._options_of(ssl, proxy, network, proxy_protocol)
        exchange = self._make_exchange(request, handler, timeout, trace, asyncio.get_running_loop())
        self._submit(exchange, options)
        return exchange

    def _options_of(
        self,
        ssl: SSLTypes,
        proxy: ProxyOverride | ProxyChooser | None,
        network: NetworkConfig | None,
        proxy_protocol: ProxyProtocol | None,
    ) -> RouteOptions:
        if ssl is None and proxy is None and network is None and proxy_protocol is None:
            return self._options
        return self._options.override(ssl, proxy, network, proxy_protocol)

    def _make_exchange(
        self,
        request: Request,
        handler: ResponseHandler,
        timeout: TimeoutTypes,
        trace: TraceHook | None,
        loop: asyncio.AbstractEventLoop,
    ) -> HTTPExchange:
        timeouts = self._timeout if timeout is None else TimeoutConfig.of(timeout, self._timeout)
        return HTTPExchange(request, handler, timeouts, loop, self._trace if trace is None else trace)

    @abstractmethod
    def _submit(self, exchange: HTTPExchange, options: RouteOptions) -> None:
        """Starts the exchange, now or later, or fails it."""

    @abstractmethod
    async def close(self, *, force: bool = False) -> None:
        """Takes no new requests, and closes what is idle; see the class for the rest."""

    async def aclose(self) -> None:
        """The same as `close()`."""
        await self.close()

    async def request(
        self,
        method: str | bytes,
        url: str | bytes | URL,
        headers: HeaderTypes = (),
        body: BodyTypes = b"",
        stream: bool = False,
        *,
        timeout: TimeoutTypes = None,
        trace: TraceHook | None = None,
        decode: bool | None = None,
        max_body_size: int | None = None,
        target: str | bytes | None = None,
        trailers: Trailers = (),
        protocol: str | bytes | None = None,
        ssl: SSLTypes = None,
        proxy: ProxyOverride | ProxyChooser | None = None,
        network: NetworkConfig | None = None,
        proxy_protocol: ProxyProtocol | None = None,
    ) -> Response:
        """Sends a request and returns the response.

        Args:
            method, url, headers, body, target, trailers, protocol: see `Request`.
            stream: `False` reads the content, which is `response.body` then. `True` returns once the head came.
            timeout: a `TimeoutConfig`, or seconds for each; `None` is what was set for all requests.
            trace: a hook for this exchange; `None` is the one that was set for all.
            decode: whether content codings are undone, and offered unless `headers` has `accept-encoding`. `None` does
                so for a response that is not streamed. A streamed one is left alone where `headers` has
                `accept-encoding`; where not, none are offered, but undone if the server codes all the same.
            max_body_size: bytes that `response.body` may have; `None` is what was set for all.
            ssl: an `SSLConfig` or an `ssl.SSLContext`; `None` is what was set for all, as with the next three. Requests
                that differ in any of the four never share a connection.
            proxy: a `Proxy` or the URL of one, what chooses one, or `DIRECT` for none.
            network: a `NetworkConfig`: how sockets are made.
            proxy_protocol: a `ProxyProtocol`, which tells the server of a client on whose behalf this is asked.

        Raises:
            InvalidURL, UnsupportedProtocol, LocalProtocolError, TypeError, ValueError: what was asked for cannot be
                sent.
            PoolClosed, PoolTimeout, ConnectTimeout, ConnectError, ProxyError: there is no connection for it.
            WriteTimeout, WriteError, ReadTimeout, ReadError, RemoteProtocolError, TotalTimeout: the exchange failed.
            DecodingError, ResponseTooLarge: the content cannot be had.
            Exception: what the body raised.
        """
        request = Request.of(method, url, headers, body, target, trailers, protocol)
        if _offers_codings(request, stream, decode):
            request.headers.append((b"Accept-Encoding", accept_encoding()))
        options = self._options_of(ssl, proxy, network, proxy_protocol)
        return await self._send(request, stream, timeout, trace, decode, max_body_size, options)

    async def send(
        self,
        request: Request,
        stream: bool = False,
        *,
        timeout: TimeoutTypes = None,
        trace: TraceHook | None = None,
        decode: bool | None = None,
        max_body_size: int | None = None,
        ssl: SSLTypes = None,
        proxy: ProxyOverride | ProxyChooser | None = None,
        network: NetworkConfig | None = None,
        proxy_protocol: ProxyProtocol | None = None,
    ) -> Response:
        """Sends a `Request`; otherwise the same as `request`."""
        if _offers_codings(request, stream, decode):
            request = request.with_headers([(b"Accept-Encoding", accept_encoding())])
        options = self._options_of(ssl, proxy, network, proxy_protocol)
        return await self._send(request, stream, timeout, trace, decode, max_body_size, options)

    async def _send(
        self,
        request: Request,
        stream: bool,
        timeout: TimeoutTypes,
        trace: TraceHook | None,
        decode: bool | None,
        max_body_size: int | None,
        options: RouteOptions,
    ) -> Response:
        if decode is None:
            decode = not stream or b"accept-encoding" not in request.names
        loop = asyncio.get_running_loop()  # once: on Python 3.11 it is a system call
        future: asyncio.Future[Response] = loop.create_future()
        queue = BodyQueue(self._high_water, self._low_water)
        limit = self._max_body_size if max_body_size is None else max_body_size
        collector = ResponseCollector(future, queue, decode=decode, max_body_size=limit)
        exchange = self._make_exchange(request, collector, timeout, trace, loop)
        self._submit(exchange, options)
        try:
            response = await future
            if not stream and not response.take_complete():
                await response.read()
        except BaseException:
            exchange.abort()
            if collector.upgraded is not None:  # the exchange has ended, and nobody else has the stream
                collector.upgraded.abort()
            del future  # it refers to the exception, whose traceback refers to this frame
            raise
        return response

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


def _offers_codings(request: Request, stream: bool, decode: bool | None) -> bool:
    """Whether the server is told which codings can be undone: not where the caller spoke, or reads the stream itself.

    Nor where a range is asked for, as a part of coded content cannot be decoded.
    """
    wanted = not stream if decode is None else decode
    return wanted and b"accept-encoding" not in request.names and b"range" not in request.names
