"""Talk to a WebSocket server: over HTTP/2 where it takes that (RFC 8441), over HTTP/1.1 where it does not (RFC 6455).

httpcore finds the way to the server, through a proxy if need be, and hands out the raw stream; wsproto (to be
installed beside it) knows the frames there. Each message is sent, and what comes back is printed:

    python examples/websocket.py wss://example.org/chat "Hello" "Anybody there?"
    python examples/websocket.py ws://127.0.0.1:8000/ "Hello" --http 2
    python examples/websocket.py wss://localhost:8443/ "Hello" --ca ca.pem --proxy http://127.0.0.1:3128
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hashlib
import os
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage

import httpcore

_CLOSE_TIMEOUT = 5.0  # seconds in which the server may do its part of closing
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # whoever adds this to the key has understood it: RFC 6455 1.3


class WebSocketError(Exception):
    """The base of the errors below. What goes wrong before the server has answered is an `httpcore.HTTPCoreError`."""


class HandshakeError(WebSocketError):
    """The server refused, or its consent is not one to this request. `response` is its answer."""

    def __init__(self, message: str, response: httpcore.Response) -> None:
        super().__init__(message)
        self.response = response


class ConnectionClosed(WebSocketError):
    """Nothing more can be sent or received. `code` and `reason` are of RFC 6455 7.1.5 (1006: the connection broke)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the WebSocket is closed: {code} {reason!a}")
        self.code = code
        self.reason = reason


class WebSocket:
    """A connection of messages: `str` for text, `bytes` for the others. Close it, or use `async with`.

    One task may send while another receives. Pings are answered while somebody receives. `response` is the server's
    consent, and `subprotocol` which of those that were offered it has chosen, if any.
    """

    def __init__(self, response: httpcore.Response, stream: httpcore.UpgradedStream, max_size: int) -> None:
        self.response = response
        self.subprotocol = response.headers.get("sec-websocket-protocol")
        self._stream = stream
        self._frames = Connection(ConnectionType.CLIENT)
        self._max_size = max_size
        self._size = 0
        self._parts: list[Any] = []  # of a message that has not ended yet: all str, or all bytes
        self._over = False  # whether there is nothing more to receive
        self._end: tuple[int, str] | None = None
        self._receiving = asyncio.Lock()

    @classmethod
    async def connect(
        cls,
        pool: httpcore.ConnectionPool,
        url: str,
        subprotocols: Sequence[str] = (),
        headers: Sequence[tuple[str, str]] = (),
        *,
        max_size: int = 16 * 1024 * 1024,
    ) -> Self:
        """Returns a connection to a `ws` or `wss` URL; it takes messages of `max_size` bytes (characters, for text).

        Raises:
            HandshakeError: the server does not agree.
            httpcore.HTTPCoreError: it could not be asked.
        """
        if not url.startswith(("ws://", "wss://")):
            raise httpcore.UnsupportedProtocol("the URL must begin with ws:// or wss://")
        url = "http" + url.removeprefix("ws")
        fields = [*headers, ("sec-websocket-version", "13")]
        if subprotocols:
            fields.append(("sec-websocket-protocol", ", ".join(subprotocols)))
        key = None
        try:
            response = await pool.request("CONNECT", url, fields, protocol="websocket")
        except httpcore.LocalProtocolError:  # pool or server do not speak HTTP/2, or not this on it; nothing was sent
            key = base64.b64encode(os.urandom(16))
            fields += [("upgrade", "websocket"), ("connection", "upgrade"), ("sec-websocket-key", key.decode())]
            response = await pool.request("GET", url, fields)
        stream = response.upgraded
        if stream is None:
            raise HandshakeError(f"the server answered {response.status_code}", response)
        if fault := _fault(response.headers, key, subprotocols):
            stream.abort()
            raise HandshakeError(f"the server agreed to {fault}", response)
        return cls(response, stream, max_size)

    async def send(self, message: str | bytes) -> None:
        """Sends a message; returns when the server keeps up. Raises `ConnectionClosed`."""
        if self._frames.state is not ConnectionState.OPEN:
            raise self._closed()
        event = TextMessage(message) if isinstance(message, str) else BytesMessage(message)
        try:
            self._stream.write(self._frames.send(event))
            await self._stream.drain()
        except httpcore.WriteError as exc:
            raise self._closed() from exc

    async def receive(self) -> str | bytes:
        """Returns the next message. Raises `ConnectionClosed`. When it is cancelled, nothing is lost."""
        async with self._receiving:
            while not self._over:
                for event in self._frames.events():
                    if (message := self._handle(event)) is not None:
                        return message
                try:
                    data = await self._stream.read()
                except httpcore.HTTPCoreError as exc:
                    raise self._closed() from exc
                self._frames.receive_data(data or None)
            raise self._closed()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Closes it, and waits a little for the server to do the same. What comes until then is dropped. Idempotent."""
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                if self._frames.state is ConnectionState.OPEN:
                    self._answer(CloseConnection(code, reason))
                    self._closed(code, reason)
                with contextlib.suppress(ConnectionClosed):
                    while True:
                        await self.receive()
                while await self._stream.read():  # the connection is the server's to close: RFC 6455 7.1.1
                    pass
                self._stream.close()
                await self._stream.wait_closed()
        except (TimeoutError, httpcore.HTTPCoreError):
            pass
        finally:
            self._stream.abort()

    def _handle(self, event: Event) -> str | bytes | None:
        """Does what an event asks for. Returns the message that it completes; raises `ConnectionClosed`."""
        state = self._frames.state
        if isinstance(event, (TextMessage, BytesMessage)):
            if event.data:  # of fragments without any there may be as many as the server likes
                self._parts.append(event.data)
                self._size += len(event.data)
            if self._size > self._max_size:
                return self._handle(CloseConnection(1009, "the message is too large"))
            if event.message_finished:
                parts, self._parts, self._size = self._parts, [], 0
                return "".join(parts) if isinstance(event, TextMessage) else b"".join(parts)
        elif isinstance(event, Ping) and state is ConnectionState.OPEN:
            self._answer(event.response())
        elif isinstance(event, CloseConnection):  # the server's, or what it gets for breaking a rule
            self._over = True
            if state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
                self._answer(event.response())
            raise self._closed(event.code, event.reason or "")
        return None

    def _answer(self, event: Event) -> None:
        # Not followed by drain(): a server that waits for us to read is not to be waited for.
        with contextlib.suppress(httpcore.WriteError):  # it is gone, but what it has sent before still counts
            self._stream.write(self._frames.send(event))

    def _closed(self, code: int = 1006, reason: str = "") -> ConnectionClosed:
        """Returns the error that says why it is closed: what was given first."""
        self._end = self._end or (int(code), reason)
        return ConnectionClosed(*self._end)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str | bytes:
        try:
            return await self.receive()
        except ConnectionClosed as exc:
            if exc.code in (1000, 1001, 1005):  # normal, going away, none given
                raise StopAsyncIteration from None
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc is None or isinstance(exc, Exception):
            await self.close(1000 if exc is None else 1011)
        else:
            self._stream.abort()  # who is cancelled does not wait


def _fault(headers: httpcore.Headers, key: bytes | None, subprotocols: Sequence[str]) -> str | None:
    """Returns what is wrong with the server's consent (RFC 6455 4.1, RFC 8441 5); `key` is of HTTP/1.1."""
    if key is not None:
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest()).decode()
        if headers.get("upgrade", "").lower() != "websocket":
            return "another protocol"
        if headers.get("sec-websocket-accept") != accept:
            return "another request"
    if headers.get("sec-websocket-protocol") not in (None, *subprotocols):
        return "a subprotocol that was not offered"
    if "sec-websocket-extensions" in headers:
        return "an extension that was not offered"
    return None


async def main(url: str, messages: Sequence[str], version: str | None, ca: str | None, proxy: str | None) -> None:
    config = httpcore.SSLConfig(verify=ca or True)
    pool = httpcore.ConnectionPool(config, http1=version != "2", http2=version != "1.1", proxy=proxy)
    async with pool, await WebSocket.connect(pool, url) as websocket:
        for message in messages:
            await websocket.send(message)
            print(await websocket.receive())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Sends messages to a WebSocket server, and prints what comes back.")
    parser.add_argument("url")
    parser.add_argument("messages", nargs="*")
    parser.add_argument("--http", choices=["1.1", "2"], help="this version alone; without TLS, 2 has to be asked for")
    parser.add_argument("--ca", help="a file of authorities, in place of certifi's")
    parser.add_argument("--proxy", help="the URL of a proxy")
    options = parser.parse_args()
    try:
        asyncio.run(main(options.url, options.messages, options.http, options.ca, options.proxy))
    except (WebSocketError, httpcore.HTTPCoreError) as exc:
        raise SystemExit(str(exc)) from None
