"""`Outbox`: what an `HTTP2Peer` has been told to send and the client's windows have no room for yet."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from h2.connection import H2Connection
from h2.exceptions import ProtocolError

from .http2_request import Fields

__all__ = ["Outbox", "Piece"]


@dataclass
class Piece:
    """A part of a response: a header block, or else data.

    Attributes:
        end_stream: whether the response ends with it.
        headers: `None` for data.
        data: what of it has not been sent yet.
        pad_length: bytes of padding in each DATA frame; `None`: not padded.
    """

    end_stream: bool
    headers: Fields | None = None
    data: memoryview = field(default=memoryview(b""))
    pad_length: int | None = None


class Outbox:
    """The pieces that wait, of each stream in their order.

    Args:
        connection: what they are given to.
    """

    def __init__(self, connection: H2Connection) -> None:
        self._connection = connection
        self._streams: dict[int, deque[Piece]] = {}

    def __bool__(self) -> bool:
        return bool(self._streams)

    def add(self, stream_id: int, piece: Piece) -> None:
        """Puts a piece behind those of its stream that wait."""
        self._streams.setdefault(stream_id, deque()).append(piece)

    def drop(self, stream_id: int) -> None:
        """Forgets what waits on a stream."""
        self._streams.pop(stream_id, None)

    def size(self, stream_id: int) -> int:
        """How many bytes of data wait on a stream."""
        return sum(len(piece.data) for piece in self._streams.get(stream_id, ()))

    def feed(self) -> None:
        """Gives h2 what it has room for: a frame of each stream in turn, so that none takes the whole window.

        Raises:
            ProtocolError: h2 does not allow it; what waits on that stream is forgotten.
        """
        going = True
        while going:
            going = False
            for stream_id, pieces in list(self._streams.items()):
                try:
                    going |= self._feed_frame(stream_id, pieces)
                except ProtocolError:
                    self.drop(stream_id)
                    raise
                if not pieces:
                    self.drop(stream_id)

    def _feed_frame(self, stream_id: int, pieces: deque[Piece]) -> bool:
        """Returns whether it could and there is more."""
        http, piece = self._connection, pieces[0]
        if piece.headers is not None:
            http.send_headers(stream_id, piece.headers, piece.end_stream)
        else:
            padding = 0 if piece.pad_length is None else piece.pad_length + 1
            room = min(http.local_flow_control_window(stream_id), http.max_outbound_frame_size) - padding
            if (piece.data or padding) and room < min(1, len(piece.data)):
                return False  # an empty frame needs no window, not even one that is not negative
            part, piece.data = piece.data[:room], piece.data[room:]
            http.send_data(stream_id, part, piece.end_stream and not piece.data, piece.pad_length)
        if not piece.data:
            pieces.popleft()
        return bool(pieces)
