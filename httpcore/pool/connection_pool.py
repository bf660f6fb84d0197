"""ConnectionPool: what users hold."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import os
import warnings

from httpcore.body import DEFAULT_HIGH_WATER, DEFAULT_LOW_WATER
from httpcore.config import HTTP2Config, PoolLimits, SSLTypes, TimeoutTypes
from httpcore.exceptions import HTTPCoreError, PoolClosed
from httpcore.network import NetworkConfig
from httpcore.pool.connector import Connector, Dialer, check_connector
from httpcore.pool.dispatcher import DEFAULT_MAX_BODY_SIZE, Dispatcher
from httpcore.pool.routes import NO_OPTIONS, Route, RouteOptions
from httpcore.pool.slots import Slots
from httpcore.protocols.codecs import CodecName
from httpcore.protocols.exchange import HTTPExchange
from httpcore.protocols.handshake import Versions
from httpcore.proxies import ProxyChooser, ProxyOverride
from httpcore.proxy_protocol import ProxyProtocol
from httpcore.tls import ContextCache
from httpcore.trace import TraceHook

__all__ = ["ConnectionPool"]


class ConnectionPool(Dispatcher):
    """Sends requests, and keeps connections for the next ones.

    It may be made where no loop runs, and belongs to the loop that first uses it. Used on another one, as with two
    `asyncio.run` in a row, it starts afresh there; on the first one, if that still runs, everything ends as with
    `close()`. After a fork the child makes connections of its own, and leaves the parent's alone.

    `await close()`, or the end of `async with`, takes no new requests, fails the waiting ones with `PoolClosed`, and
    closes idle connections. A response that is being read may be read to its end, and its connection closes with it;
    `close(force=True)` aborts those too, but for what has come already and only waits to be read. A pool that is
    dropped with connections open closes in the first way, with a `ResourceWarning`.

    A keyword that only httpcore 1.x knows (`max_connections`, for one) makes its blocking pool: see `httpcore.compat`.

    Args:
        ssl: an `SSLConfig` or an `ssl.SSLContext`; `None` verifies against certifi's authorities.
        timeout: a `TimeoutConfig`, or seconds for each; `None` is 5 seconds each, and no total.
        limits: a `PoolLimits`; `None` is its defaults.
        http1: whether HTTP/1.1 may be spoken.
        http2: whether HTTP/2 may be spoken; an `HTTP2Config` says how. Over TLS the server chooses among both, HTTP/2
            being preferred (ALPN). Without TLS it is spoken if `http1=False`, and servers have to understand it
            ("prior knowledge"). A request with an `upgrade` field goes over HTTP/1.1, on a connection of its own kind.
        http1_codec: what reads and writes HTTP/1.1: `"h11"`, or `"llhttp"`, which accepts the same, is faster, and
            needs the extra `httpcore[fast]`. `"auto"` is the latter where it is installed.
        trace: a hook for every exchange that has none of its own, and for what happens to idle connections.
        max_body_size: bytes that a response which is not streamed may have, once decoded (100 MiB); `None` sets no
            limit.
        high_water: bytes of content that wait to be read before the server is asked to pause.
        low_water: bytes at or below which it may go on.
        proxy: a `Proxy` or the URL of one, or what chooses one: a callable that takes an `Origin` and returns a proxy
            or `None`, such as `proxies_from_environment()` gives. `None` is none. `http` and `https` proxies forward
            requests for `http` URLs; everything else goes through tunnels.
        network: a `NetworkConfig`: how sockets are made, names looked up, and what may be connected to.
        proxy_protocol: a `ProxyProtocol`, which is sent on each connection ahead of everything else; `None` sends none.
        connector: opens connections; `None` is a `TCPConnector` by `network`.

    Raises:
        TypeError: an argument is something else.
        ValueError: a timeout, water mark or proxy is impossible; no version of HTTP is left; there is no such codec; or
            there are both `network` and a `connector`, which makes sockets in its own way.
        ImportError: `http1_codec="llhttp"` without the extra.
    """

    def __init__(
        self,
        ssl: SSLTypes = None,
        timeout: TimeoutTypes = None,
        limits: PoolLimits | None = None,
        *,
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
    ) -> None:
        self._slots: Slots | None = None  # the books on the loop that uses the pool; None before its first use
        self._closed = False
        super().__init__(
            NO_OPTIONS.override(ssl, proxy, network, proxy_protocol),
            timeout,
            trace=trace,
            max_body_size=max_body_size,
            high_water=high_water,
            low_water=low_water,
        )
        if limits is not None and not isinstance(limits, PoolLimits):
            raise TypeError(f"limits takes a PoolLimits, not {type(limits).__name__}")
        self._limits = PoolLimits() if limits is None else limits
        self._versions = Versions.of(http1, http2, http1_codec)
        check_connector(connector, self._options)
        self._connector = connector
        self._contexts = ContextCache()

    @property
    def num_connections(self) -> int:
        """How many connections there are, those included that are being made or closed."""
        return 0 if self._slots is None else self._slots.count

    @property
    def num_keepalive_connections(self) -> int:
        """How many of them are idle, and kept for the next request."""
        return 0 if self._slots is None else self._slots.idle_count

    @property
    def num_active_connections(self) -> int:
        """How many of them are not idle."""
        return self.num_connections - self.num_keepalive_connections

    @property
    def num_waiting_requests(self) -> int:
        """How many requests wait because a limit forbids to make a connection for them."""
        return 0 if self._slots is None else self._slots.waiting_count

    def _submit(self, exchange: HTTPExchange, options: RouteOptions) -> None:
        if self._closed:
            exchange.fail(PoolClosed("the pool was closed; it takes no new requests"))
            return
        slots = self._slots
        if slots is None or slots.loop is not exchange.loop:
            slots = self._bind(exchange.loop)
        if slots.closed:
            exchange.fail(PoolClosed("the loop is about to end; the pool takes no new requests on it"))
            return
        try:
            if options is not self._options:
                check_connector(self._connector, options)
            route = Route.of(exchange.request, options, self._versions)
        except (HTTPCoreError, ValueError) as exc:
            exchange.fail(exc)
        else:
            slots.submit(exchange, route)

    async def close(self, *, force: bool = False) -> None:
        """Closes the pool; see the class. Returns once the connections that close now are closed. Idempotent.

        Args:
            force: abort responses that are being read as well.
        """
        self._closed = True
        slots = self._slots
        if slots is None:
            return
        if slots.loop is asyncio.get_running_loop():
            slots.close(force=force)
            await slots.wait_gone(force=force)
        else:
            _close_elsewhere(slots, force=force)

    def _bind(self, loop: asyncio.AbstractEventLoop) -> Slots:
        # A loop that ended took its connections with it; see Slots._live. One that goes on closes them itself.
        if self._slots is not None:
            _close_elsewhere(self._slots, force=False)
        # None of this refers to the pool: one that is dropped must not be kept alive by its timers and transports.
        limits, parts = self._limits, (self._connector, self._contexts, self._versions)
        # Each connection to a proxy is for the tunnels of connections that are counted already.
        unlimited = dataclasses.replace(limits, hard_limit=None, per_origin_limit=None, max_waiters=None)
        hops = Slots(loop, unlimited, Dialer(*parts, None).dial, self._trace)
        self._slots = Slots(loop, limits, Dialer(*parts, hops.submit).dial, self._trace, hops)
        return self._slots

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<ConnectionPool {state}, {self.num_active_connections} active, {self.num_keepalive_connections} idle>"

    def __del__(self, _warn: type[ResourceWarning] = ResourceWarning) -> None:
        slots = getattr(self, "_slots", None)  # not there if the arguments were refused
        if slots is None or slots.closed or not slots.count or slots.loop.is_closed() or slots.pid != os.getpid():
            return
        warnings.warn(f"unclosed {self!r}", _warn, source=self, stacklevel=2)
        _close_elsewhere(slots, force=False)  # the garbage collector runs in any thread


def _close_elsewhere(slots: Slots, *, force: bool) -> None:
    """Closes what belongs to a loop that runs in another thread, or does not run now."""
    if slots.pid != os.getpid():
        return  # the connections are the parent process's; to say goodbye to a server would end them for the parent
    try:
        slots.loop.call_soon_threadsafe(functools.partial(slots.close, force=force))
    except RuntimeError:
        pass  # the loop is closed, and the connections with it
