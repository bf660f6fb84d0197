"""The links that the tests of this folder run over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar, cast

import pytest

from tests.testing.links import Recorder, link_in_memory, link_over_tcp, turns

Link = Callable[[asyncio.Protocol, asyncio.Protocol], Awaitable[None]]
LINKS = {"memory": link_in_memory, "tcp": link_over_tcp}
T = TypeVar("T", bound=asyncio.Protocol)

# What is in memory is compared with, on whatever loop: a transport of asyncio's.
_COMPARED = pytest.mark.asyncio_only("transports in memory behave as asyncio's do, also on other loops")


@pytest.fixture(params=["memory", pytest.param("tcp", marks=_COMPARED)])
def link_protocols(request: pytest.FixtureRequest) -> Link:
    """Links two protocols, in memory and then over real sockets, and returns after both `connection_made`."""
    return LINKS[request.param]


@pytest.fixture
async def link(link_protocols: Link) -> AsyncIterator[Callable[[T, T], Awaitable[tuple[T, T]]]]:
    """The same; afterwards whatever is still open is aborted and must come to its end."""
    transports: list[asyncio.BaseTransport] = []

    async def make(client: T, server: T) -> tuple[T, T]:
        for protocol in (client, server):
            _note_transport(protocol, transports)
        await link_protocols(client, server)
        return client, server

    yield make
    for transport in transports:
        transport = cast(asyncio.Transport, transport)
        if transport.get_protocol() is not None:  # asyncio's abort fails after a close that had something to send
            transport.abort()
    await turns()
    assert [transport for transport in transports if transport.get_protocol() is not None] == []


def _note_transport(protocol: asyncio.Protocol, transports: list[asyncio.BaseTransport]) -> None:
    made = protocol.connection_made

    def connection_made(transport: asyncio.BaseTransport) -> None:
        transports.append(transport)
        made(transport)

    protocol.connection_made = connection_made  # type: ignore[method-assign]


@pytest.fixture
async def linked(
    link: Callable[[Recorder, Recorder], Awaitable[tuple[Recorder, Recorder]]],
) -> tuple[Recorder, Recorder]:
    """Two linked recorders: a client and a server."""
    return await link(Recorder(), Recorder())


@pytest.fixture
async def reported() -> list[dict[str, object]]:
    """What goes to the loop's exception handler."""
    contexts: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: contexts.append(context))
    return contexts
