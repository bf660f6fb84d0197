"""What the proxies of this folder have in common: ends that relay to each other, records, the end of everything.

They are real servers with a mind of their own; a test may take it over at any step, with exact bytes and an exact end.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeAlias, TypeVar, cast

from httpcore.testing.changes import Changes
from tests.proxies.script import Answer, Then, reset
from tests.proxies.ways import Connect

Headers: TypeAlias = list[tuple[bytes, bytes]]
EndT = TypeVar("EndT", bound="End")


@dataclass
class Record:
    """What came from one client.

    Attributes:
        received: every byte.
        heads: the heads of requests to the proxy, each to its empty line; of SOCKS, its messages.
        tunnelled: the bytes behind them that went, or were meant, for an origin through a tunnel.
        tls: the client's TLS with the proxy; `None` without.
        lost: whether the connection is over.
        error: what it was lost by.
    """

    connection: ClientEnd
    received: bytearray = field(default_factory=bytearray)
    heads: list[bytes] = field(default_factory=list)
    tunnelled: bytearray = field(default_factory=bytearray)
    tls: ssl.SSLObject | None = None
    lost: bool = False
    error: Exception | None = None

    @property
    def head(self) -> bytes:
        """All the heads."""
        return b"".join(self.heads)

    def close(self) -> None:
        """Closes the connection, after what is to be sent."""
        self.connection.transport.close()

    def reset(self) -> None:
        """Resets the connection."""
        reset(self.connection.transport)


class End(asyncio.Protocol):
    """One end of a relay: what comes here goes out at its partner, at the partner's pace.

    An end of stream is relayed as one, a loss as a close, so that what was on its way still arrives.
    """

    transport: asyncio.Transport

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.partner: End | None = None
        self.writable = True
        self.at_eof = False
        self.lost = False
        self.buffer = bytearray()  # what came before there was a partner
        self._eof_sent = False

    def link(self, partner: End) -> None:
        """Relays between these two from now on: first what has come so far, and ended."""
        self.partner, partner.partner = partner, self
        for end, other in ((self, partner), (partner, self)):
            if not end.writable:
                other.read(False)
            if end.buffer:
                other.write(end.buffer)
                end.buffer = bytearray()
            if end.lost:
                other.transport.close()
            elif end.at_eof:
                other.write_eof()

    def write(self, data: bytes | bytearray) -> None:
        """Writes, unless this end is over."""
        if not (self.transport.is_closing() or self._eof_sent):  # uvloop raises where asyncio ignores
            self.transport.write(data)

    def write_eof(self) -> None:
        """Ends this end's stream; over TLS, where there is no half-close, all of it."""
        if self.transport.is_closing() or self._eof_sent:
            return
        if self.transport.can_write_eof():
            self._eof_sent = True
            # The other end may have reset the connection, unnoticed yet.
            with contextlib.suppress(OSError):
                self.transport.write_eof()
        else:
            self.transport.close()

    def read(self, going: bool) -> None:
        """Pauses or resumes reading."""
        if self.transport.is_closing():
            return
        if going:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.proxy.ends.add(self)

    def data_received(self, data: bytes) -> None:
        if self.partner is not None:
            self.partner.write(data)
        else:
            self.buffer += data

    def eof_received(self) -> bool:
        self.at_eof = True
        if self.partner is not None:
            self.partner.write_eof()
        both = self.partner is not None and self.partner.at_eof
        return not both and self.transport.can_write_eof()

    def pause_writing(self) -> None:
        self.writable = False
        if self.partner is not None:
            self.partner.read(False)

    def resume_writing(self) -> None:
        self.writable = True
        if self.partner is not None:
            self.partner.read(True)
        self.proxy.changes.notify()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.writable = True  # what is still written goes nowhere
        self.proxy.ends.discard(self)
        if self.partner is not None:
            self.partner.transport.close()
        self.proxy.changes.notify()


class ClientEnd(End):
    """The end of a client: what it asks is its subclass's matter, in `received`, until a tunnel is open.

    One step at a time: what the client sends meanwhile waits in `buffer`.
    """

    def __init__(self, proxy: Proxy) -> None:
        super().__init__(proxy)
        self.record = Record(self)
        self.tunnelling = False
        self._task: asyncio.Task[None] | None = None
        self._to_send: int | None = None  # until the cut

    def received(self) -> None:
        """Looks at `buffer`, in which there is something new."""

    def start(self, step: Coroutine[object, object, None]) -> None:
        """Runs a step that may wait. It ends with the connection; what comes meanwhile is not looked at."""
        self._task = self.proxy.start(step)
        self._task.add_done_callback(self._step_done)

    def _step_done(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and task.exception() is None:
            self.look()

    def look(self) -> None:
        """Looks at `buffer` unless a step is going on."""
        while self.buffer and self._task is None and not self.tunnelling and not self.transport.is_closing():
            before = len(self.buffer)
            self.received()
            if len(self.buffer) == before:
                break

    async def answer(self, answer: Answer) -> None:
        """Sends an answer, and does what comes then, unless it is to proceed."""
        for piece in (answer.data,) if isinstance(answer.data, bytes) else answer.data:
            await self.proxy.until(lambda: self.writable)
            self.write(piece)
            if not isinstance(answer.data, bytes):
                await asyncio.sleep(0)  # so that the next one comes by itself
        self._to_send = answer.cut_after
        match answer.then:
            case Then.EOF:
                self.write_eof()
            case Then.CLOSE:
                self.transport.close()
            case Then.RESET:
                reset(self.transport)
            case Then.PROCEED | Then.STAY:
                pass

    async def tunnel(self, host: str, port: int, answer: Answer, failed: Callable[[OSError], Answer]) -> None:
        """Answers, and opens a tunnel if that proceeds.

        Args:
            host: where to.
            port: where to.
            answer: what is sent once the origin is connected, or at once if it does not proceed.
            failed: returns what is sent when the origin cannot be connected to.
        """
        if answer.then is not Then.PROCEED:
            await self.answer(answer)
            return
        try:
            upstream = await self.proxy.connect_end(End(self.proxy), host, port)
        except OSError as exc:
            await self.answer(failed(exc))
            return
        try:
            await self.answer(answer)
        except BaseException:
            upstream.transport.close()
            raise
        self.tunnelling = True
        self.proxy.tunnels += 1
        self.record.tunnelled += self.buffer
        self.link(upstream)

    def write(self, data: bytes | bytearray) -> None:
        if self._to_send is None or not self.tunnelling:
            super().write(data)
            return
        super().write(data[: self._to_send])
        self._to_send = max(self._to_send - len(data), 0)
        if self._to_send == 0:
            reset(self.transport)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.record.tls = transport.get_extra_info("ssl_object")
        self.proxy.received.append(self.record)
        self.proxy.changes.notify()
        if self.proxy.on_accept is not None:
            self.start(self._refuse(self.proxy.on_accept))

    async def _refuse(self, answer: Answer) -> None:
        await self.answer(answer)
        if answer.then is Then.STAY:
            await self.proxy.until(lambda: self.lost)

    def data_received(self, data: bytes) -> None:
        self.record.received += data
        if self.tunnelling:
            self.record.tunnelled += data
        super().data_received(data)
        self.look()
        self.proxy.changes.notify()

    def eof_received(self) -> bool:
        # Before there is a tunnel, a client that has ended its stream has given up.
        return super().eof_received() and self.tunnelling

    def connection_lost(self, exc: Exception | None) -> None:
        self.record.lost, self.record.error = True, exc
        if self._task is not None:
            self._task.cancel()
        super().connection_lost(exc)


class Proxy:
    """A proxy: its connections, and what came by them.

    On its own it serves `accept` of a `MemoryConnector`, or a listener of the test's; `listening` is one. As an async
    context manager, on the way out it ends everything it started, waits for that, and raises the first error that a
    test's script raised.

    Attributes:
        url: of the socket it listens on; `""` without one.
        port: that socket's.
        received: what came, connection by connection, in their order.
        tunnels: how many have been opened so far.
        ends: the ends that are open, of clients and towards origins.
    """

    def __init__(self, connect: Connect, on_accept: Answer | None = None) -> None:
        self.connect = connect
        self.on_accept = on_accept
        self.url = ""
        self.port = 0
        self.received: list[Record] = []
        self.tunnels = 0
        self.ends: set[End] = set()
        self.changes = Changes()
        self._errors: list[BaseException] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> int:
        """How many clients have connected so far."""
        return len(self.received)

    def accept(self) -> asyncio.Protocol:
        """Returns the protocol for one client's connection."""
        return ClientEnd(self)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns once that holds: it is looked at whenever something has come, ended or been written."""
        await self.changes.wait_until(condition)

    async def connect_end(self, end: EndT, host: str, port: int) -> EndT:
        """Connects an end to an origin; returns it.

        Raises:
            OSError: it cannot be.
        """
        try:
            await self.connect(host, port, lambda: end)
        except BaseException:
            if end in self.ends:
                end.transport.abort()
                self.ends.discard(end)  # uvloop calls no connection_lost for what was cancelled this late
            raise
        return end

    def start(self, step: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Runs a task that ends with the proxy."""
        task = asyncio.get_running_loop().create_task(step)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._errors.append(error)
            for end in self.ends.copy():
                end.transport.abort()  # or the test would wait for what does not come
        self.changes.notify()

    @contextlib.asynccontextmanager
    async def listening(self, ssl_context: ssl.SSLContext | None, host: str = "127.0.0.1") -> AsyncIterator[Self]:
        """Listens on a free port of `host`, which is an address."""
        server = await asyncio.get_running_loop().create_server(self.accept, host, 0, ssl=ssl_context)
        self.port = server.sockets[0].getsockname()[1]
        name = "localhost" if ssl_context is not None and host == "127.0.0.1" else host
        self.url = f"{'http' if ssl_context is None else 'https'}://{f'[{name}]' if ':' in name else name}:{self.port}"
        try:
            yield self
        finally:
            server.close()
            await self.close()
            await server.wait_closed()

    async def close(self) -> None:
        """Aborts all connections and cancels what goes on; returns when nothing is left of it."""
        while self._tasks or self.ends:
            for task in self._tasks.copy():
                task.cancel()
            for end in self.ends.copy():
                end.transport.abort()
            await asyncio.wait(self._tasks) if self._tasks else None
            await self.until(lambda: not self.ends)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
        if self._errors:
            raise self._errors[0]
