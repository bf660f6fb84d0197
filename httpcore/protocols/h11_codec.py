"""The HTTP/1.1 codec on h11: what `Codec` leaves to a parser.

That is every head, chunk and trailer section that is out of the ordinary. h11 is not asked to do what needs no parser:
each call into its state machine costs more than all the rest of an exchange.
"""

from __future__ import annotations

import functools
from typing import cast

import h11

from httpcore.exceptions import RemoteProtocolError, quote_peer_text
from httpcore.protocols.codec import MAX_HEAD_SIZE, Codec, Mode
from httpcore.protocols.codec_events import CodecEvent, EndOfMessage

__all__ = ["H11Codec"]


@functools.lru_cache(maxsize=256)
def _stand_in(method: bytes, upgrades: bool) -> h11.Request:
    """Returns a request that has all that matters for how h11 reads the answer: the method, and whether it upgrades."""
    headers = [(b"Host", b""), (b"Connection", b"upgrade"), (b"Upgrade", b"x")] if upgrades else [(b"Host", b"")]
    return h11.Request(method=method, target=b"/", headers=headers)


def _in_chunks() -> h11.Connection:
    """Returns a connection that has come to where the size of a chunk is expected."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_SIZE)
    connection.send(_stand_in(b"GET", False))
    connection.receive_data(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    connection.next_event()
    return connection


class H11Codec(Codec):
    """One exchange, for which an `h11.Connection` is made once it is needed: cheaper than to start a used one anew."""

    __slots__ = ("_chunked", "_connection")

    def __init__(self) -> None:
        super().__init__()
        self._connection: h11.Connection | None = None  # for heads
        self._chunked: h11.Connection | None = None  # for the rest of a body, from some chunk on

    def _parse_heads(self, data: bytes, events: list[CodecEvent]) -> None:
        connection = self._connection
        if connection is None:
            connection = self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_SIZE)
            connection.send(_stand_in(self._method, self._upgrades))
        try:
            connection.receive_data(data)
            while self._mode == Mode.HEAD:
                event = connection.next_event()
                kind = type(event)
                if kind is not h11.Response and kind is not h11.InformationalResponse:
                    return  # NEED_DATA; nothing else can come before the final response
                event = cast("h11.Response | h11.InformationalResponse", event)  # isinstance costs: events are ABCs
                raw = event.headers.raw_items()
                self._head_parsed(event.status_code, event.reason, event.http_version, raw, events)
        except h11.RemoteProtocolError as exc:
            raise _broken(exc) from exc

    def _parse_chunks(self, data: bytes, events: list[CodecEvent]) -> tuple[int, int, EndOfMessage | None]:
        if self._chunked is None:
            self._chunked = _in_chunks()
        connection = self._chunked
        content = chunks = 0
        try:
            connection.receive_data(data)
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
                    return content, chunks, self._end(len(connection.trailing_data[0]), event.headers.raw_items())
                else:  # NEED_DATA
                    return content, chunks, None
        except h11.RemoteProtocolError as exc:
            raise _broken(exc) from exc

    def _rest(self) -> bytes:
        assert self._connection is not None
        return self._connection.trailing_data[0]


def _broken(exc: h11.RemoteProtocolError) -> RemoteProtocolError:
    if exc.error_status_hint == 431:
        text = f"a head, a chunk's size line or trailers are over {MAX_HEAD_SIZE} bytes"
    else:
        text = quote_peer_text(str(exc))  # some of h11's messages quote the peer
    return RemoteProtocolError(f"the server broke the rules of HTTP/1.1: {text}")
