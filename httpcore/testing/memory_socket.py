"""The two sockets of a link in memory: what the kernel would do for a TCP connection over loopback.

`MemorySocket` owns the bytes that were sent and not yet received, and knows what a FIN and a RST do to either end;
`Watch` is the event loop's `add_reader` and `add_writer` for it. Neither knows protocols or asyncio's transports.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from contextvars import Context, copy_context

__all__ = ["MemorySocket", "Watch", "socket_pair"]


class Watch:
    """Runs a callback once per turn of the loop while a condition holds, as a selector does for a file descriptor.

    It refers to the callback only while it is started, so a transport that neither reads nor has anything to write
    can be collected as garbage, exactly as one whose descriptor no selector holds.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, is_ready: Callable[[], bool]) -> None:
        self._loop = loop
        self._is_ready = is_ready
        self._callback: Callable[[], None] | None = None
        self._context: Context | None = None
        self._handle: asyncio.Handle | None = None

    def start(self, callback: Callable[[], None]) -> None:
        """Calls `callback` from the next turn of the loop on, in the context of the caller of this."""
        # Without its own context the callback would get that of whoever makes the socket ready.
        self._callback, self._context = callback, copy_context()
        self.notify()

    def stop(self) -> None:
        """Calls it no more, not even if it was about to be called."""
        self._callback = self._context = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def notify(self) -> None:
        """To be called whenever the condition may have become true."""
        if self._callback is not None and self._handle is None and self._is_ready():
            self._handle = self._loop.call_soon(self._run, self._callback, context=self._context)

    def _run(self, callback: Callable[[], None]) -> None:
        self._handle = None
        try:
            callback()
        finally:
            self.notify()


class MemorySocket:
    """One end of a link, non-blocking.

    A RST that arrives does what Linux does with it: bytes that came before it can still be received; after them
    `recv` raises `ConnectionResetError`, or returns the end of the stream if a FIN had come before the RST; `send`
    fails at once, with `BrokenPipeError` if a FIN had come before.
    """

    peer: MemorySocket

    def __init__(self, loop: asyncio.AbstractEventLoop, capacity: int) -> None:
        self.loop = loop
        self.capacity = capacity
        self.received = bytearray()
        self.fin_sent = False
        self.fin_received = False
        self.closed = False
        self.error: int | None = None  # the errno that a RST left behind
        self.read_watch = Watch(loop, self._is_readable)
        self.write_watch = Watch(loop, self._is_writable)

    def _is_readable(self) -> bool:
        return bool(self.received) or self.fin_received or self.error is not None

    def _is_writable(self) -> bool:
        return self.error is not None or self.peer.closed or len(self.peer.received) < self.peer.capacity

    def send(self, data: memoryview) -> int:
        """Sends as many bytes as fit into the peer's buffer, perhaps none, and returns how many."""
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error))  # picks the subclass for the errno
        if self.peer.closed:
            # Sent into the void: the kernel takes it and learns from the RST that answers it.
            self._receive_reset()
            return len(data)
        part = data[: self.peer.capacity - len(self.peer.received)]
        self.peer.received += part
        self.peer.read_watch.notify()
        return len(part)

    def recv(self, size: int) -> bytes:
        """Takes up to `size` bytes, `b""` at the end of the stream. To be called only when there is something."""
        if self.received:
            data = bytes(self.received[:size])
            del self.received[:size]
            self.peer.write_watch.notify()
            return data
        if self.error is not None and not self.fin_received:
            raise OSError(self.error, os.strerror(self.error))
        return b""

    def shutdown(self) -> None:
        """Sends the FIN, as `shutdown(SHUT_WR)`; `OSError` (ENOTCONN) after a RST."""
        if self.error is not None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        self._send_fin()

    def close(self, *, reset: bool = False) -> None:
        """Gives the socket up: with a RST if asked for (SO_LINGER 0) or if bytes were left unread, else with a FIN."""
        self.closed = True
        self.read_watch.stop()
        self.write_watch.stop()
        if reset or self.received:
            self.peer._receive_reset()
        elif self.error is None and not self.fin_sent:
            self._send_fin()

    def _send_fin(self) -> None:
        self.fin_sent = True
        self.peer.fin_received = True
        self.peer.read_watch.notify()

    def _receive_reset(self) -> None:
        if self.fin_sent and self.fin_received:
            return  # both directions had ended: nothing is left to be reset
        self.error = errno.EPIPE if self.fin_received else errno.ECONNRESET
        self.read_watch.notify()
        self.write_watch.notify()


def socket_pair(loop: asyncio.AbstractEventLoop, capacity: int) -> tuple[MemorySocket, MemorySocket]:
    """Two linked sockets, each with room for `capacity` unread bytes."""
    one, other = MemorySocket(loop, capacity), MemorySocket(loop, capacity)
    one.peer, other.peer = other, one
    return one, other
