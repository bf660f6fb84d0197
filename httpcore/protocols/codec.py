"""What an HTTP/1.1 codec is: it turns one request into bytes, and bytes into one response, and does no I/O.

A codec lives for one exchange. It knows the wire's rules and limits; `HTTP11Protocol` knows everything else.
"""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol, TypeAlias

from httpcore.exceptions import RemoteProtocolError
from httpcore.handlers import ResponseHead
from httpcore.headers import Headers
from httpcore.request import Request

__all__ = [
    "MAX_CHUNK_OVERHEAD",
    "MAX_FIELDS",
    "MAX_HEAD_SIZE",
    "Codec",
    "CodecEvent",
    "EndOfMessage",
    "Interim",
    "Switched",
    "keep_alive_timeout",
]

MAX_HEAD_SIZE = 64 * 1024  # bytes of all heads of one exchange together, interim ones included
MAX_FIELDS = 256  # field lines in a head, or in trailers: no real server comes near
MAX_CHUNK_OVERHEAD = 16 * 1024  # bytes of chunk framing, extensions and trailers beyond what the content needs

_KEEP_ALIVE_TIMEOUT = re.compile(rb"(?:^|[,; ])timeout=([0-9]{1,6})", re.IGNORECASE | re.ASCII)


class Interim(NamedTuple):
    """An interim (1xx) response."""

    status_code: int
    headers: Headers


class EndOfMessage(NamedTuple):
    """The response ended as it should."""

    trailers: Headers


class Switched(NamedTuple):
    """The connection is no longer HTTP (101, or 2xx to CONNECT); `leftover` came behind the head."""

    leftover: bytes


CodecEvent: TypeAlias = bytes | ResponseHead | EndOfMessage | Interim | Switched | RemoteProtocolError
"""A piece of content, or what happened. An error is always the last."""


class Codec(Protocol):
    """One exchange on the wire. Methods that send raise `LocalProtocolError`, those that receive never raise.

    Attributes:
        keep_alive_hint: seconds for which the server says that it keeps an idle connection; `None` if it does not say.
    """

    keep_alive_hint: float | None

    def send_head(self, request: Request, *, without_body: bool = False) -> bytes:
        """Returns the request line and header section; `without_body` leaves `transfer-encoding` and `expect` out."""

    def send_data(self, data: bytes | bytearray | memoryview) -> list[bytes | bytearray | memoryview]:
        """Returns a piece of the body, framed."""

    def send_eof(self, trailers: Headers) -> bytes:
        """Returns what ends the body: b"" where nothing needs to."""

    def receive(self, data: bytes) -> list[CodecEvent]:
        """Returns what `data` brought; b"" is the end of the connection, which ends a message or is an error."""

    @property
    def reusable(self) -> bool:
        """Whether, both messages being complete, the connection persists (RFC 9112 9.3) and no byte is left over."""


def keep_alive_timeout(value: bytes) -> float | None:
    """Returns for how many seconds a `Keep-Alive: timeout=5` field says that an idle connection is kept."""
    match = _KEEP_ALIVE_TIMEOUT.search(value)
    return None if match is None else float(match[1])
