"""What a codec makes of a server's bytes, and what h11 does that reads every byte of the same exchange."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import h11

from httpcore.exceptions import RemoteProtocolError
from httpcore.handlers import ResponseHead
from httpcore.headers import Headers
from httpcore.protocols.chunks import ChunkReader
from httpcore.protocols.codec import MAX_FIELDS, MAX_HEAD_SIZE, Codec
from httpcore.protocols.codec_events import CodecEvent, EndOfMessage, Interim, Switched
from httpcore.protocols.h11_codec import H11Codec
from httpcore.request import Request

ERROR, COMPLETE, SWITCHED, OPEN = "error", "complete", "switched", "open"


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


class Outcome(NamedTuple):
    """What an exchange came to.

    Attributes:
        events: what was received, adjacent pieces of content joined.
        verdict: how it ended, `OPEN` if it did not.
        reusable: whether another request may follow.
    """

    events: list[tuple[object, ...]]
    verdict: str
    reusable: bool


def run(codec_type: type[Codec], request: Request, pieces: Iterable[bytes]) -> Outcome:
    """Sends the request, and receives the pieces as they are; b"" is the end of the connection."""
    codec = codec_type()
    codec.send_head(request)
    codec.send_eof(Headers())
    events: list[tuple[object, ...]] = []
    verdict = OPEN
    behind = False
    for piece in pieces:
        if verdict != OPEN:
            behind = behind or bool(piece)
            if verdict == SWITCHED:
                _note_content(piece, events)
            continue
        for event in codec.receive(piece):
            assert verdict == OPEN, "something came behind the end"
            verdict = _note(event, events)
    return Outcome(events, verdict, verdict == COMPLETE and codec.reusable and not behind)


def _note(event: CodecEvent, events: list[tuple[object, ...]]) -> str:
    if isinstance(event, bytes):
        assert event
        _note_content(event, events)
    elif isinstance(event, ResponseHead):
        assert list(event.headers) == [(name.lower(), value) for name, value in event.raw_headers]
        events.append(("head", event.status_code, event.reason, event.http_version, list(event.raw_headers)))
    elif isinstance(event, Interim):
        events.append(("interim", event.status_code, list(event.headers)))
    elif isinstance(event, EndOfMessage):
        events.append(("end", list(event.trailers)))
        return COMPLETE
    elif isinstance(event, Switched):
        _note_content(event.leftover, events)  # which may also come later
        return SWITCHED
    else:
        assert type(event) is RemoteProtocolError
        return ERROR
    return OPEN


def _note_content(data: bytes, events: list[tuple[object, ...]]) -> None:
    if events and events[-1][0] == "content":
        data = events.pop()[1] + data  # type: ignore[operator]
    if data:
        events.append(("content", data))


class _Refused(Exception):
    """What h11 accepts and no codec does."""


def judge(request: Request, pieces: Iterable[bytes]) -> Outcome:
    """What h11 says of it, which is told of the request and then given all bytes.

    There are rules that it does not know, and these are the codecs' own: the versions of HTTP that may be spoken, how
    many fields there may be, and that a connection is not used again behind a response with chunks and a length (RFC
    9112 6.3), or once the server ended it.
    """
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_SIZE)
    fields = [(b"Host", b"example.org")]
    if request.upgrades:
        fields += [(b"Connection", b"upgrade"), (b"Upgrade", b"x")]
    if request.closes:
        fields += [(b"Connection", b"close")]
    connection.send(h11.Request(method=request.method, target=b"/", headers=fields))
    connection.send(h11.EndOfMessage())
    events: list[tuple[object, ...]] = []
    verdict = OPEN
    behind = ambiguous = closed = False
    for piece in pieces:
        if verdict != OPEN:
            behind = behind or bool(piece)
            if verdict == SWITCHED:
                _note_content(piece, events)
            continue
        try:
            connection.receive_data(piece)
            while verdict == OPEN:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    break
                if isinstance(event, h11.ConnectionClosed):
                    verdict = ERROR
                    break
                if isinstance(event, (h11.Response, h11.InformationalResponse)):
                    names = {name for name, _ in event.headers}
                    ambiguous = {b"content-length", b"transfer-encoding"} <= names
                if len(getattr(event, "headers", ())) > MAX_FIELDS:
                    raise _Refused
                verdict = _note_h11(event, connection, events)
                closed = not piece
        except (h11.RemoteProtocolError, _Refused):
            verdict = ERROR
    reusable = (
        verdict == COMPLETE
        and connection.our_state is h11.DONE
        and connection.their_state is h11.DONE
        and not connection.trailing_data[0]
        and not (ambiguous or closed or behind)
    )
    return Outcome(events, verdict, reusable)


def _note_h11(event: object, connection: h11.Connection, events: list[tuple[object, ...]]) -> str:
    if isinstance(event, (h11.Response, h11.InformationalResponse)):
        if not event.http_version.startswith(b"1."):
            raise _Refused
        if isinstance(event, h11.InformationalResponse) and event.status_code != 101:
            events.append(("interim", event.status_code, list(event.headers)))
            return OPEN
        version = b"HTTP/" + event.http_version
        events.append(("head", event.status_code, event.reason, version, event.headers.raw_items()))
        if connection.their_state is h11.SWITCHED_PROTOCOL:
            _note_content(connection.trailing_data[0], events)
            return SWITCHED
    elif isinstance(event, h11.Data):
        _note_content(bytes(event.data), events)
    elif isinstance(event, h11.EndOfMessage):
        events.append(("end", [(name.lower(), value) for name, value in event.headers.raw_items()]))
        return COMPLETE
    else:
        raise AssertionError(event)
    return OPEN


class _NoChunks(ChunkReader):
    """Finds no chunk of the common form."""

    __slots__ = ()

    def feed(self, data: bytes, events: list[CodecEvent]) -> bytes | None:
        return data or None


class H11Alone(H11Codec):
    """A codec whose heads and chunks are all h11's; its limits are the codecs' own."""

    __slots__ = ()

    def _receive_common(self, data: bytes, events: list[CodecEvent]) -> bool:
        return False

    def _receive_rest(self, rest: bytes, events: list[CodecEvent]) -> None:
        self._chunks = _NoChunks()
        super()._receive_rest(rest, events)
