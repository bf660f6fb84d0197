"""`ScriptedPeer`: the other end of a connection under test; exact bytes at exact moments."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import cast

from .changes import Changes
from .memory_transport import MemoryTransport

__all__ = ["ScriptedPeer"]


class ScriptedPeer(asyncio.Protocol):
    """A server without a mind of its own: a test reads what came and says what goes out, with no sleeping.

    Works on a memory link and on a real socket alike. What was received is kept in `received` and can besides be
    consumed in order with the `receive...` methods, which wait. A wait that can no longer succeed, because the
    link ended or died, raises `ConnectionError` at once.

    Args:
        close_on_eof: whether the link is closed when the other end closes, as most servers do. `False` leaves it
            half-open until the test calls `close`.

    Attributes:
        connected: between `connection_made` and `connection_lost`.
        at_eof: the other end has ended its stream.
        writing_paused: more bytes than the high water mark wait because the other end does not read.
        error: what `connection_lost` was given; `None` before it and after a clean end.
    """

    def __init__(self, *, close_on_eof: bool = False) -> None:
        self.connected = False
        self.at_eof = False
        self.writing_paused = False
        self.error: Exception | None = None
        self._close_on_eof = close_on_eof
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._consumed = 0
        self._changes = Changes()

    def __repr__(self) -> str:
        state = "connected" if self.connected else "lost" if self._transport else "not connected yet"
        return f"<{type(self).__name__} {state}, {len(self._received)} bytes received, {self._consumed} consumed>"

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.connected = True
        self._changes.notify()

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._changes.notify()

    def eof_received(self) -> bool:
        self.at_eof = True
        self._changes.notify()
        return not self._close_on_eof

    def pause_writing(self) -> None:
        self.writing_paused = True

    def resume_writing(self) -> None:
        self.writing_paused = False
        self._changes.notify()

    def connection_lost(self, exc: Exception | None) -> None:
        self.connected = False
        self.error = exc
        self._changes.notify()

    # Acting

    @property
    def transport(self) -> asyncio.Transport:
        """This end's transport, also after the connection is lost.

        Raises:
            ConnectionError: not connected yet.
        """
        if self._transport is None:
            raise ConnectionError("not connected yet")
        return self._transport

    def send(self, data: bytes) -> None:
        """Sends exactly these bytes. After the link was lost they go nowhere, as with any transport."""
        self.transport.write(data)

    def send_eof(self) -> None:
        """Ends this end's stream and goes on receiving."""
        self.transport.write_eof()

    def close(self) -> None:
        """Closes after what was sent has gone out."""
        self.transport.close()

    def abort(self) -> None:
        """Resets the connection, like a crash or a firewall: the other end sees `ConnectionResetError`."""
        if isinstance(self.transport, MemoryTransport):
            self.transport.reset()
        else:
            if not self.transport.is_closing():
                # Lingering for 0 seconds makes the kernel send a RST instead of a FIN.
                on_for_0_seconds = struct.pack("ii", 1, 0)
                self.transport.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, on_for_0_seconds
                )
            self.transport.abort()

    def pause(self) -> None:
        """Stops reading: a server that is stuck."""
        self.transport.pause_reading()

    def resume(self) -> None:
        """Reads again."""
        self.transport.resume_reading()

    # Waiting

    @property
    def received(self) -> bytes:
        """All bytes so far, whether consumed or not."""
        return bytes(self._received)

    async def receive(self, count: int) -> bytes:
        """Consumes exactly `count` bytes.

        Raises:
            ConnectionError: the link ended before they came.
        """
        await self._wait_for(lambda: self._unconsumed >= count, f"{count} bytes")
        return self._consume(count)

    async def receive_some(self) -> bytes:
        """Consumes what there is, at least one byte; `b""` if the other end's stream has ended.

        Raises:
            ConnectionError: the connection was lost, and not by the other end's regular end.
        """
        await self._wait_for(lambda: self._unconsumed > 0 or self.at_eof, "bytes")
        return self._consume(self._unconsumed)

    async def receive_until(self, marker: bytes) -> bytes:
        """Consumes the bytes up to and including `marker`.

        Raises:
            ConnectionError: the link ended before the marker came.
        """
        searched, found = self._consumed, -1

        def has_come() -> bool:
            nonlocal searched, found
            found = self._received.find(marker, searched)
            searched = max(searched, len(self._received) - len(marker) + 1)
            return found >= 0

        await self._wait_for(has_come, repr(marker))
        return self._consume(found + len(marker) - self._consumed)

    async def receive_eof(self) -> bytes:
        """Waits for the end of the other end's stream and consumes what is left before it.

        Raises:
            ConnectionError: the connection was lost without it.
        """
        await self._wait_for(lambda: self.at_eof, "the end of the stream")
        return self._consume(self._unconsumed)

    async def drain(self) -> None:
        """Waits until the other end has read so much that sending is not paused any more.

        Raises:
            ConnectionError: the connection was lost before.
        """
        await self._changes.wait_until(lambda: not self.writing_paused or self._is_lost)
        if self._is_lost:
            raise self._ended("room to send")

    async def closed(self) -> Exception | None:
        """Waits until the connection is lost; returns the error that `connection_lost` was given, if any."""
        await self._changes.wait_until(lambda: self._is_lost)
        return self.error

    @property
    def _is_lost(self) -> bool:
        return self._transport is not None and not self.connected

    @property
    def _unconsumed(self) -> int:
        return len(self._received) - self._consumed

    def _consume(self, count: int) -> bytes:
        start, self._consumed = self._consumed, self._consumed + count
        return bytes(self._received[start : self._consumed])

    def _ended(self, awaited: str) -> ConnectionError:
        error = ConnectionError(
            f"the connection {'was lost' if self._is_lost else 'ended'} before {awaited} came; "
            f"not consumed yet: {bytes(self._received[self._consumed :][:80])!r}"
        )
        error.__cause__ = self.error
        return error

    async def _wait_for(self, has_come: Callable[[], bool], awaited: str) -> None:
        came = False

        def settled() -> bool:
            nonlocal came
            came = has_come()
            return came or self.at_eof or self._is_lost

        await self._changes.wait_until(settled)
        if not came:
            raise self._ended(awaited)
