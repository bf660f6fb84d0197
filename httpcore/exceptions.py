"""Every error the library raises, in one tree under `HTTPCoreError`.

Errors of h11, `OSError` and `ssl` are translated into these at the boundary that met them, with the original
as `__cause__`; nothing above that boundary catches the originals.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = [
    "BadResponse",
    "ConnectError",
    "ConnectTimeout",
    "DecodingError",
    "HTTPCoreError",
    "InvalidURL",
    "LocalProtocolError",
    "NetworkError",
    "Phase",
    "PoolClosed",
    "PoolTimeout",
    "ProtocolError",
    "ProxyError",
    "ReadError",
    "ReadTimeout",
    "RemoteProtocolError",
    "ResponseClosed",
    "ResponseNotRead",
    "ResponseTooLarge",
    "StreamConsumed",
    "Timeout",
    "TimeoutException",
    "TotalTimeout",
    "UnsupportedProtocol",
    "WriteError",
    "WriteTimeout",
    "copy_error",
    "quote_peer_text",
]

_MAX_QUOTED = 120  # characters of a peer's text in a message: enough to recognise it, too few to flood a log


class Phase(StrEnum):
    """What an exchange was doing when it failed."""

    WAITING = "waiting for a connection"
    CONNECTING = "connecting"
    SENDING_HEAD = "sending the request head"
    SENDING_BODY = "sending the request body"
    RECEIVING_HEAD = "waiting for the response head"
    RECEIVING_BODY = "receiving the response body"


class HTTPCoreError(Exception):
    """The base of every error of this library.

    Attributes:
        host: the host the request was for, `None` where no request was involved.
        port: its port, `None` likewise.
        phase: what the exchange was doing, `None` likewise.
        request_sent: whether the server may have seen any of the request. `False` means it certainly has not.
    """

    host: str | None = None
    port: int | None = None
    phase: Phase | None = None
    request_sent: bool = False

    def __str__(self) -> str:
        text = super().__str__()
        where = [] if self.host is None else [f"{self.host}:{self.port}"]
        if self.phase is not None:
            where.append(str(self.phase))
        return f"{text} ({', '.join(where)})" if where else text


class TimeoutException(HTTPCoreError, TimeoutError):
    """A deadline passed."""


class ConnectTimeout(TimeoutException):
    """No connection was ready in time: name look-up, TCP and TLS together."""


class ReadTimeout(TimeoutException):
    """The server made no progress with its response in time."""


class WriteTimeout(TimeoutException):
    """The server took none of the request in time."""


class PoolTimeout(TimeoutException):
    """No connection of the pool became free in time; the message says what the pool looked like."""


class TotalTimeout(TimeoutException):
    """The whole exchange, waiting included, took too long."""


class NetworkError(HTTPCoreError):
    """The network failed; `__cause__` is the `OSError`."""


class ConnectError(NetworkError):
    """No connection could be made: name look-up, TCP or TLS. A certificate's fault is named in the message."""


class ReadError(NetworkError):
    """The connection broke while reading."""


class WriteError(NetworkError):
    """The connection broke while writing."""


class ProtocolError(HTTPCoreError):
    """A rule of HTTP was broken."""


class LocalProtocolError(ProtocolError):
    """The caller asked for something HTTP does not allow. Raised before it is sent wherever that can be known."""


class RemoteProtocolError(ProtocolError):
    """The server sent something HTTP does not allow, or went away in the middle of a message."""


class ProxyError(HTTPCoreError):
    """A proxy refused.

    Attributes:
        status_code: the proxy's status, `None` where it gave none.
        headers: the (name, value) pairs of its answer.
        body: the beginning of its answer's content.
        reply_code: a SOCKS proxy's reply to the request to connect (RFC 1928 6), `None` where it gave none.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        headers: list[tuple[bytes, bytes]] | None = None,
        body: bytes = b"",
        reply_code: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.headers = headers or []
        self.body = body
        self.reply_code = reply_code


class UnsupportedProtocol(HTTPCoreError, ValueError):
    """The URL's scheme is neither `http` nor `https`."""


class InvalidURL(HTTPCoreError, ValueError):
    """The URL is malformed or ambiguous."""


class DecodingError(HTTPCoreError):
    """Coded content (gzip, deflate, br, zstd) is corrupt, cut off, or coded too many times."""


class ResponseTooLarge(HTTPCoreError):
    """The content is larger, once decoded, than `max_body_size` lets a response hold in memory: stream it instead."""


class PoolClosed(HTTPCoreError):
    """The pool was closed; it takes no new requests."""


class StreamConsumed(HTTPCoreError):
    """The response's content was read before and was not kept."""


class ResponseClosed(HTTPCoreError):
    """The response was closed, or its exchange aborted, before its content was read."""


class ResponseNotRead(HTTPCoreError, AttributeError):
    """`response.body` was asked for before the content was read: call `await response.read()` first."""


# The names of the first httpcore.
Timeout = TimeoutException
BadResponse = RemoteProtocolError


def quote_peer_text(text: bytes | str) -> str:
    """Returns text that came from a peer as it may stand in a message or a log: escaped and cut."""
    if isinstance(text, (bytes, bytearray)):
        text = bytes(text[: _MAX_QUOTED + 1]).decode("ascii", "backslashreplace")
    quoted = ascii(text[:_MAX_QUOTED])
    return quoted + "..." if len(text) > _MAX_QUOTED else quoted


def copy_error(error: HTTPCoreError) -> HTTPCoreError:
    """Returns an error that says the same, for another exchange: each says what its own was doing."""
    copy = type(error).__new__(type(error), *error.args)
    copy.__dict__.update(error.__dict__)
    copy.__cause__ = error.__cause__
    return copy
