"""The streams of an `HTTP2Proxy`: a tunnel, or a forwarded request."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING

import h11
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

from tests.proxies.forward import OriginEnd, end_to_end, split_target
from tests.proxies.http_proxy import ProxyRequest, split_authority
from tests.proxies.relay import End, Headers

if TYPE_CHECKING:
    from tests.proxies.http2_proxy import HTTP2ClientEnd

_HIGH_WATER = 65_536  # bytes that wait for the client's windows before the origin is read no more


class ProxyStream:
    """One stream of a client's. As such, it drops what comes.

    Attributes:
        request: what it was opened with.
        request_ended: whether END_STREAM has come.
        received: the content of DATA frames that have come.
        trailers: the request's.
        origin: the end that it is passed on to; `None` before there is one.
        waiting: bytes for the client that its windows have had no room for.
        ended: whether nothing more can be sent.
    """

    def __init__(self, client: HTTP2ClientEnd, stream_id: int, request: ProxyRequest, request_ended: bool) -> None:
        self.client = client
        self.stream_id = stream_id
        self.request = request
        self.request_ended = request_ended
        self.received = bytearray()
        self.trailers: Headers = []
        self.origin: End | None = None
        self.waiting = bytearray()
        self.ended = False
        self._untaken: deque[tuple[bytes, int]] = deque()  # with what each is to be credited as
        self._dropping = False
        self._end_passed_on = False
        self._end: Headers | None = None  # the trailers behind which it is to end

    async def proceed(self, status: int, headers: Headers, body: bytes) -> None:
        """Does what was asked, and gives a tunnel's answer."""

    # To the client

    def send_headers(self, status: int, headers: Headers) -> None:
        """Sends a head."""
        if not self.ended:
            self.client.http.send_headers(self.stream_id, [(b":status", b"%d" % status), *headers])
            self.client.flush()

    def send(self, data: bytes | bytearray) -> None:
        """Sends what the windows have room for, and the rest as they open."""
        if not self.ended:
            self.waiting += data
            self.send_waiting()

    def send_end(self, trailers: Headers | None = None) -> None:
        """Ends the response behind what waits."""
        if self._end is None:
            self._end = trailers or []
            self.send_waiting()

    def respond(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """Sends a whole response, and drops the request."""
        self.send_headers(status, headers)
        self.send(body)
        self.send_end()
        self.drop()

    def send_waiting(self) -> None:
        """Sends what can be sent now."""
        client, http = self.client, self.client.http
        while self.waiting and client.writable and not client.transport.is_closing():
            room = min(http.local_flow_control_window(self.stream_id), http.max_outbound_frame_size)
            if room <= 0:
                break
            http.send_data(self.stream_id, bytes(self.waiting[:room]))
            del self.waiting[:room]
            client.flush()
        if not (self.waiting or self.ended) and self._end is not None:
            self.ended = True
            if self._end:
                http.send_headers(self.stream_id, self._end, end_stream=True)
            else:
                http.end_stream(self.stream_id)
            client.flush()
            self._forget_if_over()
        if self.origin is not None:
            self.origin.read(len(self.waiting) < _HIGH_WATER)
        if not self.waiting:
            client.proxy.changes.notify()

    def reset(self, code: ErrorCodes | int) -> None:
        """Sends RST_STREAM."""
        if not self.client.lost:
            with contextlib.suppress(ProtocolError):  # it is closed
                self.client.http.reset_stream(self.stream_id, int(code))
            self.client.flush()
        self.lose()

    def lose(self) -> None:
        """Gives up what the stream had."""
        self.ended = True
        self.waiting.clear()
        self.drop()
        if self.origin is not None:
            self.origin.transport.close()
        self.client.forget_stream(self.stream_id)

    def _forget_if_over(self) -> None:
        if self.ended and self.request_ended and not self._untaken:
            self.client.forget_stream(self.stream_id)

    # From the client

    def receive_data(self, data: bytes, credit: int) -> None:
        """Takes a DATA frame."""
        self.received += data
        self._untaken.append((data, credit))
        self.pass_on()

    def receive_end(self) -> None:
        """Takes END_STREAM."""
        self.request_ended = True
        self.pass_on()

    def drop(self) -> None:
        """Drops what comes from now on."""
        self._dropping = True
        self.pass_on()

    def pass_on(self) -> None:
        """Gives the origin what it takes for now, and credits that to the client."""
        while self._untaken and (self._dropping or (self.origin is not None and self.origin.writable)):
            data, credit = self._untaken.popleft()
            if not self._dropping:
                self.give(data)
            with contextlib.suppress(ProtocolError):  # the client's GOAWAY came with it: h2 sends nothing more
                self.client.http.acknowledge_received_data(credit, self.stream_id)
        self.client.flush()
        if self.request_ended and not self._untaken:
            if self.origin is not None and not (self._dropping or self._end_passed_on):
                self._end_passed_on = True
                self.give_end()
            self._forget_if_over()

    def give(self, data: bytes) -> None:
        """Gives the origin some of the request's content."""

    def give_end(self) -> None:
        """Tells the origin that the request has ended."""


class TunnelStream(ProxyStream):
    """A CONNECT."""

    async def proceed(self, status: int, headers: Headers, body: bytes) -> None:
        proxy = self.client.proxy
        try:
            host, port = split_authority(self.request.target)
        except ValueError:
            self.respond(400, [])
            return
        try:
            origin = await proxy.connect_end(_TunnelEnd(self), host, port)
        except OSError:
            self.respond(502, [])
            return
        if self.ended:  # it has been reset meanwhile
            origin.transport.close()
            return
        self.origin = origin
        proxy.tunnels += 1
        self.send_headers(status, headers)
        self.send(body + origin.buffer)
        if origin.lost or origin.at_eof:
            self.send_end()
        self.pass_on()

    def give(self, data: bytes) -> None:
        if self.origin is not None:
            self.origin.write(data)

    def give_end(self) -> None:
        if self.origin is not None:
            self.origin.write_eof()
            if self.origin.at_eof:  # asyncio closes only where the other end is the last to end its stream
                self.origin.transport.close()


class _TunnelEnd(End):
    """The origin's end of a tunnel."""

    def __init__(self, stream: TunnelStream) -> None:
        super().__init__(stream.client.proxy)
        self._stream = stream

    def data_received(self, data: bytes) -> None:
        if self._stream.origin is None:
            self.buffer += data
        else:
            self._stream.send(data)

    def eof_received(self) -> bool:
        self.at_eof = True
        if self._stream.origin is not None:
            self._stream.send_end()
        return not self._stream.request_ended

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stream.pass_on()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._stream.origin is None:
            return
        if exc is not None:
            self._stream.reset(ErrorCodes.CONNECT_ERROR)  # RFC 9113 8.5
        else:
            self._stream.send_end()
            self._stream.drop()


class ForwardedStream(ProxyStream):
    """A request for a URL of scheme http, which goes on over HTTP/1.1."""

    _response_started = False
    _http_origin: OriginEnd

    async def proceed(self, status: int, headers: Headers, body: bytes) -> None:
        request, proxy = self.request, self.client.proxy
        try:
            host, port, authority, path = split_target(request.target)
        except ValueError:
            self.respond(400, [])
            return
        fields = [(b"host", authority), *(field for field in request.headers if field[0] not in (b"host", b"cookie"))]
        if cookies := [value for name, value in request.headers if name == b"cookie"]:
            fields.append((b"cookie", b"; ".join(cookies)))  # RFC 9113 8.2.3
        if not self.request_ended and request.get(b"content-length") is None:
            fields.append((b"transfer-encoding", b"chunked"))
        try:
            origin = await proxy.connect_end(OriginEnd(proxy, self), host, port)
        except OSError:
            self.respond(502, [])
            return
        if self.ended:  # it has been reset meanwhile
            origin.transport.close()
            return
        self.origin = self._http_origin = origin
        origin.send(h11.Request(method=request.method, target=path, headers=end_to_end(fields)))
        self.pass_on()

    def give(self, data: bytes) -> None:
        self._http_origin.send(h11.Data(data=data))

    def give_end(self) -> None:
        self._http_origin.send(h11.EndOfMessage(headers=self.trailers))

    # Asker

    def on_response(self, response: h11.InformationalResponse | h11.Response) -> None:
        self._response_started = isinstance(response, h11.Response)
        headers = [field for field in end_to_end(list(response.headers)) if field[0] != b"transfer-encoding"]
        self.send_headers(response.status_code, headers)

    def on_data(self, data: bytes) -> None:
        self.send(data)

    def on_end(self, trailers: Headers) -> None:
        self.send_end(trailers)

    def on_failure(self, error: Exception) -> None:
        if self.ended:
            return
        if self._response_started:
            self.reset(ErrorCodes.INTERNAL_ERROR)
        else:
            self.respond(502, [])

    def on_pace(self, going: bool) -> None:
        if going:
            self.pass_on()
