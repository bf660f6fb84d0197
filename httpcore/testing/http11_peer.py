"""`HTTP11Peer`: a scripted peer that can also speak HTTP/1.1, with h11 in the server's role."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import h11

from .scripted_peer import ScriptedPeer

__all__ = ["HTTP11Peer"]

_Headers = Iterable[tuple[str | bytes, str | bytes]]


def _encode(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else text


class HTTP11Peer(ScriptedPeer):
    """A server that a test tells requests and responses instead of bytes.

    Bytes sent with `send` bypass h11; h11's idea of the connection is then the test's affair.

    Args:
        close_on_eof: as for `ScriptedPeer`, but `True` unless said otherwise: HTTP servers do so.
    """

    def __init__(self, *, close_on_eof: bool = True) -> None:
        super().__init__(close_on_eof=close_on_eof)
        self.h11_connection = h11.Connection(h11.SERVER)
        self._method = b""

    async def receive_event(self) -> h11.Event | type[h11.PAUSED]:
        """Waits for the next h11 event, also of the next request when request and response are complete.

        Returns:
            The event; `h11.PAUSED` when the rest is not for this exchange: a request before the response to the one
            before, or bytes after the connection has been switched to another protocol.

        Raises:
            ConnectionError: the connection was lost, or ended amid a request.
            h11.RemoteProtocolError: what came is not HTTP/1.1.
        """
        http = self.h11_connection
        if http.our_state is h11.DONE and http.their_state is h11.DONE:
            http.start_next_cycle()
        event = http.next_event()
        while event is h11.NEED_DATA:
            data = await self.receive_some()
            if not data and (http.their_state is h11.SEND_BODY or http.trailing_data[0]):
                raise self._ended("the rest of the request")
            http.receive_data(data)
            event = http.next_event()
        if isinstance(event, h11.Request):
            self._method = event.method
        return cast("h11.Event | type[h11.PAUSED]", event)

    async def receive_request(self) -> tuple[h11.Request, bytes]:
        """Waits for a whole request, sending `100 Continue` if the client wants it, and returns it with its body.

        Raises:
            ConnectionError: the link ended before it was complete, or there can be no further request on it.
            h11.RemoteProtocolError: what came is not HTTP/1.1.
        """
        request = await self.receive_event()
        if not isinstance(request, h11.Request):
            raise ConnectionError(f"no request came but {request!r}")
        if self.h11_connection.they_are_waiting_for_100_continue:
            self.send_event(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))
        body = bytearray()
        while isinstance(event := await self.receive_event(), h11.Data):
            body += event.data
        return request, bytes(body)

    def send_event(self, event: h11.Event) -> None:
        """Sends an h11 event. After the last one of a connection that cannot be reused, closes it.

        Raises:
            h11.LocalProtocolError: h11 does not allow the event now; `send` would.
        """
        data = self.h11_connection.send(event)
        if data:
            self.send(data)
        if self.h11_connection.our_state is h11.MUST_CLOSE:
            self.close()

    def send_response(self, status_code: int = 200, headers: _Headers = (), body: bytes = b"") -> None:
        """Sends a whole response. `content-length` is added unless the headers frame the body otherwise.

        For HEAD the body is only counted.

        Raises:
            h11.LocalProtocolError: no request waits for a response.
        """
        fields = [(_encode(name), _encode(value)) for name, value in headers]
        names = {name.lower() for name, _ in fields}
        if status_code not in (204, 304) and not names & {b"content-length", b"transfer-encoding"}:
            fields.append((b"content-length", b"%d" % len(body)))
        self.send_event(h11.Response(status_code=status_code, headers=fields))
        if body and self._method != b"HEAD":
            self.send_event(h11.Data(data=body))
        self.send_event(h11.EndOfMessage())
