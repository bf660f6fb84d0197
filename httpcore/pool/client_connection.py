"""ClientConnection: one connection that its user owns, for those who keep pools of their own."""

from __future__ import annotations

import asyncio
import warnings
from typing import Self

from httpcore.body import DEFAULT_HIGH_WATER, DEFAULT_LOW_WATER
from httpcore.config import HTTP2Config, PoolLimits, SSLTypes, TimeoutConfig, TimeoutTypes
from httpcore.exceptions import HTTPCoreError, LocalProtocolError, Phase, ResponseClosed
from httpcore.handlers import ConnectionInfo
from httpcore.network import NetworkConfig
from httpcore.pool.connector import Connector, Dialer, check_connector
from httpcore.pool.dispatcher import DEFAULT_MAX_BODY_SIZE, Dispatcher
from httpcore.pool.routes import (
    NO_EXTENDED_CONNECT,
    NO_OPTIONS,
    NO_PROXY_CREDENTIALS,
    NO_UPGRADE,
    NOT_FORWARDED,
    Route,
    RouteOptions,
    can_forward,
)
from httpcore.pool.slots import Slots
from httpcore.protocols.base import DEFAULT_TIMEOUT, HTTPProtocol
from httpcore.protocols.codecs import CodecName
from httpcore.protocols.exchange import HTTPExchange
from httpcore.protocols.handshake import Versions
from httpcore.protocols.http11 import HTTP11Protocol
from httpcore.proxies import ProxyChooser, ProxyOverride
from httpcore.proxy_protocol import ProxyProtocol
from httpcore.tls import ContextCache
from httpcore.trace import TraceHook
from httpcore.urls import URL, Origin, parse_url

__all__ = ["ClientConnection"]


class ClientConnection(Dispatcher):
    """One connection to one origin. It never waits for a place, connects anew, or sends anything again.

    Make it with `await ClientConnection.connect(url)`. `await close()` lets the exchanges it carries end first;
    `close(force=True)` aborts them. One that is dropped closes in the first way, with a `ResourceWarning`.
    """

    def __init__(
        self,
        protocol: HTTPProtocol,
        origin: Origin,
        *,
        options: RouteOptions = NO_OPTIONS,
        timeout: TimeoutTypes = None,
        trace: TraceHook | None = None,
        max_body_size: int | None = DEFAULT_MAX_BODY_SIZE,
        high_water: int = DEFAULT_HIGH_WATER,
        low_water: int = DEFAULT_LOW_WATER,
    ) -> None:
        super().__init__(
            options, timeout, trace=trace, max_body_size=max_body_size, high_water=high_water, low_water=low_water
        )
        self.origin = origin
        self._protocol = protocol
        self._exposes_proxy_credentials = False
        self._hops: Slots | None = None  # the connection to an HTTP/2 proxy, where that carries it

    @classmethod
    async def connect(
        cls,
        url: str | bytes | URL,
        *,
        ssl: SSLTypes = None,
        timeout: TimeoutTypes = None,
        http1: bool = True,
        http2: bool | HTTP2Config = True,
        http1_codec: CodecName = "auto",
        trace: TraceHook | None = None,
        max_body_size: int | None = DEFAULT_MAX_BODY_SIZE,
        high_water: int = DEFAULT_HIGH_WATER,
        low_water: int = DEFAULT_LOW_WATER,
        proxy: ProxyOverride | ProxyChooser | None = None,
        network: NetworkConfig | None = None,
        proxy_protocol: ProxyProtocol | None = None,
        connector: Connector | None = None,
    ) -> Self:
        """Opens a connection to the origin of `url`, whose path does not matter.

        Args:
            url: an `http` or `https` URL.
            ssl: an `SSLConfig` or an `ssl.SSLContext`; `None` verifies against certifi's authorities.
            timeout: a `TimeoutConfig`, or seconds for each; `None` is 5 seconds each. It holds for this call and is
                the default for requests.
            http1, http2, http1_codec: as for `ConnectionPool`. What is to be upgraded needs `http2=False`.
            trace: a hook, for this call and for requests that have none of their own.
            max_body_size, high_water, low_water, proxy, network, proxy_protocol, connector: as for `ConnectionPool`. A
                proxy that forwards requests cannot give what is to be upgraded: that needs a `Proxy` with `tunnel`.

        Raises:
            InvalidURL, UnsupportedProtocol: the URL.
            ConnectError, ConnectTimeout, ProxyError: no connection was made.
            TypeError, ValueError, ImportError: as for `ConnectionPool`.
        """
        origin = parse_url(url).origin
        versions = Versions.of(http1, http2, http1_codec)
        options = NO_OPTIONS.override(ssl, proxy, network, proxy_protocol)
        check_connector(connector, options)
        seconds = TimeoutConfig.of(timeout, DEFAULT_TIMEOUT).connect_timeout
        parts = (connector, ContextCache(), versions)
        # The connection to an HTTP/2 proxy carries the tunnel, and lives as long as that.
        hops = Slots(asyncio.get_running_loop(), PoolLimits(), Dialer(*parts, None).dial, trace)
        try:
            route = Route.to(origin, options, versions)
            protocol = await Dialer(*parts, hops.submit).dial(route, seconds, trace)
        except BaseException as exc:
            hops.close(force=True)
            if isinstance(exc, HTTPCoreError):
                exc.host, exc.port, exc.phase = origin.host, origin.port, Phase.CONNECTING
            raise
        hops.close(force=False)
        connection = cls(
            protocol,
            origin,
            options=options,
            timeout=timeout,
            trace=trace,
            max_body_size=max_body_size,
            high_water=high_water,
            low_water=low_water,
        )
        connection._exposes_proxy_credentials = route.exposes_proxy_credentials(options)
        connection._hops = hops
        return connection

    @property
    def available(self) -> int:
        """How many requests it can take now: on HTTP/1.1 one at most."""
        return self._protocol.available

    @property
    def in_flight(self) -> int:
        """How many requests it carries."""
        return self._protocol.in_flight

    @property
    def closed(self) -> bool:
        """Whether it is closing or closed, and takes no request ever."""
        return self._protocol.closing

    @property
    def info(self) -> ConnectionInfo:
        """Its number, addresses and TLS object."""
        return self._protocol.info

    def _submit(self, exchange: HTTPExchange, options: RouteOptions) -> None:
        if options is not self._options:
            exchange.fail(LocalProtocolError("ssl, proxy, network and proxy_protocol are for connect()"))
        elif exchange.request.url.origin != self.origin:
            exchange.fail(LocalProtocolError(f"the request is for another origin than {self.origin}"))
        elif exchange.request.upgrades and not isinstance(self._protocol, HTTP11Protocol):
            exchange.fail(LocalProtocolError(NO_UPGRADE))
        elif exchange.request.protocol is not None and isinstance(self._protocol, HTTP11Protocol):
            exchange.fail(LocalProtocolError(NO_EXTENDED_CONNECT))
        elif self._exposes_proxy_credentials and b"proxy-authorization" in exchange.request.names:
            exchange.fail(LocalProtocolError(NO_PROXY_CREDENTIALS))
        elif self._protocol.proxy_fields is not None and not can_forward(exchange.request, options.network):
            exchange.fail(LocalProtocolError(NOT_FORWARDED))
        elif not self._protocol.available or not self._protocol.ready():
            state = "closed" if self._protocol.closing else "busy"
            exchange.fail(LocalProtocolError(f"the connection can take no request now: it is {state}"))
        else:
            self._protocol.start(exchange)

    async def close(self, *, force: bool = False) -> None:
        """Closes it, and returns once it is closed.

        Args:
            force: abort the exchanges that it carries.
        """
        if force:
            self._protocol.abort(ResponseClosed("the connection was closed"))
        else:
            self._protocol.close("the connection was closed")
        await self._protocol.wait_closed()
        if self._hops is not None:
            await self._hops.wait_gone(force=True)

    def __del__(self, _warn: type[ResourceWarning] = ResourceWarning) -> None:
        protocol = getattr(self, "_protocol", None)  # not there if the arguments were refused
        if protocol is None or protocol.closing or protocol.loop.is_closed():
            return
        warnings.warn(f"unclosed {self!r}", _warn, source=self, stacklevel=2)
        # The garbage collector runs in any thread. What is being read may be read to its end.
        protocol.loop.call_soon_threadsafe(protocol.close, "nobody had it any more")

    def __repr__(self) -> str:
        return f"<ClientConnection to {self.origin}, {self.available} available, {self.in_flight} in flight>"
