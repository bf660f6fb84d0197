"""What the tests of the proxies have at both ends of them: asyncio's streams for clients, an echo for an origin."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import cast

from httpcore.testing import MemoryTransport, ScriptedPeer, memory_link
from tests.h11_server import Listener, listening


class Echo(asyncio.Protocol):
    """Sends back what comes, at the pace at which it is taken, and ends when the other end does."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()


@contextlib.asynccontextmanager
async def echo_server(ssl_context: ssl.SSLContext | None = None) -> AsyncIterator[Listener]:
    async with listening(Echo, ssl_context=ssl_context) as listener:
        yield listener


class Streams:
    """A connection's two streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, data: bytes, until: bytes = b"\r\n\r\n") -> bytes:
        """Sends bytes; returns what comes up to and including a marker."""
        self.writer.write(data)
        return await self.reader.readuntil(until)

    async def ask_exactly(self, data: bytes, count: int) -> bytes:
        """Sends bytes; returns as many bytes as told of what comes."""
        self.writer.write(data)
        return await self.reader.readexactly(count)

    async def transfer(self, data: bytes) -> bytes:
        """Sends bytes to an echo while it reads them; returns as many as came back."""

        async def send() -> None:
            for start in range(0, len(data), 65536):
                self.writer.write(data[start : start + 65536])
                await self.writer.drain()

        received, _ = await asyncio.gather(self.reader.readexactly(len(data)), send())
        return received


@contextlib.asynccontextmanager
async def connected(port: int, ssl_context: ssl.SSLContext | None = None) -> AsyncIterator[Streams]:
    """Connects to a port of the loopback address; over TLS to localhost."""
    host = "127.0.0.1" if ssl_context is None else "localhost"
    reader, writer = await asyncio.open_connection(host, port, ssl=ssl_context, family=2)
    try:
        yield Streams(reader, writer)
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def dialed(port: int) -> AsyncIterator[ScriptedPeer]:
    """A client's end of a connection to a port of the loopback address: it keeps what came before a reset."""
    client = ScriptedPeer(close_on_eof=True)
    await asyncio.get_running_loop().create_connection(lambda: client, "127.0.0.1", port)
    try:
        yield client
    finally:
        client.transport.abort()
        await client.closed()


@contextlib.asynccontextmanager
async def in_memory(server: asyncio.Protocol, *, segment: int | None = None) -> AsyncIterator[ScriptedPeer]:
    """A client's end of a memory link to a proxy."""
    client = ScriptedPeer()
    transport: MemoryTransport
    transport, _ = memory_link(client, server, segment=segment)
    await asyncio.sleep(0)
    try:
        yield client
    finally:
        transport.abort()
        await client.closed()
