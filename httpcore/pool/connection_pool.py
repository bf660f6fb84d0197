"""ConnectionPool: what users hold."""

from __future__ import annotations

import asyncio
import functools
import os
import warnings

from httpcore.body import DEFAULT_HIGH_WATER, DEFAULT_LOW_WATER
from httpcore.config import HTTP2Config, PoolLimits, SSLConfig, SSLTypes, TimeoutTypes
from httpcore.exceptions import LocalProtocolError, PoolClosed
from httpcore.pool.connector import Connector, TCPConnector, dial
from httpcore.pool.dispatcher import DEFAULT_MAX_BODY_SIZE, Dispatcher
from httpcore.pool.routes import Route
from httpcore.pool.slots import Slots
from httpcore.protocols.exchange import HTTPExchange
from httpcore.protocols.handshake import Versions
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

    Args:
        ssl: an `SSLConfig` or an `ssl.SSLContext`; `None` verifies against certifi's authorities.
        timeout: a `TimeoutConfig`, or seconds for each; `None` is 5 seconds each, and no total.
        limits: a `PoolLimits`; `None` is its defaults.
        http1: whether HTTP/1.1 may be spoken.
        http2: whether HTTP/2 may be spoken; an `HTTP2Config` says how. Over TLS the server chooses among both, HTTP/2
            being preferred (ALPN). Without TLS it is spoken if `http1=False`, and servers have to understand it
            ("prior knowledge"). A request with an `upgrade` field goes over HTTP/1.1, on a connection of its own kind.
        trace: a hook for every exchange that has none of its own, and for what happens to idle connections.
        max_body_size: bytes that a response which is not streamed may have, once decoded (100 MiB); `None` sets no
            limit.
        high_water: bytes of content that wait to be read before the server is asked to pause.
        low_water: bytes at or below which it may go on.
        connector: opens connections; `None` is `TCPConnector()`.

    Raises:
        TypeError: `ssl`, `timeout`, `limits`, `http1` or `http2` is something else.
        ValueError: a timeout or water mark is impossible, or no version of HTTP is left.
    """

    def __init__(
        self,
        ssl: SSLTypes = None,
        timeout: TimeoutTypes = None,
        limits: PoolLimits | None = None,
        *,
        http1: bool = True,
        http2: bool | HTTP2Config = True,
        trace: TraceHook | None = None,
        max_body_size: int | None = DEFAULT_MAX_BODY_SIZE,
        high_water: int = DEFAULT_HIGH_WATER,
        low_water: int = DEFAULT_LOW_WATER,
        connector: Connector | None = None,
    ) -> None:
        self._slots: Slots | None = None  # the books on the loop that uses the pool; None before its first use
        self._closed = False
        super().__init__(timeout, trace=trace, max_body_size=max_body_size, high_water=high_water, low_water=low_water)
        if limits is not None and not isinstance(limits, PoolLimits):
            raise TypeError(f"limits takes a PoolLimits, not {type(limits).__name__}")
        self._ssl = SSLConfig.of(ssl)
        self._limits = PoolLimits() if limits is None else limits
        self._versions = Versions.of(http1, http2)
        connector = TCPConnector() if connector is None else connector
        # Not a method: a pool that is dropped must not be kept alive by the timers and transports of its slots.
        self._dial = functools.partial(dial, connector, ContextCache(), self._versions)

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

    def _submit(self, exchange: HTTPExchange) -> None:
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
            route = Route.of(exchange.request, self._ssl, self._versions)
        except LocalProtocolError as exc:
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
        self._slots = Slots(loop, self._limits, self._dial, self._trace)
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
