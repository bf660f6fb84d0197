"""`HTTP11Server`: the server's end of an HTTP/1.1 connection, with h11 in the server's role."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import h11

from .server_stream import HIGH_WATER, ClientGone, Fields, RequestHead, ServerStream

__all__ = ["HTTP11Server"]

_MAX_HEAD = 1024 * 1024  # bytes: the client is the program's own, so this guards against nothing


class HTTP11Server(asyncio.Protocol):
    """Takes the requests of one connection, one after another.

    Args:
        serve: called with each request once its head is there.
        closed: called when the connection is gone.
    """

    _transport: asyncio.Transport

    def __init__(self, serve: Callable[[ServerStream], None], closed: Callable[[], None]) -> None:
        self._serve = serve
        self._closed = closed
        self.http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD)
        self.writable = True
        self._stream: _HTTP11Stream | None = None
        self._requests = 0
        self._full = False  # a request waits for the response to the one before it

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.http.receive_data(data)
        self.advance()

    def eof_received(self) -> None:
        """The client sends no more, and by that is gone: `connection_lost` follows."""

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        if self._stream is not None:
            self._stream.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._stream is not None:
            self._stream.lose()
        self._closed()

    # What the stream calls.

    def advance(self) -> None:
        """Goes on with what came, as far as the exchange allows."""
        http = self.http
        self._full = False
        while not self._transport.is_closing():
            if http.our_state is h11.DONE and http.their_state is h11.DONE:
                http.start_next_cycle()
                self._stream = None
            try:
                event = http.next_event()
            except h11.RemoteProtocolError as exc:
                self._refuse(exc)
                break
            stream = self._stream
            if isinstance(event, h11.Request):
                self._requests += 1
                version = event.http_version.decode("ascii")
                head = RequestHead(event.method, event.target, version, list(event.headers))
                self._stream = _HTTP11Stream(head, self._requests, self)
                self._serve(self._stream)
            elif isinstance(event, h11.Data) and stream is not None:
                stream.feed(bytes(event.data), len(event.data))
            elif isinstance(event, h11.EndOfMessage) and stream is not None:
                stream.trailers = list(event.headers)
                stream.feed_end()
            else:
                self._full = event is h11.PAUSED
                break
        self.update_reading()

    def update_reading(self) -> None:
        """Lets the client pause or go on."""
        if self._full or (self._stream is not None and self._stream.buffered > HIGH_WATER):
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def write(self, event: h11.Event) -> None:
        """Sends an h11 event.

        Raises:
            h11.LocalProtocolError: it is not allowed now.
        """
        if data := self.http.send(event):
            self._transport.write(data)

    def response_ended(self) -> None:
        """Goes on to the next request, or closes."""
        if self.http.our_state is h11.MUST_CLOSE and self.http.their_state is h11.SEND_BODY:
            # Closed with bytes unread, it would reset the connection, and the client lose the response (RFC 9112 9.6).
            self._transport.write_eof()
        elif self.http.our_state in (h11.MUST_CLOSE, h11.CLOSED):
            self._transport.close()
        self.advance()

    def abort(self) -> None:
        """Closes now."""
        self._transport.abort()

    def _refuse(self, error: h11.RemoteProtocolError) -> None:
        if self.http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            message = str(error).encode("ascii", "backslashreplace")
            fields = [("content-length", str(len(message))), ("content-type", "text/plain"), ("connection", "close")]
            self.write(h11.Response(status_code=error.error_status_hint, headers=fields))
            self.write(h11.Data(data=message))
            self.write(h11.EndOfMessage())
        self._transport.close()


class _HTTP11Stream(ServerStream):
    def __init__(self, head: RequestHead, number: int, connection: HTTP11Server) -> None:
        super().__init__(head, number)
        self._connection = connection

    def abort(self) -> None:
        if not self.ended:
            self._connection.abort()

    def _body_taken(self, credit: int) -> None:
        if not self.lost:
            self._connection.update_reading()

    def _write_interim(self, status: int, headers: Fields) -> None:
        self._connection.write(h11.InformationalResponse(status_code=status, headers=headers))

    def _write_head(self, status: int, headers: Fields) -> None:
        self._connection.write(h11.Response(status_code=status, headers=headers))

    async def _write_data(self, data: bytes) -> None:
        self._connection.write(h11.Data(data=data))
        await self._changes.wait_until(lambda: self._connection.writable or self.lost)
        if not self._connection.writable:
            raise ClientGone("the client left before it had read what was sent")

    def _write_end(self, trailers: Fields) -> None:
        self._connection.write(h11.EndOfMessage(headers=trailers))
        self._connection.response_ended()
