"""`HTTP2Server`: the server's end of an HTTP/2 connection, with h2 in the server's role.

Unlike `HTTP2Peer`, which keeps all that came for a test to look at, it keeps nothing, and gives credit for what an app
has taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

from .server_stream import HIGH_WATER, ClientGone, Fields, RequestHead, ServerStream

__all__ = ["PREFACE", "HTTP2Server"]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client of HTTP/2 begins with (RFC 9113 3.4)."""

_MAX_STREAMS = 100
_DEFAULT_WINDOW = 65_535
_CONNECTION_WINDOW = 16 * 1024 * 1024  # for all streams at their limit: none waits for the app of another
# For one hop of HTTP/1.1 (RFC 9113 8.2.2). Apps send them, as they do not know what they run under.
_HTTP11_ONLY = {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}


class HTTP2Server(asyncio.Protocol):
    """Takes the requests of one connection.

    Args:
        serve: called with each request once its head is there.
        closed: called when the connection is gone.
    """

    _transport: asyncio.Transport

    def __init__(self, serve: Callable[[ServerStream], None], closed: Callable[[], None]) -> None:
        self._serve = serve
        self._closed = closed
        self._streams: dict[int, _HTTP2Stream] = {}
        self.writable = True
        self.http = H2Connection(H2Configuration(client_side=False))

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        settings: dict[SettingCodes | int, int] = {
            SettingCodes.MAX_CONCURRENT_STREAMS: _MAX_STREAMS,
            SettingCodes.INITIAL_WINDOW_SIZE: HIGH_WATER,
        }
        self.http.update_settings(settings)
        self.http.initiate_connection()
        self.http.increment_flow_control_window(_CONNECTION_WINDOW - _DEFAULT_WINDOW)
        self.flush()

    def data_received(self, data: bytes) -> None:
        try:
            events = self.http.receive_data(data)
        except ProtocolError:
            self.flush()  # h2's GOAWAY
            self._transport.close()
            return
        for event in events:
            self._event_received(event)
        self.flush()
        self._wake()  # windows may have opened

    def eof_received(self) -> None:
        """The client sends no more, and by that is gone: `connection_lost` follows."""

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose_streams()
        self._closed()

    # What streams call.

    def flush(self) -> None:
        """Writes what h2 has to send."""
        data = self.http.data_to_send()
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def left(self, stream: ServerStream) -> None:
        """A response has ended."""
        self._streams.pop(stream.number, None)

    # Its own.

    def _wake(self) -> None:
        for stream in tuple(self._streams.values()):
            stream.wake()

    def _lose_streams(self) -> None:
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.lose()

    def _event_received(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            head = _head(event.headers)
            stream = self._streams[event.stream_id] = _HTTP2Stream(head, event.stream_id, self)
            self._serve(stream)
        elif isinstance(event, ConnectionTerminated):
            # h2 can send nothing more now, not even on open streams.
            self._lose_streams()
            self._transport.close()
        elif isinstance(event, (DataReceived, TrailersReceived, StreamEnded, StreamReset)):
            # Of a stream that is over there are no events: what still comes on it h2 drops, and credits, itself.
            self._stream_event_received(self._streams[event.stream_id], event)

    def _stream_event_received(
        self, stream: _HTTP2Stream, event: DataReceived | TrailersReceived | StreamEnded | StreamReset
    ) -> None:
        if isinstance(event, DataReceived):
            stream.feed(event.data or b"", event.flow_controlled_length)
        elif isinstance(event, TrailersReceived):
            stream.trailers = list(event.headers)
        elif isinstance(event, StreamEnded):
            stream.feed_end()
        else:
            self.left(stream)
            stream.give_back()
            stream.lose()


class _HTTP2Stream(ServerStream):
    def __init__(self, head: RequestHead, number: int, connection: HTTP2Server) -> None:
        super().__init__(head, number)
        self._connection = connection
        self._http = connection.http

    def abort(self) -> None:
        self._reset(ErrorCodes.INTERNAL_ERROR)

    def _reset(self, code: ErrorCodes) -> None:
        if not self.lost and not (self.ended and self.request_ended):
            self.give_back()
            self._http.reset_stream(self.number, code)
            self._connection.left(self)
            self.lose()
            self._connection.flush()

    def give_back(self) -> None:
        """Credits what the app has not taken."""
        credit, self._credit = self._credit, 0
        if credit:
            self._http.acknowledge_received_data(credit, self.number)

    def _body_taken(self, credit: int) -> None:
        self._http.acknowledge_received_data(credit, self.number)
        self._connection.flush()

    def _write_interim(self, status: int, headers: Fields) -> None:
        self._http.send_headers(self.number, [(b":status", b"%d" % status), *headers])
        self._connection.flush()

    def _write_head(self, status: int, headers: Fields) -> None:
        fields = [(name.lower(), value) for name, value in headers if name.lower() not in _HTTP11_ONLY]
        self._http.send_headers(self.number, [(b":status", b"%d" % status), *fields])
        self._connection.flush()

    async def _write_data(self, data: bytes) -> None:
        sent = 0
        while sent < len(data):
            await self._changes.wait_until(lambda: self.lost or (self._connection.writable and self._window > 0))
            if self.lost:
                raise ClientGone("the client left before it had read what was sent")
            piece = data[sent : sent + min(self._window, self._http.max_outbound_frame_size)]
            sent += len(piece)
            self._http.send_data(self.number, piece)
            self._connection.flush()

    @property
    def _window(self) -> int:
        return self._http.local_flow_control_window(self.number)

    def _write_end(self, trailers: Fields) -> None:
        if trailers:
            self._http.send_headers(self.number, trailers, end_stream=True)
        else:
            self._http.end_stream(self.number)
        self.give_back()
        if self.request_ended:
            self._connection.left(self)
            self._connection.flush()
        else:
            # RFC 9113 8.1: a response that is whole stands, whatever of its request was not wanted.
            self._reset(ErrorCodes.NO_ERROR)


def _head(fields: Fields) -> RequestHead:
    """Returns a request's head as apps know it from HTTP/1.1: with `host`, and one `cookie` (RFC 9113 8.2.3)."""
    pseudo = {name: value for name, value in fields if name.startswith(b":")}
    host = pseudo.get(b":authority", dict(fields).get(b"host", b""))
    headers = [(b"host", host)]
    for name, value in fields:
        if not name.startswith(b":") and name not in (b"host", b"cookie"):
            headers.append((bytes(name), bytes(value)))  # which may be of a class of hpack's
    if cookies := [value for name, value in fields if name == b"cookie"]:
        headers.append((b"cookie", b"; ".join(cookies)))
    return RequestHead(pseudo[b":method"], pseudo.get(b":path", pseudo.get(b":authority", b"")), "2", headers)
