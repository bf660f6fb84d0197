"""What an HTTP/1.1 codec says of the bytes that it was given."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from httpcore.exceptions import RemoteProtocolError
from httpcore.handlers import ResponseHead
from httpcore.headers import Headers

__all__ = ["CodecEvent", "EndOfMessage", "Interim", "Switched"]


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
