"""A server that answers by itself: h11 in the server's role, over memory links and real sockets alike."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias, cast

import h11

from httpcore import URL, ConnectionPool
from httpcore.testing import MemoryConnector

Pairs: TypeAlias = list[tuple[bytes, bytes]]


@dataclass
class Asked:
    """A request as the server saw it."""

    method: bytes
    target: bytes
    headers: Pairs
    body: bytes = b""
    trailers: Pairs = field(default_factory=list)

    def get(self, name: bytes) -> bytes | None:
        values = [value for field_name, value in self.headers if field_name == name]
        return b", ".join(values) if values else None


@dataclass
class Answer:
    """What it answers. `content-length` is added where the headers do not frame the content and it may have some."""

    status_code: int = 200
    headers: Pairs = field(default_factory=list)
    body: bytes = b""


App: TypeAlias = Callable[[Asked], Answer]


def hello(asked: Asked) -> Answer:
    return Answer(body=b"hello")


class H11Server(asyncio.Protocol):
    """One connection. What was asked is in `asked`, in order."""

    def __init__(self, app: App = hello) -> None:
        self.app = app
        self.asked: list[Asked] = []
        self.received = bytearray()
        self.transport = cast(asyncio.Transport, None)
        self.lost = asyncio.get_running_loop().create_future()
        self._http = h11.Connection(h11.SERVER)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._http.receive_data(data)
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError:
                self.transport.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")
                self.transport.close()
                return
            if isinstance(event, h11.Request):
                self.asked.append(Asked(event.method, event.target, list(event.headers)))
                if self._http.they_are_waiting_for_100_continue:
                    self._send(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))
            elif isinstance(event, h11.Data):
                self.asked[-1].body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self.asked[-1].trailers = list(event.headers)
                self._answer(self.asked[-1])
            else:
                return

    def _answer(self, asked: Asked) -> None:
        answer = self.app(asked)
        headers = list(answer.headers)
        framed = any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in headers)
        if not framed and answer.status_code not in (204, 304):
            headers.append((b"content-length", b"%d" % len(answer.body)))
        self._send(h11.Response(status_code=answer.status_code, headers=headers))
        if answer.body and asked.method != b"HEAD":
            self._send(h11.Data(data=answer.body))
        self._send(h11.EndOfMessage())
        if self._http.our_state is h11.MUST_CLOSE:
            self.transport.close()
        else:
            self._http.start_next_cycle()

    def _send(self, event: h11.Event) -> None:
        self.transport.write(self._http.send(event) or b"")


class MemoryServer(MemoryConnector[H11Server]):
    """A connector whose every connection leads to an `H11Server`."""

    def __init__(self, app: App = hello, *, segment: int | None = None) -> None:
        super().__init__(lambda: H11Server(app), segment=segment)

    @property
    def asked(self) -> list[Asked]:
        """All requests, connection by connection."""
        return [asked for peer in self.peers for asked in peer.asked]


@asynccontextmanager
async def memory_pool(
    app: App = hello, *, segment: int | None = None, max_body_size: int | None = 1024 * 1024
) -> AsyncIterator[tuple[ConnectionPool, MemoryServer]]:
    """A pool and the server it leads to. Afterwards both are closed, and the pool's books are empty."""
    server = MemoryServer(app, segment=segment)
    async with server:
        pool = ConnectionPool(connector=server, max_body_size=max_body_size)
        try:
            yield pool, server
        finally:
            await pool.close(force=True)
            await server.all_closed()
        assert pool.num_connections == 0


class Listener:
    """An `H11Server`, or another protocol, on a real socket."""

    def __init__(self, server: asyncio.Server, protocols: list[asyncio.Protocol], scheme: str) -> None:
        self.server = server
        self.protocols = protocols
        self.scheme = scheme

    @property
    def address(self) -> tuple[str, int]:
        return cast(tuple[str, int], self.server.sockets[0].getsockname()[:2])

    @property
    def port(self) -> int:
        return self.address[1]

    @property
    def asked(self) -> list[Asked]:
        return [asked for protocol in self.protocols if isinstance(protocol, H11Server) for asked in protocol.asked]

    def url(self, host: str | None = None) -> URL:
        """The server's URL under this name."""
        host = host or self.address[0]
        return URL(f"{self.scheme}://{f'[{host}]' if ':' in host else host}:{self.port}/")


@asynccontextmanager
async def listening(
    make: Callable[[], asyncio.Protocol] = H11Server,
    *,
    ssl_context: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
) -> AsyncIterator[Listener]:
    """Listens on loopback; afterwards all connections are aborted."""
    protocols: list[asyncio.Protocol] = []
    transports: list[asyncio.BaseTransport] = []

    def accept() -> asyncio.Protocol:
        protocol = make()
        made = protocol.connection_made

        def connection_made(transport: asyncio.BaseTransport) -> None:
            transports.append(transport)
            made(transport)

        protocol.connection_made = connection_made  # type: ignore[method-assign]
        protocols.append(protocol)
        return protocol

    server = await asyncio.get_running_loop().create_server(accept, host, 0, ssl=ssl_context)
    try:
        yield Listener(server, protocols, "http" if ssl_context is None else "https")
    finally:
        server.close()
        for transport in transports:
            cast(asyncio.Transport, transport).abort()  # uvloop's do not derive from it
