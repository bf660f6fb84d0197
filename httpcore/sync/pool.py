"""SyncConnectionPool: what users of the blocking API hold. A shim over `ConnectionPool`, which does the work."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self

from httpcore.config import TimeoutTypes
from httpcore.pool.connection_pool import ConnectionPool
from httpcore.pool.routes import RouteOptions
from httpcore.request import Request
from httpcore.response import Response
from httpcore.sync.bridge import PulledBody, ThreadedCollector, ThreadedQueue, run
from httpcore.sync.loop_thread import background_loop
from httpcore.sync.response import SyncResponse
from httpcore.trace import TraceHook

__all__ = ["SyncConnectionPool"]

_P = ParamSpec("_P")


class _BlockingPool(ConnectionPool):
    """A pool on the background loop, whose `request` and `send` run in the caller's thread, and block."""

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
        if request.pushed:
            raise TypeError("PUSHED is for dispatch(): a blocking call takes its body from an iterator")
        if decode is None:
            decode = not stream or b"accept-encoding" not in request.names
        loop = background_loop()
        queue = ThreadedQueue(loop, self._high_water, self._low_water)
        limit = self._max_body_size if max_body_size is None else max_body_size
        collector = ThreadedCollector(queue, queue, decode=decode, max_body_size=limit)
        bodies: list[PulledBody] = []
        if request.iterated:

            def pull(open_body: Callable[[], Iterator[bytes]]) -> PulledBody:
                bodies.append(PulledBody(queue, open_body))
                return bodies[-1]

            request = request.with_iterated_body(pull)

        def start() -> None:
            try:
                exchange = self._make_exchange(request, collector, timeout, trace, loop)
                queue.exchange = exchange
                self._submit(exchange, options)
            except BaseException as exc:
                queue.set_exception(exc)

        def abort() -> None:
            if queue.exchange is not None:
                queue.exchange.abort()
            if collector.upgraded is not None:
                collector.upgraded.abort()

        loop.call_soon_threadsafe(start)
        try:
            response = queue.wait_for_answer(streamed=stream)
            if not stream:
                await response.read()
        except BaseException:
            loop.call_soon_threadsafe(abort)
            for body in bodies:
                body.close()
            raise
        return response


def _made_like(
    model: Callable[_P, ConnectionPool],
) -> Callable[Concatenate[SyncConnectionPool, _P], None]:
    @functools.wraps(ConnectionPool.__init__)
    def make(self: SyncConnectionPool, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        self._pool = _BlockingPool(*args, **kwargs)  # type: ignore[arg-type]  # it takes what the model takes

    return make


def _blocking(
    method: Callable[Concatenate[ConnectionPool, _P], Coroutine[Any, Any, Response]],
) -> Callable[Concatenate[SyncConnectionPool, _P], SyncResponse]:
    @functools.wraps(method)
    def call(self: SyncConnectionPool, /, *args: _P.args, **kwargs: _P.kwargs) -> SyncResponse:
        return SyncResponse(run(method(self._pool, *args, **kwargs)), background_loop())

    return call


class SyncConnectionPool:
    """Sends requests, and keeps connections for the next ones: `ConnectionPool`, with calls that block.

    The same arguments and the same words, without `await`. It may be used from any number of threads at once, also
    from one in which an event loop runs, which waits then, too. All pools of a process share one loop, in a thread of
    its own.

    A plain iterator as a body is gone on with in the thread of the call, while that waits for the answer or for
    content. Ctrl-C in the middle of a call aborts its exchange, and leaves the pool as usable as it was.

    See `ConnectionPool` for the arguments, for `close`, and for what is raised.
    """

    _pool: _BlockingPool

    __init__ = _made_like(ConnectionPool)
    request = _blocking(ConnectionPool.request)
    send = _blocking(ConnectionPool.send)

    @property
    def num_connections(self) -> int:
        """How many connections there are, those included that are being made or closed."""
        return self._pool.num_connections

    @property
    def num_keepalive_connections(self) -> int:
        """How many of them are idle, and kept for the next request."""
        return self._pool.num_keepalive_connections

    @property
    def num_active_connections(self) -> int:
        """How many of them are not idle."""
        return self._pool.num_active_connections

    @property
    def num_waiting_requests(self) -> int:
        """How many requests wait because a limit forbids to make a connection for them."""
        return self._pool.num_waiting_requests

    def close(self, *, force: bool = False) -> None:
        """Closes the pool; see `ConnectionPool.close`."""
        future = asyncio.run_coroutine_threadsafe(self._pool.close(force=force), background_loop())
        future.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return repr(self._pool).replace("<ConnectionPool", "<SyncConnectionPool")
