"""The HTTP/1.1 codec on h11: the strict one, and the default."""

from __future__ import annotations

import h11

from httpcore.exceptions import LocalProtocolError, RemoteProtocolError, quote_peer_text
from httpcore.handlers import ResponseHead
from httpcore.headers import Headers
from httpcore.protocols.codec import (
    MAX_CHUNK_OVERHEAD,
    MAX_FIELDS,
    MAX_HEAD_SIZE,
    CodecEvent,
    EndOfMessage,
    Interim,
    Switched,
)
from httpcore.request import Request

__all__ = ["H11Codec"]

_END = h11.EndOfMessage()
_END_OF_MESSAGE = EndOfMessage(Headers())

# Framing that a chunk may cost before it counts as overhead: its size line and the line ends around it come to less
# than 16 bytes, and an extension as long as twice the content is odd but harmless.
_FREE_PER_CHUNK = 16
_FREE_PER_BYTE = 2


class H11Codec:
    """One exchange on an `h11.Connection`, which is made for it: cheaper than to start a used one anew."""

    __slots__ = ("_connection", "_head_size", "_in_body", "_overhead")

    def __init__(self) -> None:
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_SIZE)
        self._head_size = 0  # bytes received before the final response's head was complete
        self._in_body = False
        self._overhead = 0

    def send_head(self, request: Request, *, without_body: bool = False) -> bytes:
        headers: list[tuple[bytes, bytes]] = request.headers
        if without_body:
            headers = [pair for pair in headers if pair[0].lower() != b"transfer-encoding"]
        try:
            event = h11.Request(method=request.method, target=request.target, headers=headers)
            return self._connection.send(event)
        except h11.LocalProtocolError as exc:
            raise LocalProtocolError(f"the request cannot be sent: {exc}") from exc

    def send_data(self, data: bytes | bytearray | memoryview) -> list[bytes | bytearray | memoryview]:
        try:
            pieces = self._connection.send_with_data_passthrough(h11.Data(data=data))  # type: ignore[arg-type]  # any buffer
        except h11.LocalProtocolError as exc:
            raise LocalProtocolError(f"the body does not fit its content-length: {exc}") from exc
        return list(pieces or ())

    def send_eof(self, trailers: Headers) -> bytes:
        try:
            return self._connection.send(h11.EndOfMessage(headers=trailers) if trailers else _END)
        except h11.LocalProtocolError as exc:
            raise LocalProtocolError(f"the body cannot be ended here: {exc}") from exc

    def receive(self, data: bytes) -> list[CodecEvent]:
        connection = self._connection
        in_body = self._in_body
        if not in_body:
            self._head_size += len(data)
        connection.receive_data(data)
        events: list[CodecEvent] = []
        content = chunks = 0
        try:
            while True:
                event = connection.next_event()
                if isinstance(event, h11.Data):
                    part = bytes(event.data)
                    content += len(part)
                    chunks += event.chunk_start
                    events.append(part)
                elif isinstance(event, h11.EndOfMessage):
                    events.append(
                        EndOfMessage(_fields(event.headers.raw_items())) if event.headers else _END_OF_MESSAGE
                    )
                    break
                elif isinstance(event, (h11.Response, h11.InformationalResponse)):
                    self._check_head(event)
                    if event.status_code < 200 and event.status_code != 101:
                        events.append(Interim(event.status_code, _fields(event.headers.raw_items())))
                        continue
                    self._in_body = True
                    events.append(_head(event))
                    if connection.their_state is h11.SWITCHED_PROTOCOL:
                        events.append(Switched(connection.trailing_data[0]))
                        break
                else:  # NEED_DATA: PAUSED and ConnectionClosed come only behind EndOfMessage, where we do not look
                    break
            if in_body:
                self._check_overhead(len(data), content, chunks)
        except h11.RemoteProtocolError as exc:
            events.append(self._translate(exc) if data else self._unexpected_eof(exc))
        except RemoteProtocolError as exc:
            events.append(exc)
        return events

    @property
    def reusable(self) -> bool:
        connection = self._connection
        return (
            connection.our_state is h11.DONE and connection.their_state is h11.DONE and not connection.trailing_data[0]
        )

    def _check_head(self, event: h11.Response | h11.InformationalResponse) -> None:
        # What came behind the head in the same piece is not part of it; it is measured only where it matters, as
        # h11 copies it.
        size = self._head_size
        if size > MAX_HEAD_SIZE:
            size -= len(self._connection.trailing_data[0])
        if not event.http_version.startswith(b"1."):  # h11 takes any digits (RFC 9112 2.3)
            raise RemoteProtocolError(f"the server answered with HTTP/{event.http_version.decode()}")
        if size > MAX_HEAD_SIZE or len(event.headers) > MAX_FIELDS:
            limits = f"{MAX_HEAD_SIZE} bytes or {MAX_FIELDS} fields"
            raise RemoteProtocolError(f"the response's head, interim responses included, is over {limits}")

    def _check_overhead(self, size: int, content: int, chunks: int) -> None:
        # One byte of content in each chunk, or an extension behind each size, keeps a reader busy with nothing.
        overhead = size - content - chunks * _FREE_PER_CHUNK - content * _FREE_PER_BYTE
        self._overhead = max(self._overhead + overhead, 0)
        if self._overhead > MAX_CHUNK_OVERHEAD:
            raise RemoteProtocolError(f"the chunks cost over {MAX_CHUNK_OVERHEAD} bytes more framing than they need")

    def _translate(self, exc: h11.RemoteProtocolError) -> RemoteProtocolError:
        if exc.error_status_hint == 431:
            text = f"a head, a chunk's size line or trailers are over {MAX_HEAD_SIZE} bytes"
        else:
            text = quote_peer_text(str(exc))  # some of h11's messages quote the peer
        error = RemoteProtocolError(f"the server broke the rules of HTTP/1.1: {text}")
        error.__cause__ = exc
        return error

    def _unexpected_eof(self, exc: h11.RemoteProtocolError) -> RemoteProtocolError:
        what = "in the middle of its response" if self._head_size else "without sending a response"
        error = RemoteProtocolError(f"the server closed the connection {what}")
        error.__cause__ = exc
        return error


def _fields(raw: list[tuple[bytes, bytes]]) -> Headers:
    return Headers([(name.lower(), value) for name, value in raw])


def _head(event: h11.Response | h11.InformationalResponse) -> ResponseHead:
    raw = event.headers.raw_items()
    return ResponseHead(event.status_code, event.reason, b"HTTP/" + event.http_version, _fields(raw), raw)
