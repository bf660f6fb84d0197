"""`MemoryTransport`: one end of a link in memory that behaves as asyncio's transport over a TCP socket.

It owns the buffer of what the link has not taken yet, the flow control towards its protocol and the order of the
protocol's callbacks; what travels between the ends is the matter of `memory_socket`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import cast

from .memory_socket import MemorySocket, socket_pair

__all__ = ["DEFAULT_CAPACITY", "MemoryTransport", "memory_link"]

DEFAULT_CAPACITY = 64 * 1024  # bytes

_MAX_READ = 256 * 1024  # bytes: what asyncio reads from a socket at once
_LOST_WRITES_BEFORE_WARNING = 5  # asyncio's number
_client_ports = itertools.cycle(range(49152, 65536))
_logger = logging.getLogger("asyncio")  # whoever watches asyncio's log for lost writes finds ours there too


class MemoryTransport(asyncio.Transport):
    """One end of a full-duplex link in memory; `memory_link` makes the two ends.

    It keeps asyncio's rules for socket transports: `connection_made` comes first, `connection_lost` comes once and
    never from within `write`, `close` or `abort`; each `data_received` has a turn of the loop of its own and at most
    256 KiB; nothing is delivered while reading is paused. `close` sends what is buffered first, `abort` drops it.

    What the other end sees is what it sees of TCP on Linux. `abort`, as in asyncio, is not a reset: the other end sees
    the end of the stream. It sees `ConnectionResetError` after `reset`, and when this end went with bytes unread.

    `get_extra_info` knows `peername`, `sockname`, `socket` (always `None`) and what the creator of the link gave.

    Attributes:
        on_closed: called right after `connection_lost`; not in asyncio.
    """

    on_closed: Callable[[], None] | None = None

    _sock: MemorySocket | None = None  # for __del__, should __init__ not get that far

    def __init__(
        self,
        sock: MemorySocket,
        protocol: asyncio.Protocol,
        *,
        segment: int | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__({"socket": None, **(extra or {})})
        self._sock = sock
        self._loop = sock.loop
        self._protocol: asyncio.Protocol | None = protocol
        self._read_size = _MAX_READ if segment is None else min(segment, _MAX_READ)
        self._buffer = bytearray()
        self._paused = False
        self._closing = False
        self._lost = 0  # 1 once connection_lost is scheduled; counts the writes that came after
        self._eof_written = False
        self._reset = False
        self._protocol_paused = False
        self._low_water, self._high_water = _water_marks(None, None)
        self._loop.call_soon(protocol.connection_made, self)
        # By a callback of its own, so that nothing is delivered before connection_made has run.
        self._loop.call_soon(self._start_reading)

    def __repr__(self) -> str:
        if self._sock is None:
            state = "closed"
        elif self._closing:
            state = "closing"
        else:
            state = "paused" if self._paused else "open"
        peer = self.get_extra_info("peername")
        return f"<{type(self).__name__} {state} peername={peer!r} bufsize={len(self._buffer)}>"

    def __del__(self) -> None:
        sock = self._sock
        if sock is not None:
            # The garbage collector runs in any thread, and may run after the loop has been closed.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(sock.close)
            warnings.warn(f"unclosed transport {self!r}", ResourceWarning, source=self, stacklevel=2)

    # The transport as such

    def is_closed(self) -> bool:
        """Whether `connection_lost` has been called: there is nothing left to clean up."""
        return self._sock is None

    def is_closing(self) -> bool:
        """Whether the transport is closing or closed."""
        return self._closing

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Gives what comes from now on to another protocol; its `connection_made` is not called."""
        self._protocol = cast(asyncio.Protocol, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The protocol; as in asyncio, in truth `None` after `connection_lost`."""
        return cast(asyncio.Protocol, self._protocol)

    def close(self) -> None:
        """Reads no more, sends what is buffered, then calls `connection_lost(None)`."""
        if self._closing:
            return
        self._closing = True
        self._open_socket.read_watch.stop()
        if not self._buffer:
            self._lose_soon(None)

    def abort(self) -> None:
        """Drops what is buffered and calls `connection_lost(None)` in the next turn of the loop."""
        self._force_close(None)

    def reset(self) -> None:
        """Aborts so that the other end sees `ConnectionResetError`: a socket with `SO_LINGER` 0. Not in asyncio."""
        self._reset = True
        self.abort()

    # Reading

    def is_reading(self) -> bool:
        """Whether reading is neither paused nor over because the transport closes."""
        return not self._closing and not self._paused

    def pause_reading(self) -> None:
        """Delivers nothing until `resume_reading`: the other end's bytes pile up in the link, then at the other end."""
        if self.is_reading():
            self._paused = True
            self._open_socket.read_watch.stop()

    def resume_reading(self) -> None:
        """Delivers again, from the next turn of the loop on."""
        if self._paused and not self._closing:
            self._paused = False
            self._start_reading()

    def _start_reading(self) -> None:
        if self.is_reading():
            self._open_socket.read_watch.start(self._read_ready)

    def _read_ready(self) -> None:
        sock, protocol = self._open_socket, cast(asyncio.Protocol, self._protocol)
        try:
            data = sock.recv(self._read_size)
        except OSError as exc:
            self._force_close(exc)
            return
        keep_open: bool | None = True
        called = "data_received" if data else "eof_received"
        try:
            if data:
                protocol.data_received(data)
            else:
                keep_open = protocol.eof_received()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            if not isinstance(exc, OSError):
                self._report(f"Fatal error: protocol.{called}() call failed.", exc)
            self._force_close(exc)
            return
        if not keep_open:
            self.close()
        elif not data:
            sock.read_watch.stop()

    # Writing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Sends bytes, at once what the link takes, the rest from a buffer.

        Raises:
            TypeError: `data` is not `bytes`, `bytearray` or `memoryview`.
            RuntimeError: `write_eof` has been called.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        if self._eof_written:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data:
            return
        if self._lost:
            if self._lost >= _LOST_WRITES_BEFORE_WARNING:
                _logger.warning("%r: written to after the connection was lost", self)
            self._lost += 1
            return
        rest = memoryview(data).cast("B")
        if not self._buffer:
            try:
                rest = rest[self._open_socket.send(rest) :]
            except OSError as exc:
                self._force_close(exc)
                return
            if not rest:
                return
            self._open_socket.write_watch.start(self._write_ready)
        self._buffer += rest
        self._maybe_pause_protocol()

    def _write_ready(self) -> None:
        sock = self._open_socket
        try:
            with memoryview(self._buffer) as view:
                sent = sock.send(view)
        except OSError as exc:
            self._force_close(exc)
            return
        del self._buffer[:sent]
        if self._protocol_paused and len(self._buffer) <= self._low_water:
            self._protocol_paused = False
            with self._reporting("protocol.resume_writing() failed"):
                cast(asyncio.Protocol, self._protocol).resume_writing()  # may write, or abort
        if not self._buffer and not self._lost:
            sock.write_watch.stop()
            if self._closing:
                self._lost += 1
                self._call_connection_lost(None)
            elif self._eof_written:
                sock.shutdown()

    def write_eof(self) -> None:
        """Ends this end's stream once the buffer is sent; the other direction stays open. Does nothing when closing.

        Raises:
            OSError: the other end has reset the connection and this end has not noticed yet, as with a socket.
        """
        if self._closing or self._eof_written:
            return
        self._eof_written = True
        if not self._buffer:
            self._open_socket.shutdown()

    def can_write_eof(self) -> bool:
        """Always `True`."""
        return True

    def get_write_buffer_size(self) -> int:
        """How many bytes the link has not taken yet."""
        return len(self._buffer)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """The low and the high water mark, in bytes."""
        return self._low_water, self._high_water

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Sets the sizes, in bytes, above which `pause_writing` and down to which `resume_writing` is called.

        `None` for one takes it from the other (a factor of 4); `None` for both, 64 KiB and 16 KiB.

        Raises:
            ValueError: not `high >= low >= 0`.
        """
        self._low_water, self._high_water = _water_marks(high, low)
        self._maybe_pause_protocol()

    def _maybe_pause_protocol(self) -> None:
        if len(self._buffer) > self._high_water and not self._protocol_paused:
            self._protocol_paused = True
            with self._reporting("protocol.pause_writing() failed"):
                cast(asyncio.Protocol, self._protocol).pause_writing()

    # The end

    @property
    def _open_socket(self) -> MemorySocket:
        assert self._sock is not None, "the callers have looked at _closing or _lost"
        return self._sock

    def _force_close(self, exc: BaseException | None) -> None:
        if self._lost:
            return
        self._closing = True
        self._buffer.clear()
        self._open_socket.read_watch.stop()
        self._open_socket.write_watch.stop()
        self._lose_soon(exc)

    def _lose_soon(self, exc: BaseException | None) -> None:
        self._lost += 1
        self._loop.call_soon(self._call_connection_lost, exc)

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        sock, protocol = self._open_socket, cast(asyncio.Protocol, self._protocol)
        try:
            # A protocol may raise anything from data_received and gets it back here, though typing wants Exception.
            protocol.connection_lost(cast("Exception | None", exc))
        finally:
            self._sock = None
            self._protocol = None
            sock.close(reset=self._reset)
            if self.on_closed is not None:
                self.on_closed()

    def _report(self, message: str, exc: BaseException) -> None:
        self._loop.call_exception_handler(
            {"message": message, "exception": exc, "transport": self, "protocol": self._protocol}
        )

    @contextmanager
    def _reporting(self, message: str) -> Iterator[None]:
        try:
            yield
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._report(message, exc)


def _water_marks(high: int | None, low: int | None) -> tuple[int, int]:
    if high is None:
        high = 64 * 1024 if low is None else 4 * low
    if low is None:
        low = high // 4
    if not high >= low >= 0:
        raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
    return low, high


def memory_link(
    client_protocol: asyncio.Protocol,
    server_protocol: asyncio.Protocol,
    *,
    loop: asyncio.AbstractEventLoop | None = None,
    capacity: int = DEFAULT_CAPACITY,
    segment: int | None = None,
    client_extra: Mapping[str, object] | None = None,
    server_extra: Mapping[str, object] | None = None,
) -> tuple[MemoryTransport, MemoryTransport]:
    """Links two protocols in memory. Their `connection_made` are called in the loop's next turn, the client's first.

    Args:
        client_protocol: the end that would have connected.
        server_protocol: the end that would have accepted.
        loop: the loop that calls both; `None` means the running one.
        capacity: how many unread bytes the link holds in each direction, the "kernel's buffers". What is written
            beyond that waits in the writer's transport and counts for its flow control.
        segment: the most bytes one `data_received` gets, at both ends; 1 delivers byte by byte. `None`: 256 KiB.
        client_extra: more for the client transport's `get_extra_info`, e.g. an `ssl_object` or another `peername`.
        server_extra: the same for the server's.

    Returns:
        The client's and the server's transport.

    Raises:
        ValueError: `capacity` or `segment` is less than 1.
    """
    if capacity < 1 or (segment is not None and segment < 1):
        raise ValueError(f"capacity ({capacity!r}) and segment ({segment!r}) must be at least 1")
    client_socket, server_socket = socket_pair(loop or asyncio.get_running_loop(), capacity)
    client_name, server_name = ("127.0.0.1", next(_client_ports)), ("127.0.0.1", 80)
    client = MemoryTransport(
        client_socket,
        client_protocol,
        segment=segment,
        extra={"sockname": client_name, "peername": server_name, **(client_extra or {})},
    )
    server = MemoryTransport(
        server_socket,
        server_protocol,
        segment=segment,
        extra={"sockname": server_name, "peername": client_name, **(server_extra or {})},
    )
    return client, server
