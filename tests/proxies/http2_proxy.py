"""`HTTP2Proxy`: an HTTP/2 proxy in the test's own process, with h2 in the server's role; or what a test says.

Each stream is a tunnel (CONNECT) or a forwarded request, with flow control of its own both ways: what the client sends
is credited when the origin has taken it, what the origin sends is read as the client's windows open.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import h2.config
import h2.connection
import h2.events
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame

from tests.proxies.http2_streams import ForwardedStream, ProxyStream, TunnelStream
from tests.proxies.http_proxy import ProxyRequest
from tests.proxies.relay import ClientEnd, Proxy
from tests.proxies.script import Answer, resolved
from tests.proxies.ways import Connect, dial

_Settings: TypeAlias = dict[SettingCodes, int]
_NO_SETTINGS: _Settings = {}


@dataclass(frozen=True)
class StreamAnswer:
    """What is answered on a stream, and on its connection.

    The parts that are not `None` or false come in the order in which they are named here.

    Attributes:
        status: the response's; `None`: no response.
        headers: the response's others.
        body: the response's content.
        end_stream: whether the response ends with it.
        proceed: whether the tunnel opens behind it, or the request is forwarded in its place; the stream does not end
            then. The response is sent once the origin is connected.
        reset: RST_STREAM with this code.
        goaway: GOAWAY with this code, and `last_stream_id`; the connection stays open for its streams.
        last_stream_id: `None`: that of this stream.
        end: what becomes of the connection behind it all.
    """

    status: int | None = None
    headers: Iterable[tuple[bytes, bytes]] = ()
    body: bytes = b""
    end_stream: bool = True
    proceed: bool = False
    reset: ErrorCodes | int | None = None
    goaway: ErrorCodes | int | None = None
    last_stream_id: int | None = None
    end: Answer | None = None


HANGING_STREAM = StreamAnswer()
Script: TypeAlias = Callable[[ProxyRequest], StreamAnswer | None | Awaitable[StreamAnswer | None]]

AUTHENTICATE = StreamAnswer(407, [(b"proxy-authenticate", b'Basic realm="tests"')], b"authenticate\n")


class HTTP2Proxy(Proxy):
    """An HTTP/2 proxy; more of it in `Proxy`. A record's `tunnelled` is what came by all the streams, mixed.

    Args:
        connect: the way to origins.
        auth: user and password that each request has to carry; `None`: none.
        answer: looks at each request, and returns what is answered in place of the ordinary answer, or `None`. Also as
            a coroutine, which may wait.
        on_accept: what is done with each connection at once.
        settings: what the first SETTINGS frame says besides MAX_CONCURRENT_STREAMS, which is 100 unless it says so.

    Attributes:
        requests: what was asked, in order, of all connections. `target` is `:authority` for CONNECT, else a URL.
        opened: the streams they were asked on.
        clients: the connections' ends, in their order.
    """

    def __init__(
        self,
        *,
        connect: Connect = dial,
        auth: tuple[str, str] | None = None,
        answer: Script | None = None,
        on_accept: Answer | None = None,
        settings: _Settings = _NO_SETTINGS,
    ) -> None:
        super().__init__(connect, on_accept)
        self.auth = auth
        self.answer = answer
        self.settings: _Settings = {SettingCodes.MAX_CONCURRENT_STREAMS: 100, **settings}
        self.requests: list[ProxyRequest] = []
        self.opened: list[ProxyStream] = []
        self.clients: list[HTTP2ClientEnd] = []

    def accept(self) -> asyncio.Protocol:
        return HTTP2ClientEnd(self)

    async def answer_to(self, request: ProxyRequest) -> StreamAnswer | None:
        """Returns the script's answer, or that credentials are missing; or `None`."""
        answer = await resolved(self.answer(request)) if self.answer is not None else None
        if answer is None and self.auth is not None and request.credentials != self.auth:
            return AUTHENTICATE
        return answer


class HTTP2ClientEnd(ClientEnd):
    """The end of one client.

    Attributes:
        http: its h2.
        streams: those that are open, by their ids.
    """

    proxy: HTTP2Proxy

    def __init__(self, proxy: HTTP2Proxy) -> None:
        super().__init__(proxy)
        self.http = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding=False, validate_outbound_headers=False)
        )
        self.streams: dict[int, ProxyStream] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._initiated = False

    def flush(self) -> None:
        """Sends what h2 has to say."""
        if data := self.http.data_to_send():
            self.write(data)

    def go_away(self, code: ErrorCodes | int = ErrorCodes.NO_ERROR, last_stream_id: int | None = None) -> None:
        """Sends GOAWAY. Streams go on: h2's close_connection would let nothing more be sent."""
        last = self.http.highest_inbound_stream_id if last_stream_id is None else last_stream_id
        self.write(self.http.data_to_send() + GoAwayFrame(0, last, int(code)).serialize())

    def forget_stream(self, stream_id: int) -> None:
        """Forgets a stream that is over."""
        self.streams.pop(stream_id, None)
        self.proxy.changes.notify()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() != "h2":
            self.transport.abort()
            return
        self.proxy.clients.append(self)
        if self.proxy.on_accept is None:
            self._initiate()

    def _initiate(self) -> None:
        self._initiated = True
        self.http.local_settings = Settings(client=False, initial_values=self.proxy.settings)
        self.http.max_inbound_frame_size = self.http.local_settings.max_frame_size
        self.http.initiate_connection()
        self.flush()

    def received(self) -> None:
        if not self._initiated:
            self._initiate()
        data = bytes(self.buffer)
        self.buffer.clear()
        try:
            events = self.http.receive_data(data)
        except ProtocolError:
            self.flush()  # its GOAWAY
            self.transport.close()
            return
        for event in events:
            self._event(event)
        self.flush()
        self._wake()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for task in self._tasks.values():
            task.cancel()
        for stream in list(self.streams.values()):
            stream.lose()

    def _wake(self) -> None:
        for stream in list(self.streams.values()):
            stream.send_waiting()

    def _event(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self._begin(event)
        elif isinstance(event, h2.events.ConnectionTerminated):
            for stream in list(self.streams.values()):
                stream.lose()  # h2 can send nothing more
            self.transport.close()
        elif isinstance(event, h2.events.DataReceived):
            self.record.tunnelled += event.data
            if event.stream_id in self.streams:
                self.streams[event.stream_id].receive_data(event.data, event.flow_controlled_length)
            else:
                with contextlib.suppress(ProtocolError):  # a GOAWAY came with it: h2 sends nothing more
                    self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            if event.stream_id in self.streams:
                self.streams[event.stream_id].trailers = list(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            if event.stream_id in self.streams:
                self.streams[event.stream_id].receive_end()
        elif isinstance(event, h2.events.StreamReset):
            if event.stream_id in self._tasks:
                self._tasks[event.stream_id].cancel()
            if event.stream_id in self.streams:
                self.streams[event.stream_id].lose()

    # Requests

    def _begin(self, event: h2.events.RequestReceived) -> None:
        fields = list(event.headers)
        pseudo = {name: value for name, value in fields if name.startswith(b":")}
        target = pseudo.get(b":authority", b"")
        is_connect = pseudo[b":method"] == b"CONNECT"
        if not is_connect:
            target = pseudo[b":scheme"] + b"://" + target + pseudo[b":path"]
        headers = [(bytes(name), bytes(value)) for name, value in fields if not name.startswith(b":")]
        request = ProxyRequest(pseudo[b":method"], target, headers)
        kind, stream_id = TunnelStream if is_connect else ForwardedStream, event.stream_id
        stream = self.streams[stream_id] = kind(self, stream_id, request, event.stream_ended is not None)
        self.proxy.requests.append(request)
        self.proxy.opened.append(stream)
        task = self._tasks[stream_id] = self.proxy.start(self._serve(request, stream))
        task.add_done_callback(lambda task: self._tasks.pop(stream_id))

    async def _serve(self, request: ProxyRequest, stream: ProxyStream) -> None:
        answer = await self.proxy.answer_to(request)
        if answer is None:
            await stream.proceed(200, [], b"")
            return
        headers = list(answer.headers)
        if answer.proceed:
            await stream.proceed(answer.status or 200, headers, answer.body)
        elif answer.status is not None and answer.end_stream:
            stream.respond(answer.status, headers, answer.body)
        elif answer.status is not None:
            stream.send_headers(answer.status, headers)
            stream.send(answer.body)
        if answer.reset is not None:
            stream.reset(answer.reset)
        if answer.goaway is not None:
            last = stream.stream_id if answer.last_stream_id is None else answer.last_stream_id
            self.go_away(answer.goaway, last)
        if answer.end is not None:
            await self.answer(answer.end)


@contextlib.asynccontextmanager
async def http2_proxy(
    server_context: ssl.SSLContext | None = None,
    *,
    connect: Connect = dial,
    auth: tuple[str, str] | None = None,
    answer: Script | None = None,
    on_accept: Answer | None = None,
    settings: _Settings = _NO_SETTINGS,
    host: str = "127.0.0.1",
) -> AsyncIterator[HTTP2Proxy]:
    """An `HTTP2Proxy` on a free port of `host`: over TLS, whose context's ALPN is set; without, by prior knowledge."""
    if server_context is not None:
        server_context.set_alpn_protocols(["h2"])
    async with (
        HTTP2Proxy(connect=connect, auth=auth, answer=answer, on_accept=on_accept, settings=settings) as proxy,
        proxy.listening(server_context, host),
    ):
        yield proxy
