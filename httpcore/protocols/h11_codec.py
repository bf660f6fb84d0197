"""The HTTP/1.1 codec on h11.

h11 parses every head and every chunk. It is not asked to do what needs no parser: to write a request that `Request` has
validated already, and to count the bytes of a body whose length is known or that ends with the connection. Each call
into its state machine costs more than all the rest of an exchange, and those bodies are its bulk.
"""

from __future__ import annotations

import functools
from enum import IntEnum
from typing import cast

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
    keep_alive_timeout,
)
from httpcore.request import Request

__all__ = ["H11Codec"]


# Framing that a chunk may cost before it counts as overhead: its size line and the line ends around it come to less
# than 16 bytes, and an extension as long as twice the content is odd but harmless.
_FREE_PER_CHUNK = 16
_FREE_PER_BYTE = 2


class _Mode(IntEnum):
    """How the response's bytes are to be read (RFC 9112 6.3)."""

    HEAD = 0  # by h11
    CHUNKED = 1  # by h11
    LENGTH = 2
    UNTIL_CLOSE = 3
    DONE = 4


@functools.lru_cache(maxsize=256)
def _stand_in(method: bytes, upgrades: bool) -> h11.Request:
    """Returns a request that has all that matters for how h11 reads the answer: the method, and whether it upgrades."""
    headers = [(b"Host", b""), (b"Connection", b"upgrade"), (b"Upgrade", b"x")] if upgrades else [(b"Host", b"")]
    return h11.Request(method=method, target=b"/", headers=headers)


class H11Codec:
    """One exchange on an `h11.Connection`, which is made for it: cheaper than to start a used one anew."""

    __slots__ = (
        "_chunked_body",
        "_connection",
        "_head_request",
        "_head_size",
        "_leftover",
        "_mode",
        "_overhead",
        "_persists",
        "_remaining",
        "_to_send",
        "keep_alive_hint",
    )

    def __init__(self) -> None:
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_SIZE)
        # Of the request; set by send_head.
        self._chunked_body = False
        self._to_send: int | None = None  # bytes of content that must still be sent; None once all were
        # Of the response.
        self._mode = _Mode.HEAD
        self._head_request = False
        self._head_size = 0  # bytes received before the final response's head was complete
        self._remaining = 0  # bytes of content that must still come, for LENGTH
        self._overhead = 0  # bytes, for CHUNKED
        self._leftover = False  # whether bytes came behind the response
        self.keep_alive_hint: float | None = None
        self._persists = True  # whether neither side wants to close (RFC 9112 9.3)

    # Sending.

    def send_head(self, request: Request, *, without_body: bool = False) -> bytes:
        if request.protocol is not None:
            raise LocalProtocolError("extended CONNECT needs HTTP/2 (RFC 8441), and the server speaks HTTP/1.1")
        fields = [b"%b: %b\r\n" % pair for pair in request.headers]
        if without_body:
            # Without content there is nothing to be continued with either (RFC 9110 10.1.1).
            fields = [field for field in fields if not field.lower().startswith((b"transfer-encoding:", b"expect:"))]
        self._chunked_body = request.chunked and not without_body
        self._to_send = request.content_length or 0
        self._head_request = request.method == b"HEAD"
        self._persists = not request.closes
        self._connection.send(_stand_in(request.method, request.upgrades))
        head = b"%b %b HTTP/1.1\r\n%b\r\n" % (request.method, request.target, b"".join(fields))
        # What the request was made from was checked then; but its headers are a list, which checks nothing.
        if head.count(b"\n") != len(fields) + 2 or head.count(b"\r") != len(fields) + 2 or b"\0" in head:
            raise LocalProtocolError("a header that was put into the request's list has a line end or NUL in it")
        return head

    def send_data(self, data: bytes | bytearray | memoryview) -> list[bytes | bytearray | memoryview]:
        size = len(data)
        if self._chunked_body:
            return [b"%x\r\n" % size, data, b"\r\n"]
        if self._to_send is None or size > self._to_send:
            raise LocalProtocolError("the body is longer than its content-length")
        self._to_send -= size
        return [data]

    def send_eof(self, trailers: Headers) -> bytes:
        if self._to_send:
            raise LocalProtocolError(f"the body is {self._to_send} bytes shorter than its content-length")
        if trailers and not self._chunked_body:
            raise LocalProtocolError("trailers need a chunked body")
        self._to_send = None
        return b"0\r\n%b\r\n" % b"".join([b"%b: %b\r\n" % pair for pair in trailers]) if self._chunked_body else b""

    # Receiving.

    def receive(self, data: bytes) -> list[CodecEvent]:
        mode = self._mode
        if mode in (_Mode.LENGTH, _Mode.UNTIL_CLOSE):
            return self._receive_body(data)
        events: list[CodecEvent] = []
        try:
            self._connection.receive_data(data)
            if mode == _Mode.HEAD:
                self._head_size += len(data)
                self._parse_heads(events)
            if self._mode == _Mode.CHUNKED:
                size = len(data) if mode == _Mode.CHUNKED else len(self._connection.trailing_data[0])
                self._parse_chunks(events, size)
        except h11.RemoteProtocolError as exc:
            events.append(_broken(exc, self._head_size) if data else _cut_off(self._head_size, exc))
        except RemoteProtocolError as exc:
            events.append(exc)
        return events

    @property
    def reusable(self) -> bool:
        return self._mode == _Mode.DONE and self._to_send is None and self._persists and not self._leftover

    def _parse_heads(self, events: list[CodecEvent]) -> None:
        """Appends the interim responses and the final one's head; and its body, unless it is chunked."""
        connection = self._connection
        while True:
            event = connection.next_event()
            kind = type(event)
            if kind is not h11.Response and kind is not h11.InformationalResponse:
                return  # NEED_DATA; nothing else can come before the final response
            event = cast("h11.Response | h11.InformationalResponse", event)  # isinstance costs: events are ABCs
            self._check_head(event)
            raw = event.headers.raw_items()
            headers = Headers([(name.lower(), value) for name, value in raw])
            if event.status_code < 200 and event.status_code != 101:
                events.append(Interim(event.status_code, headers))
                continue
            switched = connection.their_state is h11.SWITCHED_PROTOCOL
            if switched and self._to_send is not None:
                raise RemoteProtocolError("the server switched protocols before the request had ended")
            events.append(ResponseHead(event.status_code, event.reason, b"HTTP/" + event.http_version, headers, raw))
            if switched:
                self._mode = _Mode.DONE
                events.append(Switched(connection.trailing_data[0]))
                return
            self._choose_mode(event.status_code, event.http_version, headers)
            if self._mode != _Mode.CHUNKED:
                rest = connection.trailing_data[0]
                if self._mode == _Mode.DONE:
                    events += self._end(len(rest))
                elif rest or (self._mode == _Mode.LENGTH and not self._remaining):
                    events += self._receive_body(rest)
            return

    def _choose_mode(self, status_code: int, http_version: bytes, headers: Headers) -> None:
        # RFC 9112 6.3. That the fields are well-formed, and the only transfer coding is chunked, h11 has seen to.
        length: int | None = None
        chunked = False
        for name, value in headers:
            if name == b"content-length":
                length = int(value)
            elif name == b"transfer-encoding":
                chunked = True
            elif name == b"connection" and b"close" in value.lower().replace(b" ", b"").replace(b"\t", b"").split(b","):
                self._persists = False
            elif name == b"keep-alive":
                self.keep_alive_hint = keep_alive_timeout(value)
        if http_version != b"1.1" and http_version < b"1.1":
            self._persists = False
        if chunked and length is not None:
            self._persists = False  # somebody on the way may have read it otherwise (RFC 9112 6.3, third rule)
        if self._head_request or status_code in (204, 304):
            self._mode = _Mode.DONE
        elif chunked:
            self._mode = _Mode.CHUNKED
        elif length is not None:
            self._mode = _Mode.LENGTH
            self._remaining = length
        else:
            self._mode = _Mode.UNTIL_CLOSE
            self._persists = False

    def _receive_body(self, data: bytes) -> list[CodecEvent]:
        size = len(data)
        if self._mode == _Mode.UNTIL_CLOSE:
            return [data] if data else self._end(0)
        remaining = self._remaining
        if size < remaining:
            self._remaining = remaining - size
            return [data] if data else [_cut_off(1, None)]
        events: list[CodecEvent] = [data if size == remaining else data[:remaining]] if remaining else []
        events += self._end(size - remaining)
        return events

    def _parse_chunks(self, events: list[CodecEvent], size: int) -> None:
        """Appends the chunks that h11 finds, of which `size` bytes were received just now, and their end."""
        connection = self._connection
        content = chunks = 0
        while True:
            event = connection.next_event()
            kind = type(event)
            if kind is h11.Data:
                event = cast(h11.Data, event)
                part = bytes(event.data)
                content += len(part)
                chunks += event.chunk_start
                events.append(part)
            elif kind is h11.EndOfMessage:
                event = cast(h11.EndOfMessage, event)
                trailers = Headers([(name.lower(), value) for name, value in event.headers.raw_items()])
                if len(trailers) > MAX_FIELDS:
                    raise RemoteProtocolError(f"the trailers are over {MAX_FIELDS} fields")
                leftover = len(connection.trailing_data[0])
                size -= leftover
                end = self._end(leftover, trailers)
                break
            else:  # NEED_DATA
                end = []
                break
        # One byte of content in each chunk, or an extension behind each size, keeps a reader busy with nothing.
        overhead = size - content - chunks * _FREE_PER_CHUNK - content * _FREE_PER_BYTE
        self._overhead = max(self._overhead + overhead, 0)
        if self._overhead > MAX_CHUNK_OVERHEAD:
            raise RemoteProtocolError(
                f"chunk framing and trailers came to over {MAX_CHUNK_OVERHEAD} bytes more than the content needs"
            )
        events += end

    def _end(self, leftover: int, trailers: Headers | None = None) -> list[CodecEvent]:
        self._mode = _Mode.DONE
        self._leftover = leftover > 0
        return [
            EndOfMessage(Headers() if trailers is None else trailers)
        ]  # a list of its own: whoever gets it may change it

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


def _broken(exc: h11.RemoteProtocolError, head_size: int) -> RemoteProtocolError:
    if exc.error_status_hint == 431:
        text = f"a head, a chunk's size line or trailers are over {MAX_HEAD_SIZE} bytes"
    else:
        text = quote_peer_text(str(exc))  # some of h11's messages quote the peer
    error = RemoteProtocolError(f"the server broke the rules of HTTP/1.1: {text}")
    error.__cause__ = exc
    return error


def _cut_off(received: int, cause: Exception | None) -> RemoteProtocolError:
    what = "in the middle of its response" if received else "without sending a response"
    error = RemoteProtocolError(f"the server closed the connection {what}")
    error.__cause__ = cause
    return error
