"""What an HTTP/1.1 codec is: it turns one request into bytes, and bytes into one response, and does no I/O.

A codec lives for one exchange. It knows the wire's rules and limits; `HTTP11Protocol` knows everything else. `Codec`
holds what is the same whoever parses: writing a request that `Request` has validated already, the framing of the
response (RFC 9112 6.3), counting the bytes of a body whose length is known or that ends with the connection, the head
that nearly all responses have, and nearly all chunks. The rest needs a parser, which a subclass brings: h11, or llhttp.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from enum import IntEnum

from httpcore.exceptions import LocalProtocolError, RemoteProtocolError
from httpcore.handlers import ResponseHead
from httpcore.headers import Headers
from httpcore.protocols.chunks import ChunkReader
from httpcore.protocols.codec_events import CodecEvent, EndOfMessage, Interim, Switched
from httpcore.request import Request

__all__ = [
    "MAX_CHUNK_OVERHEAD",
    "MAX_FIELDS",
    "MAX_HEAD_SIZE",
    "MAX_LENGTH_DIGITS",
    "Codec",
    "Mode",
    "cut_off",
]

MAX_HEAD_SIZE = 64 * 1024  # bytes of all heads of one exchange together, interim ones included
MAX_FIELDS = 256  # field lines in a head, or in trailers: no real server comes near
MAX_LENGTH_DIGITS = 20  # of a content-length: 2**64 has as many
MAX_CHUNK_OVERHEAD = 16 * 1024  # bytes of chunk framing, extensions and trailers beyond what the content needs

# Framing that a chunk may cost before it counts as overhead: its size line and the line ends around it come to less
# than 16 bytes, and an extension as long as twice the content is odd but harmless.
_FREE_PER_CHUNK = 16
_FREE_PER_BYTE = 2

_KEEP_ALIVE_TIMEOUT = re.compile(rb"(?:^|[,; ])timeout=([0-9]{1,6})", re.IGNORECASE | re.ASCII)

# A whole head of a final response, of the shape that nearly all have (RFC 9112 4 and 5): every line ends with CRLF,
# names are tokens with their colon behind them, values are visible ASCII, blanks and tabs, and end with none of these
# two. It is a part of what any parser must accept; what it does not match is not wrong, but for the parser to judge.
# Possessive, so it takes linear time.
_COMMON_HEAD = re.compile(
    rb"HTTP/1\.1 ([2-9][0-9][0-9]) ([\t\x20-\x7e]*+)\r\n"
    rb"((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++:(?:[\t\x20-\x7e]*+(?<![\t ])|[\t ]*+)\r\n)*+)\r\n"
)
_FIELD = re.compile(rb"([^:]++):[\t ]*+([^\r]*+)\r\n")


class Mode(IntEnum):
    """How the response's bytes are to be read (RFC 9112 6.3)."""

    HEAD = 0  # by the parser, but for the common head
    CHUNKED = 1
    ODD_CHUNKS = 2  # by the parser
    LENGTH = 3
    UNTIL_CLOSE = 4
    DONE = 5


_COUNTED = (Mode.LENGTH, Mode.UNTIL_CLOSE)
_WITHOUT_CONTENT = (204, 304)
_OF_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection", b"keep-alive"})


class Codec(ABC):
    """One exchange on the wire. Methods that send raise `LocalProtocolError`; `receive` never raises.

    Attributes:
        keep_alive_hint: seconds for which the server says that it keeps an idle connection; `None` if it does not say.
    """

    __slots__ = (
        "_chunked_body",
        "_chunks",
        "_head_size",
        "_leftover",
        "_method",
        "_mode",
        "_overhead",
        "_persists",
        "_remaining",
        "_to_send",
        "_upgrades",
        "keep_alive_hint",
    )

    def __init__(self) -> None:
        # Of the request; set by send_head.
        self._method = b""
        self._upgrades = False
        self._chunked_body = False
        self._to_send: int | None = None  # bytes of content that must still be sent; None once all were
        # Of the response.
        self._mode = Mode.HEAD
        self._head_size = 0  # bytes received before the final response's head was complete
        self._remaining = 0  # bytes of content that must still come, for LENGTH
        self._chunks: ChunkReader  # for CHUNKED
        self._overhead = 0  # bytes, for ODD_CHUNKS
        self._leftover = 0  # bytes that came behind the response
        self.keep_alive_hint: float | None = None
        self._persists = True  # whether neither side wants to close (RFC 9112 9.3)

    # Sending.

    def send_head(self, request: Request, *, without_body: bool = False) -> bytes:
        """Returns the request line and header section; `without_body` leaves `transfer-encoding` and `expect` out."""
        if request.protocol is not None:
            raise LocalProtocolError("extended CONNECT needs HTTP/2 (RFC 8441), and the server speaks HTTP/1.1")
        headers: list[tuple[bytes, bytes]] = request.headers
        if without_body:
            # Without content there is nothing to be continued with either (RFC 9110 10.1.1).
            headers = [pair for pair in headers if pair[0].lower() not in (b"transfer-encoding", b"expect")]
        self._chunked_body = request.chunked and not without_body
        self._to_send = request.content_length or 0
        self._method = request.method
        self._upgrades = b"upgrade" in request.names
        self._persists = not request.closes
        fields = b"".join([b"\r\n%b: %b" % pair for pair in headers])
        head = b"%b %b HTTP/1.1%b\r\n\r\n" % (request.method, request.target, fields)
        # What the request was made from was checked then; but its headers are a list, which checks nothing.
        lines = len(headers) + 2
        if head.count(b"\n") != lines or head.count(b"\r") != lines or b"\0" in head:
            raise LocalProtocolError("a header that was put into the request's list has a line end or NUL in it")
        return head

    def send_data(self, data: bytes | bytearray | memoryview) -> list[bytes | bytearray | memoryview]:
        """Returns a piece of the body, framed."""
        size = len(data)
        if self._chunked_body:
            return [b"%x\r\n" % size, data, b"\r\n"]
        if self._to_send is None or size > self._to_send:
            raise LocalProtocolError("the body is longer than its content-length")
        self._to_send -= size
        return [data]

    def count_data(self, size: int) -> None:
        """So much of a body whose length is known, and no more than is left of it, was sent without `send_data`."""
        assert self._to_send is not None and size <= self._to_send
        self._to_send -= size

    def send_eof(self, trailers: Headers) -> bytes:
        """Returns what ends the body: b"" where nothing needs to."""
        if self._to_send:
            raise LocalProtocolError(f"the body is {self._to_send} bytes shorter than its content-length")
        if trailers and not self._chunked_body:
            raise LocalProtocolError("trailers need a chunked body")
        self._to_send = None
        return b"0\r\n%b\r\n" % b"".join([b"%b: %b\r\n" % pair for pair in trailers]) if self._chunked_body else b""

    # Receiving.

    def receive(self, data: bytes) -> list[CodecEvent]:
        """Returns what `data` brought; b"" is the end of the connection, which ends a message or is an error."""
        mode = self._mode
        events: list[CodecEvent] = []
        if mode in _COUNTED:
            self._receive_body(data, events)
            return events
        if mode == Mode.HEAD and not self._head_size and self._receive_common(data, events):
            return events
        try:
            if not data:
                raise cut_off(self._head_size or mode)
            if mode == Mode.CHUNKED:
                rest = self._chunks.feed(data, events)
                if rest is not None:
                    self._receive_odd(rest, events)
            elif mode == Mode.HEAD:
                self._head_size += len(data)
                self._parse_heads(data, events)
            else:
                self._receive_odd(data, events)
        except RemoteProtocolError as exc:
            events.append(exc)
        return events

    @property
    def reusable(self) -> bool:
        """Whether, both messages being complete, the connection persists (RFC 9112 9.3) and no byte is left over."""
        return self._mode == Mode.DONE and self._to_send is None and self._persists and not self._leftover

    # What a parser does.

    @abstractmethod
    def _parse_heads(self, data: bytes, events: list[CodecEvent]) -> None:
        """Hands each head that `data` completes to `_head_parsed`, until that has changed the mode.

        Raises:
            RemoteProtocolError: it is not well-formed.
        """

    @abstractmethod
    def _parse_chunks(self, data: bytes, events: list[CodecEvent]) -> tuple[int, int, EndOfMessage | None]:
        """Appends the content that `data` brought. The first time that begins with the size of a chunk.

        Returns:
            How many bytes of content these were, how many chunks began in it, and what `_end` returns once the last
            chunk and the trailers were there.

        Raises:
            RemoteProtocolError: they are not well-formed.
        """

    @abstractmethod
    def _rest(self) -> bytes:
        """Returns what came behind the head that `_parse_heads` hands over."""

    # What is the same for all of them.

    def _receive_common(self, data: bytes, events: list[CodecEvent]) -> bool:
        """Appends what `data` brought if it begins with a common head; if not, changes nothing and returns False."""
        match = _COMMON_HEAD.match(data)
        if match is None or match.end() > MAX_HEAD_SIZE or self._method == b"CONNECT":
            return False
        status, reason, lines = match.groups()
        raw = _FIELD.findall(lines)
        headers = Headers([(name.lower(), value) for name, value in raw])
        length: int | None = None
        chunked = False
        for name, value in headers:
            if name in _OF_FRAMING:
                if name == b"content-length":
                    if length is not None or chunked or not value.isdigit() or len(value) > MAX_LENGTH_DIGITS:
                        return False
                    length = int(value)
                elif name == b"transfer-encoding":
                    if length is not None or chunked or value != b"chunked":
                        return False
                    chunked = True
                elif value != b"keep-alive":
                    self._look_at_persistence(name, value)
        if len(raw) > MAX_FIELDS:
            return False
        status_code = int(status)
        events.append(ResponseHead(status_code, reason, b"HTTP/1.1", headers, raw))
        rest = data[match.end() :]
        if length == len(rest) and rest and status_code not in _WITHOUT_CONTENT and self._method != b"HEAD":
            events.append(rest)  # all of it is there: most often it is
            events.append(self._end(0))
            return True
        self._choose_mode(status_code, b"1.1", length, chunked=chunked)
        try:
            self._receive_rest(rest, events)
        except RemoteProtocolError as exc:
            events.append(exc)
        return True

    def _head_parsed(
        self,
        status_code: int,
        reason: bytes,
        http_version: bytes,
        raw: list[tuple[bytes, bytes]],
        events: list[CodecEvent],
    ) -> None:
        """Appends a head; and, if it is the final one's, what of the body came with it.

        Args:
            status_code: 100 to 999.
            reason: the reason phrase.
            http_version: such as b"1.1".
            raw: the fields. Those that say how the message is framed are valid, and given once each.
            events: where to append.

        Raises:
            RemoteProtocolError: it breaks a rule or is over a limit, or the body does.
        """
        size = self._head_size
        if size > MAX_HEAD_SIZE:  # what came behind the head in the same piece is not part of it
            size -= len(self._rest())
        if not http_version.startswith(b"1."):  # RFC 9112 2.3
            raise RemoteProtocolError(f"the server answered with HTTP/{http_version.decode()}")
        if size > MAX_HEAD_SIZE or len(raw) > MAX_FIELDS:
            limits = f"{MAX_HEAD_SIZE} bytes or {MAX_FIELDS} fields"
            raise RemoteProtocolError(f"the response's head, interim responses included, is over {limits}")
        headers = Headers([(name.lower(), value) for name, value in raw])
        if status_code < 200 and status_code != 101:
            events.append(Interim(status_code, headers))
            return
        switched = status_code == 101 or (self._method == b"CONNECT" and status_code < 300)
        if switched and self._to_send is not None:
            raise RemoteProtocolError("the server switched protocols before the request had ended")
        events.append(ResponseHead(status_code, reason, b"HTTP/" + http_version, headers, raw))
        if switched:
            self._mode = Mode.DONE
            events.append(Switched(self._rest()))
            return
        length: int | None = None
        chunked = False
        for name, value in headers:
            if name == b"content-length":
                length = int(value)
            elif name == b"transfer-encoding":
                chunked = True
            elif name in _OF_FRAMING:
                self._look_at_persistence(name, value)
        self._choose_mode(status_code, http_version, length, chunked=chunked)
        self._receive_rest(self._rest(), events)

    def _look_at_persistence(self, name: bytes, value: bytes) -> None:
        if name == b"connection":
            if b"close" in [token.strip(b" \t") for token in value.lower().split(b",")]:
                self._persists = False
        else:
            match = _KEEP_ALIVE_TIMEOUT.search(value)
            self.keep_alive_hint = None if match is None else float(match[1])

    def _choose_mode(self, status_code: int, http_version: bytes, length: int | None, *, chunked: bool) -> None:
        # RFC 9112 6.3. That the fields are well-formed, and the only transfer coding is chunked, was seen to.
        if http_version < b"1.1":
            self._persists = False
        if chunked and length is not None:
            self._persists = False  # somebody on the way may have read it otherwise (RFC 9112 6.3, third rule)
        if self._method == b"HEAD" or status_code in _WITHOUT_CONTENT:
            self._mode = Mode.DONE
        elif chunked:
            self._mode = Mode.CHUNKED
            self._chunks = ChunkReader()
        elif length is not None:
            self._mode = Mode.LENGTH
            self._remaining = length
        else:
            self._mode = Mode.UNTIL_CLOSE
            self._persists = False

    def _receive_rest(self, rest: bytes, events: list[CodecEvent]) -> None:
        """Appends what came behind the final head in the same piece."""
        if self._mode == Mode.DONE:
            events.append(self._end(len(rest)))
        elif self._mode == Mode.CHUNKED:
            odd = self._chunks.feed(rest, events)
            if odd is not None:
                self._receive_odd(odd, events)
        elif rest or (self._mode == Mode.LENGTH and not self._remaining):
            self._receive_body(rest, events)

    def _receive_body(self, data: bytes, events: list[CodecEvent]) -> None:
        size = len(data)
        remaining = self._remaining
        if self._mode == Mode.UNTIL_CLOSE:
            events.append(data or self._end(0))
        elif size < remaining:
            self._remaining = remaining - size
            events.append(data or cut_off(1))
        else:
            if remaining:
                events.append(data if size == remaining else data[:remaining])
            events.append(self._end(size - remaining))

    def _receive_odd(self, data: bytes, events: list[CodecEvent]) -> None:
        """Appends what is behind the chunks of the common form: nothing, or others, or trailers."""
        if self._chunks.ended:
            events.append(self._end(len(data)))
            return
        self._mode = Mode.ODD_CHUNKS
        content, chunks, end = self._parse_chunks(data, events)
        # One byte of content in each chunk, or an extension behind each size, keeps a reader busy with nothing.
        needed = content + chunks * _FREE_PER_CHUNK + content * _FREE_PER_BYTE
        self._overhead = max(self._overhead + len(data) - self._leftover - needed, 0)
        if self._overhead > MAX_CHUNK_OVERHEAD:
            limit = f"{MAX_CHUNK_OVERHEAD} bytes more than the content needs"
            raise RemoteProtocolError(f"chunk framing and trailers came to over {limit}")
        if end is not None:
            events.append(end)

    def _end(self, leftover: int, trailers: list[tuple[bytes, bytes]] | None = None) -> EndOfMessage:
        """Ends the response, behind which so many bytes came."""
        if trailers is None:
            fields = Headers()  # a list of its own: whoever gets it may change it
        elif len(trailers) > MAX_FIELDS:
            raise RemoteProtocolError(f"the trailers are over {MAX_FIELDS} fields")
        else:
            fields = Headers([(name.lower(), value) for name, value in trailers])
        self._mode = Mode.DONE
        self._leftover = leftover
        return EndOfMessage(fields)


def cut_off(received: int) -> RemoteProtocolError:
    """The error for a connection that ended before its response did, of which so many bytes had come."""
    what = "in the middle of its response" if received else "without sending a response"
    return RemoteProtocolError(f"the server closed the connection {what}")
