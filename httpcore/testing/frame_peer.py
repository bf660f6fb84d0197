"""`FramePeer`: a scripted peer that cuts what it receives into HTTP/2 frames."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Hashable
from typing import TypeVar, cast

from h2.errors import ErrorCodes
from hyperframe.frame import (
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from .scripted_peer import ScriptedPeer

__all__ = ["HEADER_SIZE", "PREFACE_SIZE", "FramePeer"]

FrameT = TypeVar("FrameT", bound=Frame)

PREFACE_SIZE = 24  # bytes: RFC 9113 3.4
HEADER_SIZE = 9  # bytes: RFC 9113 4.1


class FramePeer(ScriptedPeer):
    """A server of HTTP/2 that answers nothing by itself: the test does all.

    Args:
        close_on_eof: as for `ScriptedPeer`, but `True` unless said otherwise: HTTP servers do so.

    Attributes:
        frames: all frames that came, in order. The client's preface is none.
    """

    def __init__(self, *, close_on_eof: bool = True) -> None:
        super().__init__(close_on_eof=close_on_eof)
        self.frames: list[Frame] = []
        self._untaken: defaultdict[Hashable, deque[object]] = defaultdict(deque)
        self._highest_stream_id = 0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)  # whoever waits looks later: when this has returned
        while size := self._next_size():
            self._read(self._consume(size))

    def _next_size(self) -> int:
        """Returns how many bytes the next frame, or what there is of the preface, has; 0 if it is not there yet."""
        if self._consumed < PREFACE_SIZE:
            return min(PREFACE_SIZE - self._consumed, self._unconsumed)
        size = HEADER_SIZE + int.from_bytes(self._received[self._consumed : self._consumed + 3])
        return size if self._unconsumed >= max(size, HEADER_SIZE) else 0

    def _read(self, data: bytes) -> None:
        """Takes a piece of the preface, or a frame."""
        if self._consumed <= PREFACE_SIZE:
            return
        frame, _ = Frame.parse_frame_header(memoryview(data)[:HEADER_SIZE])
        frame.parse_body(memoryview(data)[HEADER_SIZE:])
        self.frames.append(frame)
        self._untaken[type(frame), frame.stream_id, "ACK" in frame.flags].append(frame)
        if isinstance(frame, HeadersFrame):
            self._highest_stream_id = max(self._highest_stream_id, frame.stream_id)

    # Sending

    def send_frame(self, frame: Frame) -> None:
        """Sends a frame whatever it says."""
        self.send(frame.serialize())

    def goaway(
        self,
        last_stream_id: int | None = None,
        error_code: ErrorCodes | int = ErrorCodes.NO_ERROR,
        debug_data: bytes = b"",
    ) -> None:
        """Sends GOAWAY, and goes on as before.

        Args:
            last_stream_id: `None`: the highest that came.
            error_code: the reason.
            debug_data: goes with it.
        """
        if last_stream_id is None:
            last_stream_id = self._highest_stream_id
        self.send_frame(GoAwayFrame(0, last_stream_id, error_code, debug_data))

    def ping(self, data: bytes = b"a ping:)") -> None:
        """Sends PING with these 8 bytes; `receive_ping_ack` waits for the answer."""
        self.send_frame(PingFrame(0, data))

    # Waiting

    async def receive_reset(self, stream_id: int) -> ErrorCodes | int:
        """Waits for RST_STREAM on a stream; returns its error code, in h2's words if there is one.

        Raises:
            ConnectionError: it can no longer come.
        """
        code = (await self.receive_frame(RstStreamFrame, stream_id)).error_code
        return ErrorCodes(code) if code <= max(ErrorCodes) else code

    async def receive_goaway(self) -> GoAwayFrame:
        """Waits for GOAWAY: the frame has `error_code`, `last_stream_id` and `additional_data`."""
        return await self.receive_frame(GoAwayFrame)

    async def receive_window_update(self, stream_id: int = 0) -> int:
        """Waits for the next WINDOW_UPDATE on a stream or the connection (0); returns its increment in bytes."""
        return (await self.receive_frame(WindowUpdateFrame, stream_id)).window_increment

    async def receive_ping(self) -> bytes:
        """Waits for the client's next PING; returns its 8 bytes."""
        return (await self.receive_frame(PingFrame)).opaque_data

    async def receive_ping_ack(self) -> bytes:
        """Waits for the answer to a PING; returns its 8 bytes."""
        return (await self.receive_frame(PingFrame, ack=True)).opaque_data

    async def receive_settings(self) -> dict[int, int]:
        """Waits for the client's next SETTINGS; returns what they say."""
        return (await self.receive_frame(SettingsFrame)).settings

    async def receive_settings_ack(self) -> None:
        """Waits for the acknowledgement of SETTINGS."""
        await self.receive_frame(SettingsFrame, ack=True)

    async def receive_frame(self, kind: type[FrameT], stream_id: int = 0, *, ack: bool = False) -> FrameT:
        """Waits for the next frame of a kind and a stream; `ack` says whether it is to be an acknowledgement.

        Raises:
            ConnectionError: it can no longer come.
        """
        name = kind.__name__ + (" with ACK" if ack else "") + (f" on stream {stream_id}" if stream_id else "")
        return cast(FrameT, await self._take((kind, stream_id, ack), name))

    async def _take(self, key: Hashable, awaited: str) -> object:
        await self._until(lambda: bool(self._untaken[key]), awaited)
        return self._untaken[key].popleft()

    async def _until(self, has_come: Callable[[], bool], awaited: str, stream_id: int = 0) -> None:
        """Waits for what comes on a stream, or on any (0)."""
        await self._wait_for(has_come, awaited)
