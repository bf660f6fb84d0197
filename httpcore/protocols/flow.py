"""ReadGate and WriteGate: a transport's flow control, for both directions.

While HTTP is spoken, ReadGate alone calls `pause_reading` and `resume_reading`. WriteGate knows whether the transport
takes more.
"""

from __future__ import annotations

import asyncio

__all__ = ["ReadGate", "WriteGate"]


class ReadGate:
    """Pauses and resumes reading, idempotently, as transports themselves are not all idempotent."""

    __slots__ = ("_transport", "paused")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.paused = False

    def pause(self) -> None:
        """Stops `data_received`, after what is in hand."""
        if not self.paused and not self._transport.is_closing():
            self.paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Lets `data_received` come again. A transport that is closing ignores it."""
        if self.paused:
            self.paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()


class WriteGate:
    """Whether the transport's write buffer is above its high-water mark, and whether the peer still empties it."""

    __slots__ = ("_size", "_taken", "_transport", "paused")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.paused = False
        self._taken = 0
        self._size = 0  # bytes in the transport's buffer when made_progress was last asked

    def pause(self) -> None:
        """The transport called `pause_writing`."""
        self.paused = True
        self._size = self._transport.get_write_buffer_size()

    def resume(self) -> None:
        """The transport called `resume_writing`."""
        self.paused = False
        self._taken += 1

    def progress(self) -> int:
        """A number that has grown whenever the peer took something of a buffer that was full. For several who ask."""
        if self.paused and self.made_progress():
            self._taken += 1
        return self._taken

    def made_progress(self) -> bool:
        """Whether the peer took anything since this was last asked, or since the pause began.

        `resume_writing` alone does not tell: between the high- and the low-water mark lies more than a slow peer
        may take within a write timeout. Nothing is added meanwhile by who heeds the pause; who does not heed it
        cannot see progress, and times out.
        """
        before, self._size = self._size, self._transport.get_write_buffer_size()
        return self._size < before
