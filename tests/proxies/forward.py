"""Forwarding of requests in absolute-form: `OriginEnd` towards the origin, `Forwarding` towards an HTTP/1.1 client."""

from __future__ import annotations

from typing import Protocol
from urllib.parse import urlsplit

import h11

from tests.proxies.relay import ClientEnd, End, Headers, Proxy

# For one hop (RFC 9110 7.6.1), or for the proxy alone.
HOP_BY_HOP = {b"connection", b"keep-alive", b"proxy-connection", b"proxy-authorization", b"upgrade"}
BAD_GATEWAY = h11.Response(status_code=502, reason=b"Bad Gateway", headers=[(b"content-length", b"0")])


class Asker(Protocol):
    """Who a response goes to."""

    def on_response(self, response: h11.InformationalResponse | h11.Response) -> None: ...

    def on_data(self, data: bytes) -> None: ...

    def on_end(self, trailers: Headers) -> None: ...

    def on_failure(self, error: Exception) -> None:
        """The response is not whole and will not be."""

    def on_pace(self, going: bool) -> None:
        """Whether the origin takes more of the request for now."""


def split_target(target: bytes) -> tuple[str, int, bytes, bytes]:
    """Returns host, port, the value of `Host`, and the target in origin-form (RFC 9112 3.2).

    Raises:
        ValueError: not in absolute-form, or not of scheme http.
    """
    url = urlsplit(target.decode("ascii"))
    if url.scheme != "http" or not url.hostname:
        raise ValueError(f"not for a proxy: {target!r}")
    path = (url.path or "/") + (f"?{url.query}" if url.query or target.endswith(b"?") else "")
    return url.hostname, url.port or 80, url.netloc.encode(), path.encode()


def end_to_end(headers: Headers) -> Headers:
    """Returns those that go further than one hop."""
    return [(name, value) for name, value in headers if name.lower() not in HOP_BY_HOP]


class OriginEnd(End):
    """One connection to an origin, for one exchange."""

    def __init__(self, proxy: Proxy, asker: Asker) -> None:
        super().__init__(proxy)
        self._asker = asker
        self._response_ended = False
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)

    def send(self, event: h11.Event) -> None:
        """Sends a part of the request; nothing once the origin is gone."""
        if data := self._http.send(event):
            self.write(data)
        self._close_if_over()

    def data_received(self, data: bytes) -> None:
        self._http.receive_data(data)
        try:
            self._events()
        except h11.RemoteProtocolError as exc:
            self._fail(exc)

    def _events(self) -> None:
        while True:
            event = self._http.next_event()
            if isinstance(event, (h11.InformationalResponse, h11.Response)):
                self._asker.on_response(event)
            elif isinstance(event, h11.Data):
                self._asker.on_data(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                self._response_ended = True
                self._asker.on_end(list(event.headers))
                self._close_if_over()
            else:
                return

    def _close_if_over(self) -> None:
        if self._response_ended and self._http.our_state is not h11.SEND_BODY:
            self.transport.close()

    def _fail(self, error: Exception) -> None:
        if not self._response_ended:
            self._response_ended = True
            self._asker.on_failure(error)
        self.transport.close()

    def eof_received(self) -> bool:
        if not self._response_ended:
            self.data_received(b"")
        return False

    def pause_writing(self) -> None:
        super().pause_writing()
        self._asker.on_pace(False)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._asker.on_pace(True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionError("the origin closed the connection"))
        self._asker.on_pace(True)  # what still comes is dropped
        super().connection_lost(exc)


class Forwarding:
    """One exchange of an HTTP/1.1 client by way of the proxy, or the rest of a request that is not forwarded.

    Attributes:
        origin: `None` until it is connected.
        over: whether both request and response have come to their end.
    """

    def __init__(self, client: ClientEnd, http: h11.Connection, request: h11.Request) -> None:
        self.origin: OriginEnd | None = None
        self.over = False
        self._client = client
        self._http = http
        self._request = request
        self._dropping = False

    @property
    def leftover(self) -> bytes:
        """What came behind the request."""
        return self._http.trailing_data[0]

    async def run(self) -> None:
        """Forwards the request and its response; returns when the exchange is over.

        Raises:
            ValueError: the target is not in absolute-form.
        """
        request, proxy = self._request, self._client.proxy
        host, port, authority, path = split_target(request.target)
        headers = end_to_end([field for field in request.headers.raw_items() if field[0].lower() != b"host"])
        try:
            self.origin = await proxy.connect_end(OriginEnd(proxy, self), host, port)
        except OSError:
            self._send(BAD_GATEWAY)
            self.on_end([])
            await self.discard()
            return
        try:
            self.origin.send(h11.Request(method=request.method, target=path, headers=[(b"host", authority), *headers]))
            self._pump()
            await proxy.until(lambda: self.over)
        finally:
            self.origin.transport.close()

    async def discard(self) -> None:
        """Drops the request's content; returns when it has ended."""
        self._dropping = True
        self._pump()
        await self._client.proxy.until(lambda: self._http.their_state is not h11.SEND_BODY)

    def receive(self, data: bytes) -> None:
        """Takes what the client sends."""
        self._http.receive_data(data)
        if self._dropping or self.origin is not None:
            self._pump()

    def _pump(self) -> None:
        while not self._client.transport.is_closing():
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError:
                self._client.transport.close()
                return
            if not isinstance(event, (h11.Data, h11.EndOfMessage)):
                return
            if self.origin is not None:
                self.origin.send(event)
            self._settle()

    def _send(self, event: h11.Event) -> None:
        if data := self._http.send(event):
            self._client.write(data)

    def on_response(self, response: h11.InformationalResponse | h11.Response) -> None:
        headers = end_to_end(response.headers.raw_items())
        closes = (b"connection", b"close") in list(response.headers)
        if closes and self._http.their_state is h11.SEND_BODY:
            headers.append((b"connection", b"close"))  # nobody takes the rest of the request
        self._send(type(response)(status_code=response.status_code, reason=response.reason, headers=headers))

    def on_data(self, data: bytes) -> None:
        self._send(h11.Data(data=data))

    def on_end(self, trailers: Headers) -> None:
        self._send(h11.EndOfMessage(headers=[] if self._http.their_http_version == b"1.0" else trailers))
        if self._http.our_state is h11.MUST_CLOSE and self._http.their_state is h11.SEND_BODY:
            self._client.write_eof()  # a close with bytes unread would reset what was sent
        self._settle()

    def on_failure(self, error: Exception) -> None:
        if self._http.our_state is h11.SEND_RESPONSE:
            self._send(BAD_GATEWAY)
            self.on_end([])
        else:
            self._client.transport.close()

    def on_pace(self, going: bool) -> None:
        self._client.read(going)

    def _settle(self) -> None:
        http = self._http
        if http.their_state is h11.SEND_BODY or http.our_state in (h11.SEND_RESPONSE, h11.SEND_BODY):
            return
        self.over = True
        if http.our_state is h11.MUST_CLOSE:
            self._client.transport.close()
        self._client.proxy.changes.notify()
