"""A gateway (reverse proxy) to put in front of an HTTP server, as an ASGI app.

    export UPSTREAM=http://127.0.0.1:8001
    uvicorn --app-dir examples gateway:app --no-server-header --no-date-header --no-proxy-headers

Both directions stream, at the pace of the slower side; content codings and the request target stay as they are.
A client that goes away takes its exchange with the upstream along: at once, or when a tenth of a second has gone by
since its request came, as most exchanges are over by then. Trailers and 103 (Early Hints) reach the client where the
server offers the ASGI extensions for them. WebSockets are refused: they are another protocol, and another program.

The upstream may speak HTTP/2, whatever the clients do: many of them then share a connection, and one that is slow holds
up nobody else. Behind https nothing needs to be set, as TLS finds out (ALPN). Without TLS it has to be known:

    export UPSTREAM_HTTP2=1

`via` tells which version was spoken on each side.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote

import httpcore

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

HIGH_WATER = 256 * 1024  # bytes that may wait for a slow client before the upstream is asked to pause
LISTEN_AFTER = 0.05  # seconds, and up to twice as many, before a client is listened to whose request came whole
# Fields that the upstream gets from the gateway, or not at all: the ASGI server says "100 Continue" itself when the
# body is first asked for, so Expect has been met.
REPLACED = frozenset({b"host", b"expect", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"})
TIMEOUT = httpcore.TimeoutConfig(60, connect_timeout=5, pool_timeout=5)


class ClientDisconnected(Exception):
    """The client went away."""


class Gateway:
    """Forwards every request to one upstream.

    Args:
        upstream: the URL it is found under. A path in it is put before the path of each request.
        timeout: how long to wait for the upstream.
        http1: whether the upstream may speak HTTP/1.1. If not it has to speak HTTP/2, without TLS as well.
        ssl: how the upstream is verified, if it is found under https; `None` is against certifi's authorities.
    """

    def __init__(
        self,
        upstream: str,
        timeout: httpcore.TimeoutConfig = TIMEOUT,
        *,
        http1: bool = True,
        ssl: httpcore.SSLConfig | None = None,
    ) -> None:
        self.upstream = httpcore.URL(upstream)
        self.http = httpcore.ConnectionPool(ssl, timeout, http1=http1)
        self.listeners = Listeners()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self.forward(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self.lifespan(receive, send)
        else:
            await send({"type": "websocket.close"})

    async def lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self.http.close()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return

    async def forward(self, scope: Message, receive: Receive, send: Send) -> None:
        # The first piece tells whether there are more. A body that came whole is given as bytes: the request can then
        # be sent again, should a connection that was kept alive be gone.
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        content, more_body = message.get("body", b""), message.get("more_body", False)
        headers, body = request_headers(scope), httpcore.PUSHED if more_body else content
        try:
            target = self.upstream.target.rstrip(b"/") + request_target(scope)
            request = httpcore.Request(scope["method"], self.upstream, headers, body, target=target)
        except httpcore.LocalProtocolError as exc:
            await send_error(send, 400, str(exc))
            return
        relay = Relay(scope.get("extensions") or {}, receive, pushes=more_body)
        exchange = relay.exchange = self.http.dispatch(request, relay)
        try:
            if more_body:
                relay.task = asyncio.create_task(relay.upload(content))
            else:
                self.listeners.add(relay)
            await relay.download(send)
        finally:
            self.listeners.discard(relay)
            if not exchange.ended:
                exchange.abort()
            if relay.task is not None:
                relay.task.cancel()
                await asyncio.wait([relay.task])


class Relay(httpcore.ResponseHandler):
    """One exchange: turns what the upstream says into ASGI messages, which wait for the client to take them."""

    def __init__(self, extensions: Message, receive: Receive, *, pushes: bool) -> None:
        self.extensions = extensions  # what the ASGI server can do
        self.receive = receive
        self.messages: deque[Message] = deque()
        self.waiting = 0  # bytes of content among the messages
        self.waiter: asyncio.Future[None] | None = None  # for a message, or the end
        self.ended = False
        self.error: BaseException | None = None  # that it ended with
        self.trailers = False
        # Where the body is pushed: the exchange has a connection, and the upstream takes more.
        self.writable = asyncio.Event() if pushes else None
        self.task: asyncio.Task[None] | None = None  # waits for what the client sends, or for it to go away

    def wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    # Called by httpcore, as things happen.

    def exchange_started(self, exchange: httpcore.Exchange) -> None:
        self.exchange = exchange
        self.resume_writing()

    def pause_writing(self) -> None:
        if self.writable is not None:
            self.writable.clear()

    def resume_writing(self) -> None:
        if self.writable is not None:
            self.writable.set()

    def informational_received(self, status_code: int, headers: httpcore.Headers) -> None:
        if status_code == 103 and "http.response.early_hint" in self.extensions:
            links = [value for name, value in headers if name == b"link"]
            self.messages.append({"type": "http.response.early_hint", "links": links})
            self.wake()

    def response_received(self, head: httpcore.ResponseHead) -> None:
        headers = httpcore.without_hop_by_hop(head.headers)
        # Whether trailers follow is to be said now, and over HTTP/1.1 only content of unknown length can have any.
        self.trailers = "http.response.trailers" in self.extensions and b"content-length" not in headers
        if not self.trailers and b"trailer" in headers:
            headers = httpcore.Headers([pair for pair in headers if pair[0] != b"trailer"])
        headers.append((b"via", head.http_version.removeprefix(b"HTTP/") + b" gateway"))
        start: Message = {"type": "http.response.start", "status": head.status_code, "headers": headers}
        if self.trailers:
            start["trailers"] = True
        self.messages.append(start)
        self.wake()

    def data_received(self, data: bytes) -> None:
        self.messages.append({"type": "http.response.body", "body": data, "more_body": True})
        self.wake()
        self.waiting += len(data)
        if self.waiting > HIGH_WATER:
            self.exchange.pause_reading()

    def response_complete(self, trailers: httpcore.Headers) -> None:
        last = self.messages[-1] if self.messages else {}
        if "body" in last:
            last["more_body"] = False  # what was not sent yet takes the end along
        else:
            self.messages.append({"type": "http.response.body", "body": b"", "more_body": False})
        if self.trailers:
            self.messages.append({"type": "http.response.trailers", "headers": trailers, "more_trailers": False})
        self.ended = True
        self.wake()

    def exchange_failed(self, exc: BaseException) -> None:
        self.ended, self.error = True, exc
        self.wake()

    # The two directions.

    async def upload(self, data: bytes) -> None:
        """Pushes the body, of which `data` is the first piece, and then listens."""
        assert self.writable is not None
        more_body = True
        while True:
            await self.writable.wait()
            self.exchange.write(data)
            if not more_body:
                self.exchange.write_eof()
                await self.listen()
                return
            message = await self.receive()
            if message["type"] == "http.disconnect":
                self.exchange.abort(ClientDisconnected())
                return
            data, more_body = message.get("body", b""), message.get("more_body", False)

    async def listen(self) -> None:
        """Waits for the client to go away, once its request has ended."""
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self.exchange.abort(ClientDisconnected())

    async def download(self, send: Send) -> None:
        """Sends the response, or an error in its place."""
        begun = False
        while True:
            while self.messages:
                message = self.messages.popleft()
                await send(message)
                begun = begun or message["type"] == "http.response.start"
                was_waiting = self.waiting
                self.waiting -= len(message.get("body", b""))
                if was_waiting > HIGH_WATER >= self.waiting:
                    self.exchange.resume_reading()
            if self.ended:
                break
            self.waiter = asyncio.get_running_loop().create_future()
            await self.waiter
        if self.error is None or isinstance(self.error, ClientDisconnected):
            return
        if begun:
            raise self.error  # the ASGI server then cuts the connection, and so the client knows
        await send_error(send, *status_for(self.error))


class Listeners:
    """Lets relays listen that have taken a while. Most exchanges are over by then: these cost no task, and no timer."""

    def __init__(self) -> None:
        self.recent: set[Relay] = set()
        self.older: set[Relay] = set()
        self.timer: asyncio.TimerHandle | None = None

    def add(self, relay: Relay) -> None:
        self.recent.add(relay)
        if self.timer is None:
            self.timer = asyncio.get_running_loop().call_later(LISTEN_AFTER, self.turn)

    def discard(self, relay: Relay) -> None:
        self.recent.discard(relay)
        self.older.discard(relay)
        if self.timer is not None and not self.recent and not self.older:
            self.timer.cancel()
            self.timer = None

    def turn(self) -> None:
        for relay in self.older:
            relay.task = asyncio.create_task(relay.listen())
        self.recent, self.older = set(), self.recent
        self.timer = asyncio.get_running_loop().call_later(LISTEN_AFTER, self.turn) if self.older else None


def request_target(scope: Message) -> bytes:
    """Returns path and query just as the client sent them: what was never decoded cannot be encoded differently."""
    path: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    if not path.startswith(b"/"):
        raise httpcore.LocalProtocolError("the gateway takes no other request target than a path")
    return path + b"?" + scope["query_string"] if scope["query_string"] else path


def request_headers(scope: Message) -> httpcore.Headers:
    """Returns the fields for the upstream."""
    headers = httpcore.Headers()
    given: dict[bytes, bytes] = {}
    for name, value in httpcore.without_hop_by_hop(scope["headers"]):
        if name in REPLACED:
            given[name] = listed(given, name, value)
        else:
            headers.append((name, value))
    # What others have put in these lists stands before our entry; the upstream can trust no more than the last one.
    if scope.get("client"):
        headers.append((b"x-forwarded-for", listed(given, b"x-forwarded-for", scope["client"][0].encode())))
    headers.append((b"via", listed(given, b"via", scope["http_version"].encode() + b" gateway")))
    headers.append((b"x-forwarded-proto", scope["scheme"].encode()))
    if b"host" in given:
        headers.append((b"x-forwarded-host", given[b"host"]))
    return headers


def listed(given: dict[bytes, bytes], name: bytes, entry: bytes) -> bytes:
    """Returns what was given for a field and one entry more, as one list (RFC 9110 5.3)."""
    return given[name] + b", " + entry if name in given else entry


def status_for(exc: BaseException) -> tuple[int, str]:
    """Returns the status and the text that tell the client of an error, without telling it what is behind us."""
    if isinstance(exc, httpcore.PoolTimeout):
        return 503, "the gateway is overloaded"
    if isinstance(exc, httpcore.TimeoutException):
        return 504, "the upstream did not answer in time"
    if isinstance(exc, httpcore.LocalProtocolError):
        return 400, "the request cannot be forwarded"
    return 502, "the upstream cannot be reached, or gave no valid answer"


async def send_error(send: Send, status: int, text: str) -> None:
    body = text.encode() + b"\n"
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


app = Gateway(os.environ.get("UPSTREAM", "http://127.0.0.1:8001"), http1=os.environ.get("UPSTREAM_HTTP2") != "1")
