"""`MemoryConnector`: takes the network's place under a connection pool."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar, cast, overload

from .changes import Changes
from .memory_transport import DEFAULT_CAPACITY, MemoryTransport, memory_link
from .scripted_peer import ScriptedPeer

if TYPE_CHECKING:
    from ..urls import Origin

__all__ = ["Dial", "MemoryConnector"]

ProtocolT = TypeVar("ProtocolT", bound=asyncio.Protocol)
PeerT = TypeVar("PeerT", bound=asyncio.Protocol)


class Dial(NamedTuple):
    """What `MemoryConnector.connect` was asked for.

    Attributes:
        origin: where to.
        options: the keyword arguments besides, e.g. `ssl_context` and `server_hostname`.
    """

    origin: Origin
    options: Mapping[str, object]


class MemoryConnector(Generic[PeerT]):
    """Connects a pool to protocols in this process instead of to servers. For one event loop.

    The pool's contract for a connector is one method: `async def connect(self, protocol_factory: Callable[[], P],
    origin: Origin, *, ssl_context: ssl.SSLContext | None = None, server_hostname: str | None = None, trace=None, ...)
    -> P` opens the way to `origin` (`httpcore.urls.Origin`: scheme, host, port) and returns the protocol after its
    `connection_made`. This one takes any options and heeds none: nothing is encrypted.

    As an async context manager it closes the servers' ends on the way out; the clients' ends are the pool's to
    close, and `open_transports` shows those that it did not.

    Args:
        server_factory: makes the server's end of each connection: a `ScriptedPeer` by default, or any
            `asyncio.Protocol`, such as that of an ASGI server.
        segment: the most bytes that either end receives at once; `None`: as many as asyncio would give.
        capacity: bytes that a link holds in each direction before the writer has to keep them.
        client_extra: more for the clients' `get_extra_info`, e.g. an `ssl_object`.

    Attributes:
        dials: every call of `connect`, in order, whatever came of it.
        peers: the servers' ends, in the order of their connecting.
    """

    @overload
    def __init__(
        self: MemoryConnector[ScriptedPeer],
        server_factory: None = None,
        *,
        segment: int | None = None,
        capacity: int = DEFAULT_CAPACITY,
        client_extra: Mapping[str, object] | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self,
        server_factory: Callable[[], PeerT],
        *,
        segment: int | None = None,
        capacity: int = DEFAULT_CAPACITY,
        client_extra: Mapping[str, object] | None = None,
    ) -> None: ...

    def __init__(
        self,
        server_factory: Callable[[], PeerT] | None = None,
        *,
        segment: int | None = None,
        capacity: int = DEFAULT_CAPACITY,
        client_extra: Mapping[str, object] | None = None,
    ) -> None:
        self.dials: list[Dial] = []
        self.peers: list[PeerT] = []
        self._server_factory = server_factory or cast(Callable[[], PeerT], ScriptedPeer)
        self._segment = segment
        self._capacity = capacity
        self._client_extra = dict(client_extra or {})
        self._failures: deque[BaseException] = deque()
        self._holding = False
        self._unaccepted: deque[PeerT] = deque()
        self._changes = Changes()
        # Weak, so that a transport which the pool loses is collected, with the ResourceWarning that says so.
        self._clients: weakref.WeakSet[MemoryTransport] = weakref.WeakSet()
        self._servers: weakref.WeakSet[MemoryTransport] = weakref.WeakSet()

    async def __aenter__(self) -> MemoryConnector[PeerT]:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close_servers()

    async def connect(self, protocol_factory: Callable[[], ProtocolT], origin: Origin, **options: object) -> ProtocolT:
        """Links a new client protocol to a new server protocol; returns it after both had their `connection_made`.

        Raises:
            Exception: what `fail_next` was given, or what one of the factories raised.
        """
        self.dials.append(Dial(origin, options))
        self._changes.notify()
        await self._changes.wait_until(lambda: not self._holding)
        if self._failures:
            raise self._failures.popleft()
        client, peer = protocol_factory(), self._server_factory()
        client_transport, server_transport = memory_link(
            client,
            peer,
            capacity=self._capacity,
            segment=self._segment,
            client_extra={"peername": (origin.host, origin.port), **self._client_extra},
        )
        client_transport.on_closed = self._changes.notify
        self._clients.add(client_transport)
        self._servers.add(server_transport)
        loop = asyncio.get_running_loop()
        connected = loop.create_future()
        loop.call_soon(self._connected, peer, connected)  # runs after the link's connection_made
        try:
            await connected
        except asyncio.CancelledError:
            client_transport.close()
            raise
        return client

    def _connected(self, peer: PeerT, connected: asyncio.Future[None]) -> None:
        self.peers.append(peer)
        self._unaccepted.append(peer)
        if not connected.done():  # the dial may have been cancelled; the server has seen it all the same
            connected.set_result(None)
        self._changes.notify()

    async def accept(self) -> PeerT:
        """Waits for the next connection that has not been accepted yet and returns the server's end of it."""
        await self._changes.wait_until(lambda: bool(self._unaccepted))
        return self._unaccepted.popleft()

    @property
    def open_transports(self) -> list[MemoryTransport]:
        """The clients' transports that are alive and have not been through `connection_lost`, in no order."""
        return [transport for transport in self._clients if not transport.is_closed()]

    async def all_closed(self) -> None:
        """Waits until `open_transports` is empty."""
        await self._changes.wait_until(lambda: not self.open_transports)

    async def close_servers(self) -> None:
        """Aborts the servers' ends that are still open; returns when all have had their `connection_lost`."""
        for transport in self._servers:
            transport.abort()
        await asyncio.sleep(0)  # resumes after the callbacks that have just been scheduled

    def fail_next(self, exc: BaseException) -> None:
        """Lets the next dial fail with this error. Called several times, as many dials, in that order."""
        self._failures.append(exc)

    def hold(self) -> None:
        """Lets dials wait, from now on, until `release`."""
        self._holding = True

    def release(self) -> None:
        """Lets held and further dials go on."""
        self._holding = False
        self._changes.notify()

    async def dialed(self, count: int) -> None:
        """Waits until `connect` has been called `count` times in all, be the dials held, failed or connected."""
        await self._changes.wait_until(lambda: len(self.dials) >= count)
