"""A small ASGI server on h2 that runs in a test's own process: what tests/asgi_server.py can do, over HTTP/2.

Many exchanges at once, each a task with a call of the app; flow control both ways (a stream is credited when the app
takes its data, a response waits for the client's windows); a request whose body is not wanted ends with
RST_STREAM(NO_ERROR) behind its response. Over TLS it takes h2 alone (ALPN), without TLS it goes by prior knowledge.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from urllib.parse import unquote

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame

import httpcore
from tests.asgi_server import ASGIApp
from tests.origin_app import Message
from tests.servers import Origin

# More than a stream's window, which is the smallest: both of a client's windows get their turn to be the limit.
_CONNECTION_WINDOW = 256 * 1024
_DEFAULT_WINDOW = 65_535
# For one hop of HTTP/1.1 (RFC 9113 8.2.2). Apps send them, as they do not know what they run under.
_HTTP11_ONLY = {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}

Headers = list[tuple[bytes, bytes]]


@dataclass
class H2Origin(Origin):
    """A server in the test's own process.

    Attributes:
        opened: all of its connections, in the order they came, for tests that look at the server's end: `http` is
            their h2, with the windows and streams as the server has them.
    """

    opened: list[H2ServerProtocol] = field(default_factory=list)


@contextlib.asynccontextmanager
async def asgi_server_h2(
    app: ASGIApp, ssl_context: ssl.SSLContext | None = None, *, max_concurrent_streams: int = 100
) -> AsyncIterator[H2Origin]:
    """Serves `app` on a free port of the loopback address. Sets the ALPN protocols of `ssl_context`.

    On leaving, what still runs is cancelled, clients get GOAWAY, and the first error is raised: of an app, or that a
    client broke the protocol.
    """
    if ssl_context is not None:
        ssl_context.set_alpn_protocols(["h2"])
    origin = H2Origin("")

    def accept() -> H2ServerProtocol:
        return H2ServerProtocol(app, origin, max_concurrent_streams)

    server = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", 0, ssl=ssl_context)
    port = server.sockets[0].getsockname()[1]
    origin.url = f"http://127.0.0.1:{port}" if ssl_context is None else f"https://localhost:{port}"
    try:
        yield origin
    finally:
        server.close()
        await asyncio.gather(*(connection.shut_down() for connection in origin.opened))
        await server.wait_closed()
    if origin.errors:
        raise origin.errors[0]


class H2ServerProtocol(asyncio.Protocol):
    """One connection.

    Attributes:
        http: its h2.
    """

    _transport: asyncio.Transport

    def __init__(self, app: ASGIApp, origin: H2Origin, max_concurrent_streams: int) -> None:
        self._app = app
        self._origin = origin
        self._max_concurrent_streams = max_concurrent_streams
        self._streams: dict[int, _Stream] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = asyncio.Event()
        self._leaving = False
        self.writable = True
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=False))

    async def shut_down(self) -> None:
        """Cancels what runs, says GOAWAY, and returns when the connection is closed."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if not self._closed.is_set():
            self.leave()
        await self._closed.wait()

    def leave(self) -> None:
        """Takes no further exchange (GOAWAY), and closes when those that are open have ended."""
        # Not by h2's close_connection: it could send nothing more after that, and streams may be open.
        if not self._leaving:
            self._leaving = True
            frame = GoAwayFrame(0, self.http.highest_inbound_stream_id, ErrorCodes.NO_ERROR)
            if not self._transport.is_closing():  # the client has left
                self._transport.write(self.http.data_to_send() + frame.serialize())
        if not self._streams:
            self._transport.close()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's do not derive from asyncio.Transport
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() != "h2":
            self._transport.abort()
            return
        self._origin.connections += 1
        self._origin.opened.append(self)
        self.http.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: self._max_concurrent_streams})
        self.http.initiate_connection()
        self.http.increment_flow_control_window(_CONNECTION_WINDOW - _DEFAULT_WINDOW)
        self.flush()

    def data_received(self, data: bytes) -> None:
        try:
            events = self.http.receive_data(data)
        except h2.exceptions.ProtocolError as exc:
            self._origin.errors.append(exc)
            self.flush()  # its GOAWAY
            self._transport.close()
            return
        for event in events:
            self._event(event)
        self.flush()
        # Windows may have opened, bodies begun, streams gone: each looks for itself.
        self._wake()

    def eof_received(self) -> None:
        self._transport.close()

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose_streams()
        self._closed.set()

    # The rest

    def flush(self) -> None:
        """Writes what h2 has to send."""
        if data := self.http.data_to_send():
            self._transport.write(data)

    def _wake(self) -> None:
        for stream in self._streams.values():
            stream.news.set()

    def _lose_streams(self) -> None:
        for stream in self._streams.values():
            stream.lost = True
        self._wake()

    def _event(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            if self._leaving:
                self.http.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)
                return
            stream = self._streams[event.stream_id] = _Stream(self, event, self._transport.get_extra_info)
            task = asyncio.get_running_loop().create_task(self._serve(stream))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif isinstance(event, h2.events.DataReceived):
            if event.stream_id in self._streams:
                self._streams[event.stream_id].body.append((event.data, event.flow_controlled_length))
            else:
                self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            if event.stream_id in self._streams:
                self._streams[event.stream_id].trailers = list(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            if event.stream_id in self._streams:
                self._streams[event.stream_id].request_ended = True
        elif isinstance(event, h2.events.StreamReset):
            if event.stream_id in self._streams:
                self._streams[event.stream_id].lost = True
        elif isinstance(event, h2.events.ConnectionTerminated):
            # h2 can send nothing more now, not even on open streams.
            self._lose_streams()
            self._transport.close()

    async def _serve(self, stream: _Stream) -> None:
        try:
            await self._app(stream.scope, stream.receive, stream.send)
        except (ConnectionError, httpcore.HTTPCoreError):
            pass  # a gateway's, or the client went: as any server, cut the response
        except Exception as exc:
            self._origin.errors.append(exc)
        finally:
            del self._streams[stream.stream_id]
            if not self._closed.is_set() and not self._transport.is_closing():
                stream.end()
                self.flush()
                if self._leaving:
                    self.leave()


class _Stream:
    """One exchange: what the app's call is given.

    Attributes:
        news: set when anything may have changed for one who waits.
        body: what came and was not taken yet: the data, and what it is to be credited as.
        request_ended: whether the request came to its end.
        trailers: the request's.
        lost: whether the stream was reset, or the connection is gone.
    """

    def __init__(
        self,
        connection: H2ServerProtocol,
        request: h2.events.RequestReceived,
        extra_info: Callable[[str], tuple[str, int]],
    ) -> None:
        self.stream_id = request.stream_id
        self.news = asyncio.Event()
        self.body: deque[tuple[bytes, int]] = deque()
        self.request_ended = False
        self.trailers: Headers = []
        self.lost = False
        self._connection = connection
        self._http = connection.http
        self._response_started = False
        self._response_ended = False
        self._trailers_to_come = False
        self._end_given = False
        pseudo, headers = _split(request.headers)
        self._without_content = pseudo[b":method"] == b"HEAD"
        self._continue_wanted = any(field == (b"expect", b"100-continue") for field in headers)
        path, _, query = pseudo[b":path"].partition(b"?")
        self.scope: Message = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "2",
            "method": pseudo[b":method"].decode(),
            "scheme": pseudo[b":scheme"].decode(),
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": headers,
            "client": extra_info("peername")[:2],
            "server": extra_info("sockname")[:2],
            "extensions": {"http.response.early_hint": {}, "http.response.trailers": {}},
        }

    async def receive(self) -> Message:
        """ASGI's `receive`."""
        if self._continue_wanted and not (self._response_started or self.body or self.request_ended or self.lost):
            self._http.send_headers(self.stream_id, [(b":status", b"100")])
            self._connection.flush()
        self._continue_wanted = False
        await self._until(lambda: bool(self.body) or (self.request_ended and not self._end_given))
        if self.lost or self._response_ended:
            return {"type": "http.disconnect"}
        if self.body:
            data, credit = self.body.popleft()
            self._http.acknowledge_received_data(credit, self.stream_id)
            self._connection.flush()
            return {"type": "http.request", "body": data, "more_body": True}
        self._end_given = True
        return {"type": "http.request", "body": b"", "more_body": False, "trailers": self.trailers}

    async def send(self, message: Message) -> None:
        """ASGI's `send`."""
        if self.lost:
            raise ConnectionResetError("the client is gone")
        assert not self._response_ended, message
        if message["type"] == "http.response.early_hint":
            links = [(b"link", link) for link in message["links"]]
            self._http.send_headers(self.stream_id, [(b":status", b"103"), *links])
        elif message["type"] == "http.response.start":
            self._trailers_to_come = message.get("trailers", False)
            self._start(message["status"], message["headers"])
        elif message["type"] == "http.response.body":
            last = not message.get("more_body", False) and not self._trailers_to_come
            if not self._without_content:
                await self._send_data(message.get("body", b""), last)
            self._response_ended = last
        else:
            assert message["type"] == "http.response.trailers"
            if self._without_content:
                pass
            elif message["headers"]:
                self._http.send_headers(self.stream_id, message["headers"], end_stream=True)
            else:
                self._http.end_stream(self.stream_id)  # there turned out to be none
            self._response_ended = True
        self._connection.flush()
        if self._response_ended:
            self.news.set()  # to another task of the app's that waits in `receive`

    def end(self) -> None:
        """Leaves nothing of it behind in h2: not its credit, nor an open half."""
        for _, credit in self.body:
            self._http.acknowledge_received_data(credit, self.stream_id)
        self.body.clear()
        if not self.lost and not (self._response_ended and self.request_ended):
            # RFC 9113 8.1: a response that is whole stands, whatever of its request was not wanted.
            code = ErrorCodes.NO_ERROR if self._response_ended else ErrorCodes.INTERNAL_ERROR
            self._http.reset_stream(self.stream_id, code)

    def _start(self, status: int, headers: Headers) -> None:
        self._response_started = True
        self._without_content = self._without_content or status in (204, 304)
        fields = [(name.lower(), value) for name, value in headers]
        if any(name == b"connection" and value.lower() == b"close" for name, value in fields):
            self._connection.leave()
        fields = [field for field in fields if field[0] not in _HTTP11_ONLY]
        # What has no content ends with its head, what may have some with its last DATA: clients meet both.
        ends = self._without_content
        self._http.send_headers(self.stream_id, [(b":status", b"%d" % status), *fields], end_stream=ends)

    async def _send_data(self, data: bytes, last: bool) -> None:
        sent = 0
        while sent < len(data):
            await self._until(lambda: self._connection.writable and self._window() > 0)
            if self.lost:
                raise ConnectionResetError("the client is gone")
            piece = data[sent : sent + min(self._window(), self._http.max_outbound_frame_size)]
            sent += len(piece)
            self._http.send_data(self.stream_id, piece, end_stream=last and sent == len(data))
            self._connection.flush()
        if last and not data:
            self._http.end_stream(self.stream_id)

    def _window(self) -> int:
        return 0 if self.lost else self._http.local_flow_control_window(self.stream_id)

    async def _until(self, ready: Callable[[], bool]) -> None:
        """Waits until that is so, or the stream is lost, or the response has ended."""
        while not (ready() or self.lost or self._response_ended):
            self.news.clear()
            await self.news.wait()


def _split(fields: Headers) -> tuple[dict[bytes, bytes], Headers]:
    """Returns the pseudo-header fields, and the others as ASGI wants them: with `host`, and one `cookie`."""
    pseudo = {name: value for name, value in fields if name.startswith(b":")}
    headers = [(name, value) for name, value in fields if not name.startswith(b":") and name != b"cookie"]
    if b":authority" in pseudo and not any(name == b"host" for name, _ in headers):
        headers.insert(0, (b"host", pseudo[b":authority"]))
    if cookies := [value for name, value in fields if name == b"cookie"]:
        headers.append((b"cookie", b"; ".join(cookies)))  # RFC 9113 8.2.3
    return pseudo, headers
