"""The HTTP/1.1 codec on httptools, which wraps llhttp: what `Codec` leaves to a parser, many times faster than h11.

llhttp has no last word. What it refuses is h11's to judge, because it refuses more than it must: lines that end with LF
alone, folded fields, a length that is given twice, chunks beside a length, HTTP/1.2. And what it accepts counts only
for a head that is plain in all that it leaves open, and it leaves much open: transfer codings, the status, the bytes of
a reason phrase, limits, what comes before a head and behind it. So both codecs accept the same, and say the same.

It is fed one whole head at a time and nothing else: that a response to HEAD has no body, or that a body lasts to the
end of the connection, cannot be told to it; and from a chunked body it goes on to the next message, without a word on
where that begins. Chunks of the common form need no parser (`ChunkReader`), the others are h11's.
"""

from __future__ import annotations

import re

import httptools

from httpcore.protocols.codec import MAX_HEAD_SIZE, MAX_LENGTH_DIGITS, Mode
from httpcore.protocols.codec_events import CodecEvent
from httpcore.protocols.h11_codec import H11Codec

__all__ = ["LLHTTPCodec"]

if not hasattr(httptools.HttpResponseParser, "set_dangerous_leniencies"):
    raise ImportError("httptools before 0.6.4 has an llhttp that is lenient where nobody asked for it")

_HEAD_END = re.compile(rb"\n\r?\n")  # as h11 has it
_START = b"HTTP/1."

# NUL and the two control characters that are blanks to h11: it refuses them, and llhttp does not.
_BAD_REASON = re.compile(rb"[\0\x0b\x0c]")


class _Head:
    """What llhttp finds in a head."""

    __slots__ = ("complete", "fields", "on_status", "reason")

    def __init__(self) -> None:
        self.complete = False
        self.fields: list[tuple[bytes, bytes]] = []
        self.reason: list[bytes] = []
        self.on_status = self.reason.append

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field, with what blanks are behind its value."""
        self.fields.append((name, value.rstrip(b"\t ")))

    def on_headers_complete(self) -> None:
        """The head ended."""
        self.complete = True

    def is_plain(self, status_code: int) -> bool:
        """Whether it breaks no rule that llhttp leaves open, and h11 would make no change to it."""
        if not self.complete or status_code < 100 or status_code == 101 or _BAD_REASON.search(b"".join(self.reason)):
            return False
        framing = b""
        for name, value in self.fields:
            lowered = name.lower()
            if lowered == b"content-length":
                if framing or len(value) > MAX_LENGTH_DIGITS:
                    return False
                framing = value
            elif lowered == b"transfer-encoding":
                if framing or value != b"chunked":
                    return False
                framing = value
        return True


class LLHTTPCodec(H11Codec):
    """One exchange, whose heads llhttp reads. From the first one on that it refuses, h11 does."""

    __slots__ = ("_pending", "_searched")

    def __init__(self) -> None:
        super().__init__()
        self._pending: bytes | bytearray = b""  # what is not parsed yet
        self._searched = 0  # bytes of it in which no head ends

    def _parse_heads(self, data: bytes, events: list[CodecEvent]) -> None:
        if self._connection is not None:
            super()._parse_heads(data, events)
            return
        if not self._pending:
            self._pending = data
        elif isinstance(self._pending, bytes):
            self._pending = bytearray(self._pending)  # once, so that many small pieces cost no more than their bytes
            self._pending += data
        else:
            self._pending += data
        while self._mode == Mode.HEAD:
            pending = self._pending
            end = _HEAD_END.search(pending, self._searched)
            if end is None:
                if len(pending) <= MAX_HEAD_SIZE and _START.startswith(pending[: len(_START)]):
                    self._searched = max(len(pending) - 2, 0)
                    return
            elif self._parse_head(bytes(pending[: end.end()]), events):
                continue
            self._pending = b""
            super()._parse_heads(bytes(pending), events)
            return

    def _parse_head(self, head: bytes, events: list[CodecEvent]) -> bool:
        """Hands over a head, if llhttp takes it; returns False if not."""
        if not head.startswith(_START):
            return False  # it would skip empty lines
        found = _Head()
        parser = httptools.HttpResponseParser(found)
        try:
            parser.feed_data(head)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return False
        status_code = parser.get_status_code()
        if not found.is_plain(status_code):
            return False
        self._pending = self._pending[len(head) :]
        self._searched = 0
        version = parser.get_http_version().encode()
        self._head_parsed(status_code, b"".join(found.reason), version, found.fields, events)
        return True

    def _rest(self) -> bytes:
        return super()._rest() if self._connection is not None else bytes(self._pending)
