"""FrameReceiver: from the bytes of an HTTP/2 connection to what its streams, and the connection itself, are told.

Frames are given to h2 one by one, and each event of h2's goes to the method that `_EVENTS` names. What breaks a rule is
a `StreamFault`, which ends its stream, or a `ConnectionFault`, which ends all (RFC 9113 5.4). h2 is not shown GOAWAY,
behind which it would take no frame, nor content for streams that were reset, for which it would send RST_STREAM anew
with every frame, nor what means nothing to us: extensions, and PRIORITY.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import ClassVar, Protocol, cast

from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    InformationalResponseReceived,
    PingAckReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from hpack import HPACKError

from httpcore.exceptions import quote_peer_text
from httpcore.protocols.http2_fields import FieldDecoder
from httpcore.protocols.http2_frames import (
    ConnectionFault,
    Flag,
    Frame,
    FrameBudget,
    FrameReader,
    FrameType,
    StreamFault,
)
from httpcore.protocols.http2_sender import SendQueue
from httpcore.protocols.http2_stream import HTTP2Stream
from httpcore.protocols.http2_windows import ReceiveWindow

__all__ = ["FrameReceiver", "Receiving"]

_FRAMES_PER_DATA = 4  # frames of administration that are fair for each frame of content
_MAX_LATE = 10_000  # streams that were reset and are remembered
_SMALL_FRAME = 256  # bytes: below that, content nobody wants is one of the frames that lead nowhere
_MAX_SETTINGS = 100  # in one frame: there are about ten in all, and each costs time
_LARGEST_STREAM_ID = 2**31 - 1


class Receiving(Protocol):
    """The connection, as its receiver sees it.

    Attributes:
        streams: those whose head was sent, by number.
        last_stream_id: the highest number of a stream of ours; -1 before there is one.
    """

    h2: H2Connection
    window: ReceiveWindow
    sender: SendQueue
    streams: dict[int, HTTP2Stream]
    last_stream_id: int

    @property
    def deaf(self) -> bool:
        """Whether what comes means nothing any more."""

    def head_received(self) -> None:
        """The server has answered a request."""

    def settings_received(self, settings: tuple[tuple[int, int], ...]) -> None:
        """The server has announced these settings, and h2 has taken them over."""

    def goaway_received(self, last_stream_id: int, code: int, debug_data: bytes) -> None:
        """The server takes no further streams, and has done nothing for those above the last."""

    def ping_answered(self) -> bool:
        """The server has answered a PING; returns whether there was one."""

    def send_pending(self) -> None:
        """Takes out of h2 what it has to send."""


class FrameReceiver:
    """Reads what comes on one connection.

    Args:
        connection: whose bytes they are.
        fields: keeps the fields that h2 decodes.
        budget: for the frames that lead nowhere.

    Attributes:
        settled: whether the server's SETTINGS came.
    """

    def __init__(self, connection: Receiving, fields: FieldDecoder, budget: FrameBudget) -> None:
        self._connection = connection
        self._h2 = connection.h2
        self._reader = FrameReader()
        self._budget = budget
        self._fields = fields
        self._late: OrderedDict[int, int] = OrderedDict()  # streams that were reset: bytes the server may still send
        self._late_frames = 0  # how many more of their frames are fair, however small
        self.settled = False

    def receive(self, data: bytes) -> None:
        """Tells everybody what `data` means, until the connection has had enough.

        Raises:
            ConnectionFault: the server broke a rule. What came before it was told.
        """
        connection = self._connection
        for frame in self._reader.feed(data):
            self._frame_received(frame)
            if connection.deaf:
                return

    def expect_late(self, stream_id: int, size: int) -> None:
        """A stream was reset, for which the server may have sent up to `size` bytes more before it knows."""
        self._late[stream_id] = size
        self._late_frames = min(self._late_frames + _FRAMES_PER_DATA, _MAX_LATE)
        if len(self._late) > _MAX_LATE:
            self._late.popitem(last=False)

    def _frame_received(self, frame: Frame) -> None:
        kind = frame.type
        if not self.settled and (kind != FrameType.SETTINGS or frame.flags & Flag.ACK):
            raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, "its first frame is no SETTINGS")  # RFC 9113 3.4
        stream = self._connection.streams.get(frame.stream_id)
        self._count(frame, stream)
        if kind == FrameType.GOAWAY:
            self._goaway_received(frame)
            return
        if kind == FrameType.PUSH_PROMISE:
            raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, "it pushes, which it was told not to")
        if kind == FrameType.SETTINGS and frame.flags & Flag.ACK and frame.size:
            raise ConnectionFault(ErrorCodes.FRAME_SIZE_ERROR, "an acknowledgement of SETTINGS has settings")
        if kind == FrameType.SETTINGS and frame.size > 6 * _MAX_SETTINGS:
            raise ConnectionFault(ErrorCodes.ENHANCE_YOUR_CALM, f"a frame has {frame.size // 6} settings")
        if kind > FrameType.CONTINUATION or (kind == FrameType.PRIORITY and frame.stream_id and frame.size == 5):
            return  # an extension, or deprecated; h2 would find fault with the contents of some
        if stream is None and frame.stream_id and self._is_stray(frame):
            return
        events = self._parse(frame)
        try:
            for event in events:
                method = self._EVENTS.get(type(event))
                if method is not None:
                    method(self, event, stream)
        except StreamFault as fault:
            assert stream is not None
            stream.fault(fault)
        except (Exception, asyncio.CancelledError) as exc:
            if stream is None:  # no handler has raised
                raise
            stream.exchange.handler_raised(exc)

    def _count(self, frame: Frame, stream: HTTP2Stream | None) -> None:
        kind = frame.type
        if stream is not None and kind == FrameType.DATA and (frame.flags & Flag.END_STREAM or not frame.empty):
            self._budget.earn(_FRAMES_PER_DATA)
        elif stream is not None and kind == FrameType.HEADERS:
            pass  # there is one final head, and what the interim ones may come to is bounded
        elif kind != FrameType.DATA or frame.size < _SMALL_FRAME or frame.stream_id not in self._late:
            if self._late_frames and frame.stream_id in self._late:
                self._late_frames -= 1
            else:
                self._budget.spend(frame)

    def _parse(self, frame: Frame) -> list[Event]:
        try:
            return self._h2.receive_data(frame.data)
        except ProtocolError as exc:
            code = ErrorCodes(exc.error_code)
            if code == ErrorCodes.PROTOCOL_ERROR and isinstance(exc.__cause__, HPACKError):
                code = ErrorCodes.COMPRESSION_ERROR  # RFC 9113 4.3
            raise ConnectionFault(code, quote_peer_text(str(exc))) from exc
        except Exception as exc:  # h2's own checks are not complete
            text = f"a frame of type {frame.type} cannot be read: {quote_peer_text(str(exc))}"
            raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, text) from exc

    def _is_stray(self, frame: Frame) -> bool:
        """Deals with a frame of no stream that is there; returns whether h2 is not to see it."""
        kind, stream_id = frame.type, frame.stream_id
        if stream_id % 2 == 0 or stream_id > self._connection.last_stream_id:
            if kind == FrameType.PRIORITY:
                return False
            raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, f"a frame came for stream {stream_id}, which is not open")
        allowance = self._late.get(stream_id)
        if allowance is None:
            return False  # it ended on both sides, or above a GOAWAY
        if kind == FrameType.DATA:
            # h2 would answer each with RST_STREAM, and credit it in its own time.
            if frame.size > allowance or frame.size > self._connection.window.open:
                raise ConnectionFault(ErrorCodes.FLOW_CONTROL_ERROR, f"stream {stream_id} came over its window")
            self._late[stream_id] = allowance - frame.size
            self._connection.window.late(frame.size)
        elif kind in (FrameType.HEADERS, FrameType.CONTINUATION):
            self._connection.send_pending()
            _ = self._h2.open_outbound_streams  # forgets closed streams, of which h2 takes an interim response amiss
            self._parse(frame)  # the decoder must see them; but the server knows that the stream was reset
            self._h2.clear_outbound_data_buffer()
        else:
            return False
        return True

    def _goaway_received(self, frame: Frame) -> None:
        if frame.stream_id:
            raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, "GOAWAY came on a stream")
        if frame.size < 8:
            raise ConnectionFault(ErrorCodes.FRAME_SIZE_ERROR, f"GOAWAY has {frame.size} bytes")
        payload = frame.payload
        last_stream_id = int.from_bytes(payload[:4], "big") & _LARGEST_STREAM_ID
        self._connection.goaway_received(last_stream_id, int.from_bytes(payload[4:8], "big"), payload[8:])

    # Events.

    def _head_received(self, event: Event, stream: HTTP2Stream | None) -> None:
        if stream is None:
            return
        self._budget.earn(_FRAMES_PER_DATA)
        self._connection.head_received()
        if stream.left:  # another exchange, for which there is room now, has aborted this one
            return
        stream.head_received(self._fields.fields)
        ended = cast(ResponseReceived, event).stream_ended
        if ended is not None and not stream.left:
            stream.end_received()

    def _interim_received(self, event: Event, stream: HTTP2Stream | None) -> None:
        if stream is not None:
            stream.head_received(self._fields.fields)

    def _trailers_received(self, event: Event, stream: HTTP2Stream | None) -> None:
        if stream is not None:
            stream.trailers_received(self._fields.fields)

    def _data_received(self, event: Event, stream: HTTP2Stream | None) -> None:
        event = cast(DataReceived, event)
        if stream is None:  # above a GOAWAY
            self._connection.window.read(event.flow_controlled_length)
            return
        last = event.stream_ended is not None
        stream.data_received(event.data, event.flow_controlled_length, last=last)
        if last and not stream.left:
            stream.end_received()

    def _reset_received(self, event: Event, stream: HTTP2Stream | None) -> None:
        event = cast(StreamReset, event)
        if stream is None:
            return
        if event.remote_reset:
            stream.reset_received(event.error_code)
        else:  # h2 has done so, and sent RST_STREAM
            self.expect_late(event.stream_id, stream.outstanding)
            closed = event.error_code == ErrorCodes.STREAM_CLOSED
            text = "a frame came behind the end of its stream" if closed else "its window came to over 2147483647 bytes"
            stream.fault(StreamFault(ErrorCodes(event.error_code), text))

    def _window_opened(self, event: Event, stream: HTTP2Stream | None) -> None:
        if stream is None:
            self._connection.sender.run()
        elif stream.unsent_size:
            self._connection.sender.add(stream)

    def _settings_received(self, event: Event, stream: HTTP2Stream | None) -> None:
        changed = cast(RemoteSettingsChanged, event).changed_settings
        for code in changed:
            if not isinstance(code, SettingCodes):  # h2 would keep it, and look at it with each SETTINGS
                del self._h2.remote_settings[code]
        self.settled = True
        self._connection.settings_received(tuple((int(code), change.new_value) for code, change in changed.items()))

    def _ping_answered(self, event: Event, stream: HTTP2Stream | None) -> None:
        if self._connection.ping_answered():
            self._budget.earn(1)

    _EVENTS: ClassVar[dict[type[Event], Callable[[FrameReceiver, Event, HTTP2Stream | None], None]]] = {
        ResponseReceived: _head_received,
        InformationalResponseReceived: _interim_received,
        TrailersReceived: _trailers_received,
        DataReceived: _data_received,
        StreamReset: _reset_received,
        WindowUpdated: _window_opened,
        RemoteSettingsChanged: _settings_received,
        PingAckReceived: _ping_answered,
    }
