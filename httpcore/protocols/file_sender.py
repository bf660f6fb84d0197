"""FileSender: a file's way from the page cache to the socket, past our memory: `sendfile`.

It is used where nothing has to be added to the file's bytes or done to them: HTTP/1.1 in plain, on a socket of the
loop's own, with a `content-length`. It is a shortcut only. Whatever it cannot do, or does not understand, it leaves to
the pump, which goes on where it stopped.

Why not `loop.sendfile`: asyncio pauses the transport's reading for as long as it runs, so an answer that comes early
would not be seen, and uvloop has none. So a duplicate of the transport's descriptor is watched for being writable,
beside the transport, which goes on reading.

Rule W1 (one writer), the proof. The exchange's body is written by its pump alone, and while this runs the pump waits
for it. The head went to the transport before the pump was started, and it is with the kernel once the transport's
buffer is empty, which is looked at before every piece. The end of a body with a length is no bytes. So nobody hands
anything to the transport meanwhile, and the transport writes nothing by itself. The duplicate is closed before the pump
goes on, on the loop's thread, and no other thread ever has it: no byte can come after the exchange is over.

Disks may be slow, or far away, so files are read in the executor; `sendfile` would read on the loop's thread. Before a
piece is sent, the kernel is asked whether it has it in memory (a read that does not wait, at both ends: files are read
ahead in one go). If not, or if it cannot tell, the executor makes it read the piece.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from httpcore.protocols.codec import Codec
from httpcore.protocols.deadlines import Deadline
from httpcore.protocols.flow import WriteGate
from httpcore.request_body import FileChunks

if TYPE_CHECKING:
    from httpcore.protocols.exchange import HTTPExchange

__all__ = ["FileSender"]

_MIN_SIZE = 64 * 1024  # bytes: what one chunk of the pump does at once
_PIECE = 512 * 1024  # bytes that are sent before others on the loop get their turn
_STEP = 64 * 1024  # bytes between two reads that make the kernel read a piece: less than it reads ahead
# The transports that write to their socket as it is: exactly these, as what is derived from one may do otherwise.
_PLAIN_TRANSPORTS = {
    ("asyncio.selector_events", "_SelectorSocketTransport"),
    ("uvloop.loop", "TCPTransport"),
    ("uvloop.loop", "UnixTransport"),
}


class FileSender:
    """Sends one exchange's body. Made by `on`, used up by `send`.

    Args:
        sock: a duplicate of the transport's; it does not block, and belongs to the sender.
        transport: the connection's.
        exchange: whose body it is.
        codec: the exchange's.
        gate: the transport's flow control.
        deadline: the connection's write deadline, which asks `gate` for progress when it expires.
    """

    __slots__ = ("_codec", "_deadline", "_exchange", "_gate", "_loop", "_sock", "_transport")

    def __init__(
        self,
        sock: socket.socket,
        transport: asyncio.Transport,
        exchange: HTTPExchange,
        codec: Codec,
        gate: WriteGate,
        deadline: Deadline,
    ) -> None:
        self._sock = sock
        self._transport = transport
        self._exchange = exchange
        self._codec = codec
        self._gate = gate
        self._deadline = deadline
        self._loop = exchange.loop

    @classmethod
    def on(
        cls,
        transport: asyncio.Transport,
        exchange: HTTPExchange,
        codec: Codec,
        gate: WriteGate,
        deadline: Deadline,
    ) -> FileSender | None:
        """Returns a sender, `None` where there can be none or it would not pay. The head has been sent."""
        kind = type(transport)
        if (kind.__module__, kind.__qualname__) not in _PLAIN_TRANSPORTS or not hasattr(os, "sendfile"):
            return None
        # While it is closing, its descriptor may have been closed already, and the number be another connection's.
        if (exchange.request.content_length or 0) < _MIN_SIZE or transport.is_closing():
            return None
        try:
            sock: socket.socket = transport.get_extra_info("socket").dup()
        except OSError:  # no descriptor is free, or the connection is lost, and will say so
            return None
        sock.setblocking(False)
        exchange.body_started()
        return cls(sock, transport, exchange, codec, gate, deadline)

    async def send(self, chunks: FileChunks, send_chunk: Callable[[bytes], object]) -> None:
        """Sends of `chunks` what it can; they go on behind that.

        Args:
            chunks: the body.
            send_chunk: sends a piece by way of the transport.
        """
        with self._sock:
            await chunks.seek()
            try:
                file = os.dup(chunks.fileno())  # so the number stays ours, even if the caller closes the file
            except OSError:
                return
            try:
                remaining = self._exchange.request.content_length or 0
                while remaining:
                    size = min(remaining, _PIECE)
                    if not _in_memory(file, chunks.position, size):
                        # If this is cancelled the thread goes on, with the number of another file perhaps. It reads
                        # single bytes at given positions, into nowhere, which does nothing to any kind of file.
                        await self._loop.run_in_executor(None, _read_in, file, chunks.position, size)
                    if not await self._has_transport_sent():
                        return
                    sent = self._send_piece(chunks, file, size, send_chunk)
                    if sent is None:
                        return
                    remaining -= sent
                    if not sent:
                        await self._writable()
                    elif remaining:  # if not, the pump says at once that this was the end, before the answer is there
                        await asyncio.sleep(0)
            finally:
                os.close(file)

    def _send_piece(
        self, chunks: FileChunks, file: int, size: int, send_chunk: Callable[[bytes], object]
    ) -> int | None:
        """Returns how many bytes the socket took, `None` if the pump has to go on."""
        try:
            sent = os.sendfile(self._sock.fileno(), file, chunks.position, size)
        except BlockingIOError:
            return 0
        except OSError:
            # The connection broke, which the next read or write is not told of as it was: the transport has to meet
            # it now, and all is as it is without a sender. Or this file cannot be sent so; then that was one chunk.
            chunk = os.pread(file, min(size, _STEP), chunks.position)
            chunks.advance(len(chunk))
            send_chunk(chunk)
            return None
        if not sent:  # the file is shorter than it was
            return None
        chunks.advance(sent)
        self._codec.count_data(sent)
        return sent

    async def _has_transport_sent(self) -> bool:
        """Waits until the transport has nothing more to write; returns whether it is still there."""
        while not self._transport.is_closing():
            if not self._transport.get_write_buffer_size():
                return True
            await self._writable()
        return False

    async def _writable(self) -> None:
        """Waits until the socket takes something, for no longer than the write timeout."""
        write_timeout = self._exchange.timeout.write_timeout
        if write_timeout is not None:
            self._gate.made_progress()  # what was before does not count
            self._deadline.arm(self._loop.time() + write_timeout)
        writable = self._loop.create_future()
        self._loop.add_writer(self._sock.fileno(), _settle, writable)
        try:
            await writable
        finally:
            self._stop_watching()
        self._deadline.when = None

    def _stop_watching(self) -> None:
        if not self._loop.is_closed():  # else this is a task that nobody ended
            self._loop.remove_writer(self._sock.fileno())


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _in_memory(file: int, position: int, size: int) -> bool:
    """Whether the kernel has a piece of a file in memory, as far as can be told without waiting for it."""
    if sys.platform != "linux":
        return False
    try:
        for offset in (position, position + size - 1):
            os.preadv(file, [bytearray(1)], offset, os.RWF_NOWAIT)
    except OSError:  # it has not, or the file system cannot tell
        return False
    return True


def _read_in(file: int, position: int, size: int) -> None:
    """Makes the kernel read a piece of a file into memory."""
    for offset in range(position, position + size, _STEP):
        os.pread(file, 1, offset)
    os.pread(file, 1, position + size - 1)
