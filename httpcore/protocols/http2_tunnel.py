"""TunnelTransport: an HTTP/2 stream as a transport, after 2xx to CONNECT or extended CONNECT (RFC 9113 8.5, RFC 8441).

`UpgradedStream`, and whatever protocol its user attaches, know transports only; so a stream is made to look like one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol, cast

from httpcore.request_body import settled
from httpcore.upgraded import Relay

__all__ = ["TunnelTransport", "TunnelledStream"]

_LINGER = 5.0  # seconds in which the server may end its side too, once the caller has closed the tunnel
# Of the connection, and not of what is in the tunnel: who asks a transport for these asks whether its bytes are safe.
_OUTER = frozenset({"ssl_object", "sslcontext", "peercert", "cipher", "compression", "socket"})


class TunnelledStream(Protocol):
    """The stream, as its transport sees it."""

    @property
    def unsent_size(self) -> int:
        """Bytes that wait for their turn."""

    def push(self, data: bytes | bytearray | memoryview) -> None:
        """Lets `data` wait for its turn."""

    def end_tunnel(self) -> None:
        """Ends this side, behind what waits."""

    def abort_tunnel(self, asked_at: float | None = None) -> None:
        """Ends both sides now. What was sent at `asked_at` may be without an answer."""

    def resume_delivery(self) -> None:
        """Delivers what was held while reading was paused."""


class TunnelTransport(asyncio.Transport):
    """The transport of whoever talks through the tunnel.

    Attributes:
        receiver: what an `UpgradedStream` is made on.
        reading_paused: whether the stream is to hold what comes.
    """

    _start_tls_compatible = True  # asyncio's start_tls asks for it

    def __init__(self, stream: TunnelledStream, outer: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._stream = stream
        self._outer = outer
        self._loop = loop
        self._linger: asyncio.TimerHandle | None = None
        self._closing = False
        self._lost = False  # whether connection_lost was, or is about to be, called
        self._eof_written = False
        self._writing_paused = False
        self._written_at: float | None = None  # when anything was, for the last time
        self.reading_paused = False
        relay = Relay()
        relay.connection_made(self)
        self._protocol: asyncio.BaseProtocol = relay
        self.receiver = relay.receiver

    # What its user calls: see asyncio.Transport.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Sends `data` when it is the stream's turn."""
        if self._eof_written and not self._closing:
            raise RuntimeError("write after write_eof")
        if not self._closing and len(flat := settled(data)):
            self._written_at = self._loop.time()
            self._stream.push(flat)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Sends all of it."""
        for data in list_of_data:
            self.write(data)

    def write_eof(self) -> None:
        """Ends this side (END_STREAM)."""
        if not self._eof_written and not self._closing:
            self._eof_written = True
            self._stream.end_tunnel()

    def can_write_eof(self) -> bool:
        """It can: every stream has two sides."""
        return True

    def close(self) -> None:
        """Ends this side behind what was written, and gives the server some time to do the same."""
        if self._closing:
            return
        self.write_eof()
        self._closing = True
        if not self._lost:
            self._linger = self._loop.call_later(_LINGER, self._stream.abort_tunnel)
        self.resume_reading()  # nobody reads it; it must be credited all the same
        if not self._stream.unsent_size:  # the end was sent already
            self._tell_lost(None)

    def abort(self) -> None:
        """Ends both sides now (RST_STREAM)."""
        self._force_close(None)

    def _force_close(self, exc: Exception | None) -> None:
        # asyncio's TLS calls it by this name when it fails.
        self.gone(exc)
        self._stream.abort_tunnel(self._written_at)

    def is_closing(self) -> bool:
        """Whether it is closing or closed."""
        return self._closing

    def pause_reading(self) -> None:
        """Holds what comes, and withholds its credit."""
        self.reading_paused = True

    def resume_reading(self) -> None:
        """Delivers it again."""
        self.reading_paused = False
        self._stream.resume_delivery()

    def is_reading(self) -> bool:
        """Whether what comes is delivered."""
        return not self.reading_paused and not self._closing

    def get_write_buffer_size(self) -> int:
        """Bytes that wait for their turn."""
        return self._stream.unsent_size

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Returns the connection's, but for what says how safe its bytes are."""
        return default if name in _OUTER else self._outer.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Installs another protocol, as `start_tls` does."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Returns the protocol."""
        return self._protocol

    # What the stream calls.

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._closing:
            return
        if isinstance(self._protocol, asyncio.BufferedProtocol):
            self._call(self._fill_buffers, self._protocol, data)
        else:
            self._call(cast(asyncio.Protocol, self._protocol).data_received, data)

    @staticmethod
    def _fill_buffers(protocol: asyncio.BufferedProtocol, data: bytes) -> None:
        """Gives `data` to a protocol that has buffers of its own, as asyncio's TLS has."""
        rest = memoryview(data)
        while rest:
            buffer = memoryview(protocol.get_buffer(len(rest))).cast("B")
            size = min(len(buffer), len(rest))
            buffer[:size] = rest[:size]
            protocol.buffer_updated(size)
            rest = rest[size:]

    def eof_received(self) -> None:
        """The server has ended its side."""
        if not self._closing and not self._call(cast(asyncio.Protocol, self._protocol).eof_received):
            self.close()

    def sent_end(self) -> None:
        """The end of this side was sent, and all before it."""
        if self._closing:
            self._tell_lost(None)

    def set_writing_paused(self, paused: bool) -> None:
        """The server does not keep up, or has caught up."""
        if paused != self._writing_paused and not self._lost:
            self._writing_paused = paused
            self._call(self._protocol.pause_writing if paused else self._protocol.resume_writing)

    def gone(self, exc: Exception | None) -> None:
        """The stream is over."""
        self._closing = True
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        self._tell_lost(exc)

    def _tell_lost(self, exc: Exception | None) -> None:
        # In the loop's next turn, as any transport does it.
        if not self._lost:
            self._lost = True
            self._loop.call_soon(self._protocol.connection_lost, exc)

    def _call(self, callback: Callable[..., object], *args: object) -> object:
        """Calls the user's protocol; what it raises ends its tunnel and nothing else."""
        try:
            return callback(*args)
        except Exception as exc:
            message = "a protocol in a tunnel of httpcore raised"
            self._loop.call_exception_handler({"message": message, "exception": exc, "protocol": self._protocol})
            self.abort()
            return None
