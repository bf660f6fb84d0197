"""`ServerConnector`: links a pool to an app in the same process, through a server for HTTP/1.1 and HTTP/2 in memory.

It owns the connections, the apps' calls and what becomes of their errors; how an app is called is for `ASGIConnector`
and `WSGIConnector` to say.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from h2.exceptions import ProtocolError
from h11 import LocalProtocolError

from httpcore.protocols.http2 import HTTP2Protocol
from httpcore.protocols.http11 import HTTP11Protocol
from httpcore.sync.loop_thread import loop_thread
from httpcore.trace import TraceHook
from httpcore.urls import Origin

from .memory_transport import MemoryTransport, memory_link
from .server_http2 import PREFACE, HTTP2Server
from .server_http11 import HTTP11Server
from .server_stream import ClientGone, ServerStream

__all__ = ["Link", "ServerConnector"]

_P = TypeVar("_P", bound=asyncio.Protocol)
_INTERNAL_ERROR = b"Internal Server Error"
_logger = logging.getLogger("httpcore.testing")


class Link:
    """One connection, as those who serve its requests know it.

    Attributes:
        origin: what the client has connected to.
        client: the address it says it comes from, and its port.
    """

    def __init__(self, origin: Origin, client: tuple[str, int], transport: MemoryTransport) -> None:
        self.origin = origin
        self.client = client
        # Weak, so that a transport which the pool loses is collected, with the ResourceWarning that says so.
        self._transport = weakref.ref(transport)

    def fail(self, stream: ServerStream, error: BaseException) -> bool:
        """Fails the client's exchange with `error` itself. Returns whether that still goes on."""
        transport = self._transport()
        protocol = None if transport is None else transport.get_protocol()
        if isinstance(protocol, HTTP2Protocol):
            carried = protocol.streams.get(stream.number)
            if carried is None or carried.exchange.ended:
                return False
            carried.exchange.fail(error)
            return True
        if not isinstance(protocol, HTTP11Protocol) or protocol.carried != stream.number or not protocol.in_flight:
            return False
        protocol.abort(cast(Any, error))  # which passes on whatever it is given
        return True


class _Accepting(asyncio.Protocol):
    """Stands on a new connection until the first bytes say which version of HTTP its client speaks."""

    _transport: asyncio.BaseTransport

    def __init__(self, serve: Callable[[ServerStream], None], closed: Callable[[], None]) -> None:
        self._serve = serve
        self._closed = closed
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        begins_as_http2 = PREFACE.startswith(self._received[: len(PREFACE)])
        if begins_as_http2 and len(self._received) < len(PREFACE):
            return
        protocol = (HTTP2Server if begins_as_http2 else HTTP11Server)(self._serve, self._closed)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(self._received)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed()


class ServerConnector(ABC):
    """What `ASGIConnector` and `WSGIConnector` have in common.

    Args:
        raise_app_exceptions: whether what the app raises is raised to who made the request. `False` does what servers
            do: the client gets a 500, or a response that is cut off, and the error goes to the log `httpcore.testing`.
        root_path: the path that the app is mounted under; for it to know, paths are left as they are.
        client: the address and the port that the app sees as the client's; `None` makes up a port of 127.0.0.1.
        segment: the most bytes that either end receives at once; `None`: as many as asyncio would give.
        capacity: bytes that a link holds in each direction before the writer has to wait.
        shutdown_timeout: seconds that calls of the app which are still running have to end by themselves on `aclose`,
            once they were told that their client is gone.
    """

    def __init__(
        self,
        *,
        raise_app_exceptions: bool,
        root_path: str,
        client: tuple[str, int] | None,
        segment: int | None,
        capacity: int,
        shutdown_timeout: float,
    ) -> None:
        self._raise_app_exceptions = raise_app_exceptions
        self._root_path = root_path
        self._client = client
        self._segment = segment
        self._capacity = capacity
        self._shutdown_timeout = shutdown_timeout
        self._loop: asyncio.AbstractEventLoop | None = None
        self._entered = False
        self._transports: set[MemoryTransport] = set()  # the servers' ends
        self._calls: set[asyncio.Task[None]] = set()
        self._errors: list[BaseException] = []  # of calls whose clients could not be told

    async def connect(
        self,
        protocol_factory: Callable[[], _P],
        origin: Origin,
        *,
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        trace: TraceHook | None = None,
    ) -> _P:
        """Makes a connection to the app, whatever the origin: see `httpcore.pool.connector.Connector`.

        For an `https` origin the app is told that scheme, but nothing is encrypted.

        Raises:
            RuntimeError: the connector is in use on another event loop.
        """
        loop = self._bind()
        client = protocol_factory()
        transports: list[MemoryTransport] = []
        links: list[Link] = []

        def serve(stream: ServerStream) -> None:
            call = loop.create_task(self._run(stream, links[0]))
            self._calls.add(call)
            call.add_done_callback(self._call_ended)

        def closed() -> None:
            self._transports.discard(transports[0])

        client_extra: dict[str, object] = {"peername": (origin.host, origin.port)}
        if self._client is not None:
            client_extra["sockname"] = self._client
        transport, server_transport = memory_link(
            client,
            _Accepting(serve, closed),
            loop=loop,
            capacity=self._capacity,
            segment=self._segment,
            client_extra=client_extra,
        )
        transports.append(server_transport)
        links.append(Link(origin, self._client or transport.get_extra_info("sockname"), transport))
        self._transports.add(server_transport)
        try:
            await asyncio.sleep(0)  # resumes after the link's connection_made
        except asyncio.CancelledError:
            transport.abort()
            raise
        return client

    async def aclose(self) -> None:
        """Closes all connections, waits for the calls of the app, and cancels those that do not end.

        Apps are told that their clients are gone. The connector may be used again.

        Raises:
            BaseException: with `raise_app_exceptions`, what the app has raised where no client could be told, for its
                response was complete, or it gone; several in a group.
        """
        for transport in tuple(self._transports):
            transport.abort()
        if self._calls:
            _, late = await asyncio.wait(self._calls, timeout=self._shutdown_timeout)
            for call in late:
                call.cancel()
            if late:
                await asyncio.wait(late, timeout=self._shutdown_timeout)
        await asyncio.sleep(0)  # resumes after the connections have had their connection_lost
        errors, self._errors = self._errors, []
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise BaseExceptionGroup("the app has failed, and nobody was told", errors)

    async def __aenter__(self) -> Self:
        self._bind()
        self._entered = True
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self.aclose()
        except Exception as error:
            if exc is None:
                raise
            # What has ended the block is what its reader wants to see.
            _logger.error("the app has failed, too", exc_info=error)
        finally:
            self._entered = False

    def __enter__(self) -> Self:
        _run_in_background(self.__aenter__())
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _run_in_background(self.__aexit__(exc_type, exc, traceback))

    @abstractmethod
    async def _call(self, stream: ServerStream, link: Link) -> None:
        """Calls the app with a request, and returns when the call does."""

    def _bind(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None and (self._entered or self._transports) and not self._loop.is_closed():
                raise RuntimeError("the connector is in use on another event loop")
            self._loop = loop
            self._transports.clear()
            self._calls.clear()
        return loop

    async def _run(self, stream: ServerStream, link: Link) -> None:
        try:
            await self._call(stream, link)
            if not stream.ended and not stream.lost:
                what = "without the end of its response" if stream.started else "without a response"
                raise RuntimeError(f"the app returned {what}")
        except (KeyboardInterrupt, SystemExit):
            stream.abort()
            raise
        except BaseException as exc:
            task = asyncio.current_task()
            if isinstance(exc, asyncio.CancelledError) and task is not None and task.cancelling():
                stream.abort()
                raise
            await self._failed(stream, link, exc)

    def _call_ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            call.exception()  # which has ended the program; asyncio is not to complain that nobody looked at it

    async def _failed(self, stream: ServerStream, link: Link, error: BaseException) -> None:
        """The app has raised `error`."""
        if stream.lost and ClientGone.caused(error):
            return
        if isinstance(error, asyncio.CancelledError):
            cancelled, error = error, RuntimeError("the app has cancelled itself")
            error.__cause__ = cancelled
        if self._raise_app_exceptions:
            if not link.fail(stream, error):
                self._keep_error(error)
        else:
            _logger.error("the app has failed", exc_info=error)
            if not stream.started and not stream.lost:
                await _send_internal_error(stream)
        if not stream.lost:
            stream.abort()

    def _keep_error(self, error: BaseException) -> None:
        if self._entered:
            self._errors.append(error)
        else:  # nobody would come for it
            _logger.error("the app has failed, and nobody was told", exc_info=error)


async def _send_internal_error(stream: ServerStream) -> None:
    length = b"%d" % len(_INTERNAL_ERROR)
    try:
        stream.send_head(500, [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", length)])
        await stream.send_data(_INTERNAL_ERROR)
        stream.send_end([])
    except (ClientGone, LocalProtocolError, ProtocolError):
        pass  # the app has left the connection in a state that allows none: it is cut off


def _run_in_background(coroutine: Coroutine[Any, Any, object]) -> None:
    asyncio.run_coroutine_threadsafe(coroutine, loop_thread().loop).result()
