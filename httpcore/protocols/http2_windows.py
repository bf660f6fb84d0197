"""ReceiveWindow: the credit that an HTTP/2 connection gives its peer, and gives again as content is read.

Every byte is credited once: when it is read, or when nobody will read it any more.

Nobody's content can hold up another's. Let W be the sum of the windows of the streams, which bounds what can wait to be
read, and Q the quantum, an eighth of the window at the beginning. The connection's window is kept at no less than
W + 2 * Q. What is missing from it at any moment are bytes that wait to be read, bytes that were read and are still to
be credited (less than Q), and bytes of streams that were reset and are still to be credited (less than Q). So at least
W minus what waits is there, and the streams together may send no more than that. (As far as 2**31 - 1 allows: over a
hundred streams would have to have grown to 16 MiB, and to wait.)
"""

from __future__ import annotations

from collections.abc import Callable

from h2.connection import H2Connection

from httpcore.protocols.http2_frames import window_update

__all__ = ["ReceiveWindow"]

MAX_WINDOW = 2**31 - 1  # bytes: RFC 9113 6.9.1
INITIAL_WINDOW = 65535  # bytes: RFC 9113 6.9.2


class ReceiveWindow:
    """The window of one connection, for what it receives.

    Args:
        h2: the connection. Nobody else touches this window.
        size: bytes it is to have at the beginning.
        send: sends a frame that h2 is not to know of.
    """

    __slots__ = ("_closed", "_h2", "_late", "_quantum", "_read", "_reserved", "_send", "_size")

    def __init__(self, h2: H2Connection, size: int, send: Callable[[bytes], None]) -> None:
        self._h2 = h2
        self._send = send
        self._size = INITIAL_WINDOW  # if all were credited
        self._quantum = size // 8  # few frames for much content, and far from running dry
        self._reserved = 0  # the sum of the streams' windows
        self._closed = False
        self._read = 0  # bytes to be credited
        self._late = 0  # bytes to be credited that h2 has not seen
        self._grow(size)

    def reserve(self, size: int) -> None:
        """A stream has so much more of a window."""
        self._reserved += size
        self._grow(min(self._reserved + 2 * self._quantum, MAX_WINDOW))

    def release(self, size: int) -> None:
        """A stream that had so much of a window has ended, and nothing of it waits any more."""
        self._reserved -= size

    def read(self, size: int) -> None:
        """So many bytes were read, or nobody will read them."""
        self._read += size
        if self._read >= self._quantum and not self._closed:
            size, self._read = self._read, 0
            self._h2.increment_flow_control_window(size)

    def late(self, size: int) -> None:
        """So many bytes came for a stream that was reset, and h2 was not shown them."""
        self._late += size
        if self._late >= self._quantum:
            size, self._late = self._late, 0
            self._send(window_update(size))

    def close(self) -> None:
        """Nothing comes any more; what waits may still be read."""
        self._closed = True

    @property
    def open(self) -> int:
        """Bytes that the peer may send now, on all streams together."""
        return self._h2.inbound_flow_control_window - self._late

    @property
    def waiting(self) -> int:
        """Bytes that came and were not read yet: what is missing from the window but for what is being credited."""
        return self._size - self._h2.inbound_flow_control_window - self._read

    def _grow(self, size: int) -> None:
        if size > self._size:
            self._h2.increment_flow_control_window(size - self._size)
            self._size = size
