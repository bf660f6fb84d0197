"""Servers of HTTP/2 for sweeps, behind several kinds of link, with windows so small that they matter."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from h2.events import DataReceived, Event, RequestReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes

from httpcore import ConnectionPool, HTTP2Config, SSLConfig
from httpcore.testing import HTTP2Peer, MemoryConnector
from tests.conftest import TLSFiles
from tests.pool.steps import LIMITS

__all__ = ["CONTENT", "WINDOW", "Origin", "Servers", "serving"]

# A response needs the window to be opened again in its middle, as does a body.
WINDOW = 32
CONTENT = b"0123456789" * 5
CONFIG = HTTP2Config(stream_window=WINDOW, max_stream_window=WINDOW)


class Origin(HTTP2Peer):
    """Answers every request with CONTENT, and is an echo to CONNECT and at /echo.

    At /early it does not wait for the body; at /held it waits in the middle of its answer.

    Attributes:
        held: the streams of requests that wait for `release`.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(
            {
                SettingCodes.MAX_CONCURRENT_STREAMS: limit,
                SettingCodes.INITIAL_WINDOW_SIZE: WINDOW,
                SettingCodes.ENABLE_CONNECT_PROTOCOL: 1,
            }
        )
        self.held: dict[int, bytes] = {}  # and what is still to be sent
        self.bodies: defaultdict[int, bytes] = defaultdict(bytes)
        self._paths: dict[int, bytes] = {}
        self._seen = 0  # events

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        while self._seen < len(self.events):
            event = self.events[self._seen]
            self._seen += 1
            stream_id = getattr(event, "stream_id", None)
            if not any(isinstance(later, StreamReset) and later.stream_id == stream_id for later in self.events):
                self._heard(event)

    def _heard(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            fields = dict(event.headers)
            path = self._paths[event.stream_id] = fields.get(b":path", b"")
            if b"expect" in fields:
                self.respond(event.stream_id, 100, end_stream=False)
            if fields[b":method"] == b"CONNECT":
                self._paths[event.stream_id] = b"CONNECT"
                self.respond(event.stream_id, end_stream=False)
            elif path == b"/held":
                self.respond(event.stream_id, body=CONTENT[:20], end_stream=False)
            elif path == b"/early":
                self.respond(event.stream_id, body=CONTENT)
        elif isinstance(event, DataReceived):
            if self._paths[event.stream_id] == b"CONNECT":
                self.send_data(event.stream_id, event.data)
            else:
                self.bodies[event.stream_id] += event.data
        elif isinstance(event, StreamEnded):
            self._finish(event.stream_id, self._paths[event.stream_id])

    def _finish(self, stream_id: int, path: bytes) -> None:
        if path == b"CONNECT":
            self.send_data(stream_id, b"", end_stream=True)
        elif path == b"/held":
            self.held[stream_id] = CONTENT[20:]
        elif path != b"/early":
            self.respond(stream_id, body=self.bodies[stream_id] if path == b"/echo" else CONTENT)

    def release(self) -> None:
        """Sends the rest of what was held back."""
        for stream_id, rest in self.held.items():
            self.send_data(stream_id, rest, end_stream=True)
        self.held.clear()


class Servers(NamedTuple):
    """Where requests go: a pool for them, the URL, and the servers that were connected to."""

    make_pool: Callable[[], ConnectionPool]
    url: str
    origins: list[Origin]


@asynccontextmanager
async def serving(link: str, tls: TLSFiles, limit: int = 100) -> AsyncIterator[Servers]:
    origins: list[Origin] = []

    def make() -> Origin:
        origins.append(Origin(limit))
        return origins[-1]

    def make_pool() -> ConnectionPool:
        return ConnectionPool(config, limits=LIMITS, http1=False, http2=CONFIG, connector=connector)

    client_context = tls.client_context
    client_context.set_alpn_protocols(["h2"])
    config = SSLConfig(verify=client_context)
    connector: MemoryConnector[Origin] | None = None
    if link in ("memory", "in pieces"):
        connector = MemoryConnector(make, segment=64 if link == "memory" else 8)
        yield Servers(make_pool, "http://a/", origins)
        await connector.all_closed()
        return
    context = tls.server_context if link == "tls" else None
    if context is not None:
        context.set_alpn_protocols(["h2"])
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    yield Servers(make_pool, f"http{'s' if context else ''}://127.0.0.1:{port}/", origins)
    server.close()
