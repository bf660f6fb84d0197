"""Ways from a proxy to the origin: where the client asked for, elsewhere, or in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from httpcore.testing import MemoryConnector, memory_link
from httpcore.urls import Origin

Connect: TypeAlias = Callable[[str, int, Callable[[], asyncio.Protocol]], Awaitable[object]]


async def dial(host: str, port: int, protocol_factory: Callable[[], asyncio.Protocol]) -> None:
    """Connects where the client asked for."""
    await asyncio.get_running_loop().create_connection(protocol_factory, host, port)


def to_address(host: str, port: int) -> Connect:
    """Connects to one address, whatever the client asked for."""
    return lambda _host, _port, protocol_factory: dial(host, port, protocol_factory)


def to_protocol(server_factory: Callable[[], asyncio.Protocol], *, segment: int | None = None) -> Connect:
    """Connects to protocols in memory, whatever the client asked for."""

    async def connect(host: str, port: int, protocol_factory: Callable[[], asyncio.Protocol]) -> None:
        proxy_transport, origin_transport = memory_link(protocol_factory(), server_factory(), segment=segment)
        proxy_transport.on_closed = origin_transport.close
        await asyncio.sleep(0)  # resumes after both ends' connection_made

    return connect


def to_connector(connector: MemoryConnector) -> Connect:
    """Connects by a `MemoryConnector`, which keeps the origins' ends, and may hold the dials or let them fail."""
    return lambda host, port, protocol_factory: connector.connect(protocol_factory, Origin("http", host, port))
