"""UpgradedStream: the raw duplex byte stream after 101, or after 2xx to CONNECT.

HTTP is over on this connection. The HTTP protocol stays installed on the transport, so that the end of the connection
is seen whoever uses the bytes, and hands every callback on to an `UpgradedReceiver`. That must not refer to the stream:
one that nobody else refers to is to be collected, and ends its connection.
"""

from __future__ import annotations

import asyncio
import ssl
import warnings
from collections.abc import Awaitable
from typing import TypeVar, cast

from httpcore.body import BodyQueue
from httpcore.exceptions import ConnectError, ConnectTimeout, ReadError, ResponseClosed, TimeoutException, WriteError
from httpcore.tls_begin import start_tls

__all__ = ["Relay", "UpgradedReceiver", "UpgradedStream", "within"]

_T = TypeVar("_T")


async def within(awaitable: Awaitable[_T], seconds: float | None, error: type[TimeoutException]) -> _T:
    """Awaits what is done with a stream, and raises `error` if it takes longer; `None` sets no limit."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await awaitable
    except TimeoutError as exc:
        if not limit.expired():  # a timeout of another kind
            raise
        raise error(f"not done within {seconds} seconds") from exc


class UpgradedReceiver:
    """What the installed protocol hands its callbacks on to.

    Args:
        transport: the connection's transport.
        protocol: the protocol that stays installed on it.
        leftover: bytes that came behind the response's head.
    """

    __slots__ = ("attached", "closed", "eof", "error", "lost", "owner", "queue", "transport", "writable")

    def __init__(self, transport: asyncio.Transport, protocol: asyncio.Protocol, leftover: bytes) -> None:
        self.transport = transport  # the one inside TLS, once that was begun
        self.owner = protocol
        self.attached: asyncio.Protocol | None = None  # the caller's own
        self.queue = BodyQueue(pause=self._pause, resume=self._resume)
        self.eof = False
        self.lost = False
        self.error: Exception | None = None  # with which the connection was lost
        self.writable = asyncio.Event()
        self.writable.set()
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if leftover:
            self.queue.put(leftover)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self.attached is not None:
            self.attached.data_received(data)
        else:
            self.queue.put(data)

    def eof_received(self) -> bool:
        """The peer will send no more. Returns whether the transport stays open for writing."""
        self.eof = True
        self.queue.finish()
        keep_open = self.attached is None or bool(self.attached.eof_received())
        # With TLS the answer would change nothing but for a warning: TLS has no half-closed state here.
        return keep_open and self.transport.get_extra_info("ssl_object") is None

    def pause_writing(self) -> None:
        """The peer does not keep up."""
        self.writable.clear()
        if self.attached is not None:
            self.attached.pause_writing()

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self.writable.set()
        if self.attached is not None:
            self.attached.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self.lost = True
        self.error = exc
        if exc is None:
            self.queue.finish()
        else:
            error = ReadError("the upgraded connection broke")
            error.__cause__ = exc
            self.queue.fail(error)
        self.writable.set()
        self.closed.set_result(None)
        if self.attached is not None:
            self.attached.connection_lost(exc)

    def _pause(self) -> None:
        self.transport.pause_reading()

    def _resume(self) -> None:
        if not self.lost:
            self.transport.resume_reading()


class Relay(asyncio.Protocol):
    """A protocol that does nothing but to hand everything on, where no HTTP protocol stands on a transport."""

    _receiver: UpgradedReceiver | None = None

    @property
    def receiver(self) -> UpgradedReceiver:
        """To whom. From `connection_made` on."""
        if self._receiver is None:
            raise ConnectError("the connector gave a protocol whose connection_made was not called")
        return self._receiver

    def abandon(self) -> None:
        """Closes the connection now, if there is one: nobody will read it."""
        if self._receiver is not None:
            self._receiver.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is there."""
        self._receiver = UpgradedReceiver(cast(asyncio.Transport, transport), self, b"")

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self.receiver.data_received(data)

    def eof_received(self) -> bool:
        """The peer sends no more."""
        return self.receiver.eof_received()

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        self.receiver.pause_writing()

    def resume_writing(self) -> None:
        """It has room again."""
        self.receiver.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self.receiver.connection_lost(exc)


class _Handshake(asyncio.Protocol):
    """Stands for the installed protocol while TLS begins: asyncio tells nobody of a connection that is lost in between.

    Who began does so then; and what asyncio tells later, where the handshake failed otherwise, is not told twice.
    """

    def __init__(self, owner: asyncio.Protocol) -> None:
        self._owner = owner
        self._lost = False

    def data_received(self, data: bytes) -> None:  # together with the handshake's end, as all below
        self._owner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._owner.eof_received()

    def pause_writing(self) -> None:
        self._owner.pause_writing()

    def resume_writing(self) -> None:
        self._owner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._lost:
            self._lost = True
            self._owner.connection_lost(exc)


class UpgradedStream:
    """A raw duplex stream: read and write bytes, or attach an `asyncio.Protocol`.

    Close it. One that is dropped, with no protocol attached, is aborted when it is collected, with a
    `ResourceWarning`.
    """

    def __init__(self, receiver: UpgradedReceiver) -> None:
        self._receiver = receiver
        self._loop = receiver.closed.get_loop()
        self._unread = b""  # the rest of a chunk of which `read` gave a part

    async def read(self, max_bytes: int = 65536) -> bytes:
        """Returns up to `max_bytes` bytes as soon as there are some; b"" at the end.

        Raises:
            ReadError: the connection broke.
            ResponseClosed: the stream was closed or aborted here.
        """
        if not self._unread:
            self._unread = await self._receiver.queue.get()
        data, self._unread = self._unread[:max_bytes], self._unread[max_bytes:]
        return data

    def unread(self, data: bytes) -> None:
        """Puts back what was read and is not the reader's: `read`, `set_protocol` and `detach` give it first."""
        self._unread = data + self._unread

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Sends `data`; never blocks. What the peer does not take is buffered: follow it with `drain`.

        Raises:
            WriteError: the connection is gone.
        """
        if self._receiver.lost or self._receiver.transport.is_closing():
            raise WriteError("the upgraded connection is closed") from self._receiver.error
        self._receiver.transport.write(data)

    async def drain(self) -> None:
        """Returns once the peer took enough for more to be written.

        Raises:
            WriteError: the connection is gone.
        """
        await self._receiver.writable.wait()
        if self._receiver.lost:
            raise WriteError("the upgraded connection is closed") from self._receiver.error

    def write_eof(self) -> None:
        """Says that no more will be written, where the transport can say so: TCP can, TLS cannot."""
        if self._receiver.transport.can_write_eof():
            self._receiver.transport.write_eof()

    def close(self) -> None:
        """Closes the connection once what was written is sent."""
        self._receiver.queue.fail(ResponseClosed("the upgraded stream was closed"))
        self._receiver.transport.close()

    def abort(self) -> None:
        """Closes the connection now."""
        self._receiver.queue.fail(ResponseClosed("the upgraded stream was aborted"))
        self._receiver.transport.abort()

    async def wait_closed(self) -> None:
        """Returns once the connection is closed, from whichever side."""
        await asyncio.shield(self._receiver.closed)

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Returns the transport's `get_extra_info`: `peername`, `sockname`, `socket`, `ssl_object`."""
        return self._receiver.transport.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.Protocol) -> None:
        """Attaches a protocol of the caller's own, which from now on gets what comes.

        Its `connection_made` is called with the transport at once, then `data_received` with what was not read yet,
        and so on as on any transport. The stream itself is of no more use and may be dropped.

        Raises:
            RuntimeError: one is attached already.
        """
        receiver = self._receiver
        if receiver.attached is not None:
            raise RuntimeError("the upgraded stream has a protocol already")
        receiver.attached = protocol
        protocol.connection_made(receiver.transport)
        if not receiver.writable.is_set():
            protocol.pause_writing()
        pending = self._unread + receiver.queue.take_all()
        self._unread = b""
        if pending:
            protocol.data_received(pending)
        if receiver.eof and not protocol.eof_received():
            receiver.transport.close()
        if receiver.lost:
            protocol.connection_lost(receiver.error)

    async def start_tls(self, ssl_context: ssl.SSLContext, *, server_hostname: str | None = None) -> None:
        """Begins TLS on the stream, as the client. What is read and written from then on is inside.

        Raises:
            RuntimeError: bytes were received that nobody has read, which cannot belong to TLS; or a protocol is
                attached, which has the transport without TLS.
            ConnectError, ConnectTimeout: the handshake failed, and the connection is gone; the cause is chained.
        """
        receiver = self._receiver
        if self._unread or receiver.queue.size:
            raise RuntimeError("bytes came before TLS began")
        if receiver.attached is not None:
            raise RuntimeError("the upgraded stream has a protocol already: begin TLS before it is attached")
        outer = receiver.transport
        handshake = _Handshake(receiver.owner)
        try:
            inner = await start_tls(outer, handshake, ssl_context, server_hostname)
        except asyncio.CancelledError:
            self._loop.call_soon(handshake.connection_lost, None)
            raise
        except (ConnectError, ConnectTimeout) as exc:
            self._loop.call_soon(handshake.connection_lost, cast(Exception, exc.__cause__))
            raise
        inner.set_protocol(receiver.owner)
        receiver.transport = inner
        if not outer.is_reading():  # much came together with the handshake's end, before this task could go on
            inner.pause_reading()

    def detach(self) -> tuple[asyncio.Transport, bytes]:
        """Gives up the transport, and what came on it and was not read. HTTP, and this stream, forget them.

        Nobody is told of what happens on the transport until the caller, who must not wait first, installs a protocol
        of its own. In a pool the connection's place is free from now on.

        Raises:
            RuntimeError: a protocol is attached, which has the transport.
            ReadError: the connection is gone, or the peer has ended its side.
        """
        receiver = self._receiver
        if receiver.attached is not None:
            raise RuntimeError("the upgraded stream has a protocol already")
        if receiver.eof or receiver.lost or receiver.transport.is_closing():
            self.abort()
            raise ReadError("the connection was closed") from receiver.error
        unread = self._unread + receiver.queue.take_all()
        self._unread = b""
        receiver.transport.set_protocol(asyncio.Protocol())  # whoever fails before it has one of its own ends this one
        receiver.owner.connection_lost(None)
        return receiver.transport, unread

    def __repr__(self) -> str:
        return f"<UpgradedStream to {self.get_extra_info('peername')}>"

    def __del__(self, _warn: type[ResourceWarning] = ResourceWarning) -> None:
        receiver = self._receiver
        if receiver.lost or receiver.attached is not None or receiver.transport.is_closing() or self._loop.is_closed():
            return
        warnings.warn(f"unclosed {self!r}", _warn, source=self, stacklevel=2)
        # The garbage collector runs in any thread, and in the middle of anything: abort later, on the loop.
        self._loop.call_soon_threadsafe(receiver.transport.abort)
