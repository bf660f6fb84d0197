"""Fields: what becomes of a request's head on HTTP/2, and what a response's fields mean (RFC 9113 8.2, 8.3).

h2 is told not to look at fields: a breach of their rules is to end a stream, and h2 would end the connection, with
every other exchange on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import cast

from h2.errors import ErrorCodes
from hpack import Decoder, HeaderTuple, NeverIndexedHeaderTuple

from httpcore.exceptions import LocalProtocolError, quote_peer_text
from httpcore.headers import Headers
from httpcore.protocols.codec import MAX_FIELDS
from httpcore.protocols.http2_frames import StreamFault
from httpcore.request import Request

__all__ = ["FieldDecoder", "parse_content_length", "parse_fields", "parse_status", "request_fields", "trailer_fields"]

# What says something about an HTTP/1 connection, and has no place here (RFC 9113 8.2.2). Host is sent as :authority.
_CONNECTION_SPECIFIC = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"http2-settings"}
)
_NOT_SENT = _CONNECTION_SPECIFIC | {b"host"}
# Guessing them byte by byte from how well they compress is possible where they are compressed (RFC 7541 7.1).
_SECRET = frozenset({b"authorization", b"proxy-authorization"})
_SHORT_COOKIE = 20  # bytes: too little to be worth compressing, and quick to be guessed

_is_name = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_is_value = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?").fullmatch


def request_fields(request: Request, *, without_body: bool = False) -> list[tuple[bytes, bytes]]:
    """Returns the fields of a request's head, in the order they are sent.

    Args:
        request: the request.
        without_body: leaves out `expect`, as there is nothing to be continued with.

    Raises:
        LocalProtocolError: the request has an `upgrade`; its target is none for HTTP/2; or something was put into its
            list of headers that must not be sent.
    """
    if request.upgrades:
        raise LocalProtocolError("HTTP/2 has no upgrade (RFC 9113 8.6): use extended CONNECT, or HTTP/1.1")
    host = b""
    dropped: frozenset[bytes] = _NOT_SENT
    if b"connection" in request.names:
        dropped = dropped.union(_connection_options(request.headers))
    fields: list[tuple[bytes, bytes]] = []
    for name, value in request.headers:
        lower = name.lower()
        if lower in dropped:
            if lower == b"host":
                host = value
            continue
        if lower == b"te":
            if b"trailers" not in (coding.strip(b" \t") for coding in value.lower().split(b",")):
                continue
            value = b"trailers"  # the one thing that it may say here
        if without_body and lower == b"expect":
            continue
        if lower in _SECRET or (lower == b"cookie" and len(value) < _SHORT_COOKIE):
            fields.append(NeverIndexedHeaderTuple(lower, value))
        else:
            fields.append((lower, value))
    pseudo = [(b":method", request.method)]
    if request.method == b"CONNECT" and request.protocol is None:
        pseudo.append((b":authority", request.target))
    else:
        target = request.target
        if target[:1] != b"/" and target != b"*":
            raise LocalProtocolError(f"a request target on HTTP/2 is a path, not {quote_peer_text(target)}")
        if request.protocol is not None:
            pseudo.append((b":protocol", request.protocol))
        pseudo.append((b":scheme", request.url.scheme.encode()))
        if host:
            pseudo.append((b":authority", host))
        pseudo.append((b":path", target))
    _check_sent(fields)
    _check_sent(pseudo, pseudo=True)
    return pseudo + fields


def trailer_fields(trailers: Headers) -> list[tuple[bytes, bytes]]:
    """Returns the fields of a trailer section."""
    return [(name.lower(), value) for name, value in trailers]


def _connection_options(headers: Headers) -> Iterable[bytes]:
    for name, value in headers:
        if name.lower() == b"connection":
            yield from (option.strip(b" \t").lower() for option in value.split(b","))


def _check_sent(fields: list[tuple[bytes, bytes]], *, pseudo: bool = False) -> None:
    # What the request was made from was checked then; but its headers are a list, which checks nothing. A line end
    # might become a line of its own behind a server, and a server may end the connection for any other fault.
    for name, value in fields:
        if not _is_value(value) or not (pseudo or _is_name(name)):
            raise LocalProtocolError(
                f"the header {quote_peer_text(name)} that was put into the request's list cannot be sent"
            )


class FieldDecoder(Decoder):
    """Keeps what h2 lets it decode for us, and shows h2 only what its state machine needs.

    Attributes:
        fields: the fields of the last block.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fields: Sequence[tuple[bytes, bytes]] = ()

    def decode(self, data: bytes, raw: bool = False) -> list[HeaderTuple]:
        """Decodes a field block, see `hpack.Decoder.decode`; returns its status alone."""
        fields = list(super().decode(data, raw=True))
        self.fields = cast("list[tuple[bytes, bytes]]", fields)  # with raw=True they are bytes
        return fields[:1] if fields and fields[0][0] == b":status" else []


def parse_status(fields: Sequence[tuple[bytes, bytes]]) -> int:
    """Returns the status code of a response's head.

    Raises:
        StreamFault: it has none in front, or an impossible one. It is never guessed.
    """
    if not fields or fields[0][0] != b":status":
        raise StreamFault(ErrorCodes.PROTOCOL_ERROR, "the response does not begin with :status")
    status = fields[0][1]
    if len(status) != 3 or not status.isdigit() or status < b"100":
        raise StreamFault(ErrorCodes.PROTOCOL_ERROR, f"the response's status is {quote_peer_text(status)}")
    return int(status)


def parse_fields(fields: Sequence[tuple[bytes, bytes]], start: int) -> Headers:
    """Returns the fields from the one at `start` on.

    Raises:
        StreamFault: one of them is malformed or has no place in HTTP/2, or there are too many.
    """
    if len(fields) > MAX_FIELDS:
        raise StreamFault(ErrorCodes.ENHANCE_YOUR_CALM, f"a head or trailers are over {MAX_FIELDS} fields")
    headers = Headers()
    append = headers.append
    for name, value in fields[start:] if start else fields:
        if not _is_name(name):  # pseudo-header fields in the wrong place among them
            raise StreamFault(ErrorCodes.PROTOCOL_ERROR, f"the response has a field named {quote_peer_text(name)}")
        if not _is_value(value):
            raise StreamFault(ErrorCodes.PROTOCOL_ERROR, f"the value of {quote_peer_text(name)} is malformed")
        if name in _CONNECTION_SPECIFIC:
            raise StreamFault(ErrorCodes.PROTOCOL_ERROR, f"the response has {quote_peer_text(name)} (RFC 9113 8.2.2)")
        append((name, value))
    return headers


def parse_content_length(headers: Headers) -> int | None:
    """Returns what `content-length` says, `None` where there is none.

    Raises:
        StreamFault: it is no number, or there are two that differ.
    """
    length: int | None = None
    for name, value in headers:
        if name == b"content-length":
            if not value.isdigit() or len(value) > 18:
                raise StreamFault(ErrorCodes.PROTOCOL_ERROR, f"the content-length is {quote_peer_text(value)}")
            if length is not None and int(value) != length:
                raise StreamFault(ErrorCodes.PROTOCOL_ERROR, "there are two content-length fields that differ")
            length = int(value)
    return length
