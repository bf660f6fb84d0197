"""SendQueue: whose turn it is to send a frame of its body on an HTTP/2 connection."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from h2.connection import H2Connection

from httpcore.protocols.flow import WriteGate
from httpcore.protocols.http2_stream import HTTP2Stream
from httpcore.trace import WindowOpened, WindowStalled, emit

__all__ = ["SendQueue"]

_MAX_FRAME_SIZE = 64 * 1024  # bytes of content in one frame, where the server takes frames that large
_TURN = 64 * 1024  # bytes after which the transport is asked whether it takes more


class SendQueue:
    """The streams that have something to send, each of which sends one frame at its turn.

    A stream whose own window is shut stands aside until it opens. When the connection's is, all wait where they are.

    Args:
        h2: the connection.
        gate: says whether the transport takes more.
        flush: hands what h2 has to send to the transport, now.
        sent: is told of each frame that was sent, with its size in bytes.
    """

    __slots__ = ("_flush", "_frames", "_gate", "_h2", "_ready", "_running", "_sent", "_unflushed", "connection_id")

    def __init__(
        self,
        h2: H2Connection,
        gate: WriteGate,
        flush: Callable[[], None],
        sent: Callable[[int], None],
        connection_id: int,
    ) -> None:
        self._h2 = h2
        self._gate = gate
        self._flush = flush
        self._sent = sent
        self.connection_id = connection_id
        self._ready: OrderedDict[HTTP2Stream, None] = OrderedDict()
        self._running = False
        self._frames = 0  # that were sent
        self._unflushed = 0  # bytes since the transport was asked last: who pushes does not always wait for a flush

    def add(self, stream: HTTP2Stream) -> None:
        """The stream has something to send, or may go on: it gets its turn behind the others."""
        self._ready[stream] = None
        self.run()

    def discard(self, stream: HTTP2Stream) -> None:
        """The stream has nothing more to send."""
        self._ready.pop(stream, None)

    def waits(self, stream: HTTP2Stream) -> bool:
        """Whether the stream waits for its turn, and not for its own window."""
        return stream in self._ready

    def progress(self) -> int:
        """A number that has grown whenever the server took something, of whichever stream."""
        return self._frames + self._gate.progress()

    def run(self) -> None:
        """Sends what can be sent now."""
        if self._running:  # who is told to go on may have more at once; the loop below sees to it
            return
        self._running = True
        h2, ready = self._h2, self._ready
        try:
            while ready and not self._gate.paused:
                stream = next(iter(ready))
                if not stream.unsent_size:
                    del ready[stream]
                    continue
                window = h2.local_flow_control_window(stream.stream_id)
                if window <= 0:
                    shut = h2.outbound_flow_control_window <= 0
                    self._stall(stream, connection=shut)
                    if shut:
                        break
                    ready.pop(stream, None)  # it is gone if a trace hook has ended the exchange, ...
                    continue
                if stream.stalled:
                    self._unstall(stream)
                    continue  # ... and may have no turn any more
                ready.move_to_end(stream)
                self._frames += 1
                size = stream.send_some(min(window, h2.max_outbound_frame_size, _MAX_FRAME_SIZE))
                self._unflushed += size
                self._sent(size)
                if self._unflushed >= _TURN:
                    self._unflushed = 0
                    self._flush()
        finally:
            self._running = False

    def _stall(self, stream: HTTP2Stream, *, connection: bool) -> None:
        hook, loop = stream.exchange.trace, stream.exchange.loop
        if hook is not None and not stream.stalled:
            emit(hook, WindowStalled(loop.time(), self.connection_id, stream.stream_id, connection), loop)
        stream.stalled = True

    def _unstall(self, stream: HTTP2Stream) -> None:
        hook, loop = stream.exchange.trace, stream.exchange.loop
        stream.stalled = False
        if hook is not None:
            emit(hook, WindowOpened(loop.time(), self.connection_id, stream.stream_id), loop)
