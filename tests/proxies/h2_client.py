"""h2 in the client's role, for the tests of `HTTP2Proxy`."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable

import h2.config
import h2.connection
import h2.events
from h2.settings import SettingCodes, Settings

from httpcore.testing import ScriptedPeer, memory_link
from tests.proxies.http2_proxy import HTTP2Proxy
from tests.proxies.relay import Headers

CONNECT = [(b":method", b"CONNECT"), (b":authority", b"example.org:443")]


class Client(ScriptedPeer):
    """h2 in the client's role. What comes is credited as it comes, unless `auto_credit` is false."""

    def __init__(self, settings: dict[SettingCodes, int] | None = None) -> None:
        super().__init__(close_on_eof=True)
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        if settings is not None:
            self.http.local_settings = Settings(client=True, initial_values=settings)
        self.events: list[h2.events.Event] = []
        self.auto_credit = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.http.initiate_connection()
        self.flush()

    def data_received(self, data: bytes) -> None:
        events = self.http.receive_data(data)
        for event in events:
            if isinstance(event, h2.events.DataReceived) and self.auto_credit:
                self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        self.events += events
        self.flush()
        super().data_received(data)

    def flush(self) -> None:
        if data := self.http.data_to_send():
            self.send(data)

    def ask(self, headers: Headers, *, end_stream: bool = False) -> int:
        stream_id = self.http.get_next_available_stream_id()
        self.http.send_headers(stream_id, headers, end_stream=end_stream)
        self.flush()
        return stream_id

    def say(self, stream_id: int, data: bytes, *, end_stream: bool = False) -> None:
        self.http.send_data(stream_id, data, end_stream=end_stream)
        self.flush()

    def room(self, stream_id: int) -> int:
        """How many bytes one DATA frame may have now."""
        return min(self.http.local_flow_control_window(stream_id), self.http.max_outbound_frame_size)

    def status(self, stream_id: int) -> bytes | None:
        """The final response's, if it has come."""
        return dict(self.headers(stream_id)).get(b":status")

    def headers(self, stream_id: int) -> Headers:
        for event in self.events:
            if isinstance(event, h2.events.ResponseReceived) and event.stream_id == stream_id:
                return [(bytes(name), bytes(value)) for name, value in event.headers]
        return []

    def data(self, stream_id: int) -> bytes:
        return b"".join(
            event.data
            for event in self.events
            if isinstance(event, h2.events.DataReceived) and event.stream_id == stream_id
        )

    def has_ended(self, stream_id: int) -> bool:
        return any(isinstance(e, h2.events.StreamEnded) and e.stream_id == stream_id for e in self.events)

    def reset_code(self, stream_id: int) -> int | None:
        codes = [e.error_code for e in self.events if isinstance(e, h2.events.StreamReset) and e.stream_id == stream_id]
        return int(codes[0]) if codes else None

    async def until(self, condition: Callable[[], object]) -> None:
        await self._changes.wait_until(lambda: bool(condition()))

    async def tunnel(self) -> int:
        """Opens a tunnel; returns its stream."""
        stream_id = self.ask(CONNECT)
        await self.until(lambda: self.status(stream_id) is not None)
        assert self.status(stream_id) == b"200"
        return stream_id


@contextlib.asynccontextmanager
async def linked(proxy: HTTP2Proxy, settings: dict[SettingCodes, int] | None = None) -> AsyncIterator[Client]:
    client = Client(settings)
    transport, _ = memory_link(client, proxy.accept())
    await asyncio.sleep(0)
    try:
        yield client
    finally:
        transport.abort()
        await client.closed()


@contextlib.asynccontextmanager
async def connected(proxy: HTTP2Proxy, context: ssl.SSLContext | None = None) -> AsyncIterator[Client]:
    if context is not None:
        context.set_alpn_protocols(["h2"])
    _, client = await asyncio.get_running_loop().create_connection(
        Client, "127.0.0.1", proxy.port, ssl=context, server_hostname="localhost" if context is not None else None
    )
    try:
        yield client
    finally:
        client.transport.abort()
        await client.closed()
