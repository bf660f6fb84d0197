"""`HTTP2Peer`: a scripted peer that can also speak HTTP/2, with h2 in the server's role."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias, cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RequestReceived, StreamEnded, TrailersReceived
from h2.exceptions import NoSuchStreamError, ProtocolError
from h2.settings import SettingCodes, Settings
from hyperframe.exceptions import HyperframeError
from hyperframe.frame import GoAwayFrame, RstStreamFrame, SettingsFrame

from .frame_peer import HEADER_SIZE, PREFACE_SIZE, FramePeer
from .http2_outbox import Outbox, Piece
from .http2_request import Fields, IncomingRequest

__all__ = ["HTTP2Peer"]

_Headers: TypeAlias = Iterable[tuple[str | bytes, str | bytes]]
_Settings: TypeAlias = Mapping[SettingCodes, int] | Mapping[int, int]

_ACK = 1
_100_STREAMS: _Settings = {SettingCodes.MAX_CONCURRENT_STREAMS: 100}


def _encode(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else text


def _fields(headers: _Headers) -> Fields:
    return [(_encode(name), _encode(value)) for name, value in headers]


class HTTP2Peer(FramePeer):
    """A server that a test tells requests and responses, or single frames, instead of bytes.

    h2 holds the state of the connection, acknowledges SETTINGS and PING, and judges what the client sends. What the
    peer sends is neither checked nor normalised: any field may be malformed. What h2 does not allow at the moment can
    be sent with `send_frame` or `send`; h2's idea of the connection is then the test's affair.

        async def test_answer(connector: MemoryConnector[HTTP2Peer]) -> None:
            asking = asyncio.ensure_future(http.request("GET", "https://example.org/"))
            peer = await connector.accept()
            request = await peer.receive_request()
            assert request.path == b"/"
            peer.respond(request.stream_id, 200, [("server", "peer")], b"answer")
            assert (await asking).body == b"answer"

    Each way of waiting goes through what came in its own order: `receive_request` and `receive_frame(HeadersFrame, 1)`
    both find the same request. A wait that can no longer succeed, because the link or the stream ended or the client
    violated the protocol, raises `ConnectionError` at once.

    Args:
        settings: what the first SETTINGS frame says; what it leaves out has the initial value of RFC 9113 6.5.2, e.g.
            no limit of streams. It counts from the client's acknowledgement on. `None` sends nothing, not even
            acknowledgements, until `update_settings` is called.
        auto_ack: whether what h2 answers by itself goes out at once: acknowledgements of SETTINGS and PING, credit,
            and RST_STREAM to frames on closed streams. It may be changed at any time; `acknowledge` sends what was
            held back.
        auto_credit: whether each DATA frame is credited when it comes, on its stream and on the connection. `False`
            leaves it to `credit`.
        close_on_eof: as for `ScriptedPeer`, but `True` unless said otherwise: HTTP servers do so.

    Attributes:
        h2: the connection, for what it knows: windows, settings, streams.
        events: all of h2's events, in order.
        frames: all frames that came, in order. The client's preface is none. GOAWAY is kept from h2, which would
            refuse everything after it.
        violation: what the client did against the protocol. The peer has sent GOAWAY and closed then.
    """

    def __init__(
        self,
        settings: _Settings | None = _100_STREAMS,
        *,
        auto_ack: bool = True,
        auto_credit: bool = True,
        close_on_eof: bool = True,
    ) -> None:
        super().__init__(close_on_eof=close_on_eof)
        self.h2 = H2Connection(
            H2Configuration(
                client_side=False,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                normalize_inbound_headers=False,  # it would join cookies
            )
        )
        self.h2.local_settings = Settings(client=False)  # h2 has limits of its own before they are announced
        self.auto_ack = auto_ack
        self.auto_credit = auto_credit
        self.events: list[Event] = []
        self.violation: ProtocolError | HyperframeError | None = None
        self._settings = settings
        self._announced: deque[dict[SettingCodes | int, int]] = deque()  # sent, and not acknowledged yet
        self._preface_sent = False
        self._unsent_acks = b""
        self._outbox = Outbox(self.h2)
        self._over: set[int] = set()  # streams that were reset, by whichever end

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._settings is not None:
            self.update_settings(self._settings)

    def data_received(self, data: bytes) -> None:
        try:
            super().data_received(data)
        except (ProtocolError, HyperframeError) as exc:
            self.violation = exc
        self._take_acks()
        if self.violation is not None:
            self.acknowledge()  # with h2's GOAWAY
            self.close()
        elif self._outbox:
            self._flush(self._outbox.feed)

    # Sending

    def respond(
        self,
        stream_id: int,
        status: int = 200,
        headers: _Headers = (),
        body: bytes = b"",
        trailers: _Headers = (),
        *,
        end_stream: bool = True,
    ) -> None:
        """Sends a response to the last byte that the client's windows have room for, and the rest as they open.

        Args:
            stream_id: whose request it answers.
            status: sent as `:status`.
            headers: nothing is added to them, neither `content-length` nor `date`.
            body: cut into DATA frames as large as the client allows; no frame if it is empty.
            trailers: no frame if there are none.
            end_stream: whether the response ends with it. With a status of 1xx it must be `False`.

        Raises:
            h2.exceptions.ProtocolError: h2 does not allow it now, e.g. because the stream is closed.
        """
        last = _fields(trailers)
        self.send_headers(
            stream_id, [(b":status", b"%d" % status), *headers], end_stream=end_stream and not body and not last
        )
        if body:
            self.send_data(stream_id, body, end_stream=end_stream and not last)
        if last:
            self.send_headers(stream_id, last, end_stream=end_stream)

    def send_headers(self, stream_id: int, headers: _Headers, *, end_stream: bool = False) -> None:
        """Sends a header block: HEADERS, and CONTINUATION if it is long; behind data of the stream that waits.

        Args:
            stream_id: the stream.
            headers: all of it, `:status` included; trailers have none.
            end_stream: whether the response ends with it.

        Raises:
            h2.exceptions.ProtocolError: h2 does not allow it now.
        """
        self._send_piece(stream_id, Piece(end_stream, headers=_fields(headers)))

    def send_data(
        self, stream_id: int, data: bytes, *, end_stream: bool = False, pad_length: int | None = None
    ) -> None:
        """Sends one DATA frame if the windows and the frame size have room for it; otherwise several, as they open.

        Args:
            stream_id: the stream.
            data: may be empty.
            end_stream: whether the response ends with it.
            pad_length: bytes of padding in each frame, up to 255; `None`: not padded.

        Raises:
            h2.exceptions.ProtocolError: h2 does not allow it now.
        """
        self._send_piece(stream_id, Piece(end_stream, data=memoryview(data), pad_length=pad_length))

    def pending(self, stream_id: int) -> int:
        """How many bytes of data of a stream wait for the client's windows."""
        return self._outbox.size(stream_id)

    def reset(self, stream_id: int, error_code: ErrorCodes | int = ErrorCodes.CANCEL) -> None:
        """Sends RST_STREAM, whatever state the stream is in, and drops what waited on it."""
        self._end_stream(stream_id)
        if stream_id <= self.h2.highest_inbound_stream_id:
            try:
                self._flush(lambda: self.h2.reset_stream(stream_id, error_code))
            except NoSuchStreamError:  # h2 has forgotten it
                pass
            else:
                return
        frame = RstStreamFrame(stream_id)
        frame.error_code = error_code
        self.send_frame(frame)

    def update_settings(self, settings: _Settings) -> None:
        """Sends SETTINGS; h2 goes by them once the client has acknowledged them.

        A setting that RFC 9113 does not allow is sent all the same.
        """
        self._preface_sent = True
        self._announced.append(dict(settings.items()))
        self.send_frame(SettingsFrame(0, {int(code): value for code, value in settings.items()}))
        if self.auto_ack:
            self.acknowledge()

    def credit(self, increment: int, stream_id: int = 0) -> None:
        """Sends one WINDOW_UPDATE: the client may send so many bytes more, on a stream or (0) on the connection.

        Raises:
            ValueError: not from 1 to 2,147,483,647.
            KeyError: the stream has not been opened, or has ended.
            h2.exceptions.FlowControlError: the window would be larger than that.
        """
        self._flush(lambda: self.h2.increment_flow_control_window(increment, stream_id or None))

    def acknowledge(self) -> None:
        """Sends what `auto_ack=False` has held back."""
        acks, self._unsent_acks = self._unsent_acks, b""
        if acks:
            self.send(acks)

    def encode_headers(self, headers: _Headers) -> bytes:
        """Encodes a header block for a frame that goes out by `send_frame`, next and without fail.

        The compression of all later blocks builds on it (RFC 7541 2.2).
        """
        return self.h2.encoder.encode(_fields(headers))

    # Waiting

    async def receive_request(self) -> IncomingRequest:
        """Waits for the head of the next request that was not taken yet.

        Raises:
            ConnectionError: none can come any more.
        """
        event = cast(RequestReceived, await self._take(RequestReceived, "a request"))
        return IncomingRequest(event.stream_id, event.headers, event.stream_ended is not None)

    async def receive_data(self, stream_id: int) -> bytes:
        """Waits for a request's next DATA frame that is not empty; `b""` once the request has ended.

        Raises:
            ConnectionError: neither can come any more.
        """
        events = self._untaken[DataReceived, stream_id]
        await self._until(lambda: bool(events) or self._has_ended(stream_id), "data", stream_id)
        return cast(DataReceived, events.popleft()).data or b"" if events else b""

    async def receive_body(self, stream_id: int) -> bytes:
        """Waits for a request's end; returns what was not taken of its body yet.

        Raises:
            ConnectionError: the end can no longer come.
        """
        await self._until(lambda: self._has_ended(stream_id), "the end of the request", stream_id)
        events = self._untaken[DataReceived, stream_id]
        return b"".join(cast(DataReceived, events.popleft()).data or b"" for _ in range(len(events)))

    async def receive_trailers(self, stream_id: int) -> Fields:
        """Waits for a request's end; returns its trailers, without which it is `[]`.

        Raises:
            ConnectionError: the end can no longer come.
        """
        await self._until(lambda: self._has_ended(stream_id), "the end of the request", stream_id)
        trailers = self._untaken[TrailersReceived, stream_id]
        return cast(TrailersReceived, trailers[0]).headers if trailers else []

    # What came

    def _read(self, data: bytes) -> None:
        is_frame = self._consumed > PREFACE_SIZE
        if is_frame and data[3] == SettingsFrame.type and data[4] & _ACK and self._announced:
            self.h2.local_settings.update(self._announced.popleft())  # in force once h2 sees the acknowledgement
        if not (is_frame and data[3] == GoAwayFrame.type):  # h2 would refuse everything after it
            for event in self._give_h2(data):
                self._note_event(event)
        super()._read(data)
        if is_frame and isinstance(self.frames[-1], RstStreamFrame):
            self._end_stream(self.frames[-1].stream_id)

    def _give_h2(self, data: bytes) -> list[Event]:
        stream = self.h2.streams.get(int.from_bytes(data[5:9]))
        if len(data) != HEADER_SIZE or stream is None or stream.inbound_flow_control_window >= 0:
            return self.h2.receive_data(data)
        # To h2, an empty DATA frame is more than a negative window allows. RFC 9113 6.9.1 lets it end the stream.
        windows = stream._inbound_window_manager
        window, windows.current_window_size = windows.current_window_size, 0
        events = self.h2.receive_data(data)
        windows.current_window_size = window
        return events

    def _note_event(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, RequestReceived):
            self._untaken[RequestReceived].append(event)
        elif isinstance(event, (StreamEnded, TrailersReceived)) or (isinstance(event, DataReceived) and event.data):
            self._untaken[type(event), event.stream_id].append(event)
        # No such event tells of DATA on a closed stream: h2 credits that itself. It would also credit the rest, but not
        # at once, and not at all when SETTINGS have made the window negative.
        if isinstance(event, DataReceived) and event.flow_controlled_length and self.auto_credit:
            self.h2.increment_flow_control_window(event.flow_controlled_length)
            if event.stream_ended is None:
                self.h2.increment_flow_control_window(event.flow_controlled_length, event.stream_id)

    def _end_stream(self, stream_id: int) -> None:
        self._over.add(stream_id)
        self._outbox.drop(stream_id)
        self._changes.notify()

    def _has_ended(self, stream_id: int) -> bool:
        return (StreamEnded, stream_id) in self._untaken

    async def _until(self, has_come: Callable[[], bool], awaited: str, stream_id: int = 0) -> None:
        await self._wait_for(
            lambda: has_come() or self.violation is not None or stream_id in self._over,
            f"{awaited} on stream {stream_id}" if stream_id else awaited,
        )
        if not has_come():
            if self.violation is not None:
                raise ConnectionError(f"before {awaited} came, the client sent what is not allowed") from self.violation
            raise ConnectionError(f"stream {stream_id} was reset before {awaited} came")

    # What goes out

    def _take_acks(self) -> None:
        """Moves what h2 answers by itself out of the way of what the test sends."""
        self._unsent_acks += self.h2.data_to_send()
        if self.auto_ack and self._preface_sent:
            self.acknowledge()

    def _flush(self, act: Callable[[], None]) -> None:
        try:
            act()
        finally:
            data = self.h2.data_to_send()
            if data:
                self.send(data)

    def _send_piece(self, stream_id: int, piece: Piece) -> None:
        self._outbox.add(stream_id, piece)
        self._flush(self._outbox.feed)
