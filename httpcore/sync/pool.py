"""SyncConnectionPool: what users of the blocking API hold. A shim over `ConnectionPool`, which does the work."""

from __future__ import annotations

import codecs
import functools
import inspect
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self

from httpcore.config import SSLConfig, TimeoutConfig, TimeoutTypes
from httpcore.decoders import accept_encoding
from httpcore.pool.connection_pool import ConnectionPool
from httpcore.pool.routes import RouteOptions
from httpcore.request import Request
from httpcore.response import Response
from httpcore.sync.bridge import ThreadedCollector, ThreadedQueue, run, wait_for
from httpcore.sync.loop_thread import loop_thread
from httpcore.sync.pulled_body import PulledBody
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
        thread = loop_thread()
        thread.check()
        queue = ThreadedQueue(thread, self._high_water, self._low_water)
        limit = self._max_body_size if max_body_size is None else max_body_size
        collector = ThreadedCollector(thread, queue, decode=decode, max_body_size=limit)
        if request.iterated:
            request = request.with_iterated_body(functools.partial(PulledBody, thread, queue))
        try:
            thread.submit(self._start, queue, request, collector, timeout, trace, options)
            response = queue.wait_for_answer(streamed=stream)
            if not stream:
                await response.read()
        except BaseException:
            thread.submit_if_open(_abort, queue, collector)
            queue.leave()
            raise
        return response

    def _start(
        self,
        queue: ThreadedQueue,
        request: Request,
        collector: ThreadedCollector,
        timeout: TimeoutTypes,
        trace: TraceHook | None,
        options: RouteOptions,
    ) -> None:
        # On the loop's thread.
        try:
            exchange = self._make_exchange(request, collector, timeout, trace, collector.loop)
            queue.exchange = exchange
            self._submit(exchange, options)
        except BaseException as exc:
            queue.set_exception(exc)

    def __repr__(self) -> str:
        return super().__repr__().replace("<ConnectionPool", "<SyncConnectionPool", 1)


def _abort(queue: ThreadedQueue, collector: ThreadedCollector) -> None:
    if queue.exchange is not None:
        queue.exchange.abort()
    if collector.upgraded is not None:  # the exchange has ended, and nobody else has the stream
        collector.upgraded.abort()


def _made_like(
    model: Callable[Concatenate[ConnectionPool, _P], None],
) -> Callable[[Callable[..., None]], Callable[Concatenate[SyncConnectionPool, _P], None]]:
    """Gives an `__init__` the arguments, and the words, of another."""
    return functools.wraps(model)


def _blocking(
    method: Callable[Concatenate[ConnectionPool, _P], Coroutine[Any, Any, Response]],
) -> Callable[Concatenate[SyncConnectionPool, _P], SyncResponse]:
    @functools.wraps(method)
    def call(self: SyncConnectionPool, /, *args: _P.args, **kwargs: _P.kwargs) -> SyncResponse:
        return SyncResponse(run(method(self._pool, *args, **kwargs)))

    call.__annotations__ = {**method.__annotations__, "return": "SyncResponse"}
    del call.__wrapped__
    signature = inspect.signature(method)
    call.__signature__ = signature.replace(return_annotation="SyncResponse")  # type: ignore[attr-defined]
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

    @_made_like(ConnectionPool.__init__)
    def __init__(self, *args: object, **kwargs: object) -> None:
        self._pool = _BlockingPool(*args, **kwargs)  # type: ignore[arg-type]  # it takes what the model takes
        # A process that is forked while another thread imports a module can never import it: whose lock is held then.
        # So what a first request would import, this thread does.
        accept_encoding()
        codecs.lookup("idna")  # socket.getaddrinfo

    request = _blocking(ConnectionPool.request)
    send = _blocking(ConnectionPool.send)

    @property
    def ssl(self) -> SSLConfig:
        """How TLS is made for requests that do not say otherwise."""
        return self._pool.ssl

    @property
    def timeout(self) -> TimeoutConfig:
        """The deadlines of requests that have none of their own."""
        return self._pool.timeout

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
        if self._pool._slots is None:  # never used, as perhaps the loop
            run(self._pool.close(force=force))
        else:
            wait_for(self._pool.close(force=force), loop_thread())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return repr(self._pool)
