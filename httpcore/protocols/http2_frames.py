"""Frames: cuts what comes on an HTTP/2 connection into frames, and counts those that lead nowhere.

h2 parses them. It is given one at a time, so that what came before a broken one is not lost with it, and a transcript
means the same however it is cut. GOAWAY is read here and never shown to h2, which would take no frame behind it, while
streams up to the last one that it names are still to end (RFC 9113 6.8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import NamedTuple

from h2.errors import ErrorCodes

from httpcore.protocols.codec import MAX_HEAD_SIZE

__all__ = [
    "ConnectionFault",
    "Flag",
    "Frame",
    "FrameBudget",
    "FrameReader",
    "FrameType",
    "StreamFault",
    "describe_code",
    "window_update",
]

MAX_FRAME_SIZE = 16384  # bytes: SETTINGS_MAX_FRAME_SIZE, which stays at its default (RFC 9113 6.5.2)
_HEADER_SIZE = 9  # bytes: RFC 9113 4.1

MAX_IDLE_FRAMES = 1000  # frames that lead nowhere, beyond what is earned by those that do, ...
IDLE_FRAMES_PERIOD = 20.0  # ... in so many seconds

_FRAMES_PER_DATA_SENT = 4  # frames of administration that are fair for each frame of content that we send, and ...
_UPDATE_SIZE = 512  # ... one WINDOW_UPDATE more for so many bytes of it, ...
_MAX_UPDATES = 100_000  # ... however late, up to so many


class FrameType(IntEnum):
    """RFC 9113 6. There are others, which mean nothing to us."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


_BLOCK_TYPES = (FrameType.HEADERS, FrameType.CONTINUATION)


class Flag(IntEnum):
    """RFC 9113 6."""

    END_STREAM = 0x1  # of DATA and HEADERS
    ACK = 0x1  # of SETTINGS and PING
    END_HEADERS = 0x4
    PADDED = 0x8  # of DATA and HEADERS


class ConnectionFault(Exception):
    """The peer broke a rule whose breach ends the connection (RFC 9113 5.4.1)."""

    def __init__(self, code: ErrorCodes, text: str) -> None:
        super().__init__(text)
        self.code = code


class StreamFault(Exception):
    """The peer broke a rule whose breach ends the stream (RFC 9113 5.4.2)."""

    def __init__(self, code: ErrorCodes, text: str) -> None:
        super().__init__(text)
        self.code = code


def describe_code(code: int) -> str:
    """Returns an error code with its name, where it has one (RFC 9113 7)."""
    try:
        return f"{ErrorCodes(code).name} (0x{code:x})"
    except ValueError:
        return f"0x{code:x}"


def window_update(size: int) -> bytes:
    """Returns the frame that opens the connection's window by `size` bytes (RFC 9113 6.9)."""
    return b"\0\0\4\x08\0\0\0\0\0" + size.to_bytes(4, "big")


class Frame(NamedTuple):
    """One frame.

    Attributes:
        type: a `FrameType`, or another number.
        flags: see `Flag`.
        stream_id: 0 for the connection.
        data: all of it, its header of nine bytes included.
    """

    type: int
    flags: int
    stream_id: int
    data: bytes

    @property
    def size(self) -> int:
        """Bytes of its payload."""
        return len(self.data) - _HEADER_SIZE

    @property
    def payload(self) -> bytes:
        """What follows its header."""
        return self.data[_HEADER_SIZE:]

    @property
    def empty(self) -> bool:
        """Whether a DATA frame has no content. It may have padding."""
        if self.flags & Flag.PADDED and self.size:
            return self.data[_HEADER_SIZE] + 1 >= self.size
        return self.size == 0


class FrameReader:
    """Cuts bytes into frames, whatever the pieces they come in."""

    __slots__ = ("_block", "_partial")

    def __init__(self) -> None:
        self._partial = bytearray()  # the beginning of a frame
        self._block: int | None = None  # bytes of the field block that has begun and not ended

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yields the frames that `data` completes.

        Raises:
            ConnectionFault: a frame or a field block is too large, or a block is interrupted by what h2 does not see.
        """
        if self._partial:
            self._partial += data
            data = bytes(self._partial)
            self._partial.clear()
        start, size = 0, len(data)
        while size - start >= _HEADER_SIZE:
            length = int.from_bytes(data[start : start + 3], "big")
            if length > MAX_FRAME_SIZE:
                if data.startswith(b"HTTP/", start):
                    raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, "it answers in HTTP/1.1")
                raise ConnectionFault(ErrorCodes.FRAME_SIZE_ERROR, f"a frame has {length} bytes")
            end = start + _HEADER_SIZE + length
            if end > size:
                break
            stream_id = int.from_bytes(data[start + 5 : start + 9], "big") & 0x7FFFFFFF
            frame = Frame(data[start + 3], data[start + 4], stream_id, data[start:end])
            start = end
            if frame.type in _BLOCK_TYPES or self._block is not None:
                self._follow_block(frame)
            yield frame
        if start < size:
            self._partial += data[start:]

    def _follow_block(self, frame: Frame) -> None:
        # h2 sees to that as well, but not for what it is not shown (RFC 9113 4.3).
        if self._block is not None and frame.type != FrameType.CONTINUATION:
            raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, "a field block was interrupted by another frame")
        if self._block is None and frame.type == FrameType.CONTINUATION:
            raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, "CONTINUATION came without HEADERS")
        self._block = (self._block or 0) + frame.size
        if self._block > MAX_HEAD_SIZE:
            raise ConnectionFault(ErrorCodes.ENHANCE_YOUR_CALM, f"a field block is over {MAX_HEAD_SIZE} bytes")
        if frame.flags & Flag.END_HEADERS:
            self._block = None


class FrameBudget:
    """Bounds the frames that lead nowhere: they cost, and frames that lead somewhere earn them back.

    Args:
        clock: gives the time in seconds.
        stuck: says whether the peer does not read, so that what it is answered piles up.
    """

    __slots__ = ("_clock", "_since", "_spent", "_stuck", "_updates")

    def __init__(self, clock: Callable[[], float], stuck: Callable[[], bool]) -> None:
        self._clock = clock
        self._stuck = stuck
        self._since = clock()
        self._spent = 0
        self._updates = 0  # WINDOW_UPDATE frames that the server may owe us

    def earn(self, frames: int) -> None:
        """Content went one way or the other, for which so many frames of administration are fair."""
        if self._spent:
            self._spent = max(0, self._spent - frames)

    def sent(self, size: int) -> None:
        """A frame of `size` bytes of content was sent.

        The server may give the credit for it back in pieces, and all of it together once it gets round to reading.
        """
        self.earn(_FRAMES_PER_DATA_SENT)
        self._updates = min(self._updates + _FRAMES_PER_DATA_SENT + size // _UPDATE_SIZE, _MAX_UPDATES)

    def spend(self, frame: Frame) -> None:
        """Counts a frame that leads nowhere.

        Raises:
            ConnectionFault: there were too many within `IDLE_FRAMES_PERIOD`, or from a peer that does not read.
        """
        if frame.type == FrameType.WINDOW_UPDATE and self._updates:
            self._updates -= 1
            return
        self._spent += 1
        if self._spent > MAX_IDLE_FRAMES:
            now = self._clock()
            if now - self._since < IDLE_FRAMES_PERIOD or self._stuck():
                kind = FrameType(frame.type).name if frame.type in FrameType._value2member_map_ else "unknown"
                text = f"over {MAX_IDLE_FRAMES} frames came that lead nowhere, the last of them {kind}"
                raise ConnectionFault(ErrorCodes.ENHANCE_YOUR_CALM, text)
            self._spent, self._since = 0, now
