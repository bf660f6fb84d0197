"""ChunkReader: the chunks that nearly all servers send, read without a parser (RFC 9112 7.1)."""

from __future__ import annotations

import re

from httpcore.exceptions import RemoteProtocolError
from httpcore.protocols.codec_events import CodecEvent

__all__ = ["ChunkReader"]

# The line before a chunk: without blanks or extensions, and so short that framing is never more than what each chunk
# has free. It is a part of what any parser must accept.
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
_SIZE_LINE_BEGUN = re.compile(rb"(?:[0-9A-Fa-f]{1,8}\r?)?")


class ChunkReader:
    """Reads a chunked body up to its end, or to what is not of the common form, which is for a parser to judge.

    Attributes:
        ended: whether the body ended, without trailers.
    """

    __slots__ = ("_held", "_remaining", "ended")

    def __init__(self) -> None:
        self._remaining = -1  # bytes of content of the current chunk that must still come; -1 where a size must
        self._held = b""  # what came of a size line, or of the line end behind the content
        self.ended = False

    def feed(self, data: bytes, events: list[CodecEvent]) -> bytes | None:
        """Appends the content in `data`.

        Returns:
            `None` as long as there may be more. What came behind the body, if that has `ended`. Or else what the
            parser is to begin with: a size line, and all that came behind it.

        Raises:
            RemoteProtocolError: a chunk is longer than its size says.
        """
        if self._held:
            data = self._held + data
            self._held = b""
        remaining = self._remaining
        start = 0
        while True:
            content = start
            if remaining < 0:
                match = _SIZE_LINE.match(data, start)
                if match is None or not (remaining := int(match[1], 16)):
                    return self._between(data, start, match)
                content = match.end()
            end = content + remaining
            if data[end : end + 2] != b"\r\n":
                break
            if remaining:  # not all of it came before
                events.append(data[content:end])
            remaining = -1
            start = end + 2
            if start == len(data):
                self._remaining = -1
                return None
        if content < end and content < len(data):
            piece = data[content:end]
            events.append(piece)
            remaining -= len(piece)
        self._remaining = remaining
        self._held = data[end : end + 2]
        if self._held not in (b"", b"\r"):
            raise RemoteProtocolError("the server broke the rules of HTTP/1.1: a chunk is longer than its size says")
        return None

    def _between(self, data: bytes, start: int, match: re.Match[bytes] | None) -> bytes | None:
        """Takes what begins behind a chunk's end and is no other chunk: `match` is the size line, which is zero."""
        self._remaining = -1
        rest = data[start:] if start else data
        if match is None:
            begun = len(rest) < 10 and _SIZE_LINE_BEGUN.fullmatch(rest) is not None
        else:
            line_end = data[match.end() : match.end() + 2]
            if line_end == b"\r\n":
                self.ended = True
                return data[match.end() + 2 :]
            begun = line_end in (b"", b"\r")
        if not begun:
            return rest
        self._held = rest
        return None
