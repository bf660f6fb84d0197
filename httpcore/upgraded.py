"""UpgradedStream: the raw duplex byte stream after 101, or after 2xx to CONNECT.

HTTP is over on this connection. The HTTP protocol stays installed on the transport, so that the end of the connection
is seen whoever uses the bytes, and hands every callback on to here.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import cast

from httpcore.body import BodyQueue
from httpcore.exceptions import ConnectError, ReadError, ResponseClosed, WriteError
from httpcore.tls import describe_tls_error

__all__ = ["UpgradedStream"]


class UpgradedStream:
    """A raw duplex stream: read and write bytes, or attach an `asyncio.Protocol`.

    Args:
        transport: the connection's transport.
        protocol: the protocol that stays installed on it.
        leftover: bytes that came behind the response's head.
    """

    def __init__(self, transport: asyncio.Transport, protocol: asyncio.Protocol, leftover: bytes) -> None:
        self._transport = transport
        self._owner = protocol
        self._attached: asyncio.Protocol | None = None
        self._queue = BodyQueue(pause=self._pause, resume=self._resume)
        self._unread = b""  # the rest of a chunk of which `read` gave a part
        self._eof = False
        self._lost = False
        self._error: BaseException | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if leftover:
            self._queue.put(leftover)

    # What the user calls.

    async def read(self, max_bytes: int = 65536) -> bytes:
        """Returns up to `max_bytes` bytes as soon as there are some; b"" at the end.

        Raises:
            ReadError: the connection broke.
            ResponseClosed: the stream was closed or aborted here.
        """
        if not self._unread:
            self._unread = await self._queue.get()
        data, self._unread = self._unread[:max_bytes], self._unread[max_bytes:]
        return data

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Sends `data`; never blocks. What the peer does not take is buffered: follow it with `drain`.

        Raises:
            WriteError: the connection is gone.
        """
        if self._lost or self._transport.is_closing():
            raise WriteError("the upgraded connection is closed") from self._error
        self._transport.write(data)

    async def drain(self) -> None:
        """Returns once the peer took enough for more to be written.

        Raises:
            WriteError: the connection is gone.
        """
        await self._writable.wait()
        if self._lost:
            raise WriteError("the upgraded connection is closed") from self._error

    def write_eof(self) -> None:
        """Says that no more will be written, where the transport can say so: TCP can, TLS cannot."""
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def close(self) -> None:
        """Closes the connection once what was written is sent."""
        self._queue.fail(ResponseClosed("the upgraded stream was closed"))
        self._transport.close()

    def abort(self) -> None:
        """Closes the connection now."""
        self._queue.fail(ResponseClosed("the upgraded stream was aborted"))
        self._transport.abort()

    async def wait_closed(self) -> None:
        """Returns once the connection is closed, from whichever side."""
        await asyncio.shield(self._closed)

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Returns the transport's `get_extra_info`: `peername`, `sockname`, `socket`, `ssl_object`."""
        return self._transport.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.Protocol) -> None:
        """Attaches a protocol of the caller's own, which from now on gets what comes.

        Its `connection_made` is called with the transport at once, then `data_received` with what was not read yet,
        and so on as on any transport.

        Raises:
            RuntimeError: one is attached already.
        """
        if self._attached is not None:
            raise RuntimeError("the upgraded stream has a protocol already")
        self._attached = protocol
        protocol.connection_made(self._transport)
        if not self._writable.is_set():
            protocol.pause_writing()
        pending = self._unread + self._queue.take_all()
        self._unread = b""
        if pending:
            protocol.data_received(pending)
        if self._eof and not protocol.eof_received():
            self._transport.close()
        if self._lost:
            protocol.connection_lost(self._lost_cause())

    async def start_tls(self, ssl_context: ssl.SSLContext, *, server_hostname: str | None = None) -> None:
        """Begins TLS on the stream, as the client. What is read and written from then on is inside.

        Raises:
            RuntimeError: bytes were received that nobody has read, which cannot belong to TLS; or a protocol is
                attached, which has the transport without TLS.
            ConnectError: the handshake failed, and the connection is gone; the cause is chained.
        """
        if self._unread or self._queue.size:
            raise RuntimeError("bytes came before TLS began")
        if self._attached is not None:
            raise RuntimeError("the upgraded stream has a protocol already: begin TLS before it is attached")
        loop = asyncio.get_running_loop()
        try:
            transport = await loop.start_tls(self._transport, self._owner, ssl_context, server_hostname=server_hostname)
        except OSError as exc:
            raise ConnectError(describe_tls_error(exc)) from exc
        outer, self._transport = self._transport, cast("asyncio.Transport", transport)  # uvloop's do not derive from it
        if not outer.is_reading():  # much came together with the handshake's end, before this task could go on
            self._transport.pause_reading()
            outer.resume_reading()

    # What the installed protocol hands on.

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._attached is not None:
            self._attached.data_received(data)
        else:
            self._queue.put(data)

    def eof_received(self) -> bool:
        """The peer will send no more. Returns whether the transport stays open for writing."""
        self._eof = True
        self._queue.finish()
        keep_open = self._attached is None or bool(self._attached.eof_received())
        # With TLS the answer would change nothing but for a warning: TLS has no half-closed state here.
        return keep_open and self._transport.get_extra_info("ssl_object") is None

    def pause_writing(self) -> None:
        """The peer does not keep up."""
        self._writable.clear()
        if self._attached is not None:
            self._attached.pause_writing()

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self._writable.set()
        if self._attached is not None:
            self._attached.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._lost = True
        self._error = exc
        if exc is None:
            self._queue.finish()
        else:
            error = ReadError("the upgraded connection broke")
            error.__cause__ = exc
            self._queue.fail(error)
        self._writable.set()
        self._closed.set_result(None)
        if self._attached is not None:
            self._attached.connection_lost(exc)

    def _lost_cause(self) -> Exception | None:
        return self._error if isinstance(self._error, Exception) else None

    def _pause(self) -> None:
        self._transport.pause_reading()

    def _resume(self) -> None:
        if not self._lost:
            self._transport.resume_reading()
