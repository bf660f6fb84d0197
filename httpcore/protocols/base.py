"""HTTPProtocol: what a client's end of a connection does whatever the version of HTTP.

It owns the transport's life and its one flush, and translates what goes wrong on it. A subclass says what the bytes
mean. Whoever owns the connection (a pool's slot, or nobody) is told of changes by one callback.
"""

from __future__ import annotations

import asyncio
import itertools
import select
import ssl
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol, cast

from httpcore.config import TimeoutConfig, TimeoutTypes
from httpcore.exceptions import HTTPCoreError, LocalProtocolError, ReadError, RemoteProtocolError, WriteError
from httpcore.handlers import ConnectionInfo, Exchange, ResponseHandler, TLSInfo
from httpcore.protocols.exchange import HTTPExchange
from httpcore.protocols.flow import ReadGate, WriteGate
from httpcore.request import Request
from httpcore.trace import ConnectionClosed, ConnectionReleased, TraceHook, emit

__all__ = ["DEFAULT_TIMEOUT", "HTTPProtocol", "Outgoing"]

DEFAULT_TIMEOUT = TimeoutConfig(5.0)
_connection_ids = itertools.count(1)
# In these versions asyncio's writelines never calls pause_writing (CVE-2024-12254): a server that does not read would
# let the buffer grow to the size of the body.
_WRITELINES_PAUSES = not ((3, 12) <= sys.version_info < (3, 12, 9) or (3, 13) <= sys.version_info < (3, 13, 2))
_LINGER = 5.0  # seconds in which a peer takes what was written before the connection was closed, or answers TLS's end
_DRAIN_SIZE = 64 * 1024  # bytes that are looked at for an answer behind a broken write

Outgoing = bytes | bytearray | memoryview


READ_SIZE = 64 * 1024  # bytes
LARGE_READ_SIZE = 256 * 1024  # bytes: asyncio's own


class _SizedReads(Protocol):
    max_size: int


class HTTPProtocol(asyncio.Protocol, ABC):
    """A client's end of one connection.

    Use it with any transport: `await loop.create_connection(HTTP11Protocol, host, port)`.

    Attributes:
        on_change: called with the protocol when `available` or `closing` changed, before a handler hears of the end
            of the exchange that changed it. Assigned by the owner; `None` calls nothing.
        info: the connection's facts; from `connection_made` on.
        keep_alive_hint: seconds for which the server says that it keeps an idle connection, `None` if it does not say.
        loop: the loop it runs on; from `connection_made` on.
        connected: whether `connection_made` was called, ever.
        close_reason: why it is closing or closed, in words; "" while it is not.
        proxy_fields: where the other end is a proxy that forwards requests: the fields that go with each of them for
            it. `None` where it is an origin. Assigned by who made the connection.
    """

    def __init__(self) -> None:
        self.on_change: Callable[[HTTPProtocol], None] | None = None
        self.keep_alive_hint: float | None = None
        self.close_reason = ""
        self.proxy_fields: list[tuple[bytes, bytes]] | None = None
        self.info = ConnectionInfo(next(_connection_ids), None, None, None)
        self.connected = False
        self._carried = 0  # exchanges started, ever
        self._transport: asyncio.Transport
        self.loop: asyncio.AbstractEventLoop
        self._read_gate: ReadGate
        self._write_gate: WriteGate
        self._outgoing: list[Outgoing] = []  # what _flush will write
        self._in_callback = False  # a transport's callback is running, and will flush at its end
        self._poll: Callable[[int], list[tuple[int, int]]] | None = None  # asks the socket whether anything came
        self._closed: asyncio.Future[None]
        self._linger: asyncio.TimerHandle | None = None  # runs while what was written is still to be sent

    # What users and owners call.

    @property
    @abstractmethod
    def available(self) -> int:
        """How many exchanges it can take now."""

    @property
    @abstractmethod
    def in_flight(self) -> int:
        """How many exchanges it carries."""

    @property
    @abstractmethod
    def closing(self) -> bool:
        """Whether it takes no further exchange, ever."""

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether the transport is gone."""

    @property
    def reused(self) -> bool:
        """Whether it has carried an exchange."""
        return self._carried > 0

    @property
    def carried(self) -> int:
        """How many exchanges were started on it, ever."""
        return self._carried

    def dispatch(
        self,
        request: Request,
        handler: ResponseHandler,
        *,
        timeout: TimeoutTypes = None,
        trace: TraceHook | None = None,
    ) -> Exchange:
        """Sends `request` on this connection and tells `handler` what comes of it.

        Args:
            request: the request. That its URL leads to where the connection leads is up to the caller.
            handler: called on the loop; see `ResponseHandler`.
            timeout: a `TimeoutConfig`, or seconds for each; `None` is 5 seconds each. There is nothing to connect
                and nobody to wait for, so the connect and pool timeouts mean nothing here.
            trace: a hook for this exchange.

        Returns:
            The exchange. It may have ended already.

        Raises:
            LocalProtocolError: the connection can take no exchange now.
        """
        if not self.available or not self.ready():
            raise LocalProtocolError(f"connection {self.info.connection_id} can take no exchange: {self!r}")
        exchange = HTTPExchange(request, handler, TimeoutConfig.of(timeout, DEFAULT_TIMEOUT), self.loop, trace)
        self.start(exchange)
        return exchange

    @abstractmethod
    def start(self, exchange: HTTPExchange) -> None:
        """Carries `exchange`, which nobody carries yet. To be called while `available`, and after `ready`."""

    @abstractmethod
    def close(self, reason: str) -> None:
        """Takes no further exchange, and closes once those it carries have ended: now, if there are none."""

    @abstractmethod
    def abort(self, error: HTTPCoreError) -> None:
        """Closes now. Exchanges that it carries fail with `error`."""

    def ready(self) -> bool:
        """Whether nothing came on an idle connection, and closes it otherwise.

        That is neither bytes nor its end, also such as asyncio has not read yet.

        One system call for each reuse buys that no byte which was there before the request can be taken for its
        answer (RFC 9112 9.2), and that few requests are sent to a server that has already gone.
        """
        if self._transport.is_closing():
            self.close("the connection broke while it was idle")  # connection_lost will say so too, but not yet
            return False
        if self._poll is not None and self._carried and self._poll(0):
            self.close("something came while it was idle")
            return False
        return True

    async def wait_closed(self) -> None:
        """Returns once `connection_lost` was called."""
        await asyncio.shield(self._closed)

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        transport = cast("asyncio.Transport", transport)  # uvloop's do not derive from it
        self._transport = transport
        self.loop = asyncio.get_running_loop()
        self.connected = True
        self._set_read_size(READ_SIZE)
        self._closed = self.loop.create_future()
        self._read_gate = ReadGate(transport)
        self._write_gate = WriteGate(transport)
        info = transport.get_extra_info
        tls = info("ssl_object")
        socket = info("socket")
        self.info = ConnectionInfo(
            self.info.connection_id, info("peername"), info("sockname"), tls, TLSInfo.of(tls), socket
        )
        if socket is not None and hasattr(select, "poll"):
            poll = select.poll()
            poll.register(socket.fileno(), select.POLLIN)
            self._poll = poll.poll

    @abstractmethod
    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""

    # What subclasses use.

    def _write(self, *data: Outgoing) -> None:
        """Sends `data`, at the end of the callback that is running."""
        self._outgoing += data
        if not self._in_callback:
            self._flush()

    def _flush(self) -> None:
        """Writes what was collected: the one place where HTTP is written to a transport (rule W1)."""
        outgoing = self._outgoing
        if outgoing:
            self._outgoing = []
            if self._transport.is_closing():  # nobody will read it, and some transports raise
                return
            try:
                if len(outgoing) == 1:
                    self._transport.write(outgoing[0])
                elif _WRITELINES_PAUSES:
                    self._transport.writelines(outgoing)
                else:
                    self._transport.write(b"".join(outgoing))
            except Exception as exc:  # asyncio's own do not raise, others' may
                error = WriteError(f"the transport refused what was written: {exc!r}")
                error.__cause__ = exc
                self.abort(error)

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change(self)

    def _trace_left(self, hook: TraceHook) -> None:
        """Tells the hook of the exchange that was just left what becomes of the connection."""
        now, number = self.loop.time(), self.info.connection_id
        if self.closing:
            emit(hook, ConnectionClosed(now, number, self.close_reason), self.loop)
        else:
            emit(hook, ConnectionReleased(now, number), self.loop)

    def _close_transport(self, *, abort: bool = False) -> None:
        """Closes after what was written is sent, or at once."""
        self._read_gate.resume()  # a transport whose reading is paused would not see that the peer closes too
        if abort:
            self._outgoing.clear()
            self._transport.abort()
        else:
            self._flush()
            unsent = self.info.ssl_object is not None or self._transport.get_write_buffer_size() > 0
            self._transport.close()
            if unsent and self._linger is None:
                # A peer that takes no more would keep the connection, and its place in a pool, for ever.
                self._linger = self.loop.call_later(_LINGER, self._transport.abort)

    def _set_read_size(self, size: int) -> None:
        """Says how much one read may bring, where the transport lets itself be told: those of asyncio's own loops do.

        They allocate that much for each read. Their 256 KiB come from the system, page by page, for every response
        however small, which costs a fifth of a small exchange; so a connection reads less until a read is filled.
        """
        if hasattr(self._transport, "max_size"):
            cast(_SizedReads, self._transport).max_size = size

    def _lost(self) -> None:
        # Drops what refers back to the transport, so that no cycle keeps its memory until the next collection.
        self._poll = None
        if self._linger is not None:
            self._linger.cancel()
        self._closed.set_result(None)

    def _translate(self, exc: Exception | None, *, sending: bool) -> HTTPCoreError:
        """Returns what `connection_lost(exc)` in the middle of an exchange means."""
        error: HTTPCoreError
        if exc is None:
            return RemoteProtocolError("the connection was closed in the middle of an exchange")
        if sending or isinstance(exc, BrokenPipeError):
            error = WriteError(f"the connection broke while it was written to: {exc}")
        else:
            error = ReadError(f"the connection broke: {exc}")
        error.__cause__ = exc
        return error

    def _cut_off(self) -> bool:
        """Whether a TLS connection ended without close_notify, which anybody on the way can bring about.

        To be asked in `connection_lost`. asyncio reports both ends alike; the TLS object knows: reading from it gives
        the alert's error after close_notify, and asks for more bytes otherwise (RFC 9112 9.8).
        """
        assert self.info.ssl_object is not None
        try:
            self.info.ssl_object.read(1)
        except ssl.SSLZeroReturnError:
            return False
        except ssl.SSLError:
            pass
        return True

    def _rest(self, exc: Exception | None) -> bytes:
        """Returns what a server had sent before it broke the connection, where asyncio has not read it.

        To be asked in `connection_lost`, before the socket is closed. A server that refuses an upload often answers
        and closes; the write that fails then must not hide the answer.
        """
        info = self._transport.get_extra_info
        socket = info("socket")
        if not isinstance(exc, OSError) or socket is None or info("ssl_object") is not None:
            return b""
        try:
            with socket.dup() as copy:
                copy.setblocking(False)
                return bytes(copy.recv(_DRAIN_SIZE))
        except OSError:
            return b""

    def __repr__(self) -> str:
        where = self.info.peer_address
        return f"<{type(self).__name__} {self.info.connection_id} to {where}, {self.in_flight} in flight>"
