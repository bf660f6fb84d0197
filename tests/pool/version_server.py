"""A server that speaks whatever ALPN selects, and answers every request with what that is."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from h2.events import RequestReceived

from httpcore.testing import HTTP2Peer
from tests.conftest import TLSFiles
from tests.h11_server import Answer, Asked, H11Server, Listener, listening

__all__ = ["AutoHTTP2Peer", "VersionServer", "offering", "speaking_h2c", "version_server"]


class AutoHTTP2Peer(HTTP2Peer):
    """HTTP/2 in the server's role. What was asked is in `asked`: the fields of each request."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[tuple[bytes, bytes]]] = []
        self._seen = 0  # events

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        while self._seen < len(self.events):
            event = self.events[self._seen]
            self._seen += 1
            if isinstance(event, RequestReceived):
                self.asked.append(event.headers)
                self.respond(event.stream_id, body=b"over HTTP/2")


def _over_http11(asked: Asked) -> Answer:
    return Answer(body=b"over HTTP/1.1")


class VersionServer(asyncio.Protocol):
    """One connection.

    Attributes:
        selected: what ALPN selected.
        protocol: what speaks it.
        lost: completed when the connection is gone.
    """

    def __init__(self) -> None:
        self.selected: str | None = None
        self.protocol: AutoHTTP2Peer | H11Server
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.selected = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        self.protocol = AutoHTTP2Peer() if self.selected == "h2" else H11Server(_over_http11)
        self.protocol.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self.protocol.data_received(data)

    def eof_received(self) -> bool | None:
        return self.protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self.protocol.connection_lost(exc)
        self.lost.set_result(None)


def offering(tls: TLSFiles, protocols: Sequence[str]) -> ssl.SSLContext:
    """A server's context that selects the first of `protocols` which the client offers; with none it knows no ALPN."""
    context = tls.server_context
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


@asynccontextmanager
async def version_server(tls: TLSFiles, *protocols: str) -> AsyncIterator[Listener]:
    """Listens on loopback, with TLS."""
    async with listening(VersionServer, ssl_context=offering(tls, protocols)) as listener:
        yield listener


@asynccontextmanager
async def speaking_h2c() -> AsyncIterator[Listener]:
    """Listens on loopback for HTTP/2 without TLS."""
    async with listening(AutoHTTP2Peer) as listener:
        yield listener
